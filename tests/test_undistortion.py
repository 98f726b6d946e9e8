"""Seeing the same place through another lens."""

import pytest
import torch
from scenes import H, W, at, cameras
from torch.testing import assert_close

from colondepth.cameras import Camera, stack
from colondepth.errors import DataError, ShapeError
from colondepth.geometry import rigid_flow
from colondepth.motion import relative
from colondepth.undistortion import (
    pinhole_for,
    undistort_depth,
    undistort_flow,
    undistort_image,
    undistort_mask,
    undistort_normals,
)
from synthetic_colons.analytic import Sphere, Tube, look

TUBE = Tube(point_mm=(4, -3, 0), along=(0.1, 0.2, 1), radius_mm=22)
DISTORTED = ("brown", "fisheye", "omnidirectional")


@pytest.fixture(params=DISTORTED)
def lens(request) -> Camera:
    return cameras()[request.param].resized(4 * H, 4 * W)


@pytest.fixture
def ideal(lens) -> Camera:
    return pinhole_for(lens, field_rad=0.9, height=90, width=110)


def test_an_undistorted_image_is_what_a_pinhole_would_have_seen(lens, ideal):
    source, truth = look([TUBE], lens, at(0, 0, 0)), look([TUBE], ideal, at(0, 0, 0))
    places, seen = undistort_image(source.normals, lens, ideal)
    assert seen.float().mean() > 0.9
    wrong = (places - truth.normals).norm(dim=0)[seen[0]]
    assert wrong.median() < 1e-3


def test_undistorted_depth_is_the_new_cameras_own_z(lens, ideal):
    # On a sphere around the camera every point has one distance, so the new depth is exact.
    ball = Sphere(centre_mm=(0, 0, 0), radius_mm=30)
    source, truth = look([ball], lens, at(0, 0, 0)), look([ball], ideal, at(0, 0, 0))
    depth_mm, seen = undistort_depth(source.depth_mm, lens, ideal)
    assert_close(depth_mm[seen], truth.depth_mm[seen], atol=1e-9, rtol=0)


def test_undistorted_depth_lies_between_no_two_surfaces(lens, ideal):
    near, far = Sphere(centre_mm=(2, 1, 20), radius_mm=6), Sphere(centre_mm=(0, 0, 0), radius_mm=80)
    source = look([near, far], lens, at(0, 0, 0))
    depth_mm, seen = undistort_depth(source.depth_mm, lens, ideal)
    rays = ideal.rays(90, 110)
    distance_mm = (depth_mm[0] / rays[..., 2])[seen[0]]
    assert ((distance_mm < 24) | (distance_mm > 79.9)).all()
    assert (distance_mm < 24).float().mean() > 0.02


def test_half_a_pixel_is_all_that_undistorted_depth_is_off(lens, ideal):
    source, truth = look([TUBE], lens, at(0, 0, 0)), look([TUBE], ideal, at(0, 0, 0))
    depth_mm, seen = undistort_depth(source.depth_mm, lens, ideal)
    wrong = ((depth_mm - truth.depth_mm).abs() / truth.depth_mm)[seen]
    assert wrong.median() < 0.01


def test_undistorted_normals_and_masks_come_from_the_nearest_pixel(lens, ideal):
    source, truth = look([TUBE], lens, at(0, 0, 0)), look([TUBE], ideal, at(0, 0, 0))
    normals, seen = undistort_normals(source.normals, lens, ideal)
    cosine = (normals * truth.normals).sum(dim=0)[seen[0]]
    assert cosine.acos().median().rad2deg() < 1
    assert_close(normals.norm(dim=0)[seen[0]], torch.ones_like(cosine))
    near, _ = undistort_mask(source.depth_mm > 40, lens, ideal)
    assert near.dtype == torch.bool
    assert (near == (truth.depth_mm > 40)).float().mean() > 0.98


def test_undistorted_flow_is_the_flow_of_the_undistorted_frames(lens, ideal):
    motion = relative(at(1, -0.5, 2, yaw_rad=0.03), at(0, 0, 0))
    source, truth = look([TUBE], lens, at(0, 0, 0)), look([TUBE], ideal, at(0, 0, 0))
    flow, lands = rigid_flow(source.depth_mm, lens, motion)
    found, seen = undistort_flow(flow, lens, ideal)
    expected, expected_lands = rigid_flow(truth.depth_mm, ideal, motion)
    started, _ = undistort_mask(lands, lens, ideal)
    agree = (seen & expected_lands & started)[0]
    assert agree.float().mean() > 0.6
    assert (found - expected).norm(dim=0)[agree].median() < 0.05


def test_flow_that_leaves_the_new_lens_is_not_seen(lens, ideal):
    flow = torch.zeros(2, 4 * H, 4 * W, dtype=torch.float64)
    flow[0] = 3000
    moved, seen = undistort_flow(flow, lens, ideal)
    assert not seen.any()
    assert moved.abs().max() == 0


def test_a_batch_of_lenses_undistorts_into_one():
    both = stack([cameras()["fisheye"], cameras()["fisheye"].resized(2 * H, W).resized(H, W)])
    ideal = pinhole_for(cameras()["fisheye"], field_rad=0.9, height=20, width=30)
    image = look([TUBE], both, torch.stack([at(0, 0, 0)] * 2)).image
    straight, seen = undistort_image(image, both, ideal)
    assert straight.shape == (2, 3, 20, 30)
    alone, _ = undistort_image(image[0], cameras()["fisheye"], ideal)
    assert_close(straight[0], alone)
    assert seen.any()


def test_distorting_back_returns_the_image(lens, ideal):
    image = look([TUBE], lens, at(0, 0, 0)).image
    large = ideal.resized(270, 330)
    straight, _ = undistort_image(image, lens, large)
    back, seen = undistort_image(straight, large, lens)
    assert 0.1 < seen.float().mean() < 1
    assert (back - image)[seen.expand_as(image)].abs().median() < 0.01


def test_a_guess_stays_a_guess_and_an_impossible_pinhole_is_refused():
    guess = Camera.assumed(H, W)
    assert not pinhole_for(guess, field_rad=1.0, height=20, width=30).calibrated
    with pytest.raises(DataError, match="keep a fisheye"):
        pinhole_for(guess, field_rad=3.0, height=20, width=30)
    with pytest.raises(ShapeError, match="resized"):
        undistort_image(torch.zeros(3, H, W + 2), guess, guess)


def test_the_new_image_is_as_wide_as_was_asked():
    camera = pinhole_for(cameras()["fisheye"], field_rad=1.2, height=90, width=110)
    across, _, _ = camera.field_of_view_rad()
    assert across == pytest.approx(1.2)
