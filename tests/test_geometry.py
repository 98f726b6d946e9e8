"""Geometry against scenes that are known in closed form, through every kind of camera."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import CX, CY, FX, FY, H, W, at, cameras
from torch.testing import assert_close

from colondepth.cameras import Camera, pixel_grid, stack
from colondepth.errors import DataError, ShapeError
from colondepth.geometry import (
    depth_from_disparity,
    depth_from_distance,
    disparity_from_depth,
    distance_from_depth,
    normals_from_depth,
    pixels_from_flow,
    reproject,
    rigid_flow,
    unproject,
)
from colondepth.motion import inverse, relative, se3_exp
from synthetic_colons.analytic import Plane, Sphere, Tube, look

PLANE = Plane(point_mm=(0, 0, 30), across=(0.3, -0.2, 1))
TUBE = Tube(point_mm=(0, 0, 0), along=(0, 0, 1), radius_mm=25)
SPHERE = Sphere(centre_mm=(0, 0, 0), radius_mm=25)
OFF_AXIS = Tube(point_mm=(4, -3, 0), along=(0.1, 0.2, 1), radius_mm=22)


@pytest.fixture(params=cameras())
def camera(request) -> Camera:
    return cameras()[request.param]


def test_every_point_of_a_tube_lies_on_its_wall(camera):
    view = look([TUBE], camera, at(0, 0, 0))
    points = unproject(view.depth_mm, camera)
    known = view.depth_mm[0] > 0
    off_axis_mm = points[..., :2].norm(dim=-1)[known]
    assert known.float().mean() > 0.8
    assert_close(off_axis_mm, torch.full_like(off_axis_mm, 25.0))


def test_unknown_depth_lands_on_the_camera_and_stays_unknown(camera):
    depth_mm = torch.zeros(1, H, W, dtype=torch.float64)
    assert unproject(depth_mm, camera).abs().max() == 0
    assert distance_from_depth(depth_mm, camera).abs().max() == 0
    assert normals_from_depth(depth_mm, camera).abs().max() == 0
    _, _, lands = reproject(depth_mm, camera, at(0, 0, 0))
    assert not lands.any()


def test_a_sphere_around_the_camera_has_one_distance_and_its_depth_is_the_rays_z(camera):
    view = look([SPHERE], camera, at(0, 0, 0))
    rays = camera.rays(H, W)
    ahead = rays[..., 2] > 1e-9
    assert_close(depth_from_distance(view.distance_mm, camera)[0][ahead], 25 * rays[..., 2][ahead])
    assert_close(distance_from_depth(view.depth_mm, camera)[0][ahead], view.distance_mm[0][ahead])


@settings(max_examples=25, deadline=None)
@given(
    fx=st.floats(10, 1000),
    fy=st.floats(10, 1000),
    cx=st.floats(0, 5),
    cy=st.floats(0, 4),
    depth_mm=st.floats(0.1, 500),
)
def test_projecting_an_unprojected_pixel_returns_it(fx, fy, cx, cy, depth_mm):
    camera = Camera.pinhole(fx=fx, fy=fy, cx=cx, cy=cy, height=4, width=5)
    depth = torch.full((1, 4, 5), depth_mm, dtype=torch.float64)
    pixels, _ = camera.project(unproject(depth, camera))
    assert_close(pixels, pixel_grid(4, 5, like=pixels), atol=1e-9, rtol=0)


@pytest.mark.parametrize("shape", [PLANE, TUBE, SPHERE], ids=["plane", "tube", "sphere"])
def test_normals_of_planes_tubes_and_spheres_are_exact_through_a_pinhole(shape):
    camera = cameras()["pinhole"]
    view = look([shape], camera, at(0, 0, 0))
    normals = normals_from_depth(view.depth_mm, camera)
    # Border pixels have one-sided differences. Three pixels about the tube's axis see 20 degrees
    # of its wall each, like a depth edge.
    away = (pixel_grid(H, W, like=normals) - camera.centre).norm(dim=-1) > 3
    away[[0, -1]] = away[:, [0, -1]] = False
    assert_close(normals[:, away], view.normals[:, away], atol=1e-9, rtol=0)


def test_normals_of_a_plane_are_exact_up_to_the_border_and_the_depth_edge():
    camera = cameras()["pinhole"]
    near = Plane(point_mm=(0, 0, 12), across=(-0.2, 0.1, 1))
    whole = look([PLANE], camera, at(0, 0, 0))
    front = look([near], camera, at(0, 0, 0))
    left = torch.arange(W) < 20
    depth_mm = torch.where(left, front.depth_mm, whole.depth_mm)
    truth = torch.where(left, front.normals, whole.normals)
    assert_close(normals_from_depth(depth_mm, camera), truth, atol=1e-9, rtol=0)


def test_normals_converge_with_the_square_of_the_pixel_on_any_tube_and_lens(camera):
    errors = []
    for factor in (2, 4):
        fine = camera.resized(H * factor, W * factor)
        view = look([OFF_AXIS], fine, at(0, 0, 0))
        normals = normals_from_depth(view.depth_mm, fine)
        cosine = (normals * view.normals).sum(dim=0)[view.depth_mm[0] > 0]
        errors.append(cosine.clamp(-1, 1).acos().median().rad2deg())
    assert errors[1] < 0.05
    assert errors[1] < errors[0] / 3


def test_normals_face_the_camera_even_in_a_mirrored_image(camera):
    flip = torch.tensor([[-1.0, 0], [0, 1]])
    mirrored = camera.remapped(flip, torch.tensor([W - 1.0, 0]), height=H, width=W)
    view = look([OFF_AXIS], mirrored, at(0, 0, 0))
    normals = normals_from_depth(view.depth_mm, mirrored)
    facing = (normals.movedim(0, -1) * mirrored.rays(H, W)).sum(dim=-1)
    known = normals.abs().amax(dim=0) > 0
    assert (facing[known] < 0).all()
    assert (normals * view.normals).sum(dim=0)[known].median() > 0.999


def test_a_lone_pixel_has_no_normal():
    camera = cameras()["pinhole"]
    depth_mm = torch.zeros(2, 1, H, W, dtype=torch.float64)
    depth_mm[:, 0, 10, 20] = 30
    depth_mm[1, 0, 10, 21] = depth_mm[1, 0, 11, 20] = 30
    normals = normals_from_depth(depth_mm, camera)
    assert normals[0].abs().max() == 0
    # Three pixels of depth 30 are a wall at right angles to the axis.
    assert_close(normals[1, :, 10, 20], torch.tensor([0.0, 0, -1], dtype=torch.float64))


def test_standing_still_moves_no_pixel(camera):
    view = look([OFF_AXIS], camera, at(0, 0, 0))
    flow, lands = rigid_flow(view.depth_mm, camera, at(0, 0, 0))
    assert lands.float().mean() > 0.8
    assert flow.abs().max() < 1e-9


def test_moving_sideways_past_a_wall_shifts_it_by_focal_length_times_step_over_depth():
    camera = cameras()["pinhole"]
    depth_mm = torch.full((1, H, W), 50.0, dtype=torch.float64)
    target_from_source = relative(at(2, 0, 0), at(0, 0, 0))
    flow, lands = rigid_flow(depth_mm, camera, target_from_source)
    assert_close(flow[0][lands[0]], torch.full_like(flow[0][lands[0]], -FX * 2 / 50))
    assert flow[1].abs().max() < 1e-12
    assert not lands[0, :, 0].any()  # the left column leaves the image
    assert_close(pixels_from_flow(flow)[..., 0][lands[0]].min(), torch.tensor(-0.5).double(),
                 atol=1.0, rtol=0)  # fmt: skip


def test_reprojected_depth_is_what_the_other_view_sees(camera):
    source, target = at(0, 0, 0), at(1.5, -1, 4, yaw_rad=0.1)
    view = look([OFF_AXIS], camera, source)
    motion = relative(target, source)
    pixels, depth_mm, lands = reproject(view.depth_mm, camera, motion)
    rays = camera.rays_at(pixels)
    direction = rays @ target[:3, :3].T
    origin = target[:3, 3].expand_as(direction)
    truth_mm = OFF_AXIS.distance_mm(origin, direction) * rays[..., 2]
    assert lands.float().mean() > 0.5
    assert_close(depth_mm[0][lands[0]], truth_mm[lands[0]], atol=1e-7, rtol=0)


def test_going_there_and_back_ends_at_the_start(camera):
    view = look([OFF_AXIS], camera, at(0, 0, 0))
    motion = relative(at(1, 2, -3, yaw_rad=-0.2), at(0, 0, 0))
    pixels, depth_mm, lands = reproject(view.depth_mm, camera, motion)
    points = camera.rays_at(pixels) * (depth_mm[0] / camera.rays_at(pixels)[..., 2])[..., None]
    back = points @ inverse(motion)[:3, :3].T + inverse(motion)[:3, 3]
    keep = lands[0] & (camera.rays_at(pixels)[..., 2] > 0.05)
    start = unproject(view.depth_mm, camera)
    assert_close(back[keep], start[keep], atol=1e-7, rtol=0)


def test_a_target_camera_of_another_size_sees_the_same_places(camera):
    view = look([OFF_AXIS], camera, at(0, 0, 0))
    motion = relative(at(1, 2, -3, yaw_rad=-0.2), at(0, 0, 0))
    pixels, depth_mm, _ = reproject(view.depth_mm, camera, motion)
    other = camera.resized(2 * H, 3 * W)
    moved, same_mm, _ = reproject(view.depth_mm, camera, motion, target_camera=other)
    scale = torch.tensor([3.0, 2], dtype=pixels.dtype)
    assert_close(moved, (pixels + 0.5) * scale - 0.5)
    assert_close(same_mm, depth_mm)


def test_unknown_depth_lands_nowhere_even_from_behind():
    camera = cameras()["pinhole"]
    depth_mm = torch.zeros(1, H, W, dtype=torch.float64)
    # Seen from 10 mm behind, the camera's own centre is on the axis, 10 mm ahead.
    _, _, lands = reproject(depth_mm, camera, relative(at(0, 0, -10), at(0, 0, 0)))
    assert not lands.any()


def test_a_wall_that_the_camera_has_passed_lands_nowhere():
    camera = cameras()["pinhole"]
    depth_mm = torch.full((1, H, W), 50.0, dtype=torch.float64)
    _, _, lands = reproject(depth_mm, camera, relative(at(0, 0, 110), at(0, 0, 0)))
    assert not lands.any()


def test_beyond_a_right_angle_there_is_distance_and_no_depth():
    camera = Camera.fisheye(fx=12, fy=13, cx=CX, cy=CY, height=H, width=W)
    beyond = camera.rays(H, W)[..., 2] < -1e-9
    assert beyond.any()
    distance_mm = torch.full((1, H, W), 30.0, dtype=torch.float64)
    depth_mm = depth_from_distance(distance_mm, camera)
    assert (depth_mm[0][beyond] == 0).all()
    assert (distance_from_depth(distance_mm, camera)[0][beyond] == 0).all()


@pytest.mark.parametrize("name", ["pinhole", "omnidirectional"])
def test_batch_axes_broadcast_alike_in_every_part_of_the_call(name):
    # Two axes of views, one of cameras: a camera belongs to the last batch axis.
    camera = cameras()[name]
    both = stack([camera, camera.turned(torch.tensor([[0.8, -0.6], [0.6, 0.8]]))])
    depth_mm = torch.full((3, 2, 1, H, W), 20.0, dtype=torch.float64)
    still = torch.eye(4, dtype=torch.float64)
    grid = pixel_grid(H, W, like=depth_mm)
    pixels, _, lands = reproject(depth_mm, both, still)
    assert_close(pixels[lands[:, :, 0]], grid.expand_as(pixels)[lands[:, :, 0]])
    one = depth_mm[0, 0]
    pixels, _, lands = reproject(one, camera, still, target_camera=stack([camera] * H))
    assert_close(pixels[lands[:, 0]], grid.expand_as(pixels)[lands[:, 0]])
    motions = torch.stack([relative(at(x, 0, 0), at(0, 0, 0)) for x in (0.0, 1.0, 2.0)])
    flow, _ = rigid_flow(one, camera, motions)
    assert flow.shape == (3, 2, H, W)
    with pytest.raises(ShapeError, match="do not broadcast"):
        unproject(depth_mm, stack([camera] * 3))


@pytest.mark.parametrize("name", cameras())
def test_autocast_does_not_move_pixels(name):
    camera = cameras()[name]
    depth_mm = look([OFF_AXIS], camera, at(0, 0, 0)).depth_mm.float()
    motion = relative(at(1, 2, -3, yaw_rad=-0.2), at(0, 0, 0)).float()
    flow, _ = rigid_flow(depth_mm, camera, motion)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = rigid_flow(depth_mm, camera, motion)
    assert torch.equal(flow, rounded)


def test_disparity_of_a_slanted_plane_is_linear_in_the_pixel():
    camera = cameras()["pinhole"]
    view = look([PLANE], camera, at(0, 0, 0))
    disparity = disparity_from_depth(view.depth_mm, camera, baseline_mm=4)
    normal = torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64)
    u, v = pixel_grid(H, W, like=disparity).unbind(dim=-1)
    by_hand = FX * 4 / 30 * ((u - CX) / FX * normal[0] + (v - CY) / FY * normal[1] + 1)
    assert_close(disparity[0], by_hand)
    assert_close(depth_from_disparity(disparity, camera, baseline_mm=4), view.depth_mm)


def test_no_disparity_is_unknown_depth_and_its_gradient_is_finite():
    camera = cameras()["pinhole"]
    disparity = torch.zeros(1, H, W, dtype=torch.float64, requires_grad=True)
    depth_mm = depth_from_disparity(disparity, camera, baseline_mm=4)
    assert depth_mm.abs().max() == 0
    depth_mm.sum().backward()
    assert disparity.grad.isfinite().all()


def test_disparity_through_a_fisheye_is_refused():
    depth_mm = torch.ones(1, H, W)
    with pytest.raises(DataError, match="undistort both images first"):
        disparity_from_depth(depth_mm, cameras()["fisheye"], baseline_mm=4)
    with pytest.raises(DataError, match="baseline is 0"):
        disparity_from_depth(depth_mm, cameras()["pinhole"], baseline_mm=0)


def test_geometry_is_differentiable(camera):
    small = camera.resized(4, 5)
    depth_mm = look([OFF_AXIS], small, at(0, 0, 0)).depth_mm.clamp(min=1).requires_grad_()
    twist = torch.tensor([0.02, 0.05, -0.01, 0.3, -0.2, 0.5], dtype=torch.float64)
    twist.requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda d: unproject(d, small), depth_mm)
    assert check(lambda d: distance_from_depth(d, small), depth_mm)
    assert check(lambda d: depth_from_distance(d, small), depth_mm)
    assert check(lambda d: normals_from_depth(d, small), depth_mm)
    assert check(lambda d, t: reproject(d, small, se3_exp(t))[:2], (depth_mm, twist))
    assert check(lambda d, t: rigid_flow(d, small, se3_exp(t))[0], (depth_mm, twist))


def test_a_batch_of_views_gives_what_each_gives_alone(camera):
    other = camera.turned(torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64))
    both = stack([camera, other])
    poses = torch.stack([at(0, 0, 0), at(1, -2, 3, yaw_rad=0.2)])
    view = look([OFF_AXIS], both, poses)
    motion = torch.stack([relative(poses[1], poses[0]), relative(poses[0], poses[1])])
    flow, lands = rigid_flow(view.depth_mm, both, motion)
    normals = normals_from_depth(view.depth_mm, both)
    for number, single in enumerate((camera, other)):
        depth_mm = view.depth_mm[number]
        assert_close(normals[number], normals_from_depth(depth_mm, single))
        alone, alone_lands = rigid_flow(depth_mm, single, motion[number])
        assert_close(flow[number], alone)
        assert_close(lands[number], alone_lands)


def test_float32_is_good_to_a_hundredth_of_a_degree_and_a_thousandth_of_a_pixel(camera):
    view = look([OFF_AXIS], camera, at(0, 0, 0))
    exact, close = view.depth_mm, view.depth_mm.float()
    motion = relative(at(1, -1, 2), at(0, 0, 0))
    flow, lands = rigid_flow(exact, camera, motion)
    single, single_lands = rigid_flow(close, camera, motion)
    agree = (lands & single_lands).expand_as(flow)
    assert single.dtype == torch.float32
    assert (lands == single_lands).float().mean() > 0.999
    assert (flow - single)[agree].abs().max() < 1e-3
    double, half = normals_from_depth(exact, camera), normals_from_depth(close, camera)
    assert torch.linalg.cross(double, half.double(), dim=0).norm(dim=0).median().rad2deg() < 0.01


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: unproject(torch.ones(H, W), c), ShapeError, "depth_mm has shape"),
        (lambda c: unproject(torch.ones(1, H, W + 1), c), ShapeError, "resized"),
        (
            lambda c: unproject(torch.ones(1, H, W).int(), c),
            DataError,
            "expected float32 or",
        ),
        (lambda c: unproject(torch.full((1, H, W), torch.nan), c), DataError, "1728 of 1728"),
        (lambda c: unproject(torch.ones(1, H, W).half(), c), DataError, "under autocast"),
        (lambda c: unproject("depth.png", c), ShapeError, "is a str"),
        (
            lambda c: rigid_flow(torch.ones(1, H, W), c, torch.eye(3)),
            ShapeError,
            "target_from_source has shape",
        ),
        (
            lambda c: rigid_flow(torch.ones(1, H, W), c, torch.full((4, 4), torch.nan)),
            DataError,
            "NaN",
        ),
        (
            lambda c: rigid_flow(torch.ones(1, H, W), c, torch.zeros(4, 4)),
            DataError,
            "target_from_source",
        ),
        (
            lambda c: rigid_flow(torch.ones(2, 1, H, W), c, torch.eye(4).expand(3, 4, 4)),
            ShapeError,
            "do not broadcast",
        ),
    ],
)
def test_what_is_not_a_map_or_a_motion_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(cameras()["pinhole"])
