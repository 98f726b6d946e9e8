"""Triangles from other programs' files: PLY, STL, OBJ and VTK's formats, as PyVista reads them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from colondepth.errors import DataError, MissingExtraError
from colondepth.reconstruction.surface import Surface

BY_PYVISTA = (".ply", ".stl", ".obj", ".vtk", ".vtp", ".vtu")


def read_mesh(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return vertices (V, 3), in the file's unit, and triangles (F, 3)."""
    if not path.is_file():
        raise DataError(f"{path} is not a file")
    if path.suffix.lower() not in BY_PYVISTA:
        raise DataError(f"{path} ends in {path.suffix!r}; expected {', '.join(BY_PYVISTA)}")
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


def read_wall(path: Path) -> Surface:
    """Return a mesh in millimetres as a surface; which side is the lumen is not asked."""
    vertices, faces = read_mesh(path)
    return Surface(
        vertices_mm=torch.from_numpy(vertices.astype(np.float32)),
        faces=torch.from_numpy(faces.copy()),
    )
