"""Structural similarity, beside scikit-image's."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch.testing import assert_close

from colondepth.errors import DataError, ShapeError
from colondepth.losses.ssim import ssim_loss, ssim_map, whole_windows

B, C, H, W = 2, 3, 11, 14


def images(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    dice = torch.Generator().manual_seed(seed)
    first, noise = torch.rand(2, B, C, H, W, generator=dice, dtype=torch.float64)
    return first, 0.7 * first + 0.3 * noise


@pytest.mark.parametrize("window", [3, 5, 7])
def test_every_pixel_is_what_scikit_image_says_of_reflected_images(window):
    first, second = images()
    reach = window // 2
    # scikit-image reflects the border pixel too, so it sees images that were reflected before.
    around = [(reach, reach), (reach, reach)]
    expected = np.empty((B, C, H, W))
    for index in np.ndindex(B, C):
        x, y = (np.pad(part[index].numpy(), around, mode="reflect") for part in (first, second))
        full = structural_similarity(
            x, y, win_size=window, data_range=0.8, use_sample_covariance=False, full=True
        )[1]
        expected[index] = full[reach : reach + H, reach : reach + W]
    got = ssim_map(first, second, window=window, data_range=0.8)
    assert_close(got, torch.from_numpy(expected), atol=1e-10, rtol=0)


def test_a_map_is_all_like_itself():
    first, _ = images()
    assert (ssim_map(first.float(), first.float(), window=3, data_range=1) == 1).all()


def test_two_flat_maps_differ_in_their_luminance_only():
    low, high = torch.full((B, 1, H, W), 20.0), torch.full((B, 1, H, W), 50.0)
    c1 = (0.01 * 100) ** 2
    similarity = (2 * 20 * 50 + c1) / (20**2 + 50**2 + c1)
    got = ssim_loss(low, high, low > 0, window=3, data_range_mm=100)
    assert_close(got.item(), (1 - similarity) / 2, atol=1e-5, rtol=0)


def test_relief_upside_down_is_less_like_than_none():
    u = torch.arange(W).expand(B, 1, H, W)
    relief = 3.0 * (u % 2) - 1.5
    flat = torch.full((B, 1, H, W), 40.0)
    valid = torch.ones(B, 1, H, W, dtype=torch.bool)
    none, turned = (
        ssim_loss(pred, flat + relief, valid, window=3, data_range_mm=20).item()
        for pred in (flat, flat - relief)
    )
    assert 0 < none < 0.5 < turned < 1


def test_the_loss_averages_over_windows_without_an_unknown_pixel():
    first, second = (50 * part[:, :1] + 20 for part in images())
    valid = torch.ones(B, 1, H, W, dtype=torch.bool)
    valid[0, 0, 4, 6] = False
    valid[1, 0, :, :8] = False
    similarity = ssim_map(first, second, window=3, data_range=100)
    keep = torch.ones(B, 1, H, W, dtype=torch.bool)
    keep[0, 0, 3:6, 5:8] = False
    keep[1, 0, :, :9] = False
    expected = [(1 - similarity[n][keep[n]].mean()) / 2 for n in range(B)]
    got = ssim_loss(first, second, valid, window=3, data_range_mm=100)
    assert_close(got, sum(expected) / B)
    assert (whole_windows(valid, window=3) == keep).all()


def test_an_unknown_pixel_is_in_the_reflected_windows_too():
    known = torch.ones(B, 1, H, W, dtype=torch.bool)
    known[..., 1, 1] = False
    expected = known.clone()
    expected[..., :3, :3] = False
    assert (whole_windows(known, window=3) == expected).all()


def test_windows_have_a_centre_and_fit():
    first, second = images()
    for window in (0, 4, -3):
        with pytest.raises(DataError, match="odd number"):
            ssim_map(first, second, window=window, data_range=1)
    with pytest.raises(ShapeError, match="11x14 are too small for a window of 23"):
        ssim_map(first, second, window=23, data_range=1)
    with pytest.raises(DataError, match="data range is 0"):
        ssim_map(first, second, window=3, data_range=0)
