"""Surfaces of triangles, and the one that a single view makes.

Points are in millimetres, in the world or, where no motion is given, in the camera frame (x right,
y down, z forward). Triangles are counter-clockwise as seen from the lumen, so that their normals
point into it. What is not known of all vertices is None.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.motion import require_rigid, transform
from colondepth.shapes import (
    require_bool,
    require_finite,
    require_float,
    require_shapes,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """Triangles with what is known of their corners; it may be empty."""

    vertices_mm: Tensor  # (V, 3) float32
    faces: Tensor  # (F, 3) int64, counter-clockwise as seen from the lumen
    colours: Tensor | None = None  # (V, 3) in [0, 1], RGB as images are
    std_mm: Tensor | None = None  # (V,), how sure, along the ray
    seen: Tensor | None = None  # (V,) whole numbers, how many frames saw it

    def __post_init__(self) -> None:
        """Refuse what is no surface: shapes, NaN, corners that do not exist."""
        require_shapes(vertices_mm=(self.vertices_mm, "V 3"), faces=(self.faces, "F 3"))
        floats = {"vertices_mm": (self.vertices_mm, "V 3")}
        if self.colours is not None:
            floats["colours"] = (self.colours, "V 3")
        if self.std_mm is not None:
            floats["std_mm"] = (self.std_mm, "V")
        require_shapes(**floats)
        for name, (tensor, _) in floats.items():
            require_float(**{name: tensor})
            require_finite(**{name: tensor})
        if self.seen is not None:
            require_shapes(vertices_mm=(self.vertices_mm, "V 3"), seen=(self.seen, "V"))
            _require_whole(seen=self.seen)
        _require_whole(faces=self.faces)
        _require_corners(self.faces, len(self.vertices_mm))

    def areas_mm2(self) -> Tensor:
        """Return the area of every triangle, (F,)."""
        return _across(self.vertices_mm, self.faces).norm(dim=-1) / 2

    def normals(self) -> Tensor:
        """Return the unit normal of every triangle, into the lumen, (F, 3); 0 without an area."""
        return torch.nn.functional.normalize(_across(self.vertices_mm, self.faces), dim=-1)

    def moved(self, target_from_source: Tensor) -> "Surface":
        """Return this surface in another frame; the motion is rigid, shape (4, 4)."""
        require_shapes(target_from_source=(target_from_source, "4 4"))
        require_rigid(target_from_source=target_from_source)
        moved = transform(target_from_source.double(), self.vertices_mm.double())
        return replace(self, vertices_mm=moved.to(self.vertices_mm))

    def kept(self, keep: Tensor) -> "Surface":
        """Return some of the triangles, and of the vertices those that they use.

        Args:
            keep: True for the triangles to keep, (F,).
        """
        require_shapes(faces=(self.faces, "F 3"), keep=(keep, "F"))
        require_bool(keep=keep)
        corners = self.faces[keep]
        used = torch.zeros(len(self.vertices_mm), dtype=torch.bool, device=corners.device)
        used[corners] = True
        return Surface(
            vertices_mm=self.vertices_mm[used],
            faces=(used.cumsum(dim=0) - 1)[corners],
            colours=None if self.colours is None else self.colours[used],
            std_mm=None if self.std_mm is None else self.std_mm[used],
            seen=None if self.seen is None else self.seen[used],
        )


def _across(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return the normal of every triangle, as long as two areas, (F, 3)."""
    a, b, c = vertices[faces].unbind(dim=1)
    return torch.linalg.cross(b - a, c - a)


def _require_whole(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() or tensor.dtype == torch.bool:
            raise DataError(
                f"{name} holds {str(tensor.dtype).removeprefix('torch.')}, expected whole numbers;"
                " .long() makes them"
            )


def _require_corners(faces: Tensor, count: int) -> None:
    if faces.numel() and not (int(faces.min()) >= 0 and int(faces.max()) < count):
        raise DataError(
            f"faces name vertices {int(faces.min())} to {int(faces.max())}, expected 0 to"
            f" {count - 1}: there are {count} vertices"
        )
