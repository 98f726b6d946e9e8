"""Meshes of colons as files: PLY with what is known of every vertex, OBJ, STL.

Coordinates are millimetres. PLY and STL hold them in float32, which is good to 3e-5 mm in a colon,
and OBJ with four decimals. Only PLY has room for arc length, angle, label and segment; STL has none
even for shared vertices.
"""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from colondepth.atomic import written_whole
from colondepth.errors import DataError
from synthetic_colons.colon_mesh import ColonMesh

_STL_HEADER_BYTES = 80
_LINES_A_BLOCK = 50_000  # of OBJ, turned into text at a time


def write_mesh(mesh: ColonMesh, path: Path) -> None:
    """Write a mesh whole or not at all, in the format of the suffix: .ply, .obj or .stl."""
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise DataError(f"{path} ends in {path.suffix!r}; expected one of {', '.join(_WRITERS)}")
    with written_whole(path) as temporary, temporary.open("wb") as file:
        writer(mesh, file)


def _ply(mesh: ColonMesh, file: BinaryIO) -> None:
    number = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("arc_mm", "<f4"), ("angle_rad", "<f4")]
    vertices = np.empty(len(mesh.vertices), [*number, ("label", "<i2"), ("segment", "<i2")])
    for k, axis in enumerate("xyz"):
        vertices[axis] = mesh.vertices[:, k].cpu().numpy()
    for name in ("arc_mm", "angle_rad", "label", "segment"):
        vertices[name] = getattr(mesh, name).cpu().numpy()
    faces = np.empty(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces.cpu().numpy()
    known = [f"comment segment {k} {name}" for k, name in enumerate(mesh.segment_names)]
    head = [
        *("ply", "format binary_little_endian 1.0", "comment millimetres", *known),
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name, _ in number),
        *("property short label", "property short segment"),
        f"element face {len(faces)}",
        *("property list uchar int vertex_indices", "end_header", ""),
    ]
    file.write("\n".join(head).encode("ascii"))
    file.write(vertices.tobytes())
    file.write(faces.tobytes())


def _obj(mesh: ColonMesh, file: BinaryIO) -> None:
    file.write(b"# millimetres\n")
    _lines(file, "v %.4f %.4f %.4f\n", mesh.vertices.cpu().numpy())
    _lines(file, "f %d %d %d\n", mesh.faces.cpu().numpy() + 1)


def _lines(file: BinaryIO, form: str, rows: NDArray[np.generic]) -> None:
    for first in range(0, len(rows), _LINES_A_BLOCK):
        block = rows[first : first + _LINES_A_BLOCK]
        file.write((form * len(block) % tuple(block.ravel().tolist())).encode("ascii"))


def _stl(mesh: ColonMesh, file: BinaryIO) -> None:
    corners = mesh.vertices.cpu().numpy()[mesh.faces.cpu().numpy()]  # (F, 3, 3)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(across, axis=-1, keepdims=True)
    form = [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")]
    triangles = np.zeros(len(corners), form)
    triangles["normal"] = across / np.maximum(length, np.finfo(np.float64).tiny)
    triangles["corners"] = corners
    file.write(b"colondepth, millimetres".ljust(_STL_HEADER_BYTES))
    file.write(np.uint32(len(triangles)).astype("<u4").tobytes())
    file.write(triangles.tobytes())


_WRITERS: dict[str, Callable[[ColonMesh, BinaryIO], None]] = {
    ".ply": _ply,
    ".obj": _obj,
    ".stl": _stl,
}
