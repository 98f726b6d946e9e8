"""Triangles as files, for every surface of the house: PLY, GLB, OBJ, STL.

Coordinates are millimetres in float32, which is good to 3e-5 mm in a colon; OBJ has four decimals.
Only PLY has room for whatever else is known of a vertex, and is read back. GLB and OBJ hold colours
too; STL has none even for shared vertices. GLB's unit is the metre and its y goes up: its one node
carries the scale and the turn, the numbers stay as they are. GLB is written by hand, because the
libraries that write it are needed for nothing else here (trimesh) or take seconds to load (VTK).
"""

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from colondepth.atomic import written_whole
from colondepth.errors import DataError

_STL_HEADER_BYTES = 80
_LINES_A_BLOCK = 50_000  # of OBJ, turned into text at a time
_LONGEST_HEAD_BYTES = 1 << 16  # of a PLY: more is no header
# Names of PLY's numbers; the newer spelling is read too.
_PLY_TYPES = {
    **{"char": "<i1", "uchar": "<u1", "short": "<i2", "ushort": "<u2"},
    **{"int": "<i4", "uint": "<u4", "float": "<f4", "double": "<f8"},
}
_PLY_WIDE_TYPES = {
    **{"int8": "<i1", "uint8": "<u1", "int16": "<i2", "uint16": "<u2"},
    **{"int32": "<i4", "uint32": "<u4", "float32": "<f4", "float64": "<f8"},
}
_PLY_NAMES = {np.dtype(form): name for name, form in _PLY_TYPES.items()}
_CHANNELS = ("red", "green", "blue")
# glTF 2.0, sections 3.6.2 (accessors), 3.7.2 (triangles) and 4.4 (binary).
_GLB_VERSION, _JSON_CHUNK, _BINARY_CHUNK = 2, 0x4E4F534A, 0x004E4942
_UINT32, _FLOAT32, _TRIANGLES, _ARRAY, _ELEMENT_ARRAY = 5125, 5126, 4, 34962, 34963
_METRES_PER_MM = 1e-3
_HALF_TURN_ABOUT_X = [1.0, 0.0, 0.0, 0.0]  # y down and z forward to y up and z backward


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Triangles:
    """What a file of triangles holds."""

    vertices_mm: NDArray[np.floating[Any]]  # (V, 3)
    faces: NDArray[np.integer[Any]]  # (F, 3)
    colours: NDArray[np.floating[Any]] | None = None  # (V, 3) in [0, 1], RGB as images are
    known: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # of vertices, (V,) each
    comments: tuple[str, ...] = ()


def write_triangles(triangles: Triangles, path: Path) -> None:
    """Write triangles whole or not at all, in the format of the suffix."""
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise DataError(f"{path} ends in {path.suffix!r}; expected one of {', '.join(_WRITERS)}")
    _require_sound(triangles, path)
    with written_whole(path) as temporary, temporary.open("wb") as file:
        writer(triangles, file)


def read_ply(path: Path) -> Triangles:
    """Read triangles from a binary little-endian PLY, with all that it knows of its vertices."""
    try:
        with path.open("rb") as file:
            head = _ply_head(file, path)
            vertices = _ply_rows(file, head.vertex, head.vertices, path)
            faces = _ply_rows(file, head.face, head.faces, path)
            left_over = len(file.read(1))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if left_over:
        raise DataError(f"{path} goes on behind its last face; it is damaged, or no PLY of ours")
    if not bool((faces["count"] == 3).all()):
        raise DataError(f"{path} has faces that are no triangles; triangulate it first")
    known = {name: vertices[name] for name in vertices.dtype.names or ()}
    points = np.stack([known.pop(axis) for axis in "xyz"], axis=-1)
    colours = None
    if all(known.get(name) is not None and known[name].dtype == np.uint8 for name in _CHANNELS):
        colours = np.stack([known.pop(name) for name in _CHANNELS], axis=-1) / np.float32(255)
    read = Triangles(
        vertices_mm=points,
        faces=faces["corners"].astype(np.int64),
        colours=colours,
        known=known,
        comments=head.comments,
    )
    _require_sound(read, path)
    return read


def _require_sound(triangles: Triangles, path: Path) -> None:
    points, faces = triangles.vertices_mm, triangles.faces
    if points.ndim != 2 or points.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise DataError(
            f"{path}: vertices of shape {points.shape} and faces of shape {faces.shape}, expected"
            " (V, 3) and (F, 3)"
        )
    if not len(faces):
        raise DataError(f"{path}: a surface of {len(points)} vertices and no triangle is no file")
    if faces.min() < 0 or faces.max() >= len(points):
        raise DataError(
            f"{path}: faces name vertices {faces.min()} to {faces.max()}, expected 0 to"
            f" {len(points) - 1}: there are {len(points)} vertices"
        )
    colours = {} if triangles.colours is None else {"colours": triangles.colours}
    for name, values in {"vertices": points, **colours, **triangles.known}.items():
        if len(values) != len(points):
            raise DataError(f"{path}: {len(values)} {name} of {len(points)} vertices")
        if not bool(np.isfinite(values).all()):
            bad = int((~np.isfinite(values)).sum())
            raise DataError(f"{path}: {bad} of {values.size} {name} are NaN or infinite")


def _bytes_of(colours: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    counts: NDArray[np.uint8] = np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)
    return counts


def _ply(triangles: Triangles, file: BinaryIO) -> None:
    columns: dict[str, NDArray[Any]] = {
        axis: triangles.vertices_mm[:, k].astype("<f4") for k, axis in enumerate("xyz")
    }
    if triangles.colours is not None:
        columns |= dict(zip(_CHANNELS, _bytes_of(triangles.colours).T, strict=True))
    columns |= triangles.known
    rows = np.empty(len(triangles.vertices_mm), [(n, c.dtype) for n, c in columns.items()])
    for name, column in columns.items():
        rows[name] = column
    faces = np.empty(len(triangles.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, triangles.faces
    head = [
        *("ply", "format binary_little_endian 1.0", "comment millimetres"),
        *(f"comment {each}" for each in triangles.comments),
        f"element vertex {len(rows)}",
        *(f"property {_PLY_NAMES[column.dtype]} {name}" for name, column in columns.items()),
        f"element face {len(faces)}",
        *("property list uchar int vertex_indices", "end_header", ""),
    ]
    file.write("\n".join(head).encode("ascii"))
    file.write(rows.tobytes())
    file.write(faces.tobytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlyHead:
    vertices: int
    vertex: np.dtype[np.void]
    faces: int
    face: np.dtype[np.void]
    comments: tuple[str, ...]


def _ply_head(file: BinaryIO, path: Path) -> _PlyHead:
    start = file.read(_LONGEST_HEAD_BYTES)
    end = start.find(b"end_header\n")
    lines = start[:end].decode("ascii", errors="replace").splitlines()
    if end < 0 or lines[:2] != ["ply", "format binary_little_endian 1.0"]:
        raise DataError(f"{path} is no binary little-endian PLY, the only kind that is read here")
    file.seek(end + len(b"end_header\n"))
    counts: dict[str, int] = {}
    forms: dict[str, list[Any]] = {}
    comments = []
    for line in lines[2:]:
        match line.split():
            case ["comment", *_]:
                comments.append(line.removeprefix("comment").strip())
            case ["obj_info", *_]:
                pass
            case ["element", name, count] if count.isdigit():
                counts[name], forms[name] = int(count), []
            case ["property", "list", "uchar" | "uint8", kind, "vertex_indices" | "vertex_index"]:
                form = _ply_type(kind, path)
                forms[list(counts)[-1]] += [("count", "u1"), ("corners", form, 3)]
            case ["property", kind, name] if counts:
                forms[list(counts)[-1]].append((name, _ply_type(kind, path)))
            case _:
                raise DataError(f"{path}: the line {line!r} of the PLY header is not understood")
    vertex, face = (np.dtype(forms.get(name, [])) for name in ("vertex", "face"))
    if list(counts) != ["vertex", "face"] or not {"x", "y", "z"} <= set(vertex.names or ()):
        raise DataError(f"{path} has {list(counts)}, expected vertices with x, y, z, then faces")
    if "corners" not in (face.names or ()):
        raise DataError(f"{path}: its faces have no vertex_indices")
    return _PlyHead(
        vertices=counts["vertex"],
        vertex=vertex,
        faces=counts["face"],
        face=face,
        comments=tuple(each for each in comments if each != "millimetres"),
    )


def _ply_type(name: str, path: Path) -> str:
    form = (_PLY_TYPES | _PLY_WIDE_TYPES).get(name)
    if form is None:
        raise DataError(f"{path}: the PLY has a number of the type {name!r}, which does not exist")
    return form


def _ply_rows(file: BinaryIO, form: np.dtype[np.void], count: int, path: Path) -> NDArray[Any]:
    held = file.read(count * form.itemsize)
    if len(held) != count * form.itemsize:
        raise DataError(
            f"{path} ends after {len(held)} of {count * form.itemsize} bytes of its {count} rows;"
            " it is cut off, or has faces that are no triangles"
        )
    return np.frombuffer(held, form)


def _glb(triangles: Triangles, file: BinaryIO) -> None:
    points = triangles.vertices_mm.astype("<f4")
    arrays = [("POSITION", points)]
    if triangles.colours is not None:
        arrays.append(("COLOR_0", _linear(triangles.colours).astype("<f4")))
    corners = triangles.faces.astype("<u4").ravel()
    views: list[dict[str, int]] = []
    accessors: list[dict[str, Any]] = []
    start = 0
    for array in (*(held for _, held in arrays), corners):
        target = _ELEMENT_ARRAY if array is corners else _ARRAY
        views.append(
            {"buffer": 0, "byteOffset": start, "byteLength": array.nbytes, "target": target}
        )
        accessor: dict[str, Any] = {"bufferView": len(accessors), "count": len(array)}
        if array is corners:
            accessor |= {"componentType": _UINT32, "type": "SCALAR"}
        else:
            accessor |= {"componentType": _FLOAT32, "type": "VEC3"}
        accessors.append(accessor)
        start += array.nbytes
    low, high = (edge(axis=0).astype(float).tolist() for edge in (points.min, points.max))
    accessors[0] |= {"min": low, "max": high}
    plain = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    material: dict[str, Any] = {"doubleSided": True, "pbrMetallicRoughness": plain}
    content: dict[str, Any] = {"asset": {"version": "2.0", "generator": "colondepth"}}
    if triangles.colours is not None:  # an image's colours have the light in them already
        material["extensions"] = {"KHR_materials_unlit": {}}
        content["extensionsUsed"] = ["KHR_materials_unlit"]
    attributes = {name: number for number, (name, _) in enumerate(arrays)}
    primitive = {"attributes": attributes, "indices": len(arrays), "material": 0}
    scale = [_METRES_PER_MM] * 3
    content |= {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "scale": scale, "rotation": _HALF_TURN_ABOUT_X}],
        "meshes": [{"primitives": [primitive | {"mode": _TRIANGLES}]}],
        "materials": [material],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": start}],
    }
    text = json.dumps(content, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + start  # the head of the file, then that of each chunk
    file.write(b"glTF" + struct.pack("<II", _GLB_VERSION, total))
    file.write(struct.pack("<II", len(text), _JSON_CHUNK) + text)
    file.write(struct.pack("<II", start, _BINARY_CHUNK))
    for array in (*(held for _, held in arrays), corners):
        file.write(array.tobytes())


def _linear(colours: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Take off sRGB's curve: images have it, glTF's colours of vertices do not (3.7.2.1)."""
    colours = np.clip(colours, 0, 1)
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def _obj(triangles: Triangles, file: BinaryIO) -> None:
    file.write(b"# millimetres\n")
    if triangles.colours is None:
        _lines(file, "v %.4f %.4f %.4f\n", triangles.vertices_mm)
    else:
        rows = np.concatenate([triangles.vertices_mm, np.clip(triangles.colours, 0, 1)], axis=1)
        _lines(file, "v %.4f %.4f %.4f %.4f %.4f %.4f\n", rows)
    _lines(file, "f %d %d %d\n", triangles.faces + 1)


def _lines(file: BinaryIO, form: str, rows: NDArray[Any]) -> None:
    for first in range(0, len(rows), _LINES_A_BLOCK):
        block = rows[first : first + _LINES_A_BLOCK]
        file.write((form * len(block) % tuple(block.ravel().tolist())).encode("ascii"))


def _stl(triangles: Triangles, file: BinaryIO) -> None:
    corners = triangles.vertices_mm[triangles.faces].astype(np.float64)  # (F, 3, 3)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(across, axis=-1, keepdims=True)
    form = [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")]
    rows = np.zeros(len(corners), form)
    rows["normal"] = across / np.maximum(length, np.finfo(np.float64).tiny)
    rows["corners"] = corners
    file.write(b"colondepth, millimetres".ljust(_STL_HEADER_BYTES))
    file.write(np.uint32(len(rows)).astype("<u4").tobytes())
    file.write(rows.tobytes())


_WRITERS: dict[str, Callable[[Triangles, BinaryIO], None]] = {
    ".ply": _ply,
    ".obj": _obj,
    ".stl": _stl,
    ".glb": _glb,
}
