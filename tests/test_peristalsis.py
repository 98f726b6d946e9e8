"""The moving wall: the radius by its factor, bounds that hold, and tissue that can be followed."""

import math
from dataclasses import replace

import pytest
import torch
from clinic_scene import sideways
from straight_colon import tube
from torch.testing import assert_close

from synthetic_colons.anatomy import PolypKind
from synthetic_colons.anatomy_draws import draw_colon
from synthetic_colons.clinic_settings import BreathingDraw, ClinicDraw, WaveDraw
from synthetic_colons.colon import build_colon
from synthetic_colons.levels import level
from synthetic_colons.peristalsis import contracted, factor
from synthetic_colons.wall_tables import BEND_SLOT, CELL_COLUMNS, SLOTS, wall_bounds

WAVE = WaveDraw(arc_mm=300.0, speed_mm_per_s=-8.0, length_mm=60.0, narrowing=0.4)
BREATHING = BreathingDraw(narrowing=0.02, period_s=4.0, phase_rad=0.0)


@pytest.fixture(scope="module")
def colon():
    wanted = level(5)
    dice = torch.Generator().manual_seed(7)
    numbers = draw_colon(
        dice,
        folds=wanted.folds,
        relief=wanted.relief,
        simple_polyps=False,
        findings=True,
        stool=False,
    )
    return build_colon(numbers)


def only(*, wave: WaveDraw | None = WAVE, breathing: BreathingDraw | None = None) -> ClinicDraw:
    return ClinicDraw(up=sideways(), waves=(wave,) if wave else (), breathing=breathing)


def test_the_radius_is_the_radius_at_rest_times_the_wave_and_the_breath(colon):
    moved = contracted(colon, only(breathing=BREATHING), 2.0)
    share = moved.wall.radius_mm / colon.wall.radius_mm
    for arc in (200.0, 260.0, 284.0, 299.0, 313.5, 500.0):  # the middle is at 300 - 8 * 2
        away = abs(arc - 284.0)
        bell = math.cos(math.pi * away / 60) ** 2 if away < 30 else 0.0
        expected = (1 - 0.4 * bell) * (1 - 0.02)  # half a breath: as narrow as it gets
        row = round(arc * 2)
        assert_close(share[row], torch.full((256,), expected), rtol=1e-5, atol=0)
    table = moved.tables.radius_mm[: moved.wall.radius_mm.numel()].view_as(moved.wall.radius_mm)
    assert (table == moved.wall.radius_mm).all()
    assert moved.tables.radius_mm.shape == colon.tables.radius_mm.shape
    assert (moved.wall.label == colon.wall.label).all()


def test_nothing_that_moves_gives_the_colon_itself(colon):
    assert contracted(colon, only(wave=None), 3.0) is colon


def test_bounds_around_a_wave_are_those_of_the_whole_wall_made_anew(colon):
    moved = contracted(colon, only(), 1.0)
    shape = (len(colon.line.nodes), CELL_COLUMNS, SLOTS)
    found = moved.tables.bounds.view(shape)
    truth = wall_bounds(colon.line, moved.wall.radius_mm)
    assert (found[..., :BEND_SLOT] == truth[..., :BEND_SLOT]).all()
    assert (found != colon.tables.bounds.view(shape)).any()
    # Bends ask for windows as wide as the narrowest lumen needs; a stretch has its own.
    assert (found[..., BEND_SLOT:] <= truth[..., BEND_SLOT:] * 1.0001 + 1e-6).all()


def test_bounds_of_a_breath_hold(colon):
    moved = contracted(colon, only(wave=None, breathing=BREATHING), 2.0)
    shape = (len(colon.line.nodes), CELL_COLUMNS, SLOTS)
    found = moved.tables.bounds.view(shape)
    truth = wall_bounds(colon.line, moved.wall.radius_mm)
    used = truth.shape[-1]
    assert (found[..., :BEND_SLOT] <= truth[..., :BEND_SLOT] * (1 + 1e-6)).all()
    assert (found[..., BEND_SLOT:used] >= truth[..., BEND_SLOT:] * (1 - 1e-4) - 1e-6).all()


def test_clearance_stays_a_lower_bound_of_the_distance_to_the_wall(colon):
    moved = contracted(colon, only(breathing=BREATHING), 1.5)
    dice = torch.Generator().manual_seed(4)
    arc = 250 + 80 * torch.rand(60, generator=dice)
    angle = 6.28 * torch.rand(60, generator=dice)
    points = colon.line.point(arc, angle, 8 * torch.rand(60, generator=dice))
    rows = torch.arange(400, 760)
    turn = torch.arange(256) * (2 * math.pi / 256)
    grid = [each.flatten() for each in torch.meshgrid(rows / 2, turn, indexing="ij")]
    cloud = colon.line.point(grid[0], grid[1], moved.wall.radius_mm[rows].flatten())
    nearest = torch.cdist(points, cloud).amin(dim=1)
    clear = moved.clearance_mm(points)
    assert (clear <= nearest + 0.02).all()
    assert clear.max() > 2


def test_a_polyp_on_a_stalk_goes_along_with_its_place(colon):
    number = next(
        k for k, p in enumerate(colon.draw.polyps, 1) if p.kind is PolypKind.STALKED and p.size_mm
    )
    place = colon.stalked_numbers.index(number)
    polyp = colon.draw.polyps[number - 1]
    wave = replace(WAVE, arc_mm=polyp.arc_mm, speed_mm_per_s=0.0)
    moved = contracted(colon, only(wave=wave), 0.0)
    before, after = colon.stalked[place], moved.stalked[place]
    shift = after[:3] - before[:3]
    assert_close(after[3:6] - before[3:6], shift, rtol=0, atol=1e-4)
    assert (after[6:] == before[6:]).all()
    _, _, radius = colon.coordinates(before[None, :3])
    assert_close(shift.norm(), 0.4 * (radius[0] - 1.0), rtol=0.02, atol=0)
    middle, _ = colon.line.at(torch.tensor(polyp.arc_mm))
    assert (after[:3] - middle).norm() < (before[:3] - middle).norm()
    flat = moved.tables.stalked.view(-1, 16)
    assert (flat[place, :3] == after[:3]).all()


def test_the_wave_spares_the_scope():
    arc = torch.tensor([284.0, 284.0, 320.0])
    own = only(wave=replace(WAVE, length_mm=90.0))
    free = factor(own, arc, 2.0, scope_mm=torch.tensor([284.0, 400.0, 284.0]))
    assert free[0] == 1
    assert_close(free[1], torch.tensor(0.6))
    assert free[2] == factor(own, arc[2:], 2.0)[0]


def test_the_tube_itself_is_left_as_it_was():
    before = tube().tables.bounds.clone()
    contracted(tube(), only(breathing=BREATHING), 2.0)
    assert (tube().tables.bounds == before).all()
