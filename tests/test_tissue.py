"""The wall is held to what can be said of it without seeing it: ranges, laws, seams, folds."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from colondepth.errors import DataError, ShapeError
from synthetic_colons.tissue import (
    BLOOD_ABSORPTION,
    TissueDraw,
    TissueMaps,
    TissueSettings,
    bake_tissue,
    draw_tissue,
)

STEP_MM, AROUND = 0.5, 96
COLOURED = TissueSettings(coloured=True, relief=True)
CREST_MM, LENGTH_MM = 42.0, 100.0


def folded() -> Tensor:
    """A tube of 22 mm with one ring fold, 6 mm high and as long, at `CREST_MM`."""
    s_mm = torch.arange(round(LENGTH_MM / STEP_MM) + 1) * STEP_MM
    return (22 - 6 * torch.exp(-(((s_mm - CREST_MM) / 3) ** 2)))[:, None].repeat(1, AROUND)


def drawn(seed: int = 1, settings: TissueSettings = COLOURED, **changes: object) -> TissueDraw:
    return dataclasses.replace(
        draw_tissue(torch.Generator().manual_seed(seed), settings), **changes
    )


def baked(draw: TissueDraw, seed: int = 5, radius_mm: Tensor | None = None) -> TissueMaps:
    radius_mm = folded() if radius_mm is None else radius_mm
    generator = torch.Generator().manual_seed(seed)
    return bake_tissue(draw, radius_mm, step_mm=STEP_MM, generator=generator)


def row(s_mm: float) -> int:
    return round(s_mm / 0.3)


def test_every_map_has_the_shape_and_range_that_it_promises() -> None:
    for settings in (
        COLOURED,
        TissueSettings(coloured=False, relief=False),
        TissueSettings(coloured=True, relief=True, randomised=True),
    ):
        maps = baked(drawn(settings=settings))
        rows = math.floor(LENGTH_MM / 0.3) + 1
        assert maps.albedo.shape == (3, rows, 512)
        assert maps.relief_mm.shape == maps.roughness.shape == maps.glow.shape == (1, rows, 512)
        assert maps.albedo.min() > 0
        assert maps.albedo.max() < 1
        assert maps.roughness.min() >= 0.1
        assert maps.roughness.max() <= 0.4
        assert maps.glow.min() >= 0
        assert maps.glow.max() <= 1
        assert maps.relief_mm.isfinite().all()


@pytest.mark.parametrize("seed", range(6))
def test_mucosa_has_the_hue_of_blood_in_pale_tissue(seed: int) -> None:
    draw = drawn(seed, melanosis=0.0)
    red, green, blue = baked(draw).albedo.flatten(start_dim=1).median(dim=1).values
    # Six frames of four colons have medians of 0.36 to 0.53 and 0.34 to 0.38; half a step beyond.
    assert 0.27 < green / red < 0.66
    assert 0.25 < blue / red < 0.5
    assert 0.35 < red < 0.8


def test_a_wall_without_colour_is_one_grey() -> None:
    draw = drawn(settings=TissueSettings(coloured=False, relief=True))
    maps = baked(draw)
    assert (maps.albedo == torch.tensor(draw.grey)).all()
    assert maps.relief_mm.std() > 0


def test_a_wall_without_relief_is_flat() -> None:
    maps = baked(drawn(settings=TissueSettings(coloured=False, relief=False)))
    assert maps.relief_mm.abs().max() == 0
    assert maps.roughness.min() == maps.roughness.max()


def test_crests_are_paler_than_valleys_and_they_alone_glow() -> None:
    draw = drawn(crest_paleness=0.4, valley_redness=0.2, erythema=0.0, blotches=0.02)
    maps = baked(dataclasses.replace(draw, blood_drift=0.0, glow=0.8))
    crest, far = row(CREST_MM), row(80.0)
    green_over_red = maps.albedo[1] / maps.albedo[0]
    assert green_over_red[crest].mean() > 1.1 * green_over_red[far].mean()
    assert maps.glow[0, crest].min() > 0.7
    assert maps.glow[0, far].max() == 0


def test_more_blood_is_darker_in_green_and_blue_than_in_red() -> None:
    # The same seed draws the same wall, so that the ratio of two bakes is Beer's law alone.
    still = drawn(
        blood=0.5, erythema=0.0, melanosis=0.0, blotches=0.0, mottling=0.0, dots_per_m=0.0
    )
    still = dataclasses.replace(still, blood_drift=0.0, crest_paleness=0.0, valley_redness=0.0)
    less, more = baked(still), baked(dataclasses.replace(still, blood=0.8))
    lost = (less.albedo / more.albedo).log().flatten(start_dim=1).median(dim=1).values
    torch.testing.assert_close(lost, 0.3 * torch.tensor(BLOOD_ABSORPTION), rtol=1e-3, atol=1e-4)


def test_vessels_darken_in_proportion_to_their_contrast() -> None:
    def with_contrast(contrast: float) -> Tensor:
        draw = drawn()
        vessels = dataclasses.replace(draw.vessels, contrast=contrast)
        return baked(dataclasses.replace(draw, vessels=vessels)).albedo[1]

    none, half, full = (with_contrast(c) for c in (0.0, 0.5, 1.0))
    assert (full <= none + 1e-6).all()
    shade = (none / full).log()
    assert shade.max() > 0.15
    assert 0.02 < (shade > 0.05).float().mean() < 0.6
    torch.testing.assert_close((none / half).log(), shade / 2, rtol=1e-3, atol=1e-4)


def test_haemorrhagic_dots_are_as_large_as_petechiae_and_change_nothing_else() -> None:
    without, dotted = baked(drawn(dots_per_m=0.0)), baked(drawn(dots_per_m=300.0))
    assert (dotted.albedo <= without.albedo).all()
    darker = dotted.albedo[1] < 0.8 * without.albedo[1]
    texel_mm2 = 0.3 * 2 * math.pi * float(folded().mean()) / 512
    area_mm2 = darker.sum() * texel_mm2
    # 30 dots between 0.5 and 1.5 mm across; some overlap, some lie beyond the ends.
    assert 10 * math.pi * 0.25**2 < area_mm2 < 30 * math.pi * 0.75**2


def test_melanosis_is_darker_and_browner() -> None:
    clean, brown = baked(drawn(melanosis=0.0)), baked(drawn(melanosis=1.2))
    red = brown.albedo[0].mean() / clean.albedo[0].mean()
    assert red < 0.8


def test_no_seam_shows_in_any_map() -> None:
    maps = baked(drawn())
    for field in (maps.albedo, maps.relief_mm, maps.roughness):
        across = (field.roll(-1, dims=2) - field).square().mean(dim=(0, 1))  # last: to the first
        assert across[-1] < 3 * across[:-1].mean()


def test_relief_has_no_mean_and_slopes_of_a_few_degrees() -> None:
    for seed in range(6):
        relief_mm = baked(drawn(seed)).relief_mm[0]
        assert abs(relief_mm.mean()) < 1e-5
        slope = relief_mm.diff(dim=0) / 0.3
        assert 0.01 < slope.std() < 0.35
        assert relief_mm.abs().max() < 0.8


def test_randomised_walls_leave_the_hues_of_anatomy() -> None:
    settings = TissueSettings(coloured=True, relief=True, randomised=True)
    hues = torch.stack(
        [baked(drawn(seed, settings)).albedo.flatten(start_dim=1).mean(dim=1) for seed in range(8)]
    )
    assert (hues[:, 1] > hues[:, 0]).any()  # greener than red: no living wall is
    assert (hues.std(dim=0) > 0.08).all()


def test_colons_differ_and_each_is_its_seeds() -> None:
    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    first = baked(drawn(3))
    torch.manual_seed(12)
    again, other = baked(drawn(3)), baked(drawn(3), seed=6)
    for field in ("albedo", "relief_mm", "roughness", "glow"):
        assert torch.equal(getattr(first, field), getattr(again, field))
    assert not torch.equal(first.albedo, other.albedo)


def test_a_stretch_of_a_colon_can_be_baked() -> None:
    maps = baked(drawn(), radius_mm=folded()[:37])
    assert maps.albedo.shape == (3, 61, 512)  # 18 mm
    assert maps.albedo.isfinite().all()


def test_wrong_radii_are_refused() -> None:
    with pytest.raises(ShapeError, match="radius_mm"):
        baked(drawn(), radius_mm=torch.ones(5))
    with pytest.raises(DataError, match="smallest radius 0 mm"):
        baked(drawn(), radius_mm=torch.zeros(20, 8))
    with pytest.raises(DataError, match="NaN"):
        baked(drawn(), radius_mm=torch.full((20, 8), torch.nan))
