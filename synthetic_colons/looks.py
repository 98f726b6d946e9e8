"""The wall's looks as the renderer reads them: tissue maps, with polyps, stool and caves tinted."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from synthetic_colons.anatomy import FindingKind, PolypKind
from synthetic_colons.colon import Colon
from synthetic_colons.levels import Level
from synthetic_colons.shading import TEXEL_NUMBERS, Looks
from synthetic_colons.tissue import TissueMaps, TissueSettings, bake_tissue, draw_tissue
from synthetic_colons.wall import LABELS
from synthetic_colons.wall_tables import ROW_MM

# Linear reflectances. Stool: brown to ochre. Polyps against the wall: adenomas are redder, since
# they hold more blood; hyperplastic ones paler (Paris 2003 and the NICE classification).
STOOL = (0.30, 0.17, 0.05)
REDDER, PALER = (1.0, 0.72, 0.74), (1.06, 1.18, 1.2)
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
    albedo, roughness = maps.albedo.clone(), maps.roughness.clone()
    stalked = torch.zeros(max(1, len(colon.stalked)), 4)
    for number, polyp in enumerate(colon.draw.polyps, start=1):
        shift = torch.rand(5, generator=generator)
        tint = _polyp_tint(polyp.kind, shift) if level.coloured else torch.ones(3)
        if number in colon.stalked_numbers:
            own = colon.stalked_numbers.index(number)
            row = int(polyp.arc_mm / maps.texel_mm)
            around = albedo[:, max(0, row - 40) : row + 40].mean(dim=(1, 2)).cpu()
            stalked[own, :3] = (around * tint).clamp(0.02, 0.95)
            stalked[own, 3] = 0.2
        else:
            _tint(albedo, colon, number, tint)
    if level.clinic:
        _stool(albedo, roughness, colon, generator)
    # Grey levels are Lambert's walls: light that comes through tissue is red.
    glow = maps.glow if level.coloured else torch.zeros_like(maps.glow)
    maps = replace(maps, albedo=albedo, roughness=roughness, glow=glow)
    return _packed(maps, colon, stalked, level)


def join_looks(looks: Sequence[Looks]) -> Looks:
    """Put the looks of several colons behind each other, as `join_tables` does."""
    rows = torch.cat([each.row_last + 2 for each in looks])
    return Looks(
        texels=torch.cat([each.texels for each in looks]),
        row_start=(rows.cumsum(0) - rows).int(),
        row_last=torch.cat([each.row_last for each in looks]),
        columns=looks[0].columns,
        texel_mm=looks[0].texel_mm,
        stalked=torch.cat([each.stalked for each in looks]),
        wet=torch.cat([each.wet for each in looks]),
    )


def _polyp_tint(kind: PolypKind, shift: Tensor) -> Tensor:
    redder, paler = torch.tensor(REDDER), torch.tensor(PALER)
    if kind is PolypKind.FLAT:
        base = 1 + 0.5 * (paler - 1) * float(shift[0])
    else:
        base = torch.lerp(redder, paler, 0.35 * float(shift[0]))
    result: Tensor = base * (0.9 + 0.2 * shift[1:4])
    return result


def _tint(albedo: Tensor, colon: Colon, number: int, tint: Tensor) -> None:
    """Multiply the albedo where a polyp lies."""
    rows, share = _share(albedo, colon, number)
    if share is not None:
        factor = 1 + share * (tint.to(albedo)[:, None, None] - 1)
        albedo[:, rows] = (albedo[:, rows] * factor).clamp(0.01, 0.97)


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


def _packed(maps: TissueMaps, colon: Colon, stalked: Tensor, level: Level) -> Looks:
    relief = maps.relief_mm[0]
    rows, columns = relief.shape
    along = torch.gradient(relief, spacing=maps.texel_mm, dim=0)[0]
    step = round(maps.texel_mm / ROW_MM * 1e6) / 1e6
    row = (torch.arange(rows, device=relief.device) * step).round().long()
    radius = colon.wall.radius_mm.mean(dim=1)[row.clamp(max=len(colon.wall.radius_mm) - 1)]
    texel = radius[:, None] * (2 * math.pi / columns)
    around = (relief.roll(-1, 1) - relief.roll(1, 1)) / (2 * texel)
    parts = [*maps.albedo, along, around, maps.roughness[0], maps.glow[0], torch.zeros_like(along)]
    assert len(parts) == TEXEL_NUMBERS
    texels = torch.stack(parts, dim=-1)
    texels = torch.cat([texels, texels[-1:]])  # a last row to look between
    return Looks(
        texels=texels.flatten().contiguous(),
        row_start=torch.zeros(1, dtype=torch.int32, device=relief.device),
        row_last=torch.tensor([rows - 1], dtype=torch.int32, device=relief.device),
        columns=columns,
        texel_mm=maps.texel_mm,
        stalked=stalked.flatten().to(relief.device),
        wet=torch.tensor([1.0 if level.wet else 0.0], device=relief.device),
    )
