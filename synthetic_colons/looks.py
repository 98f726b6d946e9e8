"""The wall's looks as the renderer reads them: tissue maps, with polyps, stool and caves tinted."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from synthetic_colons.anatomy import FindingKind, PolypDraw, PolypKind
from synthetic_colons.colon import Colon
from synthetic_colons.colon_ends import bake_ends, lead_over
from synthetic_colons.levels import Level
from synthetic_colons.polyp_colours import (
    PolypSurface,
    draw_polyp_colour,
    head_chart,
    polyp_albedo,
    polyp_height_mm,
)
from synthetic_colons.shading import TEXEL_NUMBERS, Looks
from synthetic_colons.tissue import TissueMaps, TissueSettings, bake_tissue, draw_tissue, to_texels
from synthetic_colons.wall import LABELS
from synthetic_colons.wall_tables import ROW_MM

STOOL = (0.30, 0.17, 0.05)  # linear reflectance: brown to ochre
# Of polyps without a stalk and below 10 mm, this share is hyperplastic (NICE classification, 2012).
HYPERPLASTIC, LARGEST_HYPERPLASTIC_MM = 0.4, 10.0
FOOT_SHARE = 0.4  # how much of its head's colour a stalk has where it leaves the wall
HEAD_ROUGHNESS = 0.2
HORIZONS_MM = (1.5, 3.0, 5.0, 8.0, 12.0)  # along the colon: where a fold is looked for
_EDGE_TEXELS = 3  # over which a tint sets in


def bake_looks(colon: Colon, level: Level, generator: torch.Generator) -> Looks:
    """Bake what one colon looks like at a level.

    Args:
        colon: on any device.
        level: what the wall has.
        generator: on the CPU; its state decides colours, vessels and relief.
    """
    settings = TissueSettings(
        coloured=level.coloured, relief=level.relief, randomised=level.randomised
    )
    draw = draw_tissue(generator, settings)
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    noise = torch.Generator(colon.device).manual_seed(seed)
    maps = bake_tissue(draw, colon.wall.radius_mm, step_mm=ROW_MM, generator=noise)
    ends = bake_ends(draw, noise)
    # Grey levels are Lambert's walls: light that comes through tissue is red.
    lit = 1.0 if level.coloured else 0.0
    shade = lit * to_texels(
        sheltered(colon.wall.radius_mm, step_mm=ROW_MM),
        ROW_MM,
        maps.texel_mm,
        rows=range(maps.glow.shape[1]),
        columns=maps.glow.shape[2],
    )
    maps = replace(maps, albedo=maps.albedo.clone(), glow=maps.glow * lit - shade)
    ends = replace(ends, glow=ends.glow * lit)
    lead_over(maps, ends, colon.wall.radius_mm, step_mm=ROW_MM)
    heads: list[Tensor] = []
    feet = torch.zeros(max(1, len(colon.stalked)), 4)
    for number, polyp in enumerate(colon.draw.polyps, start=1):
        surface = _polyp_surface(polyp, generator)
        numbers = draw_polyp_colour(generator, surface, draw).to(colon.device)
        if number in colon.stalked_numbers:
            own = colon.stalked_numbers.index(number)
            row = int(polyp.arc_mm / maps.texel_mm)
            around = maps.albedo[:, max(0, row - 40) : row + 40].mean(dim=(1, 2))
            albedo, slopes = head_chart(numbers, polyp.size_mm / 2, relief=level.relief)
            feet[own, :3] = torch.lerp(around, albedo.mean(dim=(1, 2)), FOOT_SHARE).cpu()
            feet[own, 3] = own
            film = torch.full_like(albedo[:1], HEAD_ROUGHNESS)
            heads.append(torch.cat([albedo, slopes[:2], film, slopes[2:]]))
        else:
            _grow(maps, colon, number, numbers, relief=level.relief)
    if level.clinic:
        _stool(maps.albedo, maps.roughness, colon, generator)
    return _packed(maps, ends, heads, colon, feet, level)


def sheltered(radius_mm: Tensor, *, step_mm: float) -> Tensor:
    """Return how much of its sky each place of a wall (S, A) loses to folds before and behind it.

    0 is open and 1 a cleft without a floor; the sky is that of a ditch, whose share above the
    horizon on one side is half of 1 - sin(elevation).
    """
    lost = torch.zeros_like(radius_mm)
    for way in (1, -1):
        horizon = torch.zeros_like(radius_mm)  # the steepest rise in sight, mm per mm
        for reach_mm in HORIZONS_MM:
            rows = way * round(reach_mm / step_mm)
            there = torch.arange(len(radius_mm), device=radius_mm.device) + rows
            rise = radius_mm - radius_mm[there.clamp(0, len(radius_mm) - 1)]
            horizon = torch.maximum(horizon, rise / reach_mm)
        lost += horizon / (2 * (1 + horizon * horizon).sqrt())
    return lost


def join_looks(looks: Sequence[Looks]) -> Looks:
    """Put the looks of several colons behind each other, as `join_tables` does."""
    counts = [len(each.texels) // (each.columns * TEXEL_NUMBERS) for each in looks]
    rows = looks[0].row_last.new_tensor(counts)
    return Looks(
        texels=torch.cat([each.texels for each in looks]),
        row_start=(rows.cumsum(0) - rows).int(),
        row_last=torch.cat([each.row_last for each in looks]),
        columns=looks[0].columns,
        texel_mm=looks[0].texel_mm,
        stalked=torch.cat([each.stalked for each in looks]),
        wet=torch.cat([each.wet for each in looks]),
    )


def _polyp_surface(polyp: PolypDraw, generator: torch.Generator) -> PolypSurface:
    """Draw what a polyp is made of: small ones without a stalk are often hyperplastic."""
    pale = float(torch.rand((), generator=generator)) < HYPERPLASTIC
    if polyp.kind is PolypKind.STALKED:
        return PolypSurface.PEDUNCULATED
    if polyp.kind is PolypKind.FLAT:
        return PolypSurface.FLAT
    small = polyp.size_mm < LARGEST_HYPERPLASTIC_MM
    return PolypSurface.HYPERPLASTIC if pale and small else PolypSurface.ADENOMA


def _grow(maps: TissueMaps, colon: Colon, number: int, numbers: Tensor, *, relief: bool) -> None:
    """Give the wall where a polyp lies the polyp's surface, in place."""
    rows, share = _share(maps.albedo, colon, number)
    if share is None:
        return
    polyp = colon.polyp(number)
    columns = maps.albedo.shape[-1]
    lumen = to_texels(
        colon.wall.radius_mm,
        ROW_MM,
        maps.texel_mm,
        rows=range(rows.start, rows.stop),
        columns=columns,
    )
    arc = torch.arange(rows.start, rows.stop, device=lumen.device)[:, None] * maps.texel_mm
    angle = torch.arange(columns, device=lumen.device) * (2 * math.pi / columns)
    turn = (angle - polyp.angle_rad + math.pi).remainder(2 * math.pi) - math.pi
    rim = lumen[share > 0].max()
    points = torch.stack(
        torch.broadcast_tensors(arc - polyp.arc_mm, turn * rim, rim - lumen), dim=-1
    )
    colour = polyp_albedo(numbers, points)
    maps.albedo[:, rows] += share * (colour - maps.albedo[:, rows])
    if relief:
        maps.relief_mm[:, rows] += share * polyp_height_mm(numbers, points)


def _stool(albedo: Tensor, roughness: Tensor, colon: Colon, generator: torch.Generator) -> None:
    colour = torch.tensor(STOOL) * (0.6 + 0.8 * torch.rand(3, generator=generator))
    rows, share = _share(albedo, colon, LABELS[FindingKind.STOOL])
    if share is None:
        return
    albedo[:, rows] += share * (colour.to(albedo)[:, None, None] - albedo[:, rows])
    roughness[:, rows] += share * (0.35 - roughness[:, rows])


def _share(albedo: Tensor, colon: Colon, number: int) -> tuple[slice, Tensor | None]:
    """Return the rows of the maps that have a label, and how much each texel is of it."""
    on = colon.wall.label == number
    kept = on.any(dim=1).nonzero()[:, 0]
    count, columns = albedo.shape[-2:]
    if len(kept) == 0:
        return slice(0, 0), None
    scale = (count - 1) / (len(on) - 1)
    first = max(0, int(int(kept[0]) * scale) - _EDGE_TEXELS)
    last = min(count, int(int(kept[-1]) * scale) + _EDGE_TEXELS + 2)
    row = (
        (torch.arange(first, last, device=on.device) / scale).round().long().clamp(max=len(on) - 1)
    )
    column = torch.arange(columns, device=on.device) * on.shape[1] // columns
    share = on[row][:, column].float()[None, None]
    width = 2 * _EDGE_TEXELS + 1
    share = pad(share, (_EDGE_TEXELS, _EDGE_TEXELS, 0, 0), mode="circular")
    share = torch.nn.functional.avg_pool2d(
        share, width, stride=1, padding=(_EDGE_TEXELS, 0), count_include_pad=False
    )[0, 0]
    return slice(first, last), share * share * (3 - 2 * share)


def _packed(
    maps: TissueMaps,
    ends: TissueMaps,
    heads: list[Tensor],
    colon: Colon,
    feet: Tensor,
    level: Level,
) -> Looks:
    """Put wall, ends and heads below each other; see `charts.py`."""
    relief = maps.relief_mm[0]
    rows, columns = relief.shape
    along = torch.gradient(relief, spacing=maps.texel_mm, dim=0)[0]
    step = round(maps.texel_mm / ROW_MM * 1e6) / 1e6
    row = (torch.arange(rows, device=relief.device) * step).round().long()
    radius = colon.wall.radius_mm.mean(dim=1)[row.clamp(max=len(colon.wall.radius_mm) - 1)]
    texel = radius[:, None] * (2 * math.pi / columns)
    around = (relief.roll(-1, 1) - relief.roll(1, 1)) / (2 * texel)
    wall = torch.stack([*maps.albedo, along, around, maps.roughness[0], maps.glow[0]])
    x, y = torch.gradient(ends.relief_mm[0], spacing=ends.texel_mm)
    plane = torch.stack([*ends.albedo, x, y, ends.roughness[0], ends.glow[0]])
    if len(heads) % 2:
        heads = [*heads, torch.zeros_like(heads[0])]
    pairs = [torch.cat(heads[k : k + 2], dim=2) for k in range(0, len(heads), 2)]
    # A last row to look between.
    numbers = torch.cat([wall, wall[:, -1:], plane, *pairs], dim=1)
    numbers = pad(numbers.movedim(0, -1), (0, TEXEL_NUMBERS - len(numbers)))
    return Looks(
        texels=numbers.flatten().contiguous(),
        row_start=torch.zeros(1, dtype=torch.int32, device=relief.device),
        row_last=torch.tensor([rows - 1], dtype=torch.int32, device=relief.device),
        columns=columns,
        texel_mm=maps.texel_mm,
        stalked=feet.flatten().to(relief.device),
        wet=torch.tensor([1.0 if level.wet else 0.0], device=relief.device),
    )
