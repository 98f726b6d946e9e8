"""Is a predicted std as large as the errors, and in their order?"""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from colondepth.errors import DataError
from evaluation.calibration import (
    CALIBRATION_ERRORS,
    ErrorShape,
    calibration_errors,
    reliability,
    sparsification,
)

SHAPES = {ErrorShape.NORMAL: stats.norm(), ErrorShape.LAPLACE: stats.laplace(scale=0.5**0.5)}


def ideal(shape, height=20, width=35):
    """Errors of std 1 that fill their distribution evenly, (1, 1, H, W)."""
    place = (np.arange(height * width) + 0.5) / (height * width)
    return torch.from_numpy(SHAPES[shape].ppf(place)).reshape(1, 1, height, width)


def frames_of(log_error, std, true_mm=40.0):
    true = torch.full_like(log_error, true_mm)
    return true * log_error.exp(), true, std, torch.ones_like(log_error, dtype=torch.bool)


@pytest.mark.parametrize("shape", ErrorShape)
def test_shares_are_scipys(shape):
    deviations = torch.linspace(0, 6, 25, dtype=torch.float64)
    wanted = SHAPES[shape].cdf(deviations.numpy()) - SHAPES[shape].cdf(-deviations.numpy())
    assert_close(shape.share_within(deviations), torch.from_numpy(wanted), atol=1e-14, rtol=0)
    assert SHAPES[shape].std() == pytest.approx(1)


@pytest.mark.parametrize("shape", ErrorShape)
def test_errors_of_the_predicted_distribution_are_calibrated(shape):
    std = torch.full((1, 1, 20, 35), 0.07, dtype=torch.float64)
    errors = calibration_errors(*frames_of(0.07 * ideal(shape), std), shape=shape)
    assert errors.keys() == CALIBRATION_ERRORS.keys()
    for name in ("calibration_ece", *(f"calibration_miss_{k}" for k in (1, 2, 3))):
        assert float(errors[name]) < 2 / 700, name


@pytest.mark.parametrize("shape", ErrorShape)
@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_std_of_the_wrong_size_misses_by_the_closed_form(shape, factor):
    std = torch.full((1, 1, 20, 35), 0.1 * factor, dtype=torch.float64)
    errors = calibration_errors(*frames_of(0.1 * ideal(shape), std), shape=shape)

    def inside(deviations):
        return 1 - 2 * SHAPES[shape].cdf(-deviations)

    for k in (1, 2, 3):
        wanted = abs(inside(k * factor) - inside(k))
        assert float(errors[f"calibration_miss_{k}"]) == pytest.approx(wanted, abs=2 / 700)
    level = np.arange(1, 100) / 100
    observed = inside(factor * -SHAPES[shape].ppf((1 - level) / 2))
    wanted = np.abs(observed - level).mean()
    assert float(errors["calibration_ece"]) == pytest.approx(wanted, abs=2 / 700)
    curve = reliability(
        (0.1 * ideal(shape)).abs(), std, torch.ones_like(std, dtype=torch.bool), shape=shape
    )
    assert (curve.observed - curve.expected > 0).all() == (factor > 1)


def test_the_other_distribution_is_told_apart():
    std = torch.ones(1, 1, 20, 35, dtype=torch.float64)
    log_error = 0.05 * ideal(ErrorShape.LAPLACE)
    right, wrong = (
        calibration_errors(*frames_of(log_error, 0.05 * std), shape=shape)["calibration_ece"]
        for shape in (ErrorShape.LAPLACE, ErrorShape.NORMAL)
    )
    assert right < 0.005 < 0.03 < wrong


def slow_curve(error, order):
    """Remove 0 to 99 % one by one."""
    left = error[order]
    means = []
    for percent in range(100):
        removed = len(left) * percent // 100
        means.append(left[: max(len(left) - removed, 1)].mean())
    return np.array(means) / error.mean()


def test_sparsification_agrees_with_removing_pixels_frame_by_frame():
    generator = torch.Generator().manual_seed(0)
    error, std = (torch.rand(2, 1, 9, 13, generator=generator).double() for _ in range(2))
    measured = torch.rand(2, 1, 9, 13, generator=generator) < 0.7
    sparse = sparsification(error, std, measured)
    for frame in range(2):
        kept_error, kept_std = (values[frame][measured[frame]].numpy() for values in (error, std))
        by_std = slow_curve(kept_error, np.argsort(kept_std))
        oracle = slow_curve(kept_error, np.argsort(kept_error))
        assert_close(sparse.by_std[frame], torch.from_numpy(by_std))
        assert_close(sparse.oracle[frame], torch.from_numpy(oracle))
        wanted = np.trapezoid(by_std - oracle, np.arange(100) / 100)
        assert float(sparse.ause[frame]) == pytest.approx(wanted)


def test_a_std_that_knows_the_errors_is_the_oracle():
    error = torch.rand(1, 1, 9, 13, generator=torch.Generator().manual_seed(1)).double()
    measured = torch.ones_like(error, dtype=torch.bool)
    assert float(sparsification(error, 5 * error.square(), measured).ause) == 0


def test_one_std_for_all_is_chance():
    place = (torch.arange(7000, dtype=torch.float64) + 0.5) / 7000
    error = place.reshape(1, 1, 70, 100)
    sparse = sparsification(error, torch.full_like(error, 0.2), torch.ones_like(error).bool())
    assert_close(sparse.by_std, torch.ones_like(sparse.by_std))
    assert float(sparse.aurg) == pytest.approx(0, abs=1e-12)
    # The smallest 1 - f of even errors have the mean (1 - f) / 2: the oracle's curve is 1 - f.
    assert float(sparse.ause) == pytest.approx(0.99**2 / 2, abs=1e-4)


def test_pixels_of_one_std_leave_in_no_order():
    error = torch.tensor([1.0, 5, 2, 8, 3, 1, 9, 4]).reshape(1, 1, 2, 4)
    std = torch.tensor([1.0, 2, 1, 2, 1, 2, 1, 2]).reshape(1, 1, 2, 4)
    there = torch.ones_like(error, dtype=torch.bool)
    turned = sparsification(error.flip(-1).flip(-2), std.flip(-1).flip(-2), there)
    sparse = sparsification(error, std, there)
    assert_close(turned.by_std, sparse.by_std)
    assert float(sparse.by_std[0, 50]) == pytest.approx((1 + 2 + 3 + 9) / 4 / error.mean().item())
    assert float(sparse.by_std[0, 88]) == pytest.approx((1 + 2 + 3 + 9) / 4 / error.mean().item())


def test_no_answer_is_left_out_and_counted():
    log_error = torch.full((1, 1, 2, 4), 0.1, dtype=torch.float64)
    found, true, std, known = frames_of(log_error, torch.full_like(log_error, 0.2))
    found[0, 0, 0, 0], found[0, 0, 0, 1] = 0, torch.nan
    std[0, 0, 0, 2], std[0, 0, 0, 3] = 0, torch.inf
    true[0, 0, 1, 0] = 0
    errors = calibration_errors(found, true, std, known, shape=ErrorShape.NORMAL)
    assert float(errors["calibration_answered"]) == pytest.approx(3 / 7)
    assert float(errors["calibration_miss_1"]) == pytest.approx(1 - 0.6826895, abs=1e-6)


def test_an_empty_frame_gives_nan_and_a_perfect_one_has_nothing_to_sort():
    log_error = torch.zeros(3, 1, 4, 6, dtype=torch.float64)
    log_error[0] = torch.linspace(-1, 1, 24).reshape(4, 6)
    found, true, std, known = frames_of(log_error, torch.full_like(log_error, 0.2))
    known[1] = False
    errors = calibration_errors(found, true, std, known, shape=ErrorShape.LAPLACE)
    for name, values in errors.items():
        assert values[0].isfinite(), name
        assert values[1].isnan(), name
    assert errors["calibration_ause"][2].isnan()
    assert errors["calibration_miss_3"][2] < 0.02


def test_a_curve_of_one_level_is_refused():
    ones = torch.ones(1, 1, 2, 3)
    with pytest.raises(DataError, match="levels is 1"):
        reliability(ones, ones, ones.bool(), shape=ErrorShape.NORMAL, levels=1)
