"""Triangles from other programs' files: PLY, STL, OBJ and VTK's formats, as PyVista reads them."""

import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from colondepth.errors import DataError, MissingExtraError
from colondepth.reconstruction.surface import Surface

_PLY_BYTES = {
    **{"char": 1, "uchar": 1, "int8": 1, "uint8": 1, "short": 2, "ushort": 2, "int16": 2},
    **{"uint16": 2, "int": 4, "uint": 4, "int32": 4, "uint32": 4, "float": 4, "float32": 4},
    **{"double": 8, "float64": 8},
}
BY_PYVISTA = (".ply", ".stl", ".obj", ".vtk", ".vtp", ".vtu")


def read_mesh(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return vertices (V, 3), in the file's unit, and triangles (F, 3)."""
    if not path.is_file():
        raise DataError(f"{path} is not a file")
    if path.suffix.lower() not in BY_PYVISTA:
        raise DataError(f"{path} ends in {path.suffix!r}; expected {', '.join(BY_PYVISTA)}")
    if path.suffix.lower() == ".ply":
        _require_whole_ply(path)
    try:
        import pyvista  # here: it takes seconds
    except ImportError as error:
        raise MissingExtraError(f"{path.suffix} files need PyVista: pip install pyvista") from error
    try:
        with pyvista.vtk_verbosity("off"), warnings.catch_warnings():
            warnings.simplefilter("error")  # VTK warns of what it cannot read and goes on
            read: Any = pyvista.read(path)
            surface = read.extract_surface(algorithm="dataset_surface").triangulate()
    except (OSError, ValueError, RuntimeError, AttributeError, TypeError, Warning) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is not a mesh that PyVista can read: {reason}") from error
    faces = np.asarray(surface.faces, np.int64).reshape(-1, 4)[:, 1:]
    vertices = np.asarray(surface.points, np.float64)
    if len(faces) == 0:
        raise DataError(f"{path} has no triangles")
    if not np.isfinite(vertices).all():
        raise DataError(f"{path} has vertices that are NaN or infinite")
    return vertices, faces


def _require_whole_ply(path: Path) -> None:
    """Refuse a PLY that is cut off: VTK kills the process by a binary one, and reads part of text.

    `triangle_files.read_ply` knows one form alone; here any form that VTK reads has to pass.
    """
    head, mark, body = path.read_bytes().partition(b"end_header")
    try:
        whole = bool(mark) and _is_whole(
            [line.split() for line in head.decode("ascii", errors="replace").splitlines()],
            body[2:] if body[:2] == b"\r\n" else body[1:],
        )
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(f"{path}: the header of the PLY is not understood ({error})") from error
    if not whole:
        raise DataError(f"{path} is cut off: it has less than the header of a PLY promises")


def _is_whole(head: list[list[str]], body: bytes) -> bool:
    form = next((line[1] for line in head if line[:1] == ["format"]), "")
    elements: list[tuple[int, list[list[str]]]] = []  # how many, and types of their properties
    for line in head:
        if line[:1] == ["element"]:
            elements.append((int(line[2]), []))
        elif line[:1] == ["property"]:
            elements[-1][1].append(line[1:-1])
    if form == "ascii":
        return body.count(b"\n") + (not body.endswith(b"\n")) >= sum(n for n, _ in elements)
    order: Literal["little", "big"] = "little" if "little" in form else "big"
    at = 0
    for count, kinds in elements:
        lists = [kind for kind in kinds if kind[0] == "list"]
        row = sum(_PLY_BYTES[kind[0]] for kind in kinds if kind[0] != "list")
        row += sum(_PLY_BYTES[kind[1]] + 3 * _PLY_BYTES[kind[2]] for kind in lists)
        if not lists or at + count * row == len(body):  # triangles to the end
            at += count * row
            continue
        for _ in range(count):
            for kind in kinds:
                size = _PLY_BYTES[kind[1 if kind[0] == "list" else 0]]
                if kind[0] == "list":
                    held = int.from_bytes(body[at : at + size], order)
                    at += held * _PLY_BYTES[kind[2]]
                at += size
            if at > len(body):
                return False
    return at <= len(body)


def read_wall(path: Path) -> Surface:
    """Return a mesh in millimetres as a surface; which side is the lumen is not asked."""
    vertices, faces = read_mesh(path)
    return Surface(
        vertices_mm=torch.from_numpy(vertices.astype(np.float32)),
        faces=torch.from_numpy(faces.copy()),
    )
