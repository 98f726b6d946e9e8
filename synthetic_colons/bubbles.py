"""Bubbles and foam: thin films on the wall or on a fluid, which change its looks alone.

The plane is divided into cells. A cell may hold one bubble: whether, where in it and how large, a
hash of the cell's numbers says. A bubble stays within half a cell of its own, so a pixel asks the
four cells around it. Where several cover it, the one whose dome stands highest is seen, which
gives foam its straight walls.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from synthetic_colons.clinic_settings import ClinicDraw, FoamDraw, PatchDraw
from synthetic_colons.light import Lamps
from synthetic_colons.peristalsis import factor
from synthetic_colons.pixel_lists import Canvas, Rays, cross, dot, in_camera, lit, unit

BUBBLE_LABEL = 212
FINE_SHARE = 0.25  # cells of the foam between the bubbles, of the large ones
REFERENCE_MM = 20.0  # radius of the lumen at which cells around are as wide as along
_LARGEST, _SMALLEST = 0.5, 0.12  # radius of a bubble, of its cell
_JITTER = 0.5  # share of the cell that a bubble's middle is drawn from, so that four are enough
# What a film looks like: a rim that scatters lamp light, and an inside that is almost clear.
_RIM_FROM, _RIM_TO = 0.72, 0.95  # of the radius
_RIM_ALBEDO = (0.80, 0.76, 0.66)
_RIM_SHARE, _INSIDE_SHARE, _FINE_SHARE = 0.62, 0.10, 0.30
_FILM_ROUGHNESS = 0.16  # sharper, and a highlight would fall between pixels
_FILM_WET = 2.5  # two faces of the film mirror, and the wall behind
_MIX = (73856093, 19349663, 83492791)  # large primes (Teschner 2003)


class Bubbles(NamedTuple):
    """What of a bubble each place is in."""

    found: Tensor  # (N,) bool
    x: Tensor  # from its middle, in radii
    y: Tensor


def bubbles_at(
    x: Tensor,
    y: Tensor,
    narrow: Tensor,
    cover: Callable[[Tensor, Tensor], Tensor],
    *,
    seed: int,
    around: int | None = None,
) -> Bubbles:
    """Find the bubble that each place is in.

    Args:
        x: places in cells, (N,).
        y: the other coordinate, in cells, (N,).
        narrow: how long a unit of y is in units of x, (N,).
        cover: from middles of bubbles (M,), (M,) to the share of cells that hold one.
        seed: of the hash.
        around: how many cells y has until it is back at its beginning.
    """
    best, best_x, best_y = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
    limit = narrow.clamp(max=1) * _LARGEST
    first_x, first_y = (x - 0.5).floor(), (y - 0.5).floor()
    for step_x in (0, 1):
        for step_y in (0, 1):
            cell_x, cell_y = first_x + step_x, first_y + step_y
            own_y = cell_y if around is None else cell_y.remainder(around)
            random = _hash(cell_x.long(), own_y.long(), seed)
            a, b, size, there = ((random >> (8 * k) & 255).to(x) / 255 for k in range(4))
            middle_x = cell_x + (1 - _JITTER) / 2 + _JITTER * a
            middle_y = cell_y + (1 - _JITTER) / 2 + _JITTER * b
            radius = limit * (_SMALLEST + (_LARGEST - _SMALLEST) * size * size) / _LARGEST
            off_x, off_y = x - middle_x, (y - middle_y) * narrow
            height = radius * radius - off_x * off_x - off_y * off_y
            holds = there < cover(middle_x, middle_y)
            higher = holds & (height > best)
            best = torch.where(higher, height, best)
            best_x = torch.where(higher, off_x / radius, best_x)
            best_y = torch.where(higher, off_y / radius, best_y)
    return Bubbles(best > 0, best_x, best_y)


def foam_at(
    x_mm: Tensor,
    y_mm: Tensor,
    narrow: Tensor,
    cover: Callable[[Tensor, Tensor], Tensor],
    foam: FoamDraw,
    *,
    circumference_mm: float | None = None,
) -> tuple[Bubbles, Tensor]:
    """Find large bubbles, and fine ones between them; also True where it is a fine one, (N,).

    Args:
        x_mm: places, (N,).
        y_mm: the other coordinate, (N,), of a circumference if that is given.
        narrow: mm of the surface for each mm of y, (N,).
        cover: from places in mm to the share of cells with a bubble.
        foam: the sizes.
        circumference_mm: after which y is back at its beginning.
    """
    found: list[Bubbles] = []
    for share, seed in ((1.0, foam.seed), (FINE_SHARE, foam.seed + 1)):
        cell_x = cell_y = foam.cell_mm * share
        count = None
        if circumference_mm is not None:
            count = max(3, round(circumference_mm / cell_x))
            cell_y = circumference_mm / count

        def of_cells(u: Tensor, v: Tensor, x: float = cell_x, y: float = cell_y) -> Tensor:
            return cover(u * x, v * y) * foam.density

        found.append(
            bubbles_at(
                x_mm / cell_x,
                y_mm / cell_y,
                narrow * (cell_y / cell_x),
                of_cells,
                seed=seed,
                around=count,
            )
        )
    large, fine = found
    is_fine = fine.found & ~large.found
    return (
        Bubbles(
            large.found | fine.found,
            torch.where(large.found, large.x, fine.x),
            torch.where(large.found, large.y, fine.y),
        ),
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
    canvas: Canvas,
    rays: Rays,
    lamps: Lamps,
    seen: Bubbles,
    fine: Tensor,
    along: Tensor,
    across: Tensor,
) -> None:
    """Paint bubbles over the pixels of rays that end in one; all values are theirs alone.

    Args:
        canvas: what is there.
        rays: N of them.
        lamps: of the frames.
        seen: the bubbles, all found.
        fine: which are foam.
        along: direction of x on the surface, (3, N), unit, in the camera's frame.
        across: direction of y, (3, N).
    """
    pixel = rays.pixel
    normal = canvas.get("normals", pixel)
    distance = canvas.get("distance_mm", pixel)[0]
    radial = seen.x * seen.x + seen.y * seen.y
    rim = ((radial.sqrt() - _RIM_FROM) / (_RIM_TO - _RIM_FROM)).clamp(0, 1)
    share = _INSIDE_SHARE + (_RIM_SHARE - _INSIDE_SHARE) * rim
    share = torch.where(fine, _FINE_SHARE + (1 - _FINE_SHARE) * share, share)
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
    rest = axis / factor(draw, arc, time_s.to(arc)[rays.frame.long()])
    x = arc - patch.arc_mm - (rest - REFERENCE_MM)
    half, wide = patch.length_mm / 2, patch.half_angle_rad
    middle = patch.angle_rad

    def cover(u_mm: Tensor, v_mm: Tensor) -> Tensor:
        turn = _turn(v_mm * (1 / REFERENCE_MM) - middle) / wide
        wobble = 0.3 * (0.9 * u_mm + 3 * turn).sin() * (1.7 * u_mm).cos()
        return (1.1 - (u_mm / half).square() - turn * turn + wobble).clamp(0, 1)

    seen, fine = foam_at(
        x,
        angle * REFERENCE_MM,
        axis * (1 / REFERENCE_MM),
        cover,
        patch.foam,
        circumference_mm=2 * math.pi * REFERENCE_MM,
    )
    which = seen.found.nonzero()[:, 0]
    if not len(which):
        return
    rays = rays.at(which)
    normal = canvas.get("normals", rays.pixel)
    tangent = in_camera(world_from_camera, patch.along)[:, rays.frame.long()]
    along = unit(tangent - dot(tangent, normal) * normal)
    paint_bubbles(
        canvas,
        rays,
        lamps,
        Bubbles(*(each[which] for each in seen)),
        fine[which],
        along,
        cross(normal, along),
    )


def _hash(x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Return 32 random bits for whole numbers, (N,) int64; the same on every device."""
    low = 0xFFFFFFFF
    value = ((x * _MIX[0]) ^ (y * _MIX[1]) ^ (seed * _MIX[2])) & low
    value = ((value ^ (value >> 16)) * 0x45D9F3B) & low  # Mueller's finaliser, twice
    value = ((value ^ (value >> 16)) * 0x45D9F3B) & low
    return value ^ (value >> 16)


def _turn(angle: Tensor) -> Tensor:
    return (angle + math.pi).remainder(2 * math.pi) - math.pi
