"""Bubbles and foam: thin films on the wall or on a fluid, which change its looks alone.

A surface is divided into cells. A cell may hold one bubble: whether, where in it and how large, a
hash of the cell's numbers says. A bubble stays within half a cell of its own, so a pixel asks the
four cells around it. Where several cover it, the one whose dome stands highest is seen, which
gives foam its straight walls.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from synthetic_colons.clinic_settings import ClinicDraw, FoamDraw, PatchDraw
from synthetic_colons.light import Lamps
from synthetic_colons.peristalsis import factor
from synthetic_colons.pixel_lists import Canvas, Rays, cross, dot, in_camera, lit, of_rays, unit

BUBBLE_LABEL = 212
FINE_SHARE = 0.25  # cells of the foam between the bubbles, of the large ones
REFERENCE_MM = 20.0  # radius of the lumen at which cells around are as wide as along
_LARGEST, _SMALLEST = 0.5, 0.2  # radius of a bubble, of its cell
_JITTER = 0.5  # share of the cell that a bubble's middle is drawn from, so that four are enough
_DEEPEST_MM = 15.0  # how far a fold or a bulge takes the wall from the reference radius
# What a film looks like: a rim that scatters lamp light, and an inside that is almost clear.
_RIM_FROM, _RIM_TO = 0.74, 0.97  # of the radius
_RIM_ALBEDO = (0.80, 0.74, 0.64)
_RIM_SHARE, _INSIDE_SHARE, _FINE_SHARE = 0.45, 0.08, 0.22
_FILM_ROUGHNESS = 0.16  # sharper, and a highlight would fall between pixels
_FILM_WET = 2.5  # two faces of the film mirror, and the wall behind
_MIX = (73856093, 19349663, 83492791)  # large primes (Teschner 2003)
_GRIDS_KEPT = 64  # of pools and patches; some 100 kB each

Box = tuple[float, float, float, float]  # least and greatest x, least and greatest y, in mm


class Grid(NamedTuple):
    """The bubbles of one size in a box of a surface."""

    x_mm: Tensor  # (rows * columns,) middles
    y_mm: Tensor
    radius_mm: Tensor  # 0 where a cell holds none
    first_x: int  # numbers of the first cells
    first_y: int
    rows: int  # along x
    columns: int  # along y
    cell_mm: float


class Bubbles(NamedTuple):
    """Which bubble each place is in."""

    found: Tensor  # (N,) bool
    x: Tensor  # from its middle, in radii
    y: Tensor
    fine: Tensor  # (N,) bool, True in the foam between the large ones


def bubble_grids(
    foam: FoamDraw, box: Box, cover: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Grid, Grid]:
    """Fill the cells of a box with bubbles, large ones and fine ones.

    Args:
        foam: the sizes.
        box: of places in mm.
        cover: from middles in mm, (M,) and (M,), to the share of cells that hold one.
    """
    grids = []
    for share, seed in ((1.0, foam.seed), (FINE_SHARE, foam.seed + 1)):
        cell = foam.cell_mm * share
        first_x, first_y = math.floor(box[0] / cell) - 1, math.floor(box[2] / cell) - 1
        rows, columns = math.ceil(box[1] / cell) - first_x, math.ceil(box[3] / cell) - first_y
        rows, columns = rows + 1, columns + 1
        cell_x = torch.arange(first_x, first_x + rows)[:, None].expand(rows, columns).flatten()
        cell_y = torch.arange(first_y, first_y + columns).expand(rows, columns).flatten()
        random = _hash(cell_x, cell_y, seed)
        a, b, size, there = ((random >> (8 * k) & 255).float() / 255 for k in range(4))
        x = (cell_x + (1 - _JITTER) / 2 + _JITTER * a) * cell
        y = (cell_y + (1 - _JITTER) / 2 + _JITTER * b) * cell
        radius = (_SMALLEST + (_LARGEST - _SMALLEST) * size * size) * cell
        radius = torch.where(there < cover(x, y) * foam.density, radius, 0)
        grids.append(Grid(x, y, radius, first_x, first_y, rows, columns, cell))
    return grids[0], grids[1]


def bubbles_at(
    x_mm: Tensor, y_mm: Tensor, grids: tuple[Grid, Grid], narrow: Tensor | None = None
) -> Bubbles:
    """Find the bubble that each place is in.

    Args:
        x_mm: places, (N,).
        y_mm: places, (N,).
        grids: the bubbles.
        narrow: mm of the surface for each mm of y, (N,); 1 by default. Bubbles are smaller, not
            flatter, where it is below 1.
    """
    large, fine = (_of_grid(x_mm, y_mm, grid, narrow) for grid in grids)
    is_fine = ~large[0]
    return Bubbles(
        large[0] | fine[0],
        torch.where(is_fine, fine[1], large[1]),
        torch.where(is_fine, fine[2], large[2]),
        is_fine,
    )


def add_wall_bubbles(
    canvas: Canvas, world_from_camera: Tensor, lamps: Lamps, draw: ClinicDraw, time_s: Tensor
) -> None:
    """Paint the patches of bubbles that frames show on the wall."""
    if not draw.patches:
        return
    arc, angle = canvas.get("arc_mm")[0], canvas.get("angle_rad")[0]
    valid = canvas.get("valid")[0]
    if not bool(valid.any()):
        return
    low = float(torch.where(valid, arc, torch.inf).min())
    high = float(torch.where(valid, arc, -torch.inf).max())
    for patch in draw.patches:
        half = patch.length_mm / 2
        if not low - half < patch.arc_mm < high + half:
            continue
        near = valid & ((arc - patch.arc_mm).abs() < half)
        which = near.nonzero()[:, 0]
        turn = _turn(angle[which] - patch.angle_rad)
        which = which[turn.abs() < patch.half_angle_rad]
        if len(which):
            _add_patch(canvas, canvas.rays.at(which), world_from_camera, lamps, draw, patch, time_s)


def paint_bubbles(
    canvas: Canvas, rays: Rays, lamps: Lamps, seen: Bubbles, *, along: Tensor, across: Tensor
) -> None:
    """Paint bubbles over the pixels of rays that end in one; all values are theirs alone.

    Args:
        canvas: what is there.
        rays: N of them.
        lamps: of the frames.
        seen: the bubbles, all found.
        along: direction of x on the surface, (3, N), unit, in the camera's frame.
        across: direction of y, (3, N).
    """
    pixel = rays.pixel
    normal = canvas.get("normals", pixel)
    distance = canvas.get("distance_mm", pixel)[0]
    radial = seen.x * seen.x + seen.y * seen.y
    rim = ((radial.sqrt() - _RIM_FROM) / (_RIM_TO - _RIM_FROM)).clamp(0, 1)
    share = _INSIDE_SHARE + (_RIM_SHARE - _INSIDE_SHARE) * rim
    share = torch.where(seen.fine, _FINE_SHARE + (1 - _FINE_SHARE) * share, share)
    before = canvas.get("albedo", pixel)
    white = torch.tensor(_RIM_ALBEDO, device=before.device)[:, None]
    albedo = before + share * (white - before)
    film_before = canvas.get("film", pixel)
    diffuse = (canvas.get("light", pixel) - film_before) * albedo / before.clamp(min=1e-3)
    dome = (1 - 0.9 * radial).clamp(min=0).sqrt()
    skin = unit(dome * normal + 0.95 * (seen.x * along + seen.y * across))
    ones = torch.ones_like(distance)
    _, film, _ = lit(
        rays,
        distance,
        lamps,
        normal=normal,
        skin=skin,
        albedo=albedo,
        roughness=ones * _FILM_ROUGHNESS,
        wet=ones * _FILM_WET,
    )
    canvas.put_light(pixel, diffuse, film, canvas.get("valid", pixel))
    canvas.put("albedo", pixel, albedo)
    canvas.put("label", pixel, torch.full_like(pixel, BUBBLE_LABEL)[None])


def _add_patch(
    canvas: Canvas,
    rays: Rays,
    world_from_camera: Tensor,
    lamps: Lamps,
    draw: ClinicDraw,
    patch: PatchDraw,
    time_s: Tensor,
) -> None:
    arc, angle, axis = (
        canvas.get(name, rays.pixel)[0] for name in ("arc_mm", "angle_rad", "axis_mm")
    )
    # On the face of a fold arc length stands still and the radius changes: the difference is what
    # goes on there. At rest, so that a bubble stays on its tissue when the wall moves.
    rest = axis / factor(draw, arc, of_rays(time_s.to(arc), rays))
    x = arc - patch.arc_mm - (rest - REFERENCE_MM)
    y = _turn(angle - patch.angle_rad) * REFERENCE_MM
    grids = _patch_grids(patch, str(arc.device))
    seen = bubbles_at(x, y, grids, axis * (1 / REFERENCE_MM))
    which = seen.found.nonzero()[:, 0]
    if not len(which):
        return
    rays = rays.at(which)
    normal = canvas.get("normals", rays.pixel)
    tangent = of_rays(in_camera(world_from_camera, patch.along), rays)
    along = unit(tangent - dot(tangent, normal) * normal)
    own = Bubbles(*(each[which] for each in seen))
    paint_bubbles(canvas, rays, lamps, own, along=along, across=cross(normal, along))


@lru_cache(maxsize=_GRIDS_KEPT)
def _patch_grids(patch: PatchDraw, device: str) -> tuple[Grid, Grid]:
    """Return a patch's bubbles; y is counted from its middle, so that no seam runs through it."""
    half, wide = patch.length_mm / 2, patch.half_angle_rad * REFERENCE_MM

    def cover(x_mm: Tensor, y_mm: Tensor) -> Tensor:
        wobble = 0.3 * (0.9 * x_mm + 0.3 * y_mm).sin() * (1.7 * x_mm).cos()
        return (1.1 - (x_mm / half).square() - (y_mm / wide).square() + wobble).clamp(0, 1)

    box = (-half - _DEEPEST_MM, half + _DEEPEST_MM, -wide, wide)
    return on_device(bubble_grids(patch.foam, box, cover), device)


def on_device(grids: tuple[Grid, Grid], device: str) -> tuple[Grid, Grid]:
    """Return the same bubbles on a device."""
    large, fine = (
        grid._replace(
            x_mm=grid.x_mm.to(device),
            y_mm=grid.y_mm.to(device),
            radius_mm=grid.radius_mm.to(device),
        )
        for grid in grids
    )
    return large, fine


def _of_grid(
    x: Tensor, y: Tensor, grid: Grid, narrow: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return whether each place is in a bubble, and where in it, in radii."""
    row = (x * (1 / grid.cell_mm) - (grid.first_x + 0.5)).floor().int()
    column = (y * (1 / grid.cell_mm) - (grid.first_y + 0.5)).floor().int()
    row, column = row.clamp(0, grid.rows - 2), column.clamp(0, grid.columns - 2)
    first = row * grid.columns + column
    least = None if narrow is None else narrow.clamp(max=1)
    best = best_x = best_y = torch.zeros_like(x)
    best_radius = torch.ones_like(x)
    for step in (0, 1, grid.columns, grid.columns + 1):
        cell = first + step
        radius = grid.radius_mm[cell]
        off_x, off_y = x - grid.x_mm[cell], y - grid.y_mm[cell]
        if narrow is not None and least is not None:
            radius, off_y = radius * least, off_y * narrow
        height = radius * radius - off_x * off_x - off_y * off_y
        higher = height > best
        best = torch.where(higher, height, best)
        best_x = torch.where(higher, off_x, best_x)
        best_y = torch.where(higher, off_y, best_y)
        best_radius = torch.where(higher, radius, best_radius)
    return best > 0, best_x / best_radius, best_y / best_radius


def _hash(x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Return 32 random bits for whole numbers, (N,) int64; the same on every device."""
    low = 0xFFFFFFFF
    value = ((x * _MIX[0]) ^ (y * _MIX[1]) ^ (seed * _MIX[2])) & low
    value = ((value ^ (value >> 16)) * 0x45D9F3B) & low  # Mueller's finaliser, twice
    value = ((value ^ (value >> 16)) * 0x45D9F3B) & low
    return value ^ (value >> 16)


def _turn(angle: Tensor) -> Tensor:
    return (angle + math.pi).remainder(2 * math.pi) - math.pi
