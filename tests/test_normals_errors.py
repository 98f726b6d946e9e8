"""Angles between normals."""

from math import cos, radians, sin

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from colondepth.errors import DataError, ShapeError
from evaluation.normals_errors import NORMALS_ERRORS, normals_errors

H, W = 5, 7


def drawn(frames=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    true = torch.randn(frames, 3, H, W, generator=generator, dtype=torch.float64)
    return true / true.norm(dim=1, keepdim=True), generator


def turned_by(degrees):
    """Normals of one row: z turned about y by each angle."""
    angles = [radians(angle) for angle in degrees]
    return torch.tensor(
        [[sin(a) for a in angles], [0.0] * len(angles), [cos(a) for a in angles]],
        dtype=torch.float64,
    )[None, :, None]


def test_known_angles_give_their_mean_median_and_shares():
    degrees = [0.0, 10.0, 20.0, 29.0, 100.0, 179.0]
    true = turned_by([0.0] * 6)
    errors = normals_errors(turned_by(degrees), true, torch.ones(1, 1, 1, 6, dtype=torch.bool))
    assert errors.keys() == NORMALS_ERRORS.keys()
    found = {name: float(value) for name, value in errors.items()}
    assert found["normals_mean_deg"] == pytest.approx(338 / 6, abs=1e-9)
    assert found["normals_median_deg"] == pytest.approx(24.5, abs=1e-9)
    assert found["normals_within_11"] == pytest.approx(2 / 6)
    assert found["normals_within_22"] == pytest.approx(3 / 6)
    assert found["normals_within_30"] == pytest.approx(4 / 6)
    assert found["normals_answered"] == 1


def test_frames_of_different_masks_agree_with_numpys_arc_cosine():
    true, generator = drawn()
    found = true + 0.5 * torch.randn(true.shape, generator=generator, dtype=torch.float64)
    known = torch.rand(2, 1, H, W, generator=generator) < 0.6
    errors = normals_errors(found, true, known)
    for frame in range(2):
        angles = [
            np.degrees(np.arccos(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)))
            for a, b in zip(
                found[frame].permute(1, 2, 0)[known[frame, 0]].numpy(),
                true[frame].permute(1, 2, 0)[known[frame, 0]].numpy(),
                strict=True,
            )
        ]
        assert float(errors["normals_mean_deg"][frame]) == pytest.approx(np.mean(angles))
        assert float(errors["normals_median_deg"][frame]) == pytest.approx(np.median(angles))
        share = np.mean(np.array(angles) < 22.5)
        assert float(errors["normals_within_22"][frame]) == pytest.approx(share)


def test_the_length_of_a_found_normal_does_not_matter():
    true, generator = drawn()
    found = true + 0.3 * torch.randn(true.shape, generator=generator, dtype=torch.float64)
    known = torch.ones(2, 1, H, W, dtype=torch.bool)
    assert_close(normals_errors(7 * found, true, known), normals_errors(found, true, known))


def test_a_thousandth_of_a_degree_is_still_seen():
    true, found = turned_by([0.0, 0.0]), turned_by([1e-3, 1e-3])
    errors = normals_errors(found, true, torch.ones(1, 1, 1, 2, dtype=torch.bool))
    assert float(errors["normals_mean_deg"]) == pytest.approx(1e-3, rel=1e-9)


def test_no_answer_is_left_out_and_counted():
    true = turned_by([0.0, 0.0, 0.0, 0.0])
    found = turned_by([40.0, 20.0, 0.0, 0.0])
    found[0, :, 0, 2] = 0
    found[0, 1, 0, 3] = torch.nan
    errors = normals_errors(found, true, torch.ones(1, 1, 1, 4, dtype=torch.bool))
    assert float(errors["normals_mean_deg"]) == pytest.approx(30)
    assert float(errors["normals_median_deg"]) == pytest.approx(30)
    assert float(errors["normals_answered"]) == 0.5


def test_unknown_truth_an_empty_mask_and_no_answer_give_nan():
    true, _ = drawn(frames=4)
    found, known = true.clone(), torch.ones(4, 1, H, W, dtype=torch.bool)
    true[1] = 0
    known[2] = False
    found[3] = 0
    errors = normals_errors(found, true, known)
    for name, values in errors.items():
        assert values[0].isfinite(), name
        assert values[1].isnan(), name
        assert values[2].isnan(), name
    assert errors["normals_answered"][3] == 0
    assert errors["normals_mean_deg"][3].isnan()


def test_a_nan_in_the_truth_and_a_missing_axis_are_refused():
    true, _ = drawn()
    known = torch.ones(2, 1, H, W, dtype=torch.bool)
    broken = true.clone()
    broken[0, 0, 0, 0] = torch.nan
    with pytest.raises(DataError, match="true has 1 of"):
        normals_errors(true, broken, known)
    with pytest.raises(ShapeError, match="known"):
        normals_errors(true, true, known[:, 0])
