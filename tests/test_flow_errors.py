"""End-point errors and KITTI's outliers."""

import math

import pytest
import torch

from colondepth.errors import DataError
from evaluation.flow_errors import DISPARITY_ERRORS, FLOW_ERRORS, disparity_errors, flow_errors

H, W = 5, 7


def row(*vectors):
    return torch.tensor(vectors, dtype=torch.float64).T[None, :, None]  # (1, C, 1, N)


def test_an_outlier_is_off_by_more_than_3_px_and_by_more_than_5_percent():
    true = row((100, 0), (100, 0), (10, 0), (1, 0), (0, 0), (60, 80))
    found = row((104, 0), (106, 0), (10, 3.5), (3.9, 0), (0, 3.1), (63, 84))
    # off by        4 of 100   6 of 100    3.5 of 10    2.9 of 1    3.1 of 0   5 of 100
    known = torch.ones(1, 1, 1, 6, dtype=torch.bool)
    errors = flow_errors(found, true, known)
    assert errors.keys() == FLOW_ERRORS.keys()
    assert float(errors["flow_fl"]) == pytest.approx(3 / 6)
    assert float(errors["flow_epe_px"]) == pytest.approx((4 + 6 + 3.5 + 2.9 + 3.1 + 5) / 6)


def test_flow_agrees_with_a_loop_over_the_pixels_of_each_frame():
    generator = torch.Generator().manual_seed(1)
    true = 20 * torch.randn(2, 2, H, W, generator=generator)
    found = true + 3 * torch.randn(true.shape, generator=generator)
    known = torch.rand(2, 1, H, W, generator=generator) < 0.7
    errors = flow_errors(found, true, known)
    for frame in range(2):
        lengths, wrong = [], []
        for v in range(H):
            for u in range(W):
                if known[frame, 0, v, u]:
                    (du, dv), (tu, tv) = (
                        found[frame, :, v, u].tolist(),
                        true[frame, :, v, u].tolist(),
                    )
                    lengths.append(math.hypot(du - tu, dv - tv))
                    wrong.append(lengths[-1] > 3 and lengths[-1] / math.hypot(tu, tv) > 0.05)
        assert 0 < sum(wrong) < len(wrong)
        assert float(errors["flow_epe_px"][frame]) == pytest.approx(sum(lengths) / len(lengths))
        assert float(errors["flow_fl"][frame]) == pytest.approx(sum(wrong) / len(wrong))


def test_no_flow_is_an_answer_and_nan_is_none():
    true = row((3, 4), (3, 4), (3, 4), (3, 4))
    found = row((0, 0), (math.nan, 0), (0, math.inf), (3, 4))
    errors = flow_errors(found, true, torch.tensor([[[[True, True, True, True]]]]))
    assert float(errors["flow_epe_px"]) == pytest.approx(2.5)
    assert float(errors["flow_answered"]) == 0.5


def test_disparity_outliers_are_those_of_kitti():
    true = row((100,), (100,), (10,), (0,), (50,), (50,))
    found = row((96,), (94,), (14,), (9,), (0,), (math.nan,))  # the fourth is unknown
    errors = disparity_errors(found, true, torch.ones(1, 1, 1, 6, dtype=torch.bool))
    assert errors.keys() == DISPARITY_ERRORS.keys()
    assert float(errors["disparity_epe_px"]) == pytest.approx((4 + 6 + 4) / 3)
    assert float(errors["disparity_d1"]) == pytest.approx(2 / 3)
    assert float(errors["disparity_answered"]) == pytest.approx(3 / 5)


@pytest.mark.parametrize(("measure", "channels"), [(flow_errors, 2), (disparity_errors, 1)])
def test_a_frame_without_known_pixels_gives_nan_and_leaves_the_others_alone(measure, channels):
    true = torch.full((2, channels, H, W), 5.0)
    known = torch.ones(2, 1, H, W, dtype=torch.bool)
    known[1] = False
    for name, values in measure(true + 1, true, known).items():
        assert values[0].isfinite(), name
        assert values[1].isnan(), name


def test_a_nan_in_the_truth_is_refused():
    true = row((1, 2), (math.nan, 0))
    with pytest.raises(DataError, match="true_px has 1 of 4"):
        flow_errors(true, true, torch.ones(1, 1, 1, 2, dtype=torch.bool))
