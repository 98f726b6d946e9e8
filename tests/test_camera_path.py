import json
import math
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pytest
import torch
from lumens import CLOUD_MM, ball_is_free, distance_mm, lumen, off_lumen_deg
from torch import Tensor
from torch.testing import assert_close

from colondepth.errors import DataError
from synthetic_colons import camera_path
from synthetic_colons.camera_path import CameraPath, draw_path, follow
from synthetic_colons.clear_way import ClearWay, clear_way, clearance_near, reach, spline
from synthetic_colons.path_moves import Move, MoveKind, PathDraw, PathSettings

CLEARANCE_MM = PathSettings().clearance_mm
WHOLE_S = PathSettings().withdrawal_s[1]
SEEDS = (0, 1, 2)


@cache
def way() -> ClearWay:
    return clear_way(lumen(), clearance_mm=CLEARANCE_MM)


@cache
def whole(seed: int) -> CameraPath:
    """A withdrawal from the caecum to the rectum, at 25 frames/s."""
    generator = torch.Generator().manual_seed(seed)
    frames = int(WHOLE_S * 25) + 1
    return draw_path(generator, lumen(), frames=frames, frames_per_s=25.0, way=way())


def between(path: CameraPath) -> Tensor:
    return (path.times_s[:-1] + path.times_s[1:]) / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_no_pose_and_no_place_between_two_is_nearer_to_the_surface_than_promised(seed) -> None:
    path = whole(seed)
    places = path.world_from_camera[:, :3, 3]
    chords = (places[:-1] + places[1:]) / 2
    for points in (places, path.at(between(path))[:, :3, 3], chords):
        assert distance_mm(points).min() > CLEARANCE_MM - CLOUD_MM


@pytest.mark.parametrize("seed", SEEDS)
def test_a_ball_of_the_clearance_round_the_nearest_poses_is_all_lumen(seed) -> None:
    places = whole(seed).world_from_camera[:, :3, 3]
    nearest = np.argsort(distance_mm(places))[:120]
    assert ball_is_free(places[torch.from_numpy(nearest)], CLEARANCE_MM - 0.02).all()


def test_without_giving_way_a_path_would_go_through_the_wall() -> None:
    path = whole(0)
    careless = replace(path, share=torch.ones_like(path.share))
    points = careless.at(path.times_s)[:, :3, 3]
    assert distance_mm(points).min() < 0.5 * CLEARANCE_MM


@pytest.mark.parametrize("seed", SEEDS)
def test_every_pose_is_rigid_and_right_handed(seed) -> None:
    poses = whole(seed).world_from_camera
    turn = poses[:, :3, :3]
    unit = torch.eye(3, dtype=poses.dtype).expand_as(turn)
    assert poses.dtype == torch.float64
    assert_close(turn.mT @ turn, unit, atol=1e-9, rtol=0)
    assert_close(torch.linalg.det(turn), torch.ones(len(turn)).double(), atol=1e-9, rtol=0)
    assert_close(poses[:, 3], poses.new_tensor([0, 0, 0, 1]).expand(len(poses), 4))


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_moves_or_turns_faster_than_a_hand(seed) -> None:
    path = whole(seed)
    poses = path.world_from_camera
    places, turn = poses[:, :3, 3], poses[:, :3, :3]
    speed = places.diff(dim=0).norm(dim=-1) * 25
    cosine = ((turn[:-1].mT @ turn[1:]).diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2
    turning = torch.rad2deg(cosine.clamp(-1, 1).acos()) * 25
    assert speed.max() < 100  # a slip of 60 and what the tip does across
    assert speed.median() < 15
    assert turning.max() < 500
    assert turning.median() < 60


def test_speed_and_acceleration_have_no_jumps() -> None:
    path = whole(1)
    fine = torch.arange(20.0, 260.0, 0.004, dtype=torch.float64)
    places = path.at(fine)[:, :3, 3]
    acceleration = places.diff(n=2, dim=0).norm(dim=-1) / 0.004**2
    assert acceleration.max() < 1000
    # A jump of the speed would double the largest second difference with every halving.
    coarse = places[::4].diff(n=2, dim=0).norm(dim=-1) / 0.016**2
    assert acceleration.max() < 1.5 * coarse.max()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_whole_withdrawal_goes_from_the_caecum_to_the_rectum_at_a_clinic_s_pace(seed) -> None:
    path = whole(seed)
    arc = path.arc_mm(path.times_s)
    colon = lumen()
    assert colon.segment_name(float(arc[0])) == "caecum"
    assert colon.segment_name(float(arc[-1])) == "rectum"
    assert 1.5 < float(arc[0] - arc[-1]) / WHOLE_S < 5


def test_a_short_clip_keeps_the_pace_of_a_withdrawal_of_6_to_10_minutes() -> None:
    colon, travelled = lumen(), 0.0
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        path = draw_path(generator, colon, frames=601, frames_per_s=30.0, way=way())
        arc = path.arc_mm(path.times_s)
        travelled += float(arc[0] - arc[-1])
    pace = travelled / (30 * 20)
    assert 0.75 * colon.length_mm / 600 < pace < 1.25 * colon.length_mm / 360


def test_withdrawals_hold_all_that_endoscopists_do() -> None:
    off, near, kinds, back, fast, stopped = [], [], set(), 0.0, 0.0, 0
    for seed in SEEDS:
        path = whole(seed)
        off.append(off_lumen_deg(path.world_from_camera, lumen()))
        near.append(torch.from_numpy(distance_mm(path.world_from_camera[:, :3, 3])))
        arc = path.arc_mm(path.times_s)
        speed = arc.diff() * 25
        back = max(back, float((arc - arc.cummin(dim=0).values).max()))
        fast = max(fast, float(-speed.min()))
        stopped += int((speed.abs() < 0.3).sum())
        kinds |= {move.kind for move in path.moves_at(path.times_s)}
    off, near = torch.cat(off), torch.cat(near)
    frames = len(off)
    assert kinds == set(MoveKind)
    assert 0.05 < (off > 60).sum() / frames < 0.3
    assert 0.005 < (off > 120).sum() / frames < 0.1  # retroflexed
    assert (off < 45).sum() / frames > 0.6  # mostly along the lumen
    assert ((near < 4) & (off > 45)).sum() / frames > 0.01  # en face, and touching
    assert back > 8  # mm
    assert 20 < fast < 65  # mm/s
    assert 0.02 < stopped / frames < 0.6


def test_a_tip_looks_back_in_the_rectum_and_in_the_caecum_and_nowhere_else() -> None:
    segments = set()
    for seed in SEEDS:
        path = whole(seed)
        moves = [m for m in path.draw.moves if m.kind is MoveKind.RETROFLEX]
        segments |= {lumen().segment_name(move.from_mm) for move in moves}
    assert segments == {"rectum", "caecum"}


def test_an_inspected_polyp_is_in_the_middle_of_the_picture() -> None:
    aimed = 0
    for seed in SEEDS:
        path = whole(seed)
        for move in path.draw.moves:
            middle = move.start_s + move.duration_s / 2
            if not move.polyp or not 0 < middle < path.draw.duration_s:
                continue
            pose = path.at(torch.tensor([middle]))[0]
            spot = camera_path.polyp_middle(lumen(), move.polyp).double()
            towards = torch.nn.functional.normalize(spot - pose[:3, 3], dim=0)
            assert float(towards @ pose[:3, 2]) > math.cos(math.radians(2))
            aimed += 1
    assert aimed > 2


def test_the_same_generator_gives_the_same_path_and_another_gives_another() -> None:
    def drawn(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return draw_path(generator, lumen(), frames=40, frames_per_s=30.0).world_from_camera

    assert torch.equal(drawn(4), drawn(4))
    assert not torch.equal(drawn(4), drawn(6))


def test_a_draw_is_plain_numbers_and_replays_at_any_frame_rate() -> None:
    generator = torch.Generator().manual_seed(8)
    path = draw_path(generator, lumen(), frames=101, frames_per_s=25.0, way=way())
    assert json.loads(json.dumps(asdict(path.draw)))["clearance_mm"] == CLEARANCE_MM
    again = follow(path.draw, lumen(), frames=201, frames_per_s=50.0)
    assert_close(again.world_from_camera[::2], path.world_from_camera, atol=1e-9, rtol=0)
    assert_close(again.at(path.times_s), path.world_from_camera, atol=1e-9, rtol=0)


def calm(**what: float) -> PathDraw:
    """A path without waves: one move to and fro around the middle of the colon, then rest."""
    arc = 0.42 * lumen().length_mm
    move = Move(
        kind=MoveKind.RETROFLEX,
        start_s=0.0,
        duration_s=10.0,
        from_mm=arc,
        to_mm=arc - 20,
        tilt_rad=what.get("tilt_rad", 0.0),
        azimuth_rad=what.get("azimuth_rad", 0.0),
        sweep_rad=0.0,
        share=0.0,
        gap_mm=2.0,
        roll_rad=what.get("roll_rad", 0.0),
        rise=0.3,
        polyp=0,
    )
    return PathDraw(
        duration_s=10.0,
        clearance_mm=CLEARANCE_MM,
        stretch_mm=way().stretches_mm[0],
        look_ahead_mm=30.0,
        roll_rad=0.0,
        moves=(move,),
        offset=((), ()),
        steer=((), ()),
        roll=(),
        breath=(),
        tremor_mm=((), ()),
        tremor_rad=((), (), ()),
    )


@pytest.mark.parametrize(("tilt", "azimuth"), [(0.3, 2.0), (1.9, -0.7), (3.0, 0.4)])
def test_the_axis_is_tilted_by_its_angle_towards_its_azimuth(tilt, azimuth) -> None:
    path = follow(
        calm(tilt_rad=tilt, azimuth_rad=azimuth), lumen(), frames=11, frames_per_s=1.0, way=way()
    )
    frame = way().line.at(path.arc_mm(path.times_s))[1][5]
    x, y, z = (frame.mT @ path.world_from_camera[5, :3, 2]).tolist()
    assert math.isclose(math.acos(z), tilt, abs_tol=1e-6)
    assert math.isclose(math.atan2(y, x), azimuth, abs_tol=1e-6)


def test_rolling_turns_the_picture_and_leaves_the_axis() -> None:
    straight, rolled = (
        follow(
            calm(tilt_rad=1.1, roll_rad=r), lumen(), frames=11, frames_per_s=1.0, way=way()
        ).world_from_camera[5, :3, :3]
        for r in (0.0, 0.8)
    )
    assert_close(rolled[:, 2], straight[:, 2])
    assert math.isclose(float(rolled[:, 0] @ straight[:, 0]), math.cos(0.8), abs_tol=1e-9)
    assert math.isclose(float(rolled[:, 0] @ straight[:, 1]), math.sin(0.8), abs_tol=1e-9)


def test_a_move_from_rest_to_rest_peaks_at_15_eighths_of_its_mean_speed() -> None:
    path = follow(calm(), lumen(), frames=11, frames_per_s=1.0, way=way())
    times = torch.linspace(0, 10, 4001).double()
    speed = -path.arc_mm(times).diff() / (10 / 4000)
    assert math.isclose(float(speed.max()), 2.0 * 15 / 8, rel_tol=1e-4)
    assert float(speed[0]) < 1e-4
    assert math.isclose(float(path.arc_mm(times)[0] - path.arc_mm(times)[-1]), 20, abs_tol=1e-9)


def test_the_way_goes_round_a_polyp_that_hangs_over_the_centre_line() -> None:
    colon = lumen()
    head = colon.stalked[0, 3:6]
    arc = torch.arange(9.0, colon.length_mm - 9, 0.5, dtype=torch.float64)
    arc = arc[[any(a <= s <= b for a, b in way().stretches_mm) for s in arc.tolist()]]
    near_head = (arc - float(colon.line.nearest(head[None])[0])).abs() < 5
    centre = colon.line.nodes[:, :3][arc.round().long()]
    assert distance_mm(centre[near_head]).min() < CLEARANCE_MM
    assert near_head.sum() > 10
    assert distance_mm(way().points(arc)).min() > CLEARANCE_MM


def test_a_march_never_asks_for_more_than_is_free_and_comes_near_to_the_wall() -> None:
    colon = lumen()
    arc = torch.linspace(40, colon.length_mm - 40, 400, dtype=torch.float64)
    arc = arc[[any(a <= s <= b for a, b in way().stretches_mm) for s in arc.tolist()]]
    angle = torch.linspace(0, 31, len(arc)).double()
    offset = 60 * torch.stack([angle.cos(), angle.sin()], dim=-1)
    need = torch.full_like(arc, 2.0)
    share = reach(colon, way(), arc, offset, need)
    frame = way().line.at(arc)[1]
    ray = offset[:, :1] * frame[..., 0] + offset[:, 1:] * frame[..., 1]
    started = way().points(arc)
    moved = share > 0
    away = distance_mm(started + share[:, None] * ray)
    halfway = distance_mm(started + share[:, None] / 2 * ray)
    assert away[moved.numpy()].min() > 2.0 - CLOUD_MM
    assert halfway[moved.numpy()].min() > 2.0 - CLOUD_MM
    assert np.median(away) < 3.0


def test_clearance_near_a_known_place_is_the_colon_s_own() -> None:
    colon = lumen()
    arc = torch.linspace(30, colon.length_mm - 30, 150)
    points = colon.line.point(arc, 3 * arc, torch.full_like(arc, 6.0))
    own = colon.clearance_mm(points)
    # Points between two cells of the bounds may fall into either.
    same = (clearance_near(colon, points, arc + 1.0) - own).abs() < 1e-3
    assert same.float().mean() > 0.97


def test_a_spline_of_equal_controls_is_that_number_and_of_a_line_that_line() -> None:
    where = torch.linspace(1, 7, 23).double()
    level = torch.tensor([[2.0, -3.0]]).double().expand(9, 2)
    rising = torch.arange(9.0)[:, None].double() * torch.tensor([[0.5, -2.0]])
    assert_close(spline(level, where), level[:1].expand(23, 2))
    assert_close(spline(rising, where), where[:, None] * torch.tensor([[0.5, -2.0]]).double())


def test_a_clearance_that_no_place_has_is_refused() -> None:
    with pytest.raises(DataError, match="is open for a clearance of 50 mm"):
        clear_way(lumen(), clearance_mm=50.0)


def test_a_path_is_not_followed_longer_than_it_was_drawn_or_on_a_narrower_way() -> None:
    with pytest.raises(DataError, match=r"last 11\.00 s, expected 10\.00 s or less"):
        follow(calm(), lumen(), frames=12, frames_per_s=1.0, way=way())
    with pytest.raises(DataError, match=r"keeps 1\.5 mm, expected the path's 2 mm"):
        follow(replace(calm(), clearance_mm=2.0), lumen(), frames=2, frames_per_s=1.0, way=way())


@pytest.mark.parametrize(("frames", "rate"), [(0, 30.0), (5, 0.0), (5, math.nan)])
def test_a_clip_needs_frames_and_a_rate(frames, rate) -> None:
    with pytest.raises(DataError, match="expected 1 or more at more than 0"):
        draw_path(torch.Generator(), lumen(), frames=frames, frames_per_s=rate, way=way())


def test_a_single_frame_is_a_path() -> None:
    path = draw_path(torch.Generator(), lumen(), frames=1, frames_per_s=30.0, way=way())
    assert path.world_from_camera.shape == (1, 4, 4)


@pytest.mark.parametrize("wrong", [{"slip_mm_s": (60.0, 20.0)}, {"clearance_mm": 0.0}])
def test_settings_that_are_no_ranges_are_refused(wrong) -> None:
    with pytest.raises(DataError):
        PathSettings(**wrong)
