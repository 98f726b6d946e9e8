"""Widths and shades are held against integrals in closed form, the stamping against numpy."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.special import erf

from colondepth.errors import DataError, ShapeError
from synthetic_colons.vessels import (
    CONTRAST_DEPTH_MM,
    SPREAD_PER_DEPTH,
    SURFACE_ABSORBANCE,
    Vessels,
    absorbances,
    draw_vessels,
    grow_vessels,
    stamp_vessels,
)

STEP_MM, TEXEL_MM, ROWS, COLUMNS = 0.5, 0.3, 120, 512
LENGTH_MM = (ROWS - 1) * TEXEL_MM


def tube(radius_mm: float, *, length_mm: float = LENGTH_MM) -> torch.Tensor:
    return torch.full((round(length_mm / STEP_MM) + 1, 384), radius_mm)


def pieces(
    *ends: tuple[float, float, float, float], width_mm: float = 0.8, depth_mm: float = 0.3
) -> Vessels:
    table = torch.tensor(ends)
    count = len(ends)
    return Vessels(
        start=table[:, :2],
        end=table[:, 2:],
        radius_mm=torch.full((count,), width_mm / 2),
        depth_mm=torch.full((count,), depth_mm),
        vein=torch.zeros(count, dtype=torch.bool),
        divisions_mm=torch.zeros(0, 3),
    )


def stamped(vessels: Vessels, radius_mm: float = 20.0) -> torch.Tensor:
    return stamp_vessels(
        vessels,
        tube(radius_mm),
        step_mm=STEP_MM,
        texel_mm=TEXEL_MM,
        rows=ROWS,
        columns=COLUMNS,
    )


def grown(seed: int = 0, *, radius_mm: torch.Tensor | None = None, **changes: object) -> Vessels:
    generator = torch.Generator().manual_seed(seed)
    draw = dataclasses.replace(draw_vessels(generator), **changes)
    radius_mm = tube(24.0, length_mm=120.0) if radius_mm is None else radius_mm
    return grow_vessels(draw, radius_mm, step_mm=STEP_MM, generator=generator)


@pytest.mark.parametrize("radius_mm", [13.0, 34.0])
@pytest.mark.parametrize("width_mm", [0.16, 0.5, 1.3])
@pytest.mark.parametrize("depth_mm", [0.05, 0.9])
def test_the_integral_across_is_absorbance_times_width_at_any_radius(
    radius_mm: float, width_mm: float, depth_mm: float
) -> None:
    vessel = pieces((-9.0, 2.0, 60.0, 2.0), width_mm=width_mm, depth_mm=depth_mm)
    shade = stamped(vessel, radius_mm)[:, 40]  # (3, columns)
    integral = shade.sum(dim=1) * (2 * math.pi * radius_mm / COLUMNS)
    torch.testing.assert_close(integral, absorbances(vessel)[0] * width_mm, rtol=0.015, atol=1e-5)


@pytest.mark.parametrize("radius_mm", [13.0, 34.0])
def test_a_ring_is_as_wide_as_a_line_along_the_colon(radius_mm: float) -> None:
    ring = pieces((18.0, 1.0, 18.0, 1.2), width_mm=0.7)
    shade = stamped(ring, radius_mm)[:, :, round(1.1 * COLUMNS / (2 * math.pi))]
    integral = shade.sum(dim=1) * TEXEL_MM
    torch.testing.assert_close(integral, absorbances(ring)[0] * 0.7, rtol=0.01, atol=1e-5)


@pytest.mark.parametrize("radius_mm", [15.0, 30.0])
def test_width_and_blur_add_up_as_variances(radius_mm: float) -> None:
    width_mm, depth_mm = 1.0, 0.8
    shade = stamped(
        pieces((-9.0, 3.0, 60.0, 3.0), width_mm=width_mm, depth_mm=depth_mm), radius_mm
    )[1, 33]
    texel_mm = 2 * math.pi * radius_mm / COLUMNS
    across_mm = (torch.arange(COLUMNS) * (2 * math.pi / COLUMNS) - 3.0) * radius_mm
    variance = (shade * across_mm.square()).sum() / shade.sum()
    expected = width_mm**2 / 12 + (SPREAD_PER_DEPTH * depth_mm) ** 2 + (texel_mm / 2) ** 2
    assert variance.item() == pytest.approx(expected, rel=0.03)


def test_contrast_falls_exponentially_with_depth_and_blue_falls_first() -> None:
    depths_mm = (0.2, 0.5, 0.8)
    sums = torch.stack(
        [stamped(pieces((-9.0, 3.0, 60.0, 3.0), depth_mm=d))[:, 50].sum(dim=1) for d in depths_mm]
    )  # (3 depths, 3 channels)
    lost = (sums[:-1] / sums[1:]).log()
    expected = 0.3 / torch.tensor(CONTRAST_DEPTH_MM)
    torch.testing.assert_close(lost, expected.expand(2, 3), rtol=0.02, atol=0)
    red_over_green = sums[:, 0] / sums[:, 1]
    assert red_over_green[2] > 1.3 * red_over_green[0]  # deep vessels are bluish: dark in red too


def test_a_wide_vessel_at_the_surface_has_the_full_absorbance() -> None:
    shade = stamped(pieces((-9.0, 3.0, 60.0, 3.0), width_mm=3.0, depth_mm=0.0))[:, 60]
    torch.testing.assert_close(
        shade.amax(dim=1), torch.tensor(SURFACE_ABSORBANCE), rtol=0.001, atol=0
    )


def test_a_vessel_across_the_seam_is_the_same_vessel_turned() -> None:
    turn = 100 * 2 * math.pi / COLUMNS
    inside = stamped(pieces((10.0, turn - 0.11, 16.0, turn + 0.06)))
    across = stamped(pieces((10.0, -0.11, 16.0, 0.06)))
    round_again = stamped(pieces((10.0, 2 * math.pi - 0.11, 16.0, 2 * math.pi + 0.06)))
    assert across[:, :, 0].max() > 0.1
    assert across[:, :, -1].max() > 0.1
    torch.testing.assert_close(across.roll(100, dims=2), inside, rtol=1e-3, atol=2e-4)
    torch.testing.assert_close(across, round_again, rtol=1e-3, atol=2e-4)


def test_stamping_agrees_with_a_slow_painter() -> None:
    radius_mm = 17.0
    vessels = pieces((3.0, 0.4, 9.0, 0.9), (9.0, 0.9, 8.2, 1.6), (30.0, 6.0, 34.0, 6.5))
    s_mm = np.arange(ROWS)[:, None] * TEXEL_MM
    angle = np.arange(COLUMNS)[None] * 2 * np.pi / COLUMNS
    column_mm = 2 * np.pi * radius_mm / COLUMNS
    painted = np.zeros((ROWS, COLUMNS))
    for start, end in zip(vessels.start.numpy(), vessels.end.numpy(), strict=True):
        away = np.full((ROWS, COLUMNS), np.inf)
        for turn in (0, 2 * np.pi):
            for t in np.linspace(0, 1, 400):
                s, a = start + t * (end - start)
                away = np.minimum(away, np.hypot(s_mm - s, (angle + turn - a) * radius_mm))
        lean = math.atan2((end[1] - start[1]) * radius_mm, end[0] - start[0])
        texel = math.hypot(column_mm * math.cos(lean), TEXEL_MM * math.sin(lean)) / 2
        root = math.sqrt(2) * math.hypot(SPREAD_PER_DEPTH * 0.3, texel)
        band = 0.5 * (erf((0.4 - away) / root) + erf((0.4 + away) / root))
        painted = np.maximum(painted, band)
    shade = stamped(vessels, radius_mm)[1].numpy() / absorbances(vessels)[0, 1].item()
    assert np.abs(shade - painted).max() < 0.004


def test_what_lies_beyond_the_rows_is_left_out() -> None:
    assert stamped(pieces((-30.0, 1.0, -20.0, 1.0), (90.0, 1.0, 95.0, 1.0))).max() == 0


def test_every_division_keeps_the_cubes_of_the_radii() -> None:
    before, larger, smaller = grown().divisions_mm.unbind(dim=1)
    assert len(before) > 100
    torch.testing.assert_close(before**3, larger**3 + smaller**3, rtol=1e-4, atol=0)
    assert (smaller <= larger + 1e-6).all()


def test_a_piece_is_as_long_in_a_wide_lumen_as_in_a_narrow_one() -> None:
    for radius_mm in (14.0, 33.0):
        vessels = grown(radius_mm=tube(radius_mm, length_mm=100.0))
        run = vessels.end - vessels.start
        length_mm = torch.hypot(run[:, 0], run[:, 1] * radius_mm)
        torch.testing.assert_close(length_mm, torch.full_like(length_mm, 0.8), rtol=0, atol=2e-4)


def test_trunks_are_as_wide_as_drawn_and_no_twig_is_thinner_than_the_thinnest() -> None:
    vessels = grown(trunk_width_mm=(0.9, 1.1), thinnest_width_mm=0.2)
    width_mm = 2 * vessels.radius_mm[~vessels.vein]
    assert 0.9 < width_mm.max() <= 1.1
    assert 0.2 - 1e-6 <= width_mm.min() < 0.24


def test_thick_vessels_lie_deep_and_twigs_near_the_surface() -> None:
    vessels = grown(deepest_mm=0.9, shallowest_mm=0.1, thinnest_width_mm=0.16)
    thick, thin = vessels.radius_mm > 0.3, vessels.radius_mm < 0.1
    assert vessels.depth_mm[thick].median() > vessels.depth_mm[thin].median() + 0.1
    assert vessels.depth_mm.min() >= 0.1


def test_veins_keep_beside_arteries() -> None:
    vessels = grown(seed=3)
    assert vessels.vein.any()
    assert not vessels.vein.all()


def test_trees_cover_the_wall_all_around() -> None:
    vessels = grown(radius_mm=tube(24.0, length_mm=300.0))
    sector = (vessels.start[:, 1] / (2 * math.pi) * 8).floor().long() % 8
    share = torch.bincount(sector, minlength=8) / len(sector)
    assert share.min() > 0.03


def test_the_seed_decides_and_nothing_else() -> None:
    first = grown(7)
    torch.manual_seed(99)
    again, other = grown(7), grown(8)
    for field in ("start", "end", "radius_mm", "depth_mm", "vein"):
        assert torch.equal(getattr(first, field), getattr(again, field))
    assert first.start.shape != other.start.shape or not torch.equal(first.start, other.start)


def test_wrong_grids_are_refused() -> None:
    with pytest.raises(ShapeError, match="radius_mm"):
        stamp_vessels(
            pieces((1.0, 1.0, 2.0, 1.0)),
            torch.ones(4),
            step_mm=1.0,
            texel_mm=0.3,
            rows=5,
            columns=8,
        )
    with pytest.raises(DataError, match="must be positive"):
        stamp_vessels(
            pieces((1.0, 1.0, 2.0, 1.0)),
            tube(20.0),
            step_mm=STEP_MM,
            texel_mm=0.0,
            rows=5,
            columns=8,
        )
