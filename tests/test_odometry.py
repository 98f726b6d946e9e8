"""The camera's way from depth alone, on scenes whose truth is known in closed form."""

import math

import pytest
import torch
from test_registration import CAMERAS, START, H, W, seen
from torch import Tensor
from torch.testing import assert_close

from colondepth.errors import DataError, ShapeError
from colondepth.motion import relative, se3_exp, so3_log
from colondepth.reconstruction.odometry import Odometry, Placed, Track
from colondepth.reconstruction.registration import EXACT
from synthetic_colons.analytic import Tube

FRAMES = 14
STEP = torch.tensor([0.35, -0.2, 0.8, 0.01, -0.035, 0.03], dtype=torch.float64)


def way() -> list[Tensor]:
    """Return world_from_camera of a camera that goes on and turns."""
    return [START @ se3_exp(number * STEP) for number in range(FRAMES)]


def followed(places: list[Tensor], *, scales: list[float] | None = None) -> list[Placed]:
    odometry = Odometry(CAMERAS["pinhole"], noise=EXACT)
    answer = []
    for number, place in enumerate(places):
        view = seen(place)
        depth_mm = view["depth_mm"] * (scales[number] if scales else 1.0)
        answer.append(odometry.follow(view["image"], depth_mm))
    return answer


def wrong_by(placed: list[Placed], places: list[Tensor]) -> tuple[float, float]:
    """Return the error of the whole way, in mm and degrees."""
    first, last = placed[0].world_from_camera, placed[-1].world_from_camera
    assert first is not None
    assert last is not None
    off = relative(last, first) @ relative(places[0], places[-1])
    return off[:3, 3].norm().item(), math.degrees(so3_log(off[:3, :3]).norm().item())


def test_the_way_is_found_over_several_keyframes():
    placed = followed(way())
    assert [each.track for each in placed] == [Track.BEGAN] + [Track.PLACED] * (FRAMES - 1)
    assert 2 < sum(each.keyframe for each in placed) < FRAMES / 2
    mm, degrees = wrong_by(placed, way())
    length_mm = FRAMES * STEP[:3].norm().item()
    assert mm < 0.01 * length_mm
    assert degrees < 0.3


def test_depth_whose_scale_changes_from_frame_to_frame_keeps_the_scale_of_the_first():
    dice = torch.Generator().manual_seed(4)
    scales = (0.1 * torch.randn(FRAMES, generator=dice)).exp().tolist()
    placed = followed(way(), scales=scales)
    first, last = placed[0].world_from_camera, placed[-1].world_from_camera
    assert first is not None
    assert last is not None
    found = relative(last, first)[:3, 3].norm().item()
    true = relative(way()[-1], way()[0])[:3, 3].norm().item()
    assert_close(found / true, scales[0], atol=0.03, rtol=0)
    told = [each.scale * scale for each, scale in zip(placed, scales, strict=True)]
    assert_close(told, [scales[0]] * FRAMES, atol=0.02, rtol=0)


def test_frames_without_sight_are_lost_and_the_way_goes_on():
    odometry = Odometry(CAMERAS["pinhole"], noise=EXACT)
    placed = []
    for number, place in enumerate(way()[:9]):
        view = seen(place)
        dark = number in (4, 5)
        depth_mm = torch.zeros_like(view["depth_mm"]) if dark else view["depth_mm"]
        placed.append(odometry.follow(view["image"] * (not dark), depth_mm))
    tracks = [each.track for each in placed]
    assert tracks[4:6] == [Track.LOST] * 2
    assert placed[4].world_from_camera is None
    assert tracks[6:] == [Track.PLACED] * 3
    assert {each.submap for each in placed} == {0}
    assert wrong_by(placed, way()[:9])[0] < 0.1


def test_after_a_cut_a_submap_of_its_own_begins():
    elsewhere = (Tube(point_mm=(40, 0, 0), along=(1, 0.3, 1), radius_mm=11),)
    odometry = Odometry(CAMERAS["pinhole"], noise=EXACT)
    placed = []
    for place in way()[:4]:
        view = seen(place)
        placed.append(odometry.follow(view["image"], view["depth_mm"]))
    turned = torch.diag(torch.tensor([-1.0, 1, -1, 1], dtype=torch.float64))
    turned[:3, 3] = torch.tensor([40, 2, -3])
    for number in range(6):
        view = seen(turned @ se3_exp(number * STEP / 2), scene=elsewhere)
        placed.append(odometry.follow(view["image"], view["depth_mm"]))
    assert [each.submap for each in placed[:4]] == [0] * 4
    assert Track.LOST in [each.track for each in placed]
    assert placed[-1].submap == 1
    began = next(each for each in placed if each.submap == 1 and each.track is Track.BEGAN)
    assert began.world_from_camera is not None
    assert_close(began.world_from_camera, torch.eye(4, dtype=torch.float64))


def test_a_clip_in_which_nothing_is_known_is_lost_from_the_first_frame():
    odometry = Odometry(CAMERAS["pinhole"], noise=EXACT)
    nothing = torch.zeros(1, H, W)
    tracks = {odometry.follow(torch.rand(3, H, W), nothing).track for _ in range(6)}
    assert tracks == {Track.LOST}


def test_frames_of_another_size_or_with_nan_are_refused():
    odometry = Odometry(CAMERAS["pinhole"], noise=EXACT)
    view = seen(START)
    with pytest.raises(DataError, match=r"frame of 63x88 for a camera of 64x88"):
        odometry.follow(view["image"][:, 1:], view["depth_mm"][:, 1:])
    with pytest.raises(DataError, match="depth_mm"):
        odometry.follow(view["image"], view["depth_mm"] * math.nan)
    with pytest.raises(ShapeError, match="depth_mm"):
        odometry.follow(view["image"], view["depth_mm"][0])
