"""Scenes of solids, one for every sample of a batch, and what rays meet in them.

World frame: x right, y down, z forward, millimetres. Light comes from far away and stays where it
is: a surface looks the same from everywhere, and nothing but the size of things in pixels tells
how far they are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.shapes import require_shapes
from synthetic_colons.worlds.planes import (
    Planes,
    advanced,
    chosen,
    dot,
    flagged,
    moved,
    product,
    rows,
    times,
    unit,
)
from synthetic_colons.worlds.shapes import (
    SolidKind,
    first_hit,
    outward,
    surrounding_radius_mm,
    unit_from_world,
)
from synthetic_colons.worlds.textures import Texture, paint

# The part of the light that comes from all sides: no surface is black, faces of a box differ.
_FROM_ALL_SIDES = 0.72
_STEEPEST = 0.1  # cosine beyond which a slanted surface is no longer blurred further
_BALL_MARGIN = 1.001  # of squared radii: rounding must not cut a solid's outermost pixels
_KINDS = tuple(SolidKind)
_COLUMNS = (3, 9, 9, 3, 9, 4)  # see `_surfaces`


@dataclass(frozen=True, eq=False, kw_only=True)
class Scene:
    """Solids, one list of kinds for the whole batch, everything else for each sample."""

    kinds: tuple[SolidKind, ...]  # N
    rooms: int  # so many of the first solids are seen from inside: every ray is tried on them
    present: Tensor  # (B, N) bool
    centre_mm: Tensor  # (B, N, 3)
    world_from_solid: Tensor  # (B, N, 3, 3) rotations
    half_mm: Tensor  # (B, N, 3)
    texture: Texture  # (B, N)
    to_light: Tensor  # (B, 3) unit

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        size = require_shapes(
            present=(self.present, "B N"),
            centre_mm=(self.centre_mm, "B N 3"),
            world_from_solid=(self.world_from_solid, "B N 3 3"),
            half_mm=(self.half_mm, "B N 3"),
            cells_per_mm=(self.texture.cells_per_mm, "B N"),
            to_light=(self.to_light, "B 3"),
        )
        if size["N"] != len(self.kinds):
            raise DataError(f"{len(self.kinds)} kinds for {size['N']} solids; expected one each")

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return this scene with every tensor changed: moved to a device, picked by sample."""
        return replace(
            self,
            present=change(self.present),
            centre_mm=change(self.centre_mm),
            world_from_solid=change(self.world_from_solid),
            half_mm=change(self.half_mm),
            texture=self.texture.map(change),
            to_light=change(self.to_light),
        )

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Return this scene on a device, its numbers of a floating type."""
        return self.map(
            lambda part: part.to(device, part.dtype if part.dtype == torch.bool else dtype)
        )

    def moved(self, after_from_before: Tensor) -> Self:
        """Return the scene after every solid made its rigid motion, (B, N, 4, 4)."""
        require_shapes(
            after_from_before=(after_from_before, "B N 4 4"), centre_mm=(self.centre_mm, "B N 3")
        )
        turn, shift = after_from_before[..., :3, :3], after_from_before[..., :3, 3]
        return replace(
            self,
            centre_mm=moved(turn, self.centre_mm) + shift,
            world_from_solid=product(turn, self.world_from_solid),
        )

    def scaled(self, factor: Tensor) -> Self:
        """Return the scene `factor` (B,) times as large about the world's origin, textures too."""
        require_shapes(factor=(factor, "B"), to_light=(self.to_light, "B 3"))
        per_mm = self.texture.cells_per_mm / factor[:, None]
        return replace(
            self,
            centre_mm=self.centre_mm * factor[:, None, None],
            half_mm=self.half_mm * factor[:, None, None],
            texture=replace(self.texture, cells_per_mm=per_mm),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Hits:
    """What rays meet; 0 where they meet nothing."""

    distance_mm: Tensor  # (B, S)
    solid: Tensor  # (B, S) int64, number of the solid in the scene, -1 for none
    colour: Tensor  # (B, 3, S) in [0, 1]
    normal: Planes  # (B, S) each, world axes, against the ray


def look(scene: Scene, origin: Tensor, ray: Planes, pixel_rad: Tensor) -> Hits:
    """See what rays of unit length meet, with its colour.

    Args:
        scene: B of them.
        origin: where the rays of a sample begin, (B, 3).
        ray: their directions, (B, S) each; (0, 0, 0) meets nothing.
        pixel_rad: the angle that a pixel covers along each ray, broadcasting with (B, S).
    """
    distance, solid = cast(scene, origin, ray)
    hit = distance.isfinite()
    distance = torch.where(hit, distance, torch.zeros_like(distance))
    point = advanced(origin, ray, distance)
    table = picked(_surfaces(scene), solid)  # (B, 37, S)
    centre, unit_axes, cell_axes, offset, colours, rest = table.split(_COLUMNS, dim=1)
    cells_per_mm, stripes, checks, kind = rest.unbind(dim=1)
    local = (point[0] - centre[:, 0], point[1] - centre[:, 1], point[2] - centre[:, 2])
    normal = _normals(unit_axes, local, kind)
    facing = dot(normal, ray)
    against = torch.where(facing > 0, -1, 1) * hit.to(facing)
    normal = (normal[0] * against, normal[1] * against, normal[2] * against)
    cells = rows(cell_axes, local)
    cells = (cells[0] + offset[:, 0], cells[1] + offset[:, 1], cells[2] + offset[:, 2])
    # A slanted surface: the geometric mean of the pixel's two extents on it.
    covered_mm = distance * pixel_rad * facing.abs().clamp(min=_STEEPEST).rsqrt()
    colour = paint(cells, covered_mm * cells_per_mm, colours, stripes, checks)
    light = scene.to_light[..., None].unbind(dim=1)
    lit = dot(normal, (light[0], light[1], light[2]))
    shade = torch.where(hit, _FROM_ALL_SIDES + (1 - _FROM_ALL_SIDES) * lit, torch.zeros_like(lit))
    return Hits(
        distance_mm=distance,
        solid=torch.where(hit, solid, -1),
        colour=colour * shade[:, None],
        normal=normal,
    )


def cast(scene: Scene, origin: Tensor, ray: Planes) -> tuple[Tensor, Tensor]:
    """Return the distance to the first solid along rays (B, S), infinite for none, and which."""
    best = torch.full_like(ray[0], torch.inf)
    which = torch.zeros(best.shape, dtype=torch.long, device=best.device)
    to_unit = unit_from_world(scene.world_from_solid, scene.half_mm)  # (B, N, 3, 3)
    away = scene.centre_mm - origin[:, None]  # (B, N, 3)
    starts = moved(to_unit, -away)
    straight = dot(ray, ray) > 0
    for number, kind in enumerate(scene.kinds[: scene.rooms]):
        x, y, z = starts[:, number, :, None].unbind(dim=1)  # (B, 1) each
        distance = first_hit(kind, (x, y, z), times(to_unit[:, number], ray))
        nearer = (distance < best) & scene.present[:, number, None] & straight
        which = torch.where(nearer, number, which)
        best = torch.where(nearer, distance, best)
    table = torch.cat([to_unit.flatten(start_dim=2), starts], dim=2).permute(1, 2, 0)  # (N, 12, B)
    rays = torch.stack(ray).flatten(start_dim=1)  # (3, B S)
    flat_best, flat_which = best.view(-1), which.view(-1)
    for number in range(scene.rooms, len(scene.kinds)):
        near = _comes_near(scene, number, away[:, number], ray) & straight
        place, sample = flagged(near)
        solid = chosen(table[number], sample)[None]  # (1, 12, K)
        x, y, z = chosen(rays, place)[:, None]  # (1, K) each
        begin = (solid[:, 9], solid[:, 10], solid[:, 11])
        distance = first_hit(scene.kinds[number], begin, rows(solid[:, :9], (x, y, z)))[0]
        nearer = distance < flat_best[place]
        flat_best[place] = torch.where(nearer, distance, flat_best[place])
        flat_which[place] = torch.where(nearer, number, flat_which[place])
    return best, which


def _comes_near(scene: Scene, number: int, away: Tensor, ray: Planes) -> Tensor:
    """Return True for the rays (B, S) that meet the ball around a solid.

    Most solids fill little of the image, and asking this is five times as quick as their hits.
    """
    reach2 = surrounding_radius_mm(scene.kinds[number], scene.half_mm[:, number]).square()  # (B,)
    x, y, z = away[:, :, None].unbind(dim=1)
    farther2 = dot((x, y, z), (x, y, z)) - _BALL_MARGIN * reach2[:, None]  # (B, 1)
    ahead = dot((x, y, z), ray).clamp(min=0)
    return (ahead * ahead >= farther2) & scene.present[:, number, None]


def picked(table: Tensor, which: Tensor) -> Tensor:
    """Return the rows of a table (B, N, P) that places (B, S) ask for, as (B, P, S)."""
    index = which[:, None].expand(-1, table.shape[-1], -1)
    return table.mT.contiguous().gather(2, index)


def _surfaces(scene: Scene) -> Tensor:
    """Return what a place needs to know of its solid, (B, N, 37), in the order of `_COLUMNS`."""
    texture = scene.texture
    kind = torch.tensor([_KINDS.index(kind) for kind in scene.kinds]).to(scene.centre_mm)
    cell_axes = product(texture.cell_from_local, scene.world_from_solid.mT)
    rest = [texture.cells_per_mm, texture.stripes, texture.checks, kind.expand_as(texture.checks)]
    columns = [
        scene.centre_mm,
        unit_from_world(scene.world_from_solid, scene.half_mm).flatten(start_dim=2),
        (cell_axes * texture.cells_per_mm[..., None, None]).flatten(start_dim=2),
        texture.offset_cells,
        texture.colours,
        torch.stack(rest, dim=-1),
    ]
    return torch.cat(columns, dim=-1)


def _normals(unit_axes: Tensor, local: Planes, kind: Tensor) -> Planes:
    """Return unit outward normals at places relative to the centres of solids of mixed kinds."""
    place = rows(unit_axes, local)
    x, y, z = outward(_KINDS[0], place)
    for number, other in enumerate(_KINDS[1:], start=1):
        chosen, slope = kind == number, outward(other, place)
        x = torch.where(chosen, slope[0], x)
        y = torch.where(chosen, slope[1], y)
        z = torch.where(chosen, slope[2], z)
    to_world = unit_axes.unflatten(1, (3, 3)).transpose(1, 2).flatten(start_dim=1, end_dim=2)
    return unit(rows(to_world, (x, y, z)))
