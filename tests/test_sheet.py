"""The wall laid out: as long as it is, and no longer."""

import math

import torch
from torch.testing import assert_close

from synthetic_colons.sheet import laid_out, on_sheet_mm, rolled_up
from synthetic_colons.tissue import TissueSettings, bake_tissue, draw_tissue

STEP_MM = 0.5


def cone(slope: float) -> torch.Tensor:
    """A lumen that widens evenly from 10 mm, 300 rows."""
    return (10 + slope * STEP_MM * torch.arange(300.0))[:, None].expand(300, 64).contiguous()


def test_a_straight_tube_is_laid_out_as_it_is():
    sheet = on_sheet_mm(cone(0.0), step_mm=STEP_MM)
    assert_close(sheet, (STEP_MM * torch.arange(300.0))[:, None].expand(300, 64))


def test_a_cone_is_laid_out_along_its_slanted_side():
    sheet = on_sheet_mm(cone(1.2), step_mm=STEP_MM)
    assert_close(
        sheet.diff(dim=0), torch.full((299, 64), STEP_MM * math.hypot(1, 1.2)), atol=1e-3, rtol=0
    )


def test_a_fold_on_one_side_lays_that_side_out_and_is_forgotten_far_behind():
    radius = cone(0.0).repeat(4, 1)
    arc = STEP_MM * torch.arange(len(radius))
    radius[:, :20] -= 6 * torch.exp(-(((arc - 100) / 2) ** 2))[:, None]
    sheet = on_sheet_mm(radius, step_mm=STEP_MM)
    gap = sheet[:, 10] - sheet[:, 50]
    before, behind, far = (gap[round(at / STEP_MM)] for at in (90, 106, 300))
    assert abs(float(before)) < 1e-3
    own = (radius[:, 10].diff() ** 2 + STEP_MM**2).sqrt().sum() - STEP_MM * (len(radius) - 1)
    assert_close(behind, own, rtol=0.15, atol=0)
    assert abs(float(far)) < 0.1 * float(own)


def test_what_is_rolled_up_is_what_lies_there():
    rows = torch.arange(50.0)[:, None] * torch.tensor([1.0, 2.0, -1.0])
    at = torch.tensor([[0.0, 3.25, 40.5], [1.5, 48.0, 2.0]])
    found = rolled_up(rows[None], at)
    assert_close(found[0], at * torch.tensor([1.0, 2.0, -1.0]))


def test_a_wall_laid_out_has_the_radii_that_it_has():
    radius = cone(1.2)
    sheet = on_sheet_mm(radius, step_mm=STEP_MM).mean(dim=1)
    flat = laid_out(radius, sheet, STEP_MM)
    assert_close(
        float(flat[200, 0]), 10 + 1.2 * 200 * STEP_MM / math.hypot(1, 1.2), atol=0.7, rtol=0
    )


def test_tissue_is_as_dense_on_a_flank_as_on_a_tube():
    """Per mm of wall, colours change as fast on a cone of 60 degrees as on a tube."""
    draw = draw_tissue(torch.Generator().manual_seed(3), TissueSettings(coloured=True, relief=True))
    changes = []
    for slope in (0.0, math.sqrt(3)):
        radius = torch.full((400, 256), 24.0)
        wave = STEP_MM * torch.arange(400.0) % 24  # to and fro: a lumen of one width on average
        radius += slope * (torch.minimum(wave, 24 - wave) - 6)[:, None]
        maps = bake_tissue(
            draw, radius, step_mm=STEP_MM, generator=torch.Generator().manual_seed(5)
        )
        per_mm = maps.relief_mm[0].diff(dim=0).abs().mean() / maps.texel_mm
        changes.append(float(per_mm) / math.hypot(1, slope))
    assert_close(changes[1], changes[0], rtol=0.35, atol=0)  # drawn out it would be 0.5
