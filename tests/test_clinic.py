"""All of the clinic together: the same in any batch, nothing touched beside it, and its flow."""

import json
from dataclasses import fields, replace

import pytest
import torch
from clinic_scene import TIMES_S, draw, foamy_pool, instrument, patch, pool, two_frames
from straight_colon import CAMERA, tube, tube_scene
from torch.testing import assert_close

from colondepth.errors import DataError, ShapeError
from synthetic_colons.clinic import (
    BUBBLE_LABEL,
    FLUID_LABEL,
    TOOL_LABEL,
    Moment,
    add_clinic,
    moved_points,
)
from synthetic_colons.clinic_draws import draw_clinic
from synthetic_colons.clinic_settings import ClinicSettings, Tool, WaveDraw
from synthetic_colons.instrument import axis, out_mm
from synthetic_colons.light import Lamps
from synthetic_colons.peristalsis import contracted
from synthetic_colons.renderer import Rendering, render
from synthetic_colons.sight import sight

NEW = (FLUID_LABEL, TOOL_LABEL, BUBBLE_LABEL)
EVERYTHING = draw(
    pools=(foamy_pool(),), patches=(patch(),), instrument=instrument(Tool.SNARE, reach_mm=22.0)
)


@pytest.fixture(scope="module")
def everything() -> Rendering:
    frames, view, poses, lamps = two_frames()
    return add_clinic(frames, view, poses, lamps, EVERYTHING, TIMES_S)


def test_pixels_without_anything_are_the_wall_bit_by_bit(everything):
    frames, *_ = two_frames()
    new = torch.isin(everything.label, torch.tensor(NEW, dtype=everything.label.dtype))
    assert all((everything.label == label).any() for label in NEW)
    assert not new.all()
    for field in fields(Rendering):
        before, after = getattr(frames, field.name), getattr(everything, field.name)
        assert before.dtype == after.dtype
        assert before.shape == after.shape
        rest = ~new.expand_as(before)
        assert (before[rest] == after[rest]).all()


def test_a_frame_is_the_same_alone_and_in_a_batch(everything):
    frames, _, poses, lamps = two_frames()
    for k in range(2):
        alone = add_clinic(
            frames[k : k + 1],
            sight(CAMERA, frames=1),
            poses[k : k + 1],
            Lamps(lamps.numbers[k : k + 1]),
            EVERYTHING,
            TIMES_S[k : k + 1],
        )
        for field in fields(Rendering):
            assert (getattr(alone, field.name) == getattr(everything, field.name)[k : k + 1]).all()


def test_behind_the_border_nothing_is_painted(everything):
    frames, _, poses, lamps = two_frames()
    inside = torch.zeros(1, 36, 48, dtype=torch.bool)
    inside[:, 3:33, 5:40] = True
    inside[:, 20:, 8:14] = False
    view = sight(CAMERA, frames=2, inside=inside)
    which = torch.zeros(2, dtype=torch.long)
    bordered = render(tube_scene(), view, poses, which=which, lamps=lamps)
    after = add_clinic(bordered, view, poses, lamps, EVERYTHING, TIMES_S)
    for name in ("light", "depth_mm", "normals"):
        shown = inside.expand_as(getattr(after, name))
        assert_close(
            getattr(after, name)[shown], getattr(everything, name)[shown], rtol=1e-4, atol=1e-4
        )
        assert getattr(after, name)[~shown].abs().max() == 0
    assert (after.label == everything.label)[inside.expand(2, 1, 36, 48)].float().mean() > 0.999
    assert (frames.label != after.label).any()


def test_a_draw_is_numbers_and_the_same_seed_gives_the_same():
    settings = ClinicSettings(
        pool_chance=1.0, bubbles_chance=1.0, instrument_chance=1.0, wave_chance=1.0
    )

    def drawn(seed: int):
        dice = torch.Generator().manual_seed(seed)
        return draw_clinic(dice, tube(), clip_frames=50, frames_per_s=25.0, settings=settings)

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    text = json.dumps(drawn(3).as_json())
    assert json.loads(text)["instrument"]["tool"] in ("forceps", "snare")
    assert drawn(3).patches
    for wave in drawn(3).waves:
        assert 2 <= abs(wave.speed_mm_per_s) <= 20
        assert 30 <= wave.length_mm <= 80
        assert wave.narrowing <= 0.45
    assert drawn(3).waves


def test_many_clips_have_nothing():
    dice = torch.Generator().manual_seed(1)
    empty = [draw_clinic(dice, tube(), clip_frames=50, frames_per_s=25.0) for _ in range(60)]
    without = sum(not (each.pools or each.patches or each.instrument) for each in empty)
    assert 15 < without < 55
    frames, view, poses, lamps = two_frames()
    assert add_clinic(frames, view, poses, lamps, draw(), TIMES_S) is frames


def test_the_flow_of_a_moving_wall_ends_on_the_moved_wall():
    wave = WaveDraw(arc_mm=215.0, speed_mm_per_s=15.0, length_mm=70.0, narrowing=0.3)
    own = draw(waves=(wave,))
    _, view, poses, lamps = two_frames()
    before = contracted(tube(), own, 0.3)
    after = contracted(tube(), own, 1.1)
    here = Moment(poses, torch.tensor([0.3, 0.3]))
    there = Moment(poses.flip(0), torch.tensor([1.1, 1.1]))
    scene = replace(tube_scene(), colons=(before,))
    which = torch.zeros(2, dtype=torch.long)
    frames = render(scene, view, poses, which=which, lamps=lamps)
    points = moved_points(frames, view, tube(), own, here=here, there=there)
    kept = frames.valid & (frames.arc_mm > 40) & (frames.arc_mm < 360)
    moved = (frames.axis_mm - 20).abs() > 1
    assert (kept & moved).float().mean() > 0.02
    for k in range(2):
        shown = kept[k, 0]
        pose = there.world_from_camera[k].float()
        world = points[k][:, shown].T @ pose[:3, :3].T + pose[:3, 3]
        assert after.field(world).abs().max() < 0.02
        arc, angle, _ = after.coordinates(world)
        assert_close(arc, frames.arc_mm[k, 0][shown], rtol=0, atol=0.02)
        turn = (angle - frames.angle_rad[k, 0][shown] + torch.pi).remainder(2 * torch.pi)
        assert (turn - torch.pi).abs().max() < 2e-3
        off = before.field(world).abs()
        assert off.max() > 1  # and not on the wall as it was


def test_fluid_keeps_still_and_the_instrument_goes_with_the_camera(everything):
    _, view, poses, _ = two_frames()
    there = Moment(poses.flip(0), TIMES_S + 0.5)
    points = moved_points(
        everything, view, tube(), EVERYTHING, here=Moment(poses, TIMES_S), there=there
    )
    rays = CAMERA.rays(36, 48).movedim(-1, 0)
    for k in range(2):
        fluid = (everything.label[k, 0] == FLUID_LABEL) & everything.valid[k, 0]
        own = (everything.distance_mm[k] * rays)[:, fluid].double()
        world = poses[k][:3, :3] @ own + poses[k][:3, 3:]
        other = torch.linalg.inv(poses[1 - k])
        expected = (other[:3, :3] @ world + other[:3, 3:]).float()
        assert_close(points[k][:, fluid], expected, rtol=0, atol=1e-3)
        tool = everything.label[k, 0] == TOOL_LABEL
        own = (everything.distance_mm[k] * rays)[:, tool]
        time = float(TIMES_S[k])
        slid = out_mm(EVERYTHING.instrument, time + 0.5) - out_mm(EVERYTHING.instrument, time)
        assert abs(slid) > 0.1
        to = torch.tensor(axis(EVERYTHING.instrument))[:, None]
        assert_close(points[k][:, tool], own + slid * to, rtol=0, atol=1e-4)


def test_what_is_brightest_of_film_is_marked_as_a_highlight(everything):
    bright = everything.film.sum(dim=1) > 0.6 * (everything.light - everything.film).sum(dim=1)
    agree = bright == everything.specular[:, 0]
    assert agree[everything.valid[:, 0]].float().mean() > 0.999


def test_wrong_arguments_are_refused():
    frames, view, poses, lamps = two_frames()
    with pytest.raises(ShapeError, match="time_s"):
        add_clinic(frames, view, poses, lamps, EVERYTHING, TIMES_S[:1])
    with pytest.raises(DataError, match="a view of 1 of 36x48"):
        add_clinic(frames, sight(CAMERA, frames=1), poses, lamps, EVERYTHING, TIMES_S)
    with pytest.raises(DataError, match="pool_depth_mm"):
        ClinicSettings(pool_depth_mm=(3.0, 1.0))
    with pytest.raises(DataError, match="breathing"):
        ClinicSettings(breathing=(0.0, 0.1))
    with pytest.raises(DataError, match="0 frames"):
        draw_clinic(torch.Generator(), tube(), clip_frames=0, frames_per_s=25.0)
    with pytest.raises(DataError, match="lies outside"):
        draw_clinic(
            torch.Generator(), tube(), clip_frames=5, frames_per_s=25.0, stretch_mm=(900.0, 950.0)
        )
    assert replace(pool(), level_mm=1.0).level_mm == 1.0
