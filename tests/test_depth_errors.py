"""The measures that papers print, worked by hand and by numpy."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from colondepth.errors import DataError, ShapeError
from evaluation.depth_errors import (
    DEPTH_ERRORS,
    PIXEL_SUMS,
    depth_errors,
    errors_from_sums,
    medians,
    pixel_sums,
)

B, H, W = 3, 7, 10
EVERY = torch.ones(1, 1, 1, 3, dtype=torch.bool)


def row(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype).reshape(1, 1, 1, -1)


def frames(seed=1):
    """Frames with gaps in truth, in the mask and in the prediction."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.rand(B, 1, H, W, generator=generator) * 80 + 2
    found = true * (torch.rand(true.shape, generator=generator) + 0.5)
    known = torch.rand(true.shape, generator=generator) < 0.7
    true[torch.rand(true.shape, generator=generator) < 0.2] = 0
    found[torch.rand(true.shape, generator=generator) < 0.1] = 0
    found[torch.rand(true.shape, generator=generator) < 0.1] = math.nan
    return found, true, known


def numbers(errors):
    return {name: value.item() for name, value in errors.items()}


def test_two_pixels_worked_by_hand():
    known = torch.tensor([True, True, False]).reshape(EVERY.shape)
    errors = depth_errors(row(10, 40, 7), row(20, 32, 9), known)
    half, more = math.log(0.5), math.log(1.25)
    assert numbers(errors) == pytest.approx(
        {
            "abs_rel": (10 / 20 + 8 / 32) / 2,
            "sq_rel": (100 / 20 + 64 / 32) / 2,
            "rmse_mm": math.sqrt(82),
            "rmse_log": math.sqrt((half**2 + more**2) / 2),
            "log10": (math.log10(2) + math.log10(1.25)) / 2,
            "silog": (more - half) / 2,  # the standard deviation of two numbers
            "l1_mm": 9.0,
            "delta_1_05": 0.0,
            "delta_1_10": 0.0,
            "delta_1_25": 0.0,
            "delta_1_25_2": 0.5,
            "delta_1_25_3": 0.5,  # a factor of 2 is not below 1.25^3 = 1.953
            "median_rel": (0.5 + 0.25) / 2,
            "answered": 1.0,
        }
    )
    assert list(errors) == list(DEPTH_ERRORS)


def test_a_factor_of_exactly_1_25_is_not_within_it_whichever_is_larger():
    errors = depth_errors(row(40, 32, 39.9), row(32, 40, 32), EVERY)
    assert float(errors["delta_1_25"]) == pytest.approx(1 / 3)


def test_every_frame_is_what_numpy_makes_of_its_own_pixels():
    found, true, known = frames()
    errors = depth_errors(found, true, known)
    for k in range(B):
        seen = (known[k] & (true[k] > 0)).numpy()
        both = seen & (found[k] > 0).numpy()
        assert 0 < both.sum() < seen.sum()
        d, t = found[k].double().numpy()[both], true[k].double().numpy()[both]
        e, factor = np.log(d) - np.log(t), np.maximum(d / t, t / d)
        expected = {
            "abs_rel": np.mean(np.abs(d - t) / t),
            "sq_rel": np.mean((d - t) ** 2 / t),
            "rmse_mm": np.linalg.norm(d - t) / np.sqrt(len(d)),
            "rmse_log": np.linalg.norm(e) / np.sqrt(len(d)),
            "log10": np.mean(np.abs(np.log10(d) - np.log10(t))),
            "silog": np.std(e),
            "l1_mm": np.mean(np.abs(d - t)),
            "median_rel": np.median(np.abs(d - t) / t),
            "answered": both.sum() / seen.sum(),
            "delta_1_05": np.mean(factor < 1.05),
            "delta_1_10": np.mean(factor < 1.1),
            "delta_1_25": np.mean(factor < 1.25),
            "delta_1_25_2": np.mean(factor < 1.5625),
            "delta_1_25_3": np.mean(factor < 1.953125),
        }
        assert {name: value[k].item() for name, value in errors.items()} == pytest.approx(expected)


def test_silog_is_eigens_sum_over_pairs_of_pixels():
    found, true = frames()[0][:1], frames()[1][:1]
    known = (found > 0) & (true > 0)
    e = (found[known].double() / true[known].double()).log().numpy()
    # equation 2: half of the mean over all pairs of the squared difference between their errors
    pairs = np.mean((e[:, None] - e[None, :]) ** 2) / 2
    assert float(depth_errors(found, true, known)["silog"]) ** 2 == pytest.approx(pairs)


def test_silog_forgives_a_factor_and_rmse_log_is_its_logarithm():
    true = frames()[1].double() + 1
    errors = depth_errors(3 * true, true, torch.ones_like(true, dtype=torch.bool))
    assert_close(errors["rmse_log"], torch.full((B,), math.log(3), dtype=torch.float64))
    assert errors["silog"].max() < 1e-7


def test_perfect_depth_has_no_error():
    true = frames()[1]
    for name, value in depth_errors(true, true, true > 0).items():
        best = 0.0 if DEPTH_ERRORS[name].lower_is_better else 1.0
        assert value.tolist() == [best] * B, name


def test_a_frame_without_known_pixels_gives_nan_and_its_neighbours_do_not():
    found, true, known = frames()
    known[1] = False
    true[2] = 0
    for name, value in depth_errors(found, true, known).items():
        assert value.isnan().tolist() == [False, True, True], name


@pytest.mark.parametrize("silence", [0.0, -3.0, math.nan, math.inf, -math.inf])
def test_no_answer_is_left_out_and_counted(silence):
    errors = depth_errors(row(silence, 22, silence), row(20, 20, 20), EVERY)
    assert float(errors["answered"]) == pytest.approx(1 / 3)
    assert float(errors["abs_rel"]) == pytest.approx(0.1)
    assert float(errors["median_rel"]) == pytest.approx(0.1)
    silent = numbers(depth_errors(row(*[silence] * 3), row(20, 20, 20), EVERY))
    assert silent.pop("answered") == 0
    assert all(math.isnan(value) for value in silent.values())


def test_an_unknown_pixel_may_hold_anything():
    found, true, known = frames()
    before = depth_errors(found, true, known)
    after = depth_errors(found.masked_fill(~known, math.nan), true.masked_fill(~known, 1e30), known)
    assert_close(after, before, atol=0, rtol=0)


def test_sums_do_not_lose_the_digits_of_a_large_frame():
    generator = torch.Generator().manual_seed(2)
    true = torch.rand(1, 1, 256, 320, generator=generator) + 10
    found = true + 1e-3
    exact = math.fsum(
        (d - t) / t for d, t in zip(found.flatten().tolist(), true.flatten().tolist(), strict=True)
    )
    abs_rel = depth_errors(found, true, torch.ones_like(true, dtype=torch.bool))["abs_rel"]
    assert float(abs_rel) == pytest.approx(exact / true.numel(), rel=1e-12)


def test_added_sums_give_the_errors_of_all_pixels_as_one_frame():
    found, true, known = frames()
    sums = pixel_sums(found, true, known)
    assert tuple(sums) == PIXEL_SUMS
    together = errors_from_sums({name: total.sum() for name, total in sums.items()})
    joined = depth_errors(*(m.reshape(1, 1, B * H, W) for m in (found, true, known)))
    del joined["median_rel"]
    assert together.keys() == joined.keys()
    assert numbers(together) == pytest.approx(numbers(joined))
    assert max(depth_errors(found, true, known)["rmse_mm"]) > together["rmse_mm"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_medians_are_numpys_for_odd_even_and_no_values(dtype):
    values = torch.rand(4, 9, generator=torch.Generator().manual_seed(3)).to(dtype)
    for line, count in enumerate((0, 1, 4, 9)):
        values[line, count:] = math.nan
    found = medians(values)
    assert found[0].isnan()
    for line, count in ((1, 1), (2, 4), (3, 9)):
        assert float(found[line]) == pytest.approx(
            float(np.median(values[line, :count].double())), rel=1e-3
        )
    assert medians(values[:, :0]).isnan().all()


def test_what_is_no_truth_is_refused():
    good = row(1, 2, 3)
    with pytest.raises(DataError, match=r"true_mm goes down to -2, expected depths from 0 on"):
        depth_errors(good, row(1, -2, 3), EVERY)
    with pytest.raises(DataError, match="true_mm has 1 of 3 values that are NaN or infinite"):
        depth_errors(good, row(1, math.nan, 3), EVERY)
    with pytest.raises(DataError, match=r"known holds uint8, expected bool"):
        depth_errors(good, good, EVERY.byte())
    with pytest.raises(DataError, match="found_mm holds int64"):
        depth_errors(good.long(), good, EVERY)
    with pytest.raises(ShapeError, match=r"known has shape \(1, 1, 3, 1\)"):
        depth_errors(good, good, EVERY.mT)


def test_arguments_are_left_as_they_were():
    given = frames()
    before = [each.clone() for each in given]
    depth_errors(*given)
    for now, then in zip(given, before, strict=True):
        assert_close(now, then, atol=0, rtol=0, equal_nan=True)
