"""What is drawn of colons lies in its ranges, and what is built of it is what was drawn."""

import itertools
import json
import math
from dataclasses import asdict

import pytest
import torch
from torch.testing import assert_close

from colondepth.errors import UnknownNameError
from synthetic_colons.anatomy import (
    SEGMENTS,
    STALKS_APART_MM,
    AnatomyRanges,
    ColonDraw,
    FindingKind,
    Folds,
    PolypKind,
)
from synthetic_colons.anatomy_draws import draw_colon
from synthetic_colons.colon import build_colon
from synthetic_colons.levels import LEVELS, level
from synthetic_colons.wall import LABELS, LARGEST_BEND, WIDEST_MM, build_line, build_wall
from synthetic_colons.wall_tables import COLUMNS, ROW_MM, wall_bounds


def drawn(seed: int, folds: Folds = Folds.HAUSTRAL, *, stool: bool = False) -> ColonDraw:
    haustral = folds is Folds.HAUSTRAL
    return draw_colon(
        torch.Generator().manual_seed(seed),
        folds=folds,
        relief=haustral,
        simple_polyps=not haustral,
        findings=haustral,
        stool=stool,
    )


def test_the_same_generator_gives_the_same_colon_and_another_seed_another():
    one, same, other = build_colon(drawn(4)), build_colon(drawn(4)), build_colon(drawn(5))
    assert one.draw == same.draw
    assert torch.equal(one.wall.radius_mm, same.wall.radius_mm)
    assert other.draw != one.draw


def test_a_draw_can_be_written_as_json():
    text = json.dumps(asdict(drawn(6)))
    assert json.loads(text)["length_mm"] == drawn(6).length_mm


@pytest.mark.parametrize("seed", range(5))
def test_lengths_bends_and_radii_are_those_of_a_colon(seed):
    ranges = AnatomyRanges()
    draw = drawn(seed)
    assert ranges.length_mm[0] - 1 <= draw.length_mm <= ranges.length_mm[1] + 1
    assert_close(draw.segment_ends_mm[-1], float(draw.length_mm), atol=1, rtol=0)
    shares = [b - a for a, b in zip((0, *draw.segment_ends_mm), draw.segment_ends_mm, strict=False)]
    longest = max(range(len(SEGMENTS)), key=lambda k: shares[k])
    assert SEGMENTS[longest].name in {"sigmoid", "transverse"}
    line = build_line(draw)
    bend = line.bend_radius_mm()
    assert bend.min() > 0.85 * ranges.bend_radius_min_mm
    wall = build_wall(draw, line)
    mean = wall.radius_mm.mean(dim=1)[::2]
    assert (mean[:-1] / bend[: len(mean) - 1]).max() < 1.35 * LARGEST_BEND
    assert wall.radius_mm.max() < WIDEST_MM + 8  # diverticula and haustra bulge beyond the lumen
    assert wall.radius_mm.min() > 2.5


@pytest.mark.parametrize("seed", range(5))
def test_two_stretches_of_a_colon_do_not_run_into_each_other(seed):
    draw = drawn(seed)
    line = build_line(draw)
    radius = build_wall(draw, line).radius_mm.amax(dim=1)[::2]
    places = line.nodes[::5, :3]
    apart = torch.cdist(places, places)
    number = torch.arange(len(places)) * 5
    far = (number[:, None] - number[None]).abs() > 150
    sum_of_radii = radius[::5][:, None] + radius[::5][None]
    room = (apart - sum_of_radii[: len(places), : len(places)])[far]
    # Where a drawn line comes too near to itself for the least lumen, walls may touch.
    assert (room > 0).float().mean() > 0.99


def test_polyps_have_their_true_size_on_the_wall():
    for seed in range(8):
        colon = build_colon(drawn(seed))
        for number, polyp in enumerate(colon.draw.polyps, start=1):
            own = colon.wall.label == number
            if polyp.kind is PolypKind.STALKED or not own.any():
                continue
            rows, columns = own.nonzero().T
            row = round(polyp.arc_mm / ROW_MM)
            column = round(polyp.angle_rad / (2 * math.pi) * COLUMNS) % COLUMNS
            turn = (columns - column + COLUMNS // 2) % COLUMNS - COLUMNS // 2
            # At the radius of the wall around, which its own label's rim shows.
            rim = colon.wall.radius_mm[row, :].quantile(0.5)
            a, b = (rows - row) * ROW_MM, turn * float(rim) * 2 * math.pi / COLUMNS
            widest = 2 * torch.hypot(a, b).max()
            covered = sum(int((colon.wall.label == k).sum()) for k in range(number + 1, 15))
            if covered == 0:
                assert 0.55 * polyp.size_mm < float(widest) < 1.5 * polyp.size_mm + 1


def test_polyps_on_stalks_keep_apart():
    for seed in range(30):
        arcs = sorted(p.arc_mm for p in drawn(seed).polyps if p.kind is PolypKind.STALKED)
        assert all(b - a >= STALKS_APART_MM for a, b in itertools.pairwise(arcs))


def test_flat_polyps_rise_less_than_paris_allows():
    flat = [p for seed in range(30) for p in drawn(seed).polyps if p.kind is PolypKind.FLAT]
    assert flat
    assert max(p.height_mm for p in flat) <= 2.5


def test_findings_lie_where_anatomy_has_them():
    draw = drawn(2, stool=True)
    ends = dict(zip((s.name for s in SEGMENTS), draw.segment_ends_mm, strict=True))
    valve = [f for f in draw.findings if f.kind is FindingKind.VALVE]
    assert len(valve) == 2
    assert all(abs(f.arc_mm - ends["ascending"]) < 10 for f in valve)
    appendix = [f for f in draw.findings if f.kind is FindingKind.APPENDIX]
    assert appendix[0].arc_mm > ends["ascending"]
    for f in draw.findings:
        if f.kind is FindingKind.DIVERTICULUM:
            assert ends["rectum"] <= f.arc_mm <= ends["descending"]
    colon = build_colon(draw)
    assert (colon.wall.label == LABELS[FindingKind.STOOL]).any()


def test_levels_climb():
    rows = [LEVELS[str(k)] for k in range(1, 7)]
    assert [row.folds for row in rows[:3]] == [Folds.NONE, Folds.RINGS, Folds.HAUSTRAL]
    for name in ("findings", "relief", "wet", "coloured", "clinic"):
        has = [getattr(row, name) for row in rows]
        assert has == sorted(has)


def test_a_level_that_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'randomised'"):
        level("randomized")


def test_level_one_is_a_smooth_tube_and_level_two_has_rings():
    smooth = build_colon(drawn(3, Folds.NONE))
    plain = (smooth.wall.label == 0).all(dim=1)
    assert plain.float().mean() > 0.5
    assert smooth.wall.radius_mm[plain].std(dim=1).max() < 0.06
    rings = build_colon(drawn(3, Folds.RINGS))
    fold = rings.draw.folds[10]
    row = round(fold.arc_mm / ROW_MM)
    dip = rings.wall.radius_mm[row - 16].mean() - rings.wall.radius_mm[row].mean()
    assert (
        0.7 < float(dip) / (fold.depth_share * float(rings.wall.radius_mm[row - 16].mean())) < 1.1
    )


def test_bounds_hold_for_every_cell_of_a_wall():
    """Against a plain search over the wall's own table around a few cells."""
    draw = drawn(7)
    line = build_line(draw)
    radius = build_wall(draw, line).radius_mm
    bounds = wall_bounds(line, radius)
    dice = torch.Generator().manual_seed(1)
    for _ in range(40):
        row = int(torch.randint(40, len(line.nodes) - 40, (), generator=dice))
        column = int(torch.randint(COLUMNS // 2, (), generator=dice))
        for slot, (reach, angle) in enumerate(((1, 10), (2, 15), (4, 25))):
            rows = slice(2 * row - 2 * reach, 2 * row + 2 * reach + 1)
            wide = int(angle / 360 * COLUMNS)
            around = torch.arange(2 * column - wide, 2 * column + wide + 1) % COLUMNS
            assert bounds[row, column, slot] <= radius[rows][:, around].min() + 1e-5
        for slot, reach in ((3, 8), (4, 16)):
            rows = slice(2 * row - 2 * reach, 2 * row + 2 * reach + 1)
            assert bounds[row, column, slot] <= radius[rows].min() + 1e-5
