"""Steadiness of depth from frame to frame."""

import math

import pytest
import torch
from scenes import CX, CY, FX, FY, H, W, at, cameras

from colondepth.errors import ShapeError
from colondepth.geometry import rigid_flow
from colondepth.motion import relative
from evaluation.temporal import FLICKER_ERRORS, WARPED_ERRORS, flicker_errors, warped_errors

CAMERA = cameras()["pinhole"]
TRACK = torch.stack(
    [at(0, 0, 0), at(0.8, -0.4, 1.5, yaw_rad=0.02), at(1.0, 0.3, 2.5, yaw_rad=-0.03)]
)


def plane_mm(world_from_camera, normal=(0.2, -0.1, 1.0), offset_mm=40.0):
    """Depth of a slanted plane n . x = offset in the world, (T, 1, H, W)."""
    n = torch.tensor(normal, dtype=torch.float64)
    v, u = torch.meshgrid(torch.arange(H).double(), torch.arange(W).double(), indexing="ij")
    rays = torch.stack([(u - CX) / FX, (v - CY) / FY, torch.ones_like(u)], dim=-1)
    maps = []
    for matrix in world_from_camera:
        slope = (rays @ matrix[:3, :3].T) @ n
        maps.append((offset_mm - n @ matrix[:3, 3]) / slope)
    return torch.stack(maps)[:, None]


def flow_of(true_mm):
    motion = relative(TRACK[1:], TRACK[:-1])
    return rigid_flow(true_mm[:-1], CAMERA, motion)


def all_known(true_mm):
    return torch.ones_like(true_mm, dtype=torch.bool)


def warped(found_mm, true_mm, track=TRACK, known=None):
    known = all_known(true_mm) if known is None else known
    return warped_errors(found_mm, true_mm, known, CAMERA, track, tolerance=0.02)


def test_true_depth_of_any_scale_does_not_flicker():
    true_mm = plane_mm(TRACK)
    flow_px, lands = flow_of(true_mm)
    errors = flicker_errors(3.7 * true_mm, true_mm, flow_px, lands)
    assert errors.keys() == FLICKER_ERRORS.keys()
    assert errors["flicker"].tolist() == pytest.approx([0, 0], abs=1e-13)
    assert errors["flicker_answered"].tolist() == [1, 1]


def test_a_scale_that_jumps_flickers_by_its_logarithm():
    true_mm = plane_mm(TRACK)
    flow_px, lands = flow_of(true_mm)
    scale = torch.tensor([1.0, 1.2, 1.1]).reshape(3, 1, 1, 1)
    errors = flicker_errors(scale * true_mm, true_mm, flow_px, lands)
    wanted = [math.log(1.2), math.log(1.2 / 1.1)]
    assert errors["flicker"].tolist() == pytest.approx(wanted, rel=1e-6)
    assert errors["flicker_scale"].tolist() == pytest.approx(wanted, rel=1e-6)


def test_flicker_follows_the_flow_pixel_by_pixel():
    generator = torch.Generator().manual_seed(0)
    found_mm, true_mm = (5 + torch.rand(3, 1, 4, 6, generator=generator) for _ in range(2))
    flow_px = 1.3 * torch.randn(2, 2, 4, 6, generator=generator)
    tracked = torch.rand(2, 1, 4, 6, generator=generator) < 0.8
    errors = flicker_errors(found_mm, true_mm, flow_px, tracked)
    for pair in range(2):
        excess = []
        for v in range(4):
            for u in range(6):
                u2, v2 = (
                    round(start + float(step))
                    for start, step in zip((u, v), flow_px[pair, :, v, u], strict=True)
                )
                if tracked[pair, 0, v, u] and 0 <= u2 < 6 and 0 <= v2 < 4:
                    found, true = (
                        math.log(maps[pair + 1, 0, v2, u2] / maps[pair, 0, v, u])
                        for maps in (found_mm, true_mm)
                    )
                    excess.append(found - true)
        assert 3 < len(excess) < 24
        mean = sum(map(abs, excess)) / len(excess)
        assert float(errors["flicker"][pair]) == pytest.approx(mean, rel=1e-6)
        whole = abs(sum(excess)) / len(excess)
        assert float(errors["flicker_scale"][pair]) == pytest.approx(whole, rel=1e-5)


def test_flicker_without_a_track_or_an_answer():
    true_mm = plane_mm(TRACK)
    flow_px, lands = flow_of(true_mm)
    lands[0] = False
    found_mm = true_mm.clone()
    found_mm[2] = torch.nan
    errors = flicker_errors(found_mm, true_mm, flow_px, lands)
    assert all(values[0].isnan() for values in errors.values())
    assert errors["flicker_answered"][1] == 0
    assert errors["flicker"][1].isnan()


def test_a_true_plane_is_consistent_to_rounding():
    true_mm = plane_mm(TRACK)
    errors = warped(true_mm, true_mm)
    assert errors.keys() == WARPED_ERRORS.keys()
    assert errors["warped_difference"].max() < 1e-12
    assert errors["warped_answered"].tolist() == [1, 1]


def test_a_wrong_scale_contradicts_the_motion_by_the_closed_form():
    # Straight towards a wall: c z - m is expected, c (z - m) is there.
    track = torch.stack([at(0, 0, 0), at(0, 0, 3), at(0, 0, 7)])
    true_mm = plane_mm(track, normal=(0, 0, 1))
    c = 0.6
    errors = warped(c * true_mm, true_mm, track)
    for pair, (z, m) in enumerate([(40, 3), (37, 4)]):
        wanted = abs((c * z - m) - c * (z - m)) / (c * z - m + c * (z - m))
        assert float(errors["warped_difference"][pair]) == pytest.approx(wanted, rel=1e-9)


def test_what_the_truth_hides_does_not_count():
    # A near box covers the wall in the first frame; the camera then moves sideways.
    track = torch.stack([at(0, 0, 0), at(6, 0, 0)])
    true_mm = plane_mm(track, normal=(0, 0, 1))
    true_mm[0, 0, 10:20, 20:30] = 15
    shift_px = 6 * FX / 15
    left = math.floor(20 - shift_px)
    true_mm[1, 0, 10:20, left : left + 10] = 15
    errors = warped(true_mm, true_mm, track)
    assert float(errors["warped_difference"]) < 1e-3
    forgetful = warped_errors(true_mm, true_mm, all_known(true_mm), CAMERA, track, tolerance=10)
    assert float(forgetful["warped_difference"]) > 0.005


def test_unanswered_and_unseen_points_are_counted_and_left_out():
    true_mm = plane_mm(TRACK)
    found_mm = true_mm.clone()
    found_mm[0, 0, :, : W // 2] = 0
    known = all_known(true_mm)
    known[2] = False
    errors = warped(found_mm, true_mm, known=known)
    assert 0.3 < float(errors["warped_answered"][0]) < 0.7
    assert float(errors["warped_difference"][0]) < 1e-12
    assert all(values[1].isnan() for values in errors.values())


def test_a_hole_in_the_later_frame_is_not_interpolated_into_depth():
    true_mm = plane_mm(TRACK)
    found_mm = true_mm.clone()
    holes = torch.rand(true_mm[1].shape, generator=torch.Generator().manual_seed(4)) < 0.1
    found_mm[1][holes] = torch.nan
    errors = warped(found_mm, true_mm)
    assert errors["warped_difference"].max() < 1e-12
    # From the first frame four pixels are needed, from the second the pixel itself.
    assert errors["warped_answered"].tolist() == pytest.approx([0.9**4, 0.9], abs=0.05)


def test_one_frame_and_too_many_flows_are_refused():
    true_mm = plane_mm(TRACK)
    flow_px, lands = flow_of(true_mm)
    with pytest.raises(ShapeError, match="the clip has 1 frames"):
        warped(true_mm[:1], true_mm[:1], TRACK[:1])
    with pytest.raises(ShapeError, match="flow_px has 2 maps for 2 frames, expected 1"):
        flicker_errors(true_mm[:2], true_mm[:2], flow_px, lands)
