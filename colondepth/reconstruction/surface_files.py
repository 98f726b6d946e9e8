"""Surfaces as files: PLY with all that is known, read back; GLB, OBJ and STL for other programs.

In PLY `std_mm` and `seen` are properties of the vertices, and colours have 8 bits.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from colondepth.errors import DataError
from colondepth.reconstruction.surface import Surface
from colondepth.reconstruction.triangle_files import Triangles, read_ply, write_triangles


def write_surface(surface: Surface, path: Path) -> None:
    """Write a surface whole or not at all, in the format of the suffix: .ply, .glb, .obj, .stl."""
    known: dict[str, NDArray[Any]] = {}
    if surface.std_mm is not None:
        known["std_mm"] = surface.std_mm.detach().cpu().numpy().astype("<f4")
    if surface.seen is not None:
        known["seen"] = surface.seen.cpu().numpy().astype("<i4")
    colours = surface.colours
    triangles = Triangles(
        vertices_mm=surface.vertices_mm.detach().cpu().numpy(),
        faces=surface.faces.cpu().numpy(),
        colours=None if colours is None else colours.detach().float().cpu().numpy(),
        known=known,
    )
    write_triangles(triangles, path)


def read_surface(path: Path) -> Surface:
    """Read a surface from a PLY file; what the file does not know is None.

    Other properties of the vertices (normals, a viewer's quality) are left where they are.
    """
    if path.suffix.lower() != ".ply":
        raise DataError(f"{path} ends in {path.suffix!r}; surfaces are read from .ply alone")
    held = read_ply(path)
    std_mm, seen = held.known.get("std_mm"), held.known.get("seen")
    return Surface(
        vertices_mm=torch.from_numpy(held.vertices_mm.astype(np.float32)),
        faces=torch.from_numpy(held.faces.astype(np.int64)),
        colours=None if held.colours is None else torch.from_numpy(held.colours),
        std_mm=None if std_mm is None else torch.from_numpy(std_mm.astype(np.float32)),
        seen=None if seen is None else torch.from_numpy(seen.astype(np.int64)),
    )
