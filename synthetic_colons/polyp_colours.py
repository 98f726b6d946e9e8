"""The surface colours of polyps: closed-form patterns in the polyp's own space.

Local coordinates: millimetres from the polyp's middle, any axes. Colours are linear-light
reflectances (R, G, B), made like the wall's: what the bloodless tissue returns, times the blood.
A pattern is made of a few sines of the place, so it costs little, needs no map and has no seams.
"""

from enum import StrEnum

import torch
from torch import Tensor

from colondepth.shapes import require_shapes
from synthetic_colons.charts import CHART
from synthetic_colons.tissue import BRIGHTEST, DARKEST, TissueDraw

# What `draw_polyp_colour` packs: pale RGB, absorption RGB, blood, contrast, rod share, waves per mm
# of the pattern, warp, three phases, blotches.
NUMBERS = 15
_TAU = 6.283185307179586
# Blotches are this much longer than the pattern's own wave: lobules hold a few pits.
_LOBULE_WAVES = 5.0
# What grows far from its middle is congested: redder by this share a millimetre, up to the most.
_FLUSH_PER_MM, _MOST_FLUSH = 0.05, 0.3
# Of their wavelength: slopes of 5 to 10 degrees, as on the wall, break the lights.
_PIT_DEPTH, _LOBULE_HEIGHT = 0.02, 0.1
_DIFFERENCE_SHARE = 0.01  # of a head, between which slopes are taken: a pit is a tenth


class PolypSurface(StrEnum):
    """What a polyp's surface is made of; what it looks like follows from it."""

    HYPERPLASTIC = "hyperplastic"  # pale, round pits, few vessels
    ADENOMA = "adenoma"  # redder, tubular or gyrus-like ridges (Kudo III to IV)
    PEDUNCULATED = "pedunculated"  # the dark red, congested head of a stalk
    FLAT = "flat"  # nearly like the mucosa around


def draw_polyp_colour(
    generator: torch.Generator, surface: PolypSurface, tissue: TissueDraw
) -> Tensor:
    """Draw one polyp's colour, numbers of shape (NUMBERS,) on the generator's device.

    Args:
        generator: where the chance comes from.
        surface: what the polyp is made of.
        tissue: the wall that it grows on; on a grey wall it is as grey.
    """

    def between(low: float, high: float) -> float:
        u = torch.rand((), generator=generator, device=generator.device).item()
        return low + (high - low) * u

    # Blood in shares of the wall's; pattern contrast in units of blood; 1 is ridges, 0 round pits;
    # wavelength in mm, crypt groups as magnifying endoscopes show them. All judged by eye.
    blood, contrast, rods, wave_mm = {
        PolypSurface.HYPERPLASTIC: ((0.45, 0.85), (0.02, 0.08), (0.0, 0.2), (0.5, 0.9)),
        PolypSurface.ADENOMA: ((1.05, 1.5), (0.10, 0.30), (0.6, 1.0), (0.7, 1.5)),
        PolypSurface.PEDUNCULATED: ((1.3, 1.9), (0.12, 0.35), (0.7, 1.0), (1.0, 2.0)),
        PolypSurface.FLAT: ((0.85, 1.2), (0.03, 0.12), (0.2, 0.7), (0.6, 1.1)),
    }[surface]
    phases = [between(0, _TAU) for _ in range(3)]
    drawn = [
        tissue.blood * between(*blood),
        between(*contrast),
        between(*rods),
        1 / between(*wave_mm),
        between(0.5, 1.5),  # rad of warp: ridges wind, but do not tangle
        *phases,
        between(0.05, 0.2),  # units of blood in lobules
    ]
    if tissue.settings.coloured:
        colour = [*tissue.pale, *tissue.absorption]
    else:
        colour = [tissue.grey] * 3 + [0.0] * 3
    return torch.tensor([*colour, *drawn], device=generator.device)


def polyp_albedo(numbers: Tensor, points_mm: Tensor) -> Tensor:
    """Return the reflectance of polyp surfaces, shape (3, *B).

    Args:
        numbers: from `draw_polyp_colour`, shape (*B, NUMBERS) or (NUMBERS,): one polyp for all.
        points_mm: places in the polyp's own space, shape (*B, 3).
    """
    require_shapes(numbers=(numbers, f"*B {NUMBERS}"), points_mm=(points_mm, "*B 3"))
    pale, absorption = numbers[..., 0:3], numbers[..., 3:6]
    pattern, lobules = _pattern(numbers, points_mm)
    flush = (_FLUSH_PER_MM * points_mm.norm(dim=-1)).clamp(max=_MOST_FLUSH)
    blood = numbers[..., 6] * (1 + flush) + numbers[..., 7] * pattern + numbers[..., 14] * lobules
    colour = pale * torch.exp(-absorption * blood.clamp(min=0)[..., None])
    return colour.clamp(DARKEST, BRIGHTEST).movedim(-1, 0)


def polyp_height_mm(numbers: Tensor, points_mm: Tensor) -> Tensor:
    """Return how far pits and lobules rise at places, shape (*B); arguments as above."""
    require_shapes(numbers=(numbers, f"*B {NUMBERS}"), points_mm=(points_mm, "*B 3"))
    pattern, lobules = _pattern(numbers, points_mm)
    # What is redder lies deeper: pits and grooves hold the light.
    return (_LOBULE_HEIGHT * lobules - _PIT_DEPTH * pattern) / numbers[..., 9]


def head_chart(numbers: Tensor, radius_mm: float, *, relief: bool) -> tuple[Tensor, Tensor]:
    """Return albedo and the relief's slopes along the world's axes, (3, CHART, CHART) each.

    Args:
        numbers: of the polyp's colour, see `polyp_colours`.
        radius_mm: of its head.
        relief: whether it has any.
    """
    way = torch.linspace(-1, 1, CHART, device=numbers.device)
    u, v = way[:, None], way[None]
    z = 1 - u.abs() - v.abs()
    x = torch.where(z < 0, (1 - v.abs()).copysign(u), u.expand_as(z))
    y = torch.where(z < 0, (1 - u.abs()).copysign(v), v.expand_as(z))
    outward = torch.nn.functional.normalize(torch.stack([x, y, z], dim=-1), dim=-1)
    points = outward * radius_mm
    albedo = polyp_albedo(numbers, points)
    if not relief:
        return albedo, torch.zeros_like(albedo)
    step = _DIFFERENCE_SHARE * radius_mm
    slopes = torch.stack(
        [
            (polyp_height_mm(numbers, points + way) - polyp_height_mm(numbers, points - way))
            / (2 * step)
            for way in step * torch.eye(3, device=numbers.device)
        ],
        dim=-1,
    )
    slopes = slopes - (slopes * outward).sum(dim=-1, keepdim=True) * outward
    return albedo, slopes.movedim(-1, 0)


def _pattern(numbers: Tensor, points_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Return pits or ridges, and the lobules that hold them, both about -1 to 1, (*B) each."""
    rods, per_mm, warp = numbers[..., 8:11].unbind(dim=-1)
    place = _TAU * per_mm[..., None] * points_mm + numbers[..., 11:14]  # (*B, 3) rad
    x, y, z = place.unbind(dim=-1)
    slow_x, slow_y, slow_z = (place / _LOBULE_WAVES).unbind(dim=-1)
    x = x + warp * torch.sin(slow_y + 0.7 * z)
    y = y + warp * torch.sin(slow_z + 0.6 * x)
    z = z + warp * torch.sin(slow_x + 0.8 * y)
    sin_x, sin_y, sin_z = x.sin(), y.sin(), z.sin()
    # The gyroid's levels wind like gyri; the product of three sines has round pits.
    ridges = (sin_x * y.cos() + sin_y * z.cos() + sin_z * x.cos()) * (2 / 3)
    pits = 2 * sin_x * sin_y * sin_z
    lobules = torch.sin(slow_x + 1.3 * slow_y.sin()) * torch.sin(slow_y + 1.7 * slow_z.cos())
    return torch.lerp(pits, ridges, rods), lobules
