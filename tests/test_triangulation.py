"""Depth from flow and motion."""

import pytest
import torch
from scenes import H, W, at, cameras
from torch.testing import assert_close

from colondepth.cameras import Camera, pixel_grid
from colondepth.errors import DataError
from colondepth.geometry import reproject, rigid_flow
from colondepth.motion import relative
from colondepth.triangulation import triangulate
from synthetic_colons.analytic import Tube, look

TUBE = Tube(point_mm=(4, -3, 0), along=(0.1, 0.2, 1), radius_mm=22)
STEP = relative(at(1.5, -1, 4, yaw_rad=0.1), at(0, 0, 0))


@pytest.fixture(params=cameras())
def camera(request) -> Camera:
    return cameras()[request.param]


def test_the_flow_of_a_known_scene_gives_its_depth_back(camera):
    view = look([TUBE], camera, at(0, 0, 0))
    flow, lands = rigid_flow(view.depth_mm, camera, STEP)
    depth_mm, confidence = triangulate(flow, camera, STEP)
    sure = lands & (confidence > 0.5)
    assert sure.float().mean() > 0.3
    assert_close(depth_mm[sure], view.depth_mm[sure], atol=1e-6, rtol=1e-6)


def test_nothing_is_known_of_a_camera_that_stands_still(camera):
    depth_mm, confidence = triangulate(
        torch.zeros(2, 2, H, W), camera, torch.eye(4).expand(2, 4, 4)
    )
    assert confidence.abs().max() == 0
    assert depth_mm.abs().max() == 0


def test_a_camera_that_only_turns_knows_nothing_either(camera):
    turn = relative(at(0, 0, 0, yaw_rad=0.05), at(0, 0, 0))
    view = look([TUBE], camera, at(0, 0, 0))
    flow, _ = rigid_flow(view.depth_mm, camera, turn)
    _, confidence = triangulate(flow, camera, turn)
    assert confidence.max() < 1e-12


def test_confidence_fades_to_nothing_at_the_epipole_and_rises_away_from_it():
    camera = Camera.pinhole(fx=40, fy=44, cx=20, cy=16, height=H, width=W)
    forward = relative(at(0, 0, 2), at(0, 0, 0))
    tube = Tube(point_mm=(0, 0, 0), along=(0, 0, 1), radius_mm=20)
    flow, _ = rigid_flow(look([tube], camera, at(0, 0, 0)).depth_mm, camera, forward)
    _, confidence = triangulate(flow, camera, forward)
    row = confidence[0, 16, 20:40]
    assert row[0] == 0
    assert (row[1:].diff() > 0).all()


def test_a_pixel_of_flow_error_costs_the_depth_that_the_confidence_says():
    camera = Camera.pinhole(fx=200, fy=210, cx=60, cy=50, height=101, width=121)
    sideways = relative(at(3, 0, 0), at(0, 0, 0))
    depth_mm = torch.full((1, 101, 121), 40.0, dtype=torch.float64)
    flow, _ = rigid_flow(depth_mm, camera, sideways)
    wrong = flow + torch.tensor([1.0, 0]).reshape(2, 1, 1)
    found, confidence = triangulate(wrong, camera, sideways)
    promised = ((1 - confidence) / confidence).sqrt()
    made = (found - depth_mm).abs() / depth_mm
    middle = (slice(None), slice(45, 55), slice(55, 65))
    assert_close(made[middle], promised[middle], atol=0, rtol=0.15)


def test_flow_that_meets_behind_the_camera_is_not_believed():
    camera = cameras()["pinhole"]
    sideways = relative(at(2, 0, 0), at(0, 0, 0))
    flow = torch.zeros(2, H, W, dtype=torch.float64)
    flow[0] = 3  # the wall must move left when the camera moves right
    depth_mm, confidence = triangulate(flow, camera, sideways)
    assert depth_mm.abs().max() == 0
    assert confidence.abs().max() == 0


def test_triangulation_is_differentiable_also_where_it_knows_nothing(camera):
    small = camera.resized(4, 5)
    depth = look([TUBE], small, at(0, 0, 0)).depth_mm
    step = relative(at(1.5, -1, 0.3), at(0, 0, 0))
    flow, lands = rigid_flow(depth, small, step)
    flow = flow.requires_grad_()
    assert lands.any()
    assert torch.autograd.gradcheck(lambda f: triangulate(f, small, step), flow)
    still = torch.zeros(2, 4, 5, dtype=torch.float64, requires_grad=True)
    motion = torch.eye(4, dtype=torch.float64, requires_grad=True)
    sum(x.sum() for x in triangulate(still, small, motion)).backward()
    assert still.grad.isfinite().all()
    assert motion.grad.isfinite().all()


def test_noise_in_the_flow_hurts_least_where_confidence_is_high():
    camera = cameras()["fisheye"].resized(3 * H, 3 * W)
    view = look([TUBE], camera, at(0, 0, 0))
    flow, lands = rigid_flow(view.depth_mm, camera, STEP)
    noise = torch.randn(flow.shape, generator=torch.Generator().manual_seed(0)).double() * 0.3
    depth_mm, confidence = triangulate(flow + noise, camera, STEP)
    wrong = ((depth_mm - view.depth_mm).abs() / view.depth_mm.clamp(min=1e-3))[lands]
    order = confidence[lands].argsort()
    quarter = len(order) // 4
    assert wrong[order[-quarter:]].median() < 0.3 * wrong[order[:quarter]].median()


def test_flow_out_of_the_epipolar_plane_is_not_believed():
    camera = cameras()["pinhole"]
    sideways = relative(at(2, 0, 0), at(0, 0, 0))
    flow = torch.zeros(2, H, W, dtype=torch.float64)
    flow[0] = -4
    _, possible = triangulate(flow, camera, sideways)
    flow[1] = 6
    _, impossible = triangulate(flow, camera, sideways)
    assert possible[0, 10:25, 15:30].min() > 0.9
    assert impossible[0, 10:25, 15:30].max() < 0.5


def test_flow_that_leaves_the_image_has_no_confidence():
    camera = cameras()["fisheye"]
    sideways = relative(at(2, 0, 0), at(0, 0, 0))
    flow = torch.zeros(2, H, W, dtype=torch.float64)
    flow[0] = -20
    _, confidence = triangulate(flow, camera, sideways)
    assert confidence[0, :, :19].abs().max() == 0
    assert confidence[0, :, 25:].max() > 0.5


def test_the_target_may_have_a_camera_of_its_own(camera):
    target = camera.resized(2 * H, 3 * W)
    view = look([TUBE], camera, at(0, 0, 0))
    pixels, _, lands = reproject(view.depth_mm, camera, STEP, target_camera=target)
    flow = (pixels - pixel_grid(H, W, like=pixels)).movedim(-1, -3)
    depth_mm, confidence = triangulate(flow, camera, STEP, target_camera=target)
    sure = lands & (confidence > 0.5)
    assert sure.float().mean() > 0.3
    assert_close(depth_mm[sure], view.depth_mm[sure], atol=1e-6, rtol=1e-6)


def test_half_a_pixel_of_parallax_is_depth_in_float32_too():
    camera = cameras()["pinhole"]
    sideways = relative(at(0.5, 0, 0), at(0, 0, 0)).float()
    flow = torch.zeros(2, H, W)
    flow[0] = -0.5
    depth_mm, confidence = triangulate(flow, camera, sideways)
    assert_close(depth_mm[0, :, 1:], torch.full((H, W - 1), 40.0), atol=0.1, rtol=0)
    assert 0.1 < confidence[0, 18, 24] < 0.4


def test_a_batch_of_motions_shares_one_flow():
    camera = cameras()["pinhole"]
    flow = torch.zeros(2, H, W, dtype=torch.float64)
    flow[0] = -3
    steps = torch.stack([relative(at(x, 0, 0), at(0, 0, 0)) for x in (1.0, 2.0)])
    depth_mm, _ = triangulate(flow, camera, steps)
    assert_close(depth_mm[1], 2 * depth_mm[0])


def test_a_motion_that_is_no_motion_is_refused():
    with pytest.raises(DataError, match="target_from_source"):
        triangulate(torch.zeros(2, H, W), cameras()["pinhole"], torch.eye(4) * torch.nan)
    flow = torch.zeros(2, H, W)
    flow[1, 3, 4] = torch.inf
    with pytest.raises(DataError, match="flow_px has 1 of"):
        triangulate(flow, cameras()["pinhole"], torch.eye(4))
