"""Rectified pairs of a colon: disparity leads from one image to the other."""

import pytest
import torch
from torch.testing import assert_close

from colondepth.errors import DataError
from colondepth.warping import Lookup, sample
from synthetic_colons.worlds.stereo_colons import BASELINE_MM, StereoBatch, StereoColons

H, W = 48, 60


@pytest.fixture(scope="module")
def pairs() -> StereoBatch:
    return StereoColons("2", size=(H, W), batch=3, seed=5).make(0)


def places_in_right(pairs: StereoBatch) -> torch.Tensor:
    v, u = torch.meshgrid(torch.arange(float(H)), torch.arange(float(W)), indexing="ij")
    return torch.stack([u - pairs.disparity_px[:, 0], v.expand(3, H, W)], dim=-1)


def test_disparity_is_focal_times_baseline_over_depth(pairs):
    focal = float(pairs.camera.linear[0, 0])
    assert_close(
        pairs.disparity_px * pairs.depth_mm,
        torch.full_like(pairs.depth_mm, focal * BASELINE_MM),
        rtol=1e-4,
        atol=1e-3,
    )


def test_both_images_have_one_disparity_at_one_place(pairs):
    there, inside = sample(pairs.right_disparity_px, places_in_right(pairs), lookup=Lookup.BILINEAR)
    kept = inside & ~pairs.occluded & pairs.valid
    assert kept.float().mean() > 0.3
    error = ((there - pairs.disparity_px).abs() / pairs.disparity_px)[kept]
    assert error.median() < 0.01
    assert error.quantile(0.95) < 0.05


def test_the_right_image_warped_by_the_disparity_is_the_left_one(pairs):
    warped, inside = sample(pairs.right, places_in_right(pairs), lookup=Lookup.BILINEAR)
    kept = (inside & ~pairs.occluded & pairs.valid).expand(-1, 3, -1, -1)
    assert (warped - pairs.left).abs()[kept].median() < 0.01
    assert (pairs.right - pairs.left).abs()[kept].median() > 0.015  # without it they differ


def test_a_place_outside_the_right_image_counts_as_occluded(pairs):
    outside = places_in_right(pairs)[..., 0] < -0.5
    assert outside.any()
    assert pairs.occluded[:, 0][outside].all()


def test_a_batch_is_the_same_again(pairs):
    again = StereoColons("2", size=(H, W), batch=3, seed=5).make(0)
    assert torch.equal(again.left, pairs.left)
    assert torch.equal(again.right, pairs.right)


def test_a_pair_without_baseline_is_refused():
    with pytest.raises(DataError, match="baseline 0"):
        StereoColons("1", size=(H, W), batch=1, seed=1, baseline_mm=0.0)
