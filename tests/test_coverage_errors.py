"""Coverage of the wall, and its gaps."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from colondepth.errors import DataError, ShapeError
from evaluation.coverage_errors import (
    COVERAGE_ERRORS,
    GAP_ERRORS,
    coverage_bias_points,
    coverage_errors,
    gap_errors,
    roc_curve,
)


def test_a_hand_worked_set_of_stretches():
    found, true = np.array([0.9, 0.5, np.nan, 0.7]), np.array([0.8, 0.9, 0.2, 0.7])
    errors = coverage_errors(found, true)
    assert errors.keys() == COVERAGE_ERRORS.keys()
    assert errors["coverage_mae_points"] == pytest.approx(50 / 3)
    assert errors["coverage_abs_bias_points"] == pytest.approx(10)
    assert coverage_bias_points(found, true) == pytest.approx(-10)
    assert errors["coverage_answered"] == 0.75


def test_no_stretch_and_no_answer_give_nan():
    empty = coverage_errors(np.zeros(0), np.zeros(0))
    assert all(math.isnan(value) for value in empty.values())
    silent = coverage_errors(np.full(2, np.nan), np.array([0.3, 0.6]))
    assert silent["coverage_answered"] == 0
    assert math.isnan(silent["coverage_mae_points"])


@settings(deadline=None, max_examples=50)
@given(
    patches=st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40).filter(
        lambda patches: len({gap for _, gap in patches}) == 2
    )
)
def test_the_area_is_mann_whitneys_with_ties_as_halves(patches):
    score = np.array([float(score) for score, _ in patches])
    gap = np.array([gap for _, gap in patches])
    u = mannwhitneyu(score[gap], score[~gap], method="asymptotic", use_continuity=False).statistic
    errors = gap_errors(score, gap, np.ones(len(score)))
    assert errors.keys() == GAP_ERRORS.keys()
    assert errors["gap_auc"] == pytest.approx(u / (gap.sum() * (~gap).sum()))


def test_a_patch_of_weight_three_is_three_patches():
    rng = np.random.default_rng(0)
    score, gap = rng.integers(0, 9, 30).astype(np.float64), rng.random(30) < 0.4
    weight = rng.integers(0, 4, 30)
    repeated = gap_errors(np.repeat(score, weight), np.repeat(gap, weight), np.ones(weight.sum()))
    assert gap_errors(score, gap, weight.astype(np.float64)) == pytest.approx(repeated)


def test_sensitivity_is_read_at_nine_in_ten_of_the_seen_wall():
    # Ten seen patches of scores 0 to 9: one false alarm is allowed, so scores above 8 are gaps.
    seen = np.arange(10.0)
    gaps = np.array([3.5, 8.2, 8.5, 12])
    score, gap = np.append(seen, gaps), np.append(np.zeros(10, bool), np.ones(4, bool))
    errors = gap_errors(score, gap, np.ones(14))
    assert errors["gap_sensitivity"] == pytest.approx(3 / 4)
    # With twenty in two equal halves the next false alarm is beyond: half of the way along a line.
    seen, gaps = np.repeat([0.0, 1, 2, 3, 4], 4), np.array([4.0, 4, 3, 5])
    score, gap = np.append(seen, gaps), np.append(np.zeros(20, bool), np.ones(4, bool))
    errors = gap_errors(score, gap, np.ones(24))
    assert errors["gap_sensitivity"] == pytest.approx(1 / 4 + 0.5 * 2 / 4)


def test_a_perfect_a_turned_and_a_blind_detector():
    gap = np.array([True, False, True, False, False])
    for score, area, sensitivity in (
        (gap.astype(np.float64), 1, 1),
        (1.0 - gap, 0, 0),
        (np.zeros(5), 0.5, 0.1),
    ):
        errors = gap_errors(score, gap, np.array([1.0, 2, 3, 1, 1]))
        assert (errors["gap_auc"], errors["gap_sensitivity"]) == pytest.approx((area, sensitivity))


def test_the_curve_rises_from_nothing_to_everything():
    rng = np.random.default_rng(1)
    false_alarms, hits = roc_curve(rng.random(50), rng.random(50) < 0.3, rng.random(50))
    for rates in (false_alarms, hits):
        assert rates[0] == 0
        assert rates[-1] == pytest.approx(1)
        assert (np.diff(rates) >= 0).all()


@pytest.mark.parametrize("gap", [True, False])
def test_wall_without_gaps_or_without_anything_else_gives_nan(gap):
    errors = gap_errors(np.array([0.1, 0.4]), np.array([gap, gap]), np.ones(2))
    assert all(math.isnan(value) for value in errors.values())
    nothing = gap_errors(np.zeros(0), np.zeros(0, dtype=bool), np.zeros(0))
    assert all(math.isnan(value) for value in nothing.values())


def test_percent_shapes_and_odd_scores_are_refused():
    with pytest.raises(DataError, match="divide percent by 100"):
        coverage_errors(np.array([85.0]), np.array([0.9]))
    with pytest.raises(ShapeError, match=r"found \(2,\), true \(1,\)"):
        coverage_errors(np.array([0.1, 0.2]), np.array([0.9]))
    with pytest.raises(DataError, match="score has values that are NaN"):
        gap_errors(np.array([np.nan]), np.array([True]), np.ones(1))
    with pytest.raises(DataError, match="expected bool"):
        gap_errors(np.array([0.2]), np.array([1]), np.ones(1))
