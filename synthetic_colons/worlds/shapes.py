"""Solids in closed form: ellipsoids, boxes and capped cylinders, turned and placed in batches.

A solid is the unit ball, the cube [-1, 1]^3 or the cylinder x^2 + y^2 <= 1, |z| <= 1, stretched by
`half_mm`, turned and moved. All three are convex, so that a ray enters once and leaves once; seen
from inside, the first hit is where it leaves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.shapes import require_shapes
from synthetic_colons.analytic import NEAREST_MM, Shape
from synthetic_colons.worlds.planes import Planes, times, unit


class SolidKind(StrEnum):
    """What is stretched, turned and placed."""

    ELLIPSOID = "ellipsoid"
    BOX = "box"
    CYLINDER = "cylinder"  # round about its own z, with flat caps


@dataclass(frozen=True, eq=False, kw_only=True)
class Solid(Shape):
    """One solid for every sample of a batch."""

    kind: SolidKind
    centre_mm: Tensor  # (*B, 3)
    world_from_solid: Tensor  # (*B, 3, 3) rotation
    half_mm: Tensor  # (*B, 3) half its size along its own axes

    def __post_init__(self) -> None:
        """Refuse what is not a solid."""
        require_shapes(
            centre_mm=(self.centre_mm, "*B 3"),
            world_from_solid=(self.world_from_solid, "*B 3 3"),
            half_mm=(self.half_mm, "*B 3"),
        )
        if not bool((self.half_mm > 0).all()):
            raise DataError(
                f"half_mm goes down to {self.half_mm.min().item():g}, expected more than 0"
            )

    def distance_mm(self, origin: Tensor, direction: Tensor) -> Tensor:
        """See `Shape.distance_mm`; the solid's batch axes lead those of the rays."""
        start = self._to_unit(_planes(origin - self._centre(origin)))
        along = self._to_unit(_planes(direction))
        return first_hit(self.kind, start, along)

    def normal(self, points: Tensor) -> Tensor:
        """See `Shape.normal`: outwards."""
        place = self._to_unit(_planes(points - self._centre(points)))
        slope = outward(self.kind, place)
        to_world = self.world_from_solid / self.half_mm[..., None, :]
        return torch.stack(unit(times(to_world, slope)), dim=-1)

    def _to_unit(self, planes: Planes) -> Planes:
        return times(unit_from_world(self.world_from_solid, self.half_mm), planes)

    def _centre(self, like: Tensor) -> Tensor:
        free = like.ndim - self.centre_mm.ndim
        return self.centre_mm.reshape(*self.centre_mm.shape[:-1], *([1] * free), 3)


def unit_from_world(world_from_solid: Tensor, half_mm: Tensor) -> Tensor:
    """Return what turns and shrinks a solid to its unit form, (*B, 3, 3)."""
    return world_from_solid.mT / half_mm[..., :, None]


def first_hit(kind: SolidKind, start: Planes, along: Planes) -> Tensor:
    """Return how far a ray goes until it meets the unit solid, infinite for a miss.

    Args:
        kind: which solid.
        start: where rays begin, in its unit frame.
        along: the ray's direction there; distances count in its length.
    """
    enter, leave = _CROSSINGS[kind](start, along)
    nearest = torch.where(enter > NEAREST_MM, enter, leave)
    hit = (enter <= leave) & (nearest > NEAREST_MM)
    return torch.where(hit, nearest, torch.inf)


def outward(kind: SolidKind, place: Planes) -> Planes:
    """Return the outward normal of the unit solid at a place on it, of any length."""
    return _OUTWARD[kind](place)


def surrounding_radius_mm(kind: SolidKind, half_mm: Tensor) -> Tensor:
    """Return the radius of the ball around a solid, (*B, 3) -> (*B,)."""
    x, y, z = half_mm.unbind(dim=-1)
    if kind is SolidKind.ELLIPSOID:
        return torch.maximum(torch.maximum(x, y), z)
    wide2 = torch.maximum(x, y).square() if kind is SolidKind.CYLINDER else x.square() + y.square()
    return (wide2 + z.square()).sqrt()


def gap_mm(
    solid_centre_mm: Tensor, world_from_solid: Tensor, half_mm: Tensor, at: Tensor
) -> Tensor:
    """Return a lower bound of the distance from places to solids: that to the boxes around them.

    Args:
        solid_centre_mm: (B, N, 3).
        world_from_solid: (B, N, 3, 3).
        half_mm: (B, N, 3).
        at: places, (B, F, 3).

    Returns:
        Distances (B, N, F), 0 inside.
    """
    pattern = "B N 3"
    require_shapes(
        solid_centre_mm=(solid_centre_mm, pattern),
        world_from_solid=(world_from_solid, "B N 3 3"),
        half_mm=(half_mm, pattern),
        at=(at, "B F 3"),
    )
    away = _planes(at[:, None] - solid_centre_mm[:, :, None])  # (B, N, F) each
    beside = torch.stack(times(world_from_solid.mT, away), dim=-1).abs() - half_mm[:, :, None]
    gap: Tensor = beside.clamp(min=0).norm(dim=-1)
    return gap


def _planes(vectors: Tensor) -> Planes:
    x, y, z = vectors.unbind(dim=-1)
    return x, y, z


def _cross_circle(start: tuple[Tensor, ...], along: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Cross the unit circle or ball. From the nearest point on: no large squares cancel."""
    speed2 = _summed(along, along)
    moving = speed2 > 0
    per_speed2 = 1 / torch.where(moving, speed2, torch.ones_like(speed2))
    middle = -per_speed2 * _summed(start, along)
    nearest = tuple(s + middle * a for s, a in zip(start, along, strict=True))
    inside2 = 1 - _summed(nearest, nearest)
    half = (inside2.clamp(min=0) * per_speed2).sqrt()
    half = torch.where(moving, half, torch.inf)
    half = torch.where(inside2 >= 0, half, -torch.inf)  # leaves before it enters: a miss
    return middle - half, middle + half


def _cross_slab(start: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
    """Cross -1 <= coordinate <= 1."""
    tiny = torch.finfo(along.dtype).tiny ** 0.5  # its inverse is still finite
    slowness = 1 / torch.where(along.abs() < tiny, tiny, along)
    one, other = (-1 - start) * slowness, (1 - start) * slowness
    return torch.minimum(one, other), torch.maximum(one, other)


def _cross_box(start: Planes, along: Planes) -> tuple[Tensor, Tensor]:
    (a, b), (c, d), (e, f) = (_cross_slab(s, v) for s, v in zip(start, along, strict=True))
    enter = torch.maximum(torch.maximum(a, c), e)
    return enter, torch.minimum(torch.minimum(b, d), f)


def _cross_cylinder(start: Planes, along: Planes) -> tuple[Tensor, Tensor]:
    round_enter, round_leave = _cross_circle(start[:2], along[:2])
    cap_enter, cap_leave = _cross_slab(start[2], along[2])
    return torch.maximum(round_enter, cap_enter), torch.minimum(round_leave, cap_leave)


def _summed(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> Tensor:
    total = left[0] * right[0]
    for one, other in zip(left[1:], right[1:], strict=True):
        total = total + one * other
    return total


def _box_outward(place: Planes) -> Planes:
    x, y, z = (plane.abs() for plane in place)
    on_x, on_y = (x >= y) & (x >= z), (y > x) & (y >= z)
    on_z = ~on_x & ~on_y
    return place[0].sign() * on_x, place[1].sign() * on_y, place[2].sign() * on_z


def _cylinder_outward(place: Planes) -> Planes:
    x, y, z = place
    cap = z * z > x * x + y * y
    return x * ~cap, y * ~cap, z * cap


_CROSSINGS: Mapping[SolidKind, Callable[[Planes, Planes], tuple[Tensor, Tensor]]] = {
    SolidKind.ELLIPSOID: _cross_circle,
    SolidKind.BOX: _cross_box,
    SolidKind.CYLINDER: _cross_cylinder,
}
_OUTWARD: Mapping[SolidKind, Callable[[Planes], Planes]] = {
    SolidKind.ELLIPSOID: lambda place: place,
    SolidKind.BOX: _box_outward,
    SolidKind.CYLINDER: _cylinder_outward,
}
