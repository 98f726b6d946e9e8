"""Motion between two views, on scenes whose truth is known in closed form."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from scenes import at
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.testing import assert_close

from colondepth.cameras import Camera
from colondepth.errors import ShapeError
from colondepth.motion import inverse, relative, se3_exp, so3_log
from colondepth.reconstruction.registration import EXACT, PREDICTED, Registration, register, sights
from synthetic_colons.analytic import Plane, Shape, Sphere, Tube, look

H, W = 64, 88
CAMERAS = {
    "pinhole": Camera.pinhole(fx=60, fy=56, cx=43, cy=33, height=H, width=W),
    "fisheye": Camera.fisheye(fx=42, fy=40, cx=45, cy=30, height=H, width=W),
}
ROOM: Sequence[Shape] = (
    Tube(point_mm=(1, -2, 0), along=(0.1, 0.05, 1), radius_mm=24),
    Sphere(centre_mm=(-14, 9, 30), radius_mm=9),
    Plane(point_mm=(0, 0, 70), across=(0.2, -0.1, 1)),
)
BALL: Sequence[Shape] = (Sphere(centre_mm=(0, 0, 0), radius_mm=30),)
START = at(2, 1, 4, yaw_rad=0.1)
MOVED = START @ se3_exp(torch.tensor([0.9, -0.5, 1.4, 0.03, -0.05, 0.06], dtype=torch.float64))


def seen(
    world_from_camera: Tensor, *, scene: Sequence[Shape] = ROOM, camera: str = "pinhole"
) -> dict[str, Any]:
    view = look(scene, CAMERAS[camera], world_from_camera)
    return {
        "image": view.image.float(),
        "depth_mm": view.depth_mm.float(),
        "camera": CAMERAS[camera].to(view.image.float()),
    }


def wrong_by(found: Registration, source: Tensor, target: Tensor) -> tuple[float, float]:
    """Return millimetres and degrees."""
    off = found.target_from_source @ inverse(relative(target, source))
    return off[:3, 3].norm().item(), math.degrees(so3_log(off[:3, :3]).norm().item())


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_motion_is_found_through_every_lens(camera):
    views = [sights(**seen(place, camera=camera)) for place in (START, MOVED)]
    found = register(*views, noise=EXACT)
    mm, degrees = wrong_by(found, START, MOVED)
    assert mm < 0.02
    assert degrees < 0.03
    assert found.overlap > 0.8
    assert found.agreement > 0.95
    assert found.correlation > 0.7
    back = register(views[1], views[0], noise=EXACT)
    assert max(wrong_by(back, MOVED, START)) < 0.03


def test_a_turn_about_the_middle_of_a_ball_shows_in_its_texture_alone():
    turn = se3_exp(torch.tensor([0, 0, 0, 0.02, -0.06, 0.08], dtype=torch.float64))
    places = at(0, 0, 0), at(0, 0, 0) @ turn
    views = [sights(**seen(place, scene=BALL)) for place in places]
    assert_close(views[0][-1].points[0].norm(dim=-1).mean().item(), 30.0, atol=0.01, rtol=0)
    found = register(*views, noise=EXACT)
    assert max(wrong_by(found, *places)) < 0.1


def test_a_scale_of_the_targets_depth_is_told_from_motion():
    first, second = seen(START), seen(MOVED)
    second["depth_mm"] = second["depth_mm"] * 1.2
    found = register(sights(**first), sights(**second), noise=EXACT)
    assert_close(found.log_scale, -math.log(1.2), atol=2e-3, rtol=0)
    assert max(wrong_by(found, START, MOVED)) < 0.05


def test_smooth_depth_is_not_taken_for_knowledge_of_the_place():
    degrees: dict[str, list[float]] = {"believing": [], "doubting": []}
    for seed in range(4):
        dice = torch.Generator().manual_seed(seed)
        views = []
        for place in (START, MOVED):  # each with errors of its own, as wide as a network's
            view = seen(place)
            bumps = 0.03 * torch.randn(1, 1, 4, 5, generator=dice)
            wide = F.interpolate(bumps, (H, W), mode="bicubic", align_corners=False)
            views.append(sights(**{**view, "depth_mm": view["depth_mm"] * wide[0].exp()}))
        for name, noise in (("believing", EXACT), ("doubting", PREDICTED)):
            degrees[name].append(wrong_by(register(*views, noise=noise), START, MOVED)[1])
    assert max(degrees["doubting"]) < 0.5
    assert max(degrees["believing"]) > 2


def test_highlights_and_holes_do_not_move_it():
    first, second = seen(START), seen(MOVED)
    first["image"][:, 10:22, 30:44] = 1.0
    second["image"][:, 40:50, 50:66] = 1.0
    second["depth_mm"][:, :14, :20] = 0.0
    found = register(sights(**first), sights(**second), noise=EXACT)
    assert max(wrong_by(found, START, MOVED)) < 0.05


def test_a_guess_reaches_what_lies_too_far_without_one():
    far = START @ se3_exp(torch.tensor([1.0, -1, 4, 0.1, -0.6, 0.9], dtype=torch.float64))
    views = [sights(**seen(place)) for place in (START, far)]
    assert max(wrong_by(register(*views, noise=EXACT), START, far)) > 1
    guess = relative(far, START) @ se3_exp(torch.full((6,), 0.03, dtype=torch.float64))
    assert max(wrong_by(register(*views, noise=EXACT, guesses=[guess]), START, far)) < 0.1


def test_views_of_different_places_do_not_agree():
    there = at(40, 2, -3, yaw_rad=2.6)
    other = (Tube(point_mm=(40, 0, 0), along=(1, 0.3, 1), radius_mm=11),)
    found = register(sights(**seen(START)), sights(**seen(there, scene=other)))
    assert found.correlation < 0.35


def test_the_answer_is_rigid_and_nothing_to_see_changes_nothing():
    view = seen(START)
    blank = dict(view, depth_mm=torch.zeros_like(view["depth_mm"]))
    found = register(sights(**view), sights(**blank))
    assert_close(found.target_from_source, torch.eye(4, dtype=torch.float64))
    assert found.overlap == 0
    assert found.agreement == 0
    turned = register(sights(**view), sights(**seen(MOVED))).target_from_source[:3, :3]
    assert_close(turned @ turned.mT, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)


def test_a_batch_is_refused():
    view = seen(START)
    with pytest.raises(ShapeError, match="image"):
        sights(view["image"][None], view["depth_mm"], view["camera"])
