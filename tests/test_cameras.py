"""Cameras against OpenCV, closed forms and themselves."""

from math import pi

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import C3VD, CX, CY, FX, FY, H, W, cameras
from torch.testing import assert_close

from colondepth.cameras import Camera, Fisheye, Omnidirectional, Pinhole, pixel_grid, stack
from colondepth.errors import DataError, ShapeError

BROWN = (-0.31, 0.12, 1.1e-3, -2.3e-3, -0.02)
KANNALA = (0.05, -0.02, 0.01, -0.002)


@pytest.fixture(params=cameras())
def camera(request) -> Camera:
    return cameras()[request.param]


def test_projecting_the_rays_returns_every_pixel_that_the_lens_sees(camera):
    rays = camera.rays(camera.height, camera.width)
    pixels, in_front = camera.project(rays * 37.0)
    seen = rays.abs().amax(dim=-1) > 0
    assert seen.float().mean() > 0.8
    assert in_front[seen].all()
    grid = pixel_grid(camera.height, camera.width, like=rays)
    assert (pixels - grid)[seen].abs().max() < 1e-9


def test_the_round_trip_holds_to_a_ten_thousandth_of_a_pixel_at_150_degrees_in_float32():
    for lens in (
        Camera.fisheye(fx=183, fy=187, cx=243.3, cy=231.9, height=480, width=500),
        Camera.fisheye(
            fx=171, fy=187, cx=243.3, cy=231.9, height=480, width=500, distortion=KANNALA
        ),
    ):
        across, down, _ = lens.field_of_view_rad()
        assert max(across, down) > 150 * pi / 180
        single = lens.to(torch.zeros((), dtype=torch.float32))
        rays = single.rays(480, 500)
        pixels, in_front = single.project(rays)
        assert in_front[rays.abs().amax(dim=-1) > 0].all()
        error = (pixels - pixel_grid(480, 500, like=rays))[rays.abs().amax(dim=-1) > 0]
        assert error.abs().max() < 1e-4


@pytest.mark.parametrize("sideways", [0.0, 1.0])
def test_a_pinhole_projects_as_opencv_does(sideways):
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(500, 3, generator=generator, dtype=torch.float64) * 2 - 1
    points[:, 2] = points[:, 2].abs() + 1
    bends = np.array(BROWN) * [1, 1, sideways, sideways, 1]
    camera = Camera.pinhole(
        fx=FX, fy=FY, cx=CX, cy=CY, height=H, width=W, distortion=bends.tolist()
    )
    matrix = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])
    theirs, _ = cv2.projectPoints(points.numpy(), np.zeros(3), np.zeros(3), matrix, bends)
    ours, in_front = camera.project(points)
    assert in_front.float().mean() > 0.9
    assert_close(ours[in_front], torch.from_numpy(theirs[:, 0])[in_front], atol=1e-9, rtol=0)


def test_a_fisheye_projects_as_opencv_does():
    generator = torch.Generator().manual_seed(1)
    angle = torch.rand(500, generator=generator, dtype=torch.float64) * 1.3
    around = torch.rand(500, generator=generator, dtype=torch.float64) * 2 * pi
    points = 7 * torch.stack(
        [angle.sin() * around.cos(), angle.sin() * around.sin(), angle.cos()], dim=-1
    )
    camera = Camera.fisheye(fx=FX, fy=FY, cx=CX, cy=CY, height=H, width=W, distortion=KANNALA)
    matrix = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])
    theirs, _ = cv2.fisheye.projectPoints(
        points.numpy()[:, None], np.zeros(3), np.zeros(3), matrix, np.array(KANNALA)
    )
    ours, in_front = camera.project(points)
    assert in_front.all()
    assert_close(ours, torch.from_numpy(theirs[:, 0]), atol=1e-9, rtol=0)


def test_undistorting_a_pinhole_agrees_with_opencv():
    camera = Camera.pinhole(
        fx=FX, fy=FY, cx=CX, cy=CY, height=H, width=W, distortion=(-0.2, 0.03, 1e-3, -2e-3, 0)
    )
    pixels = pixel_grid(H, W, like=camera.centre).reshape(-1, 2)
    matrix = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 200, 1e-12)
    bends = np.array([-0.2, 0.03, 1e-3, -2e-3, 0])
    theirs = cv2.undistortPoints(pixels.numpy()[:, None], matrix, bends, criteria=criteria)
    rays = camera.rays_at(pixels)
    assert_close(rays[:, :2] / rays[:, 2:], torch.from_numpy(theirs[:, 0]), atol=1e-7, rtol=0)


def test_the_omnidirectional_ray_is_its_published_polynomial():
    # Scaramuzza's formula by hand for one pixel of C3VD's camera.
    u, v = 1200.0, 250.0
    (c, d), (e, one) = C3VD.linear.tolist()
    x, y = np.linalg.solve([[c, d], [e, one]], [u - C3VD.centre[0], v - C3VD.centre[1]])
    r = np.hypot(x, y)
    a = C3VD.lens.parameters().tolist()
    by_hand = np.array([x, y, a[0] + a[2] * r**2 + a[3] * r**3 + a[4] * r**4])
    ray = C3VD.rays_at(torch.tensor([u, v], dtype=torch.float64))
    assert_close(ray, torch.from_numpy(by_hand / np.linalg.norm(by_hand)), atol=1e-12, rtol=0)


def test_an_equidistant_fisheye_spreads_pixels_in_proportion_to_the_angle():
    camera = Camera.fisheye(fx=100, fy=100, cx=0, cy=0, height=H, width=W)
    rays = camera.rays_at(torch.tensor([[100.0, 0], [50, 0], [200, 0]], dtype=torch.float64))
    angle = torch.atan2(rays[:, 0], rays[:, 2])
    assert_close(angle, torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64))


def test_a_point_behind_a_pinhole_is_not_in_front():
    camera = cameras()["pinhole"]
    _, in_front = camera.project(torch.tensor([[0.1, 0.2, -1], [0.1, 0.2, 1], [0, 0, 0]]).double())
    assert in_front.tolist() == [False, True, False]


def test_a_wide_fisheye_sees_behind_itself_and_says_where_it_ends():
    camera = Camera.fisheye(fx=30, fy=30, cx=CX, cy=CY, height=H, width=W)
    points = torch.tensor([[1.0, 0, -0.5], [0, 0, -1]], dtype=torch.float64)
    pixels, in_front = camera.project(points)
    assert in_front[0]
    assert_close(pixels[0, 0] - CX, 30 * torch.tensor(pi / 2 + np.arctan(0.5)))


def test_pixels_beyond_a_folding_lens_have_no_ray():
    # r (1 - 0.4 r^2) turns back at r = 0.913, where it reaches 0.609 focal lengths.
    camera = Camera.pinhole(
        fx=30, fy=31, cx=CX, cy=CY, height=H, width=W, distortion=(-0.4, 0, 0, 0, 0)
    )
    pixels = torch.tensor([[CX + 0.60 * 30, CY], [CX + 0.62 * 30, CY]], dtype=torch.float64)
    rays = camera.rays_at(pixels)
    assert rays[0].norm() == pytest.approx(1)
    assert rays[1].tolist() == [0, 0, 0]
    _, in_front = camera.project(torch.tensor([[0.9, 0, 1], [0.93, 0, 1]]).double())
    assert in_front.tolist() == [True, False]


def test_a_folding_fisheye_ends_where_its_radius_stops_growing():
    bends = (-0.1, -0.05, -0.01, -0.01)
    camera = Camera.fisheye(fx=30, fy=31, cx=CX, cy=CY, height=H, width=W, distortion=bends)
    angles = np.radians([60.0, 66.0])
    slope = 1 + sum((2 * k + 3) * b * angles ** (2 * k + 2) for k, b in enumerate(bends))
    assert slope[0] > 0 > slope[1]
    points = torch.from_numpy(np.stack([np.sin(angles), 0 * angles, np.cos(angles)], axis=-1))
    _, in_front = camera.project(points)
    assert in_front.tolist() == [True, False]
    beyond = torch.tensor([[CX + 30.0, CY]], dtype=torch.float64)  # farther than it ever reaches
    assert camera.rays_at(beyond).abs().max() == 0


def test_a_linear_term_in_the_polynomial_counts():
    camera = Camera.omnidirectional(
        polynomial=(30, 0.2, -1e-3, 0, 0), cx=CX, cy=CY, height=H, width=W
    )
    ray = camera.rays_at(torch.tensor([CX + 20, CY], dtype=torch.float64))
    assert (ray[0] / ray[2]).item() == pytest.approx(20 / (30 + 4 - 0.4))
    assert_close(camera.project(ray * 7)[0], torch.tensor([CX + 20, CY], dtype=torch.float64))


def test_every_ray_of_a_strongly_decentred_lens_comes_back_in_float32():
    for tangential in ((1.1e-3, -2.3e-3), (0.02, -0.03)):
        bends = (-0.4, 0.0, *tangential, 0.0)
        camera = Camera.pinhole(
            fx=300, fy=310, cx=243, cy=181, height=360, width=480, distortion=bends
        ).to(torch.zeros((), dtype=torch.float32))
        rays = camera.rays(360, 480)
        seen = rays.abs().amax(dim=-1) > 0
        pixels, in_front = camera.project(rays)
        error = (pixels - pixel_grid(360, 480, like=rays)).abs().amax(dim=-1)
        assert 0.3 < seen.float().mean() < 1
        assert error[seen & in_front].max() < 2e-4
        assert in_front[seen].float().mean() > 0.999


def test_a_pinhole_sees_75_degrees_off_its_axis():
    camera = cameras()["pinhole"]
    angle = np.radians(75.0)
    pixels, in_front = camera.project(torch.tensor([np.sin(angle), 0, np.cos(angle)]))
    assert in_front
    assert pixels[0].item() == pytest.approx(CX + FX * np.tan(angle))


def test_the_image_ends_at_the_edges_of_its_border_pixels():
    camera = cameras()["pinhole"]
    corners = torch.tensor([[-0.5, -0.5], [W - 0.5, H - 0.5], [-0.51, 0], [0, H - 0.49]])
    assert camera.contains(corners).tolist() == [True, True, False, False]


def test_a_camera_follows_the_precision_of_its_points():
    camera = cameras()["fisheye"]
    points = camera.rays(H, W)[5, 7] * 3
    single = camera.to(torch.zeros((), dtype=torch.float32))
    assert single.project(points)[0].dtype == torch.float64
    assert single.rays_at(torch.zeros(2, dtype=torch.float64)).dtype == torch.float64


def test_rays_and_pixels_are_differentiable_in_everything(camera):
    camera = camera.resized(3, 4)

    def rays(parameters, linear, centre):
        return _rebuilt(camera, parameters, linear, centre).rays(3, 4)

    def pixels(parameters, linear, centre, points):
        return _rebuilt(camera, parameters, linear, centre).project(points)[0]

    inputs = [camera.lens.parameters(), camera.linear, camera.centre]
    inputs = [value.clone().requires_grad_() for value in inputs]
    # C3VD's coefficients span twelve powers of ten: perturb them in proportion to themselves.
    unit = inputs[0].detach().abs().clamp(min=1e-12)
    scaled = (inputs[0].detach() / unit).requires_grad_()
    points = camera.rays(3, 4).detach().reshape(-1, 3)[[1, 5, 6, 10]] * 9
    assert torch.autograd.gradcheck(lambda s, li, c: rays(s * unit, li, c), (scaled, *inputs[1:]))
    assert torch.autograd.gradcheck(
        lambda s, li, c, p: pixels(s * unit, li, c, p),
        (scaled, *inputs[1:], points.requires_grad_()),
    )


def test_gradients_are_finite_on_the_axis_and_out_of_sight(camera):
    points = torch.tensor([[0, 0, 5.0], [0, 0, 0], [0, 0, -5], [3, 1, -1]], dtype=torch.float64)
    points.requires_grad_()
    camera.project(points)[0].sum().backward()
    assert points.grad.isfinite().all()
    centre = camera.centre.clone().requires_grad_()
    moved = _rebuilt(camera, camera.lens.parameters(), camera.linear, centre)
    moved.rays_at(torch.stack([centre.detach(), centre.detach() + 5000])).sum().backward()
    assert centre.grad.isfinite().all()


def test_resizing_keeps_every_ray_in_its_place(camera):
    small = camera.resized(camera.height // 3, camera.width // 2)
    # The centre of a block of 2x3 pixels, in old coordinates, is the new pixel.
    grid = pixel_grid(small.height, small.width, like=camera.centre)
    scale = camera.centre.new_tensor([camera.width / small.width, camera.height / small.height])
    old = (grid + 0.5) * scale - 0.5
    assert_close(small.rays(small.height, small.width), camera.rays_at(old), atol=1e-9, rtol=0)


def test_cropping_keeps_every_ray_in_its_place(camera):
    height, width = camera.height - 9, camera.width - 7
    crop = camera.cropped(4, 2, height, width)
    whole = camera.rays(camera.height, camera.width)
    assert_close(crop.rays(height, width), whole[4 : 4 + height, 2 : 2 + width], atol=1e-9, rtol=0)


def test_turning_the_axes_turns_the_rays_and_nothing_else(camera):
    angle = torch.tensor(0.7, dtype=torch.float64)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2)
    mirror = torch.tensor([[-1.0, 0], [0, 1]], dtype=torch.float64)
    for orthogonal in (turn, mirror, turn @ mirror):
        whole = torch.block_diag(orthogonal, torch.ones(1, 1, dtype=torch.float64))
        before = camera.rays(camera.height, camera.width)
        after = camera.turned(orthogonal).rays(camera.height, camera.width)
        assert_close(after, before @ whole.T, atol=1e-9, rtol=0)


def test_a_batch_of_cameras_gives_what_each_gives_alone(camera):
    other = camera.remapped(
        torch.tensor([[1.1, 0.02], [0, 0.9]]),
        torch.tensor([3.0, -2]),
        height=camera.height,
        width=camera.width,
    )
    both = stack([camera, other])
    rays = both.rays(camera.height, camera.width)
    assert_close(rays[0], camera.rays(camera.height, camera.width))
    assert_close(rays[1], other.rays(camera.height, camera.width))
    points = rays[:, ::5, ::4] * 11
    pixels, in_front = both.project(points)
    assert_close(pixels[1], other.project(points[1])[0])
    assert_close(in_front[0], camera.project(points[0])[1])


@settings(max_examples=30, deadline=None)
@given(
    k1=st.floats(-0.05, 0.2),
    k2=st.floats(-0.02, 0.05),
    angle=st.floats(0, 75 * pi / 180),
    around=st.floats(0, 2 * pi),
)
def test_any_mild_fisheye_comes_back_to_the_same_ray(k1, k2, angle, around):
    camera = Camera.fisheye(
        fx=FX, fy=FY, cx=CX, cy=CY, height=H, width=W, distortion=(k1, k2, 0, 0)
    )
    ray = torch.tensor(
        [np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)]
    )
    pixels, in_front = camera.project(ray)
    if in_front:
        assert_close(camera.rays_at(pixels), ray, atol=1e-9, rtol=0)


def test_the_assumed_camera_sees_140_degrees_and_is_not_calibrated():
    camera = Camera.assumed(480, 640)
    assert not camera.calibrated
    diagonal = camera.field_of_view_rad()[2]
    assert diagonal == pytest.approx(140 * pi / 180, rel=0.01)
    assert Camera.assumed(1, 1).rays(1, 1).shape == (1, 1, 3)


def test_lenses_keep_their_kind_through_every_change(camera):
    kinds = {Pinhole, Fisheye, Omnidirectional}
    assert type(camera.lens) in kinds
    assert type(camera.resized(20, 30).cropped(1, 1, 5, 5).lens) is type(camera.lens)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Camera.pinhole(fx=0, fy=FY, cx=CX, cy=CY, height=H, width=W), "singular"),
        (lambda: Camera.pinhole(fx=float("nan"), fy=1, cx=1, cy=1, height=H, width=W), "NaN"),
        (lambda: Camera.pinhole(fx=FX, fy=FY, cx=CX, cy=CY, height=0, width=W), "no image"),
        (lambda: cameras()["pinhole"].rays(H, W + 1), r"resized\(36, 49\)"),
        (lambda: cameras()["pinhole"].cropped(4, 0, H, W), "leaves the image"),
        (
            lambda: Camera.fisheye(
                fx=1, fy=1, cx=0, cy=0, height=H, width=W, distortion=(0, 0, 0, 0, 0)
            ),
            "expected .4,.",
        ),
        (
            lambda: Camera.omnidirectional(
                polynomial=(-700, 0, 1e-3, 0, 0), cx=CX, cy=CY, height=H, width=W
            ),
            "change all five signs",
        ),
        (lambda: stack([cameras()["pinhole"], cameras()["fisheye"]]), "one kind and one size"),
        (lambda: stack([]), "no camera"),
        (lambda: stack([stack([cameras()["pinhole"]] * 2), cameras()["pinhole"]]), "in a batch"),
        (lambda: cameras()["pinhole"].cropped(-1, 0, 5, 5), "leaves the image"),
        (lambda: cameras()["pinhole"].turned(torch.diag(torch.tensor([2.0, 1]))), "orthogonal"),
        (
            lambda: cameras()["pinhole"].remapped(
                torch.eye(2).expand(3, 2, 2), torch.zeros(2), height=H, width=W
            ),
            "linear has shape",
        ),
        (lambda: cameras()["pinhole"].project(torch.zeros(4, 3).int()), "holds int32"),
        (lambda: cameras()["pinhole"].project(torch.zeros(4, 2)), "points has shape"),
    ],
)
def test_a_camera_that_cannot_be_says_why(make, message):
    with pytest.raises((DataError, ShapeError), match=message):
        make()


def test_points_whose_batch_is_not_the_cameras_are_refused():
    both = stack([cameras()["pinhole"]] * 2)
    with pytest.raises(ShapeError, match="batch axes do not broadcast"):
        both.project(torch.ones(3, 7, 3, dtype=torch.float64))


def _rebuilt(camera, parameters, linear, centre) -> Camera:
    return Camera(
        lens=camera.lens.with_parameters(parameters),
        linear=linear,
        centre=centre,
        height=camera.height,
        width=camera.width,
    )
