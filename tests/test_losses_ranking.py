"""Which of two pixels is farther, and how pairs are drawn."""

import math

import pytest
import torch
from torch.testing import assert_close

from colondepth.errors import DataError, ShapeError
from colondepth.losses.ranking import draw_pairs, ranking_loss

B, H, W = 2, 4, 6


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two_pixels(first_mm: float, second_mm: float) -> torch.Tensor:
    """A map that is 7 mm deep but for the pixels at (u, v) = (2, 1) and (5, 3)."""
    depth_mm = torch.full((B, 1, H, W), 7.0, dtype=torch.float64)
    depth_mm[..., 1, 2], depth_mm[..., 3, 5] = first_mm, second_mm
    return depth_mm


PAIR = torch.tensor([1 * W + 2, 3 * W + 5]).expand(B, 1, 2)
VALID = torch.ones(B, 1, H, W, dtype=torch.bool)


def cost(pred: torch.Tensor, target: torch.Tensor, *, equal_within: float = 0.02) -> float:
    return ranking_loss(pred, target, VALID, pairs=PAIR, equal_within=equal_within).item()


def test_no_order_where_there_is_one_costs_ln_2():
    assert_close(cost(two_pixels(30, 30), two_pixels(20, 60)), math.log(2))
    assert_close(cost(two_pixels(30, 30), two_pixels(60, 20)), math.log(2))


def test_the_truth_costs_the_logarithm_of_one_and_the_inverse_quotient():
    assert_close(cost(two_pixels(20, 60), two_pixels(20, 60)), math.log(1 + 20 / 60))
    assert_close(cost(two_pixels(60, 20), two_pixels(60, 20)), math.log(1 + 20 / 60))


def test_the_wrong_order_costs_the_logarithm_of_one_and_the_quotient():
    assert_close(cost(two_pixels(50, 10), two_pixels(20, 60)), math.log(1 + 5))


def test_equal_depths_cost_the_square_of_the_predicted_step():
    assert_close(cost(two_pixels(20, 60), two_pixels(33, 33)), math.log(3) ** 2)
    assert cost(two_pixels(20, 20), two_pixels(33, 33)) == 0


@pytest.mark.parametrize("larger", [0, 1])
def test_depths_are_equal_within_a_share_and_not_beyond(larger):
    pred = two_pixels(20, 60)
    near, beyond = ([100.0, 100.0] for _ in range(2))
    near[larger], beyond[larger] = 104.9, 105.1
    assert_close(cost(pred, two_pixels(*near), equal_within=0.05), math.log(3) ** 2)
    assert cost(pred, two_pixels(*beyond), equal_within=0.05) != pytest.approx(math.log(3) ** 2)


def test_neither_the_scale_of_the_prediction_nor_the_order_within_pairs_matters():
    pred, target = 5 + 50 * torch.rand(2, B, 1, H, W, generator=dice(), dtype=torch.float64)
    pairs = draw_pairs(target, VALID, pairs=50, generator=dice(1))
    once = ranking_loss(pred, target, VALID, pairs=pairs, equal_within=0.02)
    assert once > 0.1
    scaled = ranking_loss(3 * pred, 9 * target, VALID, pairs=pairs, equal_within=0.02)
    turned = ranking_loss(pred, target, VALID, pairs=pairs.flip(-1), equal_within=0.02)
    assert_close(scaled, once)
    assert_close(turned, once)


def test_a_pair_with_an_unknown_end_does_not_count():
    target = two_pixels(20, 60)
    target[0, 0, 3, 5] = 0  # the first image's pair is gone, the second's is right
    assert_close(cost(two_pixels(20, 60), target), math.log(1 + 20 / 60))


def test_the_same_numbers_draw_the_same_pairs_and_others_draw_others():
    target = two_pixels(20, 60)
    first, again, other = (
        draw_pairs(target, VALID, pairs=9, generator=dice(seed)) for seed in (4, 4, 5)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_every_known_pixel_is_drawn_equally_often_and_no_other():
    valid = torch.rand(B, 1, H, W, generator=dice(2)) < 0.4
    target = two_pixels(20, 60)
    target[0, 0, 0] = 0
    draws = 20_000
    drawn = draw_pairs(target, valid, pairs=draws // 2, generator=dice(3))
    for image in range(B):
        known = (valid & (target > 0))[image].flatten()
        times = torch.bincount(drawn[image].flatten(), minlength=H * W)
        assert (times[~known] == 0).all()
        each = draws / int(known.sum())
        assert ((times[known] - each).abs() < 5 * each**0.5).all()


def test_the_two_ends_of_a_pair_are_drawn_apart():
    drawn = draw_pairs(two_pixels(20, 60), VALID, pairs=4000, generator=dice(6))
    alike = (drawn[..., 0] == drawn[..., 1]).float().mean().item()
    assert alike == pytest.approx(1 / (H * W), abs=0.01)


def test_an_image_without_truth_gets_pairs_that_do_not_count():
    target, valid = two_pixels(20, 60), VALID.clone()
    valid[1] = False
    pairs = draw_pairs(target, valid, pairs=30, generator=dice())
    assert (pairs[1] == 0).all()
    both, first = (
        ranking_loss(
            two_pixels(9, 60)[kept], target[kept], valid[kept], pairs=pairs[kept], equal_within=0
        )
        for kept in (slice(0, 2), slice(0, 1))
    )
    assert_close(both, first)


def test_pairs_are_drawn_from_pixels():
    empty = torch.ones(B, 1, 0, W)
    with pytest.raises(DataError, match="no pixel to draw from"):
        draw_pairs(empty, empty > 0, pairs=3, generator=dice())
    with pytest.raises(ShapeError, match="pairs has shape"):
        ranking_loss(VALID.float(), VALID.float(), VALID, pairs=PAIR[:1], equal_within=0)
