"""The tissue of a colon's two ends, which lie across the line and not along it.

It grows on a plane, like the wall's on a roll, and the wall's own leads over into it.
"""

import math

import torch
from torch import Tensor

from synthetic_colons.charts import CHART, END_FROM_MM, END_REACH_MM, END_TEXEL_MM, end_texel
from synthetic_colons.field import CAP_BOWL_MM
from synthetic_colons.tissue import COLUMNS, TissueDraw, TissueMaps, bake_tissue, to_texels

# Over so much of the wall its own texture becomes the end's, mm.
_FADE_MM = 12.0
_BARE_STEP_MM = 0.5  # of the plane that an end's tissue is grown on


def bake_ends(draw: TissueDraw, generator: torch.Generator) -> TissueMaps:
    """Grow the tissue of both ends on a plane, `CHART` rows of `COLUMNS`; see `bake_tissue`."""
    rows = math.ceil(2 * END_REACH_MM / _BARE_STEP_MM) + 1
    around_mm = COLUMNS * END_TEXEL_MM
    plane = torch.full((rows, 8), around_mm / (2 * math.pi), device=generator.device)
    maps = bake_tissue(
        draw,
        plane,
        step_mm=_BARE_STEP_MM,
        generator=generator,
        texel_mm=END_TEXEL_MM,
        folded=False,
    )
    return TissueMaps(
        albedo=maps.albedo[:, :CHART],
        relief_mm=maps.relief_mm[:, :CHART],
        roughness=maps.roughness[:, :CHART],
        glow=maps.glow[:, :CHART],
        texel_mm=END_TEXEL_MM,
    )


def lead_over(wall: TissueMaps, ends: TissueMaps, radius_mm: Tensor, *, step_mm: float) -> None:
    """Let the wall's maps become the ends' where wall and ends meet, in place.

    Args:
        wall: of one colon; changed.
        ends: from `bake_ends`.
        radius_mm: lumen radius on the wall's grid, (S, A).
        step_mm: arc length between its rows.
    """
    rows, columns = wall.relief_mm.shape[-2:]
    length_mm = (len(radius_mm) - 1) * step_mm
    reach_mm = END_REACH_MM**2 / (2 * CAP_BOWL_MM) + END_FROM_MM + _FADE_MM
    count = min(rows, math.ceil(reach_mm / wall.texel_mm))
    angle = torch.arange(columns, device=radius_mm.device) * (2 * math.pi / columns)
    grid_rows = min(len(radius_mm), math.ceil(count * wall.texel_mm / step_mm) + 2)
    for far in (False, True):
        near = radius_mm[-grid_rows:].flip(0) if far else radius_mm[:grid_rows]
        first = rows - count if far else 0
        arc = torch.arange(first, first + count, device=radius_mm.device) * wall.texel_mm
        ahead = ((length_mm - arc) if far else arc)[:, None]
        radius = to_texels(near, step_mm, wall.texel_mm, rows=range(count), columns=columns)
        radius = radius.flip(0) if far else radius
        corner = (radius - END_FROM_MM).clamp(min=0)  # as far from the line the bowl ends
        beyond = ahead - (corner.square() / (2 * CAP_BOWL_MM) + END_FROM_MM)
        from_pole = (corner + beyond).clamp(0, END_REACH_MM)
        share = 1 - (beyond / _FADE_MM).clamp(0, 1)
        share = share.square() * (3 - 2 * share)
        row, column = end_texel(
            from_pole * angle.cos(), from_pole * angle.sin(), torch.tensor(far, device=arc.device)
        )
        for own, end in (
            (wall.albedo, ends.albedo),
            (wall.relief_mm, ends.relief_mm),
            (wall.roughness, ends.roughness),
            (wall.glow, ends.glow),
        ):
            block = own[:, first : first + count]
            block += share * (_between(end, row, column) - block)


def _between(maps: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Look maps (K, CHART, COLUMNS) up between their texels, (K, *B)."""
    top, left = row.floor().long(), column.floor().long()
    down, across = row - top, column - left
    upper = torch.lerp(maps[:, top, left], maps[:, top, left + 1], across)
    lower = torch.lerp(maps[:, top + 1, left], maps[:, top + 1, left + 1], across)
    return torch.lerp(upper, lower, down)
