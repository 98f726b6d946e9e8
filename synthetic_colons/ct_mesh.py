"""Triangle meshes from CT as they are in files: vertices in the file's unit, and parts with names.

GLB (binary glTF 2.0) is read here, because its names say which segment of the colon a part is; PLY,
STL, OBJ and VTK's formats are read by PyVista, and are one part without a name.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colondepth.errors import DataError
from colondepth.reconstruction.mesh_reading import BY_PYVISTA, read_mesh

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MAGIC, _JSON, _BINARY = 0x46546C67, 0x4E4F534A, 0x004E4942  # "glTF", "JSON", "BIN"
_TRIANGLES = 4  # the primitive mode
_NUMBERS = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}  # by component type
_WIDTHS = {"SCALAR": 1, "VEC3": 3}
_ALIKE = 1e-6  # of the extent: vertices nearer than this are one


@dataclass(frozen=True, slots=True, eq=False)
class CtMesh:
    """Triangles in the unit of a file."""

    vertices: Floats  # (V, 3)
    faces: Ints  # (F, 3)
    part: Ints  # (F,), place in `names`
    names: tuple[str, ...]  # of parts; "" where the file has none

    def __post_init__(self) -> None:
        """Refuse what is no mesh."""
        for name, array, width in (("vertices", self.vertices, 3), ("faces", self.faces, 3)):
            if array.ndim != 2 or array.shape[1] != width or len(array) == 0:
                raise DataError(f"{name} has shape {array.shape}, expected (N, {width}) with N > 0")
        if self.part.shape != (len(self.faces),):
            raise DataError(f"part has shape {self.part.shape}, expected ({len(self.faces)},)")
        if not np.isfinite(self.vertices).all():
            raise DataError("vertices of the mesh are NaN or infinite")
        if self.faces.min() < 0 or self.faces.max() >= len(self.vertices):
            raise DataError(f"faces name vertices beyond the {len(self.vertices)} that there are")


def read_ct_mesh(path: Path) -> CtMesh:
    """Read a mesh; vertices in one place become one, so that neighbours hang together."""
    if not path.is_file():
        raise DataError(f"{path} is not a file")
    suffix = path.suffix.lower()
    if suffix == ".glb":
        return welded(_read_glb(path))
    if suffix not in BY_PYVISTA:
        raise DataError(f"{path} ends in {suffix!r}; expected .glb, {', '.join(BY_PYVISTA)}")
    vertices, faces = read_mesh(path)
    return welded(CtMesh(vertices, faces, np.zeros(len(faces), np.int64), ("",)))


def welded(mesh: CtMesh) -> CtMesh:
    """Return a mesh without double vertices and without triangles that have no area for them."""
    extent = float(np.ptp(mesh.vertices, axis=0).max())
    keys = np.round(mesh.vertices / max(extent * _ALIKE, np.finfo(np.float64).tiny))
    _, first, same = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    faces = same.reshape(-1)[mesh.faces]
    a, b, c = faces.T
    kept = (a != b) & (b != c) & (c != a)
    return CtMesh(mesh.vertices[first], faces[kept], mesh.part[kept], mesh.names)


def _read_glb(path: Path) -> CtMesh:
    try:
        tree, binary = _chunks(path.read_bytes())
        pieces: list[tuple[str, Floats, Ints]] = []
        scene = tree["scenes"][tree.get("scene", 0)]
        for root in scene["nodes"]:
            _walk(tree, binary, root, np.eye(4), pieces)
    except (KeyError, IndexError, TypeError, ValueError, struct.error) as error:
        raise DataError(f"{path} is not a GLB file that can be read: {error}") from error
    if not pieces:
        raise DataError(f"{path} has no triangles")
    starts = np.cumsum([0] + [len(vertices) for _, vertices, _ in pieces])
    names = tuple(dict.fromkeys(name for name, _, _ in pieces))
    return CtMesh(
        np.concatenate([vertices for _, vertices, _ in pieces]),
        np.concatenate([f + start for (_, _, f), start in zip(pieces, starts, strict=False)]),
        np.concatenate([np.full(len(f), names.index(name)) for name, _, f in pieces]),
        names,
    )


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    magic, version, _ = struct.unpack_from("<III", data, 0)
    if magic != _MAGIC or version != 2:
        raise ValueError("no glTF 2.0 at its beginning")
    tree, binary, at = None, b"", 12
    while at < len(data):
        length, kind = struct.unpack_from("<II", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind == _JSON:
            tree = json.loads(body)
        elif kind == _BINARY:
            binary = body
        at += 8 + length
    if tree is None:
        raise ValueError("no JSON in it")
    if needed := set(tree.get("extensionsRequired", ())):
        raise ValueError(f"it needs the extensions {', '.join(sorted(needed))}")
    return tree, binary


def _walk(
    tree: dict[str, Any],
    binary: bytes,
    number: int,
    world_from_parent: Floats,
    pieces: list[tuple[str, Floats, Ints]],
) -> None:
    """Gather the triangles of a node and of those below it."""
    node = tree["nodes"][number]
    world_from_node = world_from_parent @ _motion(node)
    if "mesh" in node:
        mesh = tree["meshes"][node["mesh"]]
        name = str(node.get("name") or mesh.get("name") or "")
        for each in mesh["primitives"]:
            if each.get("mode", _TRIANGLES) != _TRIANGLES:
                continue
            vertices = _numbers(tree, binary, each["attributes"]["POSITION"]).astype(np.float64)
            vertices = vertices @ world_from_node[:3, :3].T + world_from_node[:3, 3]
            if "indices" in each:
                faces = _numbers(tree, binary, each["indices"]).astype(np.int64).reshape(-1, 3)
            else:
                faces = np.arange(len(vertices)).reshape(-1, 3)
            pieces.append((name, vertices, faces))
    for child in node.get("children", ()):
        _walk(tree, binary, child, world_from_node, pieces)


def _motion(node: dict[str, Any]) -> Floats:
    """Return parent_from_node, scale included."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T  # column by column
    out = np.eye(4)
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    turn = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, :3] = np.array(turn) * np.array(node.get("scale", (1, 1, 1)))
    out[:3, 3] = node.get("translation", (0, 0, 0))
    return out


def _numbers(tree: dict[str, Any], binary: bytes, number: int) -> NDArray[Any]:
    accessor = tree["accessors"][number]
    view = tree["bufferViews"][accessor["bufferView"]]
    kind = np.dtype(_NUMBERS[accessor["componentType"]])
    width, count = _WIDTHS[accessor["type"]], accessor["count"]
    step = view.get("byteStride", width * kind.itemsize)
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    if start + step * (count - 1) + width * kind.itemsize > len(binary):
        raise ValueError("it is shorter than it says")
    own = np.ndarray((count, width), kind, binary, start, (step, kind.itemsize))
    return own if width > 1 else own[:, 0]
