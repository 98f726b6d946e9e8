"""What networks are told about their camera."""

from math import log, pi

import pytest
import torch
from scenes import cameras
from torch.testing import assert_close

from colondepth.backbones import sight as module
from colondepth.backbones.sight import REFERENCE_FOCAL_PX, log_focal, sight
from colondepth.cameras import Camera

H, W = 60, 84
LIKE = torch.zeros(1)


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_remembered", type(module._remembered)())


def fisheye(focal: float) -> Camera:
    return Camera.fisheye(fx=focal, fy=focal, cx=44.3, cy=27.6, height=H, width=W)


def test_a_fisheye_is_as_fine_as_its_focal_length_and_finer_at_the_edge():
    # Equidistant: a ring at angle t has solid angle 2 pi sin(t) dt and 2 pi f^2 t dt pixels.
    camera = fisheye(40.0)
    seen = sight(camera, H, W, like=torch.zeros(1, dtype=torch.float64))
    angle = torch.acos(seen.rays[0, 2].clamp(-1, 1))
    expected = log(40 / REFERENCE_FOCAL_PX) - 0.5 * (angle.sin() / angle).log()
    inside = (slice(1, -1), slice(1, -1))  # differences are one-sided at the border
    assert_close(seen.log_focal[0, 0][inside], expected[inside], rtol=0, atol=1e-3)


def test_a_pinhole_of_unequal_focal_lengths_has_their_mean_in_the_middle():
    camera = Camera.pinhole(fx=200, fy=50, cx=40, cy=30, height=H, width=W)
    seen = sight(camera, H, W, like=torch.zeros(1, dtype=torch.float64))
    assert seen.log_focal[0, 0, 30, 40] == pytest.approx(log(100 / REFERENCE_FOCAL_PX), abs=1e-3)


def test_where_no_light_comes_nothing_is_said():
    rays = sight(fisheye(80.0), H, W, like=LIKE).rays
    dark = torch.hypot(torch.arange(W) - 40.2, torch.arange(H)[:, None] - 30.7) < 12
    said = log_focal(torch.where(dark, 0, rays))
    assert said.isfinite().all()
    assert not said[0, 0][dark].any()


def test_ahead_is_less_than_a_right_angle_from_the_axis():
    seen = sight(fisheye(20.0), H, W, like=LIKE)
    angle = torch.hypot(torch.arange(W) - 44.3, torch.arange(H)[:, None] - 27.6) / 20
    assert torch.equal(seen.ahead[0, 0], angle < pi / 2)
    assert 0.2 < seen.ahead.double().mean() < 0.9


@pytest.mark.parametrize("kind", cameras())
def test_every_lens_has_its_rays_first(kind):
    camera = cameras()[kind]
    seen = sight(camera, camera.height, camera.width, like=LIKE)
    rays = camera.rays(camera.height, camera.width).movedim(-1, 0)[None].float()
    assert_close(seen.rays, rays, rtol=0, atol=0)
    assert seen.log_focal.shape == (1, 1, camera.height, camera.width)


def test_the_camera_of_a_video_is_looked_up_once():
    with torch.no_grad():
        first = sight(fisheye(40.0), H, W, like=LIKE)
        assert sight(fisheye(40.0), H, W, like=LIKE) is first
        assert sight(fisheye(41.0), H, W, like=LIKE) is not first
        assert sight(fisheye(40.0), H, W, like=LIKE.double()) is not first
        for focal in range(50, 50 + module.REMEMBERED_CAMERAS):
            sight(fisheye(float(focal)), H, W, like=LIKE)
        assert sight(fisheye(40.0), H, W, like=LIKE) is not first
        assert len(module._remembered) <= module.REMEMBERED_CAMERAS


def test_what_is_remembered_is_what_would_be_looked_up():
    kinds = list(cameras().values())
    with torch.no_grad():
        before = [sight(each, each.height, each.width, like=LIKE) for each in kinds]
        after = [sight(each, each.height, each.width, like=LIKE) for each in kinds]
    fresh = [sight(each, each.height, each.width, like=LIKE) for each in kinds]  # with gradients
    for one, two, three in zip(before, after, fresh, strict=True):
        assert one is two
        assert torch.equal(one.rays, three.rays)
        assert torch.equal(one.log_focal, three.log_focal)


def test_what_inference_mode_remembered_does_not_disturb_training():
    with torch.inference_mode():
        sight(fisheye(40.0), H, W, like=LIKE)
    focal = torch.tensor(40.0, dtype=torch.float64, requires_grad=True)
    camera = Camera.fisheye(fx=focal, fy=focal, cx=44.3, cy=27.6, height=H, width=W)
    sight(camera, H, W, like=LIKE).log_focal[0, 0, 28, 44].backward()  # in the middle
    assert focal.grad == pytest.approx(1 / 40, rel=1e-2)
