"""The order of pairs of points."""

import math
from itertools import combinations

import pytest
import torch
from scipy.stats import kendalltau

from colondepth.errors import DataError
from evaluation.ordinal_agreement import (
    ORDINAL_ERRORS,
    PointPairs,
    draw_pixels,
    ordinal_errors,
    pairs_of_depth,
)

H, W = 5, 8


def pairs(*rows):
    """Rows of ((u, v), (u, v), order, weight)."""
    first, second, order, weight = zip(*rows, strict=True) if rows else ([], [], [], [])
    return PointPairs(
        first_px=torch.tensor(first, dtype=torch.float64).reshape(-1, 2),
        second_px=torch.tensor(second, dtype=torch.float64).reshape(-1, 2),
        order=torch.tensor(order, dtype=torch.long),
        weight=torch.tensor(weight, dtype=torch.float64),
    )


def ramp_mm():
    """Depth that grows to the right: 10, 11, ... 17 mm."""
    return (10 + torch.arange(W, dtype=torch.float32)).expand(1, H, W).clone()


def test_a_hand_worked_set_of_labels():
    labelled = pairs(
        ((7, 0), (0, 4), 1, 1.0),  # right
        ((0, 0), (7, 3), 1, 2.0),  # wrong
        ((3, 0), (3.4, 4), 0, 4.0),  # right: the same column
        ((0, 2), (1, 2), 0, 8.0),  # 10 % apart: wrong within 5 %
        ((0, 2), (1, 2), -1, 16.0),  # right
    )
    errors = ordinal_errors(ramp_mm(), labelled, equal_within=0.05)
    assert errors.keys() == ORDINAL_ERRORS.keys()
    assert errors["whdr"] == pytest.approx(10 / 31)
    assert errors["whdr_unequal"] == pytest.approx(2 / 19)
    assert errors["whdr_equal"] == pytest.approx(8 / 12)
    assert errors["ordinal_answered"] == 1
    wide = ordinal_errors(ramp_mm(), labelled, equal_within=0.11)
    assert wide["whdr"] == pytest.approx((2 + 16) / 31)


def test_all_pairs_without_ties_give_kendalls_tau():
    generator = torch.Generator().manual_seed(0)
    true_mm, found_mm = (torch.rand(1, 4, 6, generator=generator) + 1 for _ in range(2))
    found_mm = true_mm + 0.5 * found_mm
    places = [(float(u), float(v)) for v in range(4) for u in range(6)]
    first, second = (
        torch.tensor(each, dtype=torch.float64)
        for each in zip(*combinations(places, 2), strict=True)
    )
    labelled = pairs_of_depth(true_mm, first, second, equal_within=0)
    tau = kendalltau(true_mm.flatten().numpy(), found_mm.flatten().numpy()).statistic
    errors = ordinal_errors(found_mm, labelled, equal_within=0)
    assert errors["whdr"] == pytest.approx((1 - tau) / 2, abs=1e-12)
    assert math.isnan(errors["whdr_equal"])


def test_true_depth_of_any_scale_agrees_with_its_own_pairs():
    generator = torch.Generator().manual_seed(1)
    true_mm = 5 + 40 * torch.rand(1, H, W, generator=generator)
    known = torch.rand(1, H, W, generator=generator) < 0.5
    first, second = draw_pixels(known, generator, count=300)
    labelled = pairs_of_depth(true_mm, first, second, equal_within=0.2)
    assert {-1, 0, 1} == set(labelled.order.tolist())
    assert ordinal_errors(4 * true_mm, labelled, equal_within=0.2)["whdr"] == 0
    assert ordinal_errors(400 / true_mm, labelled, equal_within=0.2)["whdr_unequal"] == 1


def test_pixels_are_drawn_from_all_the_known_ones_and_from_no_others():
    known = torch.zeros(1, H, W, dtype=torch.bool)
    known[0, 1, 6] = known[0, 4, 2] = True
    first, second = draw_pixels(known, torch.Generator().manual_seed(2), count=50)
    for pixels in (first, second):
        assert {tuple(pixel) for pixel in pixels.tolist()} == {(6, 1), (2, 4)}
    nowhere, _ = draw_pixels(known & False, torch.Generator(), count=50)
    assert len(nowhere) == 0


def test_a_pair_without_depth_is_left_out_and_counted():
    found_mm = ramp_mm()
    found_mm[0, 0, 0], found_mm[0, 0, 1] = 0, torch.nan
    labelled = pairs(((7, 0), (0, 0), -1, 3.0), ((7, 0), (1, 0), -1, 3.0), ((7, 0), (2, 0), 1, 2.0))
    errors = ordinal_errors(found_mm, labelled, equal_within=0)
    assert errors["whdr"] == 0
    assert errors["ordinal_answered"] == pytest.approx(2 / 8)


def test_no_pair_gives_nan():
    errors = ordinal_errors(ramp_mm(), pairs(), equal_within=0)
    assert all(math.isnan(value) for value in errors.values())


def test_bad_labels_and_points_beyond_the_image_are_refused():
    with pytest.raises(DataError, match=r"order has the values \[2\]"):
        pairs(((0, 0), (1, 1), 2, 1.0))
    with pytest.raises(DataError, match="weight goes down to 0"):
        pairs(((0, 0), (1, 1), 1, 0.0))
    with pytest.raises(DataError, match=r"\(0\.0, 5\.0\) is not on the image of 8 x 5"):
        ordinal_errors(ramp_mm(), pairs(((0, 5), (1, 1), 1, 1.0)), equal_within=0)
    labelled = pairs(((0, 0), (1, 1), 1, 1.0))
    with pytest.raises(DataError, match="1 of 1 pairs have no true depth"):
        pairs_of_depth(0 * ramp_mm(), labelled.first_px, labelled.second_px, equal_within=0)
