"""Losses of depth, pixel by pixel, and how they average."""

import math

import pytest
import torch
from torch.testing import assert_close

from colondepth.errors import DataError, ShapeError
from colondepth.losses.depth import (
    l1_loss,
    l2_loss,
    log_l1_loss,
    log_l2_loss,
    shape_loss,
    silog_loss,
)
from colondepth.losses.known import known_average, step

B, H, W = 2, 5, 7
LN2 = math.log(2)


def depths(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prediction, truth and valid; the first image knows 6 pixels, the second most."""
    dice = torch.Generator().manual_seed(seed)
    pred, target = 5 + 90 * torch.rand(2, B, 1, H, W, generator=dice, dtype=torch.float64)
    valid = torch.rand(B, 1, H, W, generator=dice) < 0.8
    valid[0] = False
    valid[0, 0, 1, :6] = True
    target[1, 0, 2, 3] = 0
    return pred, target, valid


def test_truth_that_is_off_by_three_millimetres_costs_three_and_nine():
    _, target, valid = depths()
    assert_close(l1_loss(target + 3, target, valid).item(), 3.0)
    assert_close(l2_loss(target - 3, target, valid).item(), 9.0)


def test_twice_the_truth_costs_ln_2_and_its_square():
    _, target, valid = depths()
    assert_close(log_l1_loss(2 * target, target, valid).item(), LN2)
    assert_close(log_l1_loss(target / 2, target, valid).item(), LN2)
    assert_close(log_l2_loss(2 * target, target, valid).item(), LN2**2)


@pytest.mark.parametrize(("forgive", "cost"), [(0.0, 0.480453), (0.5, 0.2402265), (1.0, 0.0)])
def test_twice_the_truth_costs_what_is_not_forgiven(forgive, cost):
    _, target, valid = depths()
    got = silog_loss(2 * target, target, valid, forgive_scale=forgive).item()
    assert_close(got, cost, atol=1e-7, rtol=0)


def test_with_all_scale_forgiven_it_is_half_the_mean_square_of_differences_of_all_pairs():
    pred, target, valid = depths()
    known = valid & (target > 0)
    images = []
    for p, t, k in zip(pred, target, known, strict=True):
        d = [math.log(a / b) for a, b in zip(p[k].tolist(), t[k].tolist(), strict=True)]
        images.append(sum((a - b) ** 2 for a in d for b in d) / len(d) ** 2 / 2)  # Eigen, eq. 2
    assert_close(silog_loss(pred, target, valid, forgive_scale=1).item(), sum(images) / B)


def test_forgiving_nothing_is_the_log_l2_loss():
    pred, target, valid = depths()
    assert_close(silog_loss(pred, target, valid, forgive_scale=0), log_l2_loss(pred, target, valid))


def test_a_scale_that_is_forgiven_keeps_its_digits_in_single_precision():
    _, target, valid = depths()
    got = silog_loss(1.3 * target.float(), target.float(), valid, forgive_scale=1).item()
    assert 0 <= got < 1e-13


def test_shape_is_what_no_scale_makes_smaller():
    pred, target, valid = depths()
    best = 0.0
    for image in range(B):  # any scale puts one error more or less to 0: try each
        one = pred[image, None], target[image, None], valid[image, None]
        ratios = (one[0] / one[1])[one[2] & (one[1] > 0)]
        best += min(log_l1_loss(one[0] / r, *one[1:]).item() for r in ratios) / B
    assert_close(shape_loss(pred, target, valid).item(), best)


def test_a_scale_of_each_image_does_not_change_its_shape():
    pred, target, valid = depths()
    scales = torch.tensor([0.2, 7.0], dtype=torch.float64)[:, None, None, None]
    assert_close(shape_loss(pred * scales, target, valid), shape_loss(pred, target, valid))


def test_a_third_of_an_image_at_twice_its_depth_costs_a_third_of_ln_2():
    _, target, _ = depths()
    target = target[:, :, :3, :3].clamp(min=5)
    pred = target.clone()
    pred[:, :, 0] *= 2
    got = shape_loss(3 * pred, target, torch.ones_like(target, dtype=torch.bool)).item()
    assert_close(got, LN2 / 3)


@pytest.mark.parametrize("forgive", [-0.1, 1.1, math.nan])
def test_a_scale_cannot_be_forgiven_less_than_nothing_or_more_than_all(forgive):
    with pytest.raises(DataError, match="forgive_scale"):
        silog_loss(*depths(), forgive_scale=forgive)


def test_a_sparse_image_weighs_as_much_as_a_dense_one():
    _, target, valid = depths()
    off = torch.tensor([1.0, 5.0], dtype=torch.float64)[:, None, None, None]
    assert_close(l1_loss(target + off, target, valid).item(), 3.0)


def test_a_number_of_an_unknown_kind_or_shape_is_refused():
    pred, target, valid = depths()
    with pytest.raises(ShapeError, match="target_mm"):
        l1_loss(pred, target[:, 0], valid)
    with pytest.raises(DataError, match="valid holds uint8"):
        l1_loss(pred, target, valid.byte())
    with pytest.raises(DataError, match="target_mm holds int64"):
        l1_loss(pred, target.long(), valid)


def test_depth_of_zero_on_a_known_pixel_is_not_hidden():
    pred, target, valid = depths()
    pred[0, 0, 1, 2] = 0
    assert log_l1_loss(pred, target, valid).isinf()


def test_single_precision_stays_and_halves_are_widened():
    pred, target, valid = depths()
    assert l1_loss(pred.float(), target.float(), valid).dtype == torch.float32
    assert l1_loss(pred.bfloat16(), target.half(), valid).dtype == torch.float32


def test_steps_of_steps_are_second_differences_where_three_pixels_are_known():
    u = torch.arange(6.0)
    values = (u**2).expand(1, 1, 4, 6)
    known = torch.ones(1, 1, 4, 6, dtype=torch.bool)
    known[..., 1, 2] = False
    second, both = step(*step(values, known, axis=-1), axis=-1)
    assert_close(second, torch.full((1, 1, 4, 4), 2.0))
    assert both[0, 0, 0].all()
    assert both[0, 0, 1].tolist() == [False, False, False, True]
    assert_close(known_average(second, both).item(), 2.0)


def test_averages_do_not_touch_what_is_unknown():
    values = torch.tensor([[3.0, torch.nan, 5.0], [torch.inf, 8.0, torch.nan]])
    assert known_average(values, values.isfinite()).item() == (4 + 8) / 2


def test_steps_longer_than_the_map_are_none():
    values = torch.ones(2, 1, 3, 4)
    change, both = step(values, values > 0, axis=-2, distance=5)
    assert change.shape == (2, 1, 0, 4)
    assert known_average(change, both).item() == 0
