"""Sizes of polyps."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colondepth.errors import DataError, ShapeError
from evaluation.sizes import (
    SIZE_ERRORS,
    kappa,
    largest_class_share,
    size_bias_mm,
    size_errors,
    size_table,
)

TRUE_MM = np.array([3.0, 5, 5, 6, 9, 9.5, 10, 14])
FOUND_MM = np.array([6.0, 5, 7, 6, 4, 10, 9, 20])


def test_a_hand_worked_set_of_polyps():
    errors = size_errors(FOUND_MM, TRUE_MM)
    assert errors.keys() == SIZE_ERRORS.keys()
    misses = [3, 0, 2, 0, -5, 0.5, -1, 6]
    assert size_table(FOUND_MM, TRUE_MM).tolist() == [[1, 2, 0], [1, 1, 1], [0, 1, 1]]
    assert errors["size_mae_mm"] == pytest.approx(17.5 / 8)
    assert size_bias_mm(FOUND_MM, TRUE_MM) == pytest.approx(5.5 / 8)
    assert errors["size_abs_bias_mm"] == pytest.approx(5.5 / 8)
    assert errors["size_rmse_mm"] == pytest.approx(math.sqrt(75.25 / 8))
    assert errors["size_limits_mm"] == pytest.approx(1.96 * np.std(misses, ddof=1))
    assert errors["size_abs_rel"] == pytest.approx(
        (3 / 3 + 2 / 5 + 5 / 9 + 0.5 / 9.5 + 1 / 10 + 6 / 14) / 8
    )
    assert errors["size_agreement"] == pytest.approx(3 / 8)
    assert errors["size_agreement_diminutive"] == pytest.approx(1 / 3)
    assert errors["size_agreement_small"] == pytest.approx(1 / 3)
    assert errors["size_agreement_large"] == pytest.approx(1 / 2)
    assert errors["size_agreement_5_mm"] == pytest.approx(5 / 8)
    assert errors["size_agreement_10_mm"] == pytest.approx(6 / 8)
    # True classes are 3, 3 and 2 times, found ones 2, 4 and 2: chance agrees on 6 + 12 + 4 of 64.
    assert errors["size_kappa"] == pytest.approx((3 / 8 - 22 / 64) / (1 - 22 / 64))
    # Off by one 5 of 8 times; by chance by one 12 + 6 + 6 + 8, by two 6 + 4 of 64 times.
    assert errors["size_kappa_weighted"] == pytest.approx(1 - (5 / 8) / (32 / 64 + 2 * 10 / 64))
    assert errors["size_answered"] == 1


def test_kappa_of_two_raters_who_say_yes_or_no():
    table = np.array([[20, 5], [10, 15]])  # they agree on 0.7, chance does on 0.5
    assert kappa(table, weighted=False) == pytest.approx(0.4)
    assert kappa(table, weighted=True) == pytest.approx(0.4)


@pytest.mark.parametrize("weighted", [False, True])
@settings(deadline=None, max_examples=50)
@given(rates=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=25))
def test_kappa_compares_the_pairs_with_all_ways_to_pair(weighted, rates):
    table = np.zeros((4, 4), dtype=np.int64)
    for a, b in rates:
        table[a, b] += 1

    def cost(a, b):
        return abs(a - b) if weighted else float(a != b)

    observed = np.mean([cost(a, b) for a, b in rates])
    chance = np.mean([cost(a, b) for a, _ in rates for _, b in rates])
    found = kappa(table, weighted=weighted)
    if chance == 0:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(1 - observed / chance)


def test_the_commonest_class_is_what_a_guess_reaches():
    assert largest_class_share(np.array([2.0, 3, 5, 7, 12])) == pytest.approx(3 / 5)
    assert math.isnan(largest_class_share(np.zeros(0)))


def test_an_abstention_is_left_out_and_counted():
    found = np.append(FOUND_MM, [np.nan, np.nan])
    errors = size_errors(found, np.append(TRUE_MM, [30.0, 2]))
    assert errors.pop("size_answered") == pytest.approx(8 / 10)
    plain = size_errors(FOUND_MM, TRUE_MM)
    assert errors == pytest.approx({name: plain[name] for name in errors})


def test_no_polyp_no_answer_and_a_single_class_give_nan():
    empty = size_errors(np.zeros(0), np.zeros(0))
    assert all(math.isnan(value) for value in empty.values())
    silent = size_errors(np.full(2, np.nan), np.array([4.0, 7]))
    assert silent.pop("size_answered") == 0
    assert all(math.isnan(value) for value in silent.values())
    one = size_errors(np.array([4.0]), np.array([3.0]))
    assert one["size_agreement"] == 1
    undefined = {name for name, value in one.items() if math.isnan(value)}
    assert undefined == {
        "size_agreement_small",
        "size_agreement_large",
        "size_kappa",
        "size_kappa_weighted",
        "size_limits_mm",
    }


def test_sizes_that_are_none_are_refused():
    with pytest.raises(DataError, match="an abstention is nan"):
        size_errors(np.array([0.0]), np.array([4.0]))
    with pytest.raises(DataError, match="true_mm has sizes"):
        size_errors(np.array([4.0]), np.array([np.nan]))
    with pytest.raises(ShapeError, match=r"\(2,\) and true_mm \(1,\)"):
        size_errors(np.array([4.0, 5]), np.array([4.0]))
