"""Edges of depth and how they meet."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch.testing import assert_close

from colondepth.errors import DataError
from evaluation.edges import EDGE_ERRORS, depth_edges, edge_errors

H, W = 18, 23


def everywhere(frames=1, height=H, width=W):
    return torch.ones(frames, 1, height, width, dtype=torch.bool)


def edges_at(*pixels, height=H, width=W):
    edge = torch.zeros(1, 1, height, width, dtype=torch.bool)
    for v, u in pixels:
        edge[0, 0, v, u] = True
    return edge


def test_the_pixels_in_front_of_a_jump_are_its_edge():
    depth_mm = torch.full((1, 1, H, W), 60.0)
    depth_mm[..., 4:9, 5:12] = 40
    wanted = torch.zeros(1, 1, H, W, dtype=torch.bool)
    wanted[..., 4:9, 5:12] = True
    wanted[..., 5:8, 6:11] = False
    assert torch.equal(depth_edges(depth_mm, everywhere(), ratio=1.4), wanted)
    assert not depth_edges(depth_mm, everywhere(), ratio=1.6).any()


def test_edges_do_not_depend_on_the_scale_of_depth():
    depth_mm = torch.rand(2, 1, H, W, generator=torch.Generator().manual_seed(0)) + 0.5
    edge = depth_edges(depth_mm, everywhere(2), ratio=1.2)
    assert 0 < edge.float().mean() < 1
    assert torch.equal(edge, depth_edges(64 * depth_mm, everywhere(2), ratio=1.2))


def test_the_border_of_what_is_known_is_no_edge():
    depth_mm = torch.full((1, 1, H, W), 30.0)
    depth_mm[..., 10:] = 90
    known = everywhere()
    depth_mm[..., 9] = 0
    assert not depth_edges(depth_mm, known, ratio=1.1).any()
    depth_mm[..., 9] = torch.nan
    assert not depth_edges(depth_mm, known, ratio=1.1).any()
    depth_mm[..., 9] = 30
    assert depth_edges(depth_mm, known, ratio=1.1)[..., 9].all()
    known[..., 9] = False
    assert not depth_edges(depth_mm, known, ratio=1.1).any()


def test_a_hand_worked_pair_of_edges():
    true = edges_at((2, 2), (2, 8), (10, 20))
    found = edges_at((2, 3), (5, 12), (17, 0), (2, 8))
    # found to true: 1, 5 (3-4-5 from (2, 8)), far, 0; true to found: 1, 0, 9.43 from (5, 12)
    errors = edge_errors(found, true, everywhere(), tolerance_px=1, cutoff_px=7)
    assert errors.keys() == EDGE_ERRORS.keys()
    assert float(errors["edge_precision"]) == pytest.approx(2 / 4)
    assert float(errors["edge_recall"]) == pytest.approx(2 / 3)
    assert float(errors["edge_f"]) == pytest.approx(2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3))
    assert float(errors["edge_accuracy_px"]) == pytest.approx((1 + 5 + 0) / 3)
    assert float(errors["edge_completeness_px"]) == pytest.approx((1 + 0 + 7) / 3)


def test_batches_agree_with_the_distances_of_all_pairs():
    generator = torch.Generator().manual_seed(3)
    found, true = (torch.rand(3, 1, H, W, generator=generator) < share for share in (0.03, 0.02))
    known = torch.rand(3, 1, H, W, generator=generator) < 0.8
    errors = edge_errors(found, true, known, tolerance_px=2, cutoff_px=4)
    for frame in range(3):
        ours, theirs = (np.argwhere((edge & known)[frame, 0].numpy()) for edge in (found, true))
        distance = cdist(ours, theirs)
        to_true, to_found = distance.min(axis=1), distance.min(axis=0)
        precision, recall = (to_true <= 2).mean(), (to_found <= 2).mean()
        wanted = {
            "edge_precision": precision,
            "edge_recall": recall,
            "edge_f": 2 / (1 / precision + 1 / recall),
            "edge_accuracy_px": to_true[to_true < 4].mean(),
            "edge_completeness_px": np.minimum(to_found, 4).mean(),
        }
        assert {name: float(values[frame]) for name, values in errors.items()} == pytest.approx(
            wanted
        )


def test_true_edges_are_met_by_themselves():
    true = edges_at((3, 4), (9, 1), (9, 2))
    errors = edge_errors(true, true, everywhere(), tolerance_px=0, cutoff_px=10)
    assert [float(value) for value in errors.values()] == [1, 1, 1, 0, 0]


def test_what_no_edges_give():
    some, none = edges_at((3, 4)), edges_at()
    hidden = everywhere()
    hidden[..., :5, :] = False

    def of(found, true, known):
        errors = edge_errors(found, true, known, tolerance_px=1, cutoff_px=10)
        return torch.stack(list(errors.values())).flatten()

    nan = torch.nan
    for found, true, known, wanted in (
        (none, none, everywhere(), [nan, nan, nan, nan, nan]),
        (some, some, hidden, [nan, nan, nan, nan, nan]),
        (none, some, everywhere(), [nan, 0, 0, nan, 10]),
        (some, none, everywhere(), [0, nan, 0, nan, nan]),
    ):
        wanted = torch.tensor(wanted, dtype=torch.float64)
        assert_close(of(found, true, known), wanted, equal_nan=True)


def test_a_ratio_of_one_or_less_is_refused():
    with pytest.raises(DataError, match=r"ratio is 0\.1, expected more than 1"):
        depth_edges(torch.ones(1, 1, H, W), everywhere(), ratio=0.1)
