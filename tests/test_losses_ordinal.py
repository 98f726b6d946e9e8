"""The loss over ordered labels."""

import math

import pytest
import torch
from torch.testing import assert_close

from colondepth.backbones.single_view.ordinal_labels import Labels
from colondepth.errors import ShapeError
from colondepth.losses.ordinal import ordinal_loss

EIGHTY = Labels(count=80, nearest=1.0, farthest=80.0, unit_mm=1.0)
FIVE = Labels(count=5, nearest=2.0, farthest=90.0, unit_mm=1.0)
B, H, W = 2, 3, 4


def all_valid(target: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(target, dtype=torch.bool)


def sure(label: torch.Tensor, count: int) -> torch.Tensor:
    """Logits (B, 2K, h, w) of a network that is sure of labels (B, 1, h, w)."""
    beyond = torch.arange(count)[:, None, None] < label  # (B, K, h, w)
    logits = torch.stack([torch.where(beyond, -20.0, 20.0), torch.where(beyond, 20.0, -20.0)], 2)
    return logits.flatten(1, 2)


@pytest.mark.parametrize("labels", [FIVE, EIGHTY])
def test_a_network_that_knows_nothing_costs_ln_2_a_label(labels):
    target = torch.linspace(3, 70, B * H * W).view(B, 1, H, W)
    logits = torch.zeros(B, 2 * labels.count, H, W)
    got = ordinal_loss(logits, target, all_valid(target), labels=labels, corners_aligned=False)
    assert_close(got.item(), labels.count * math.log(2), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("depth_mm", "label"),
    # The published thresholds t_1 = 1.0563 and t_40 = 8.9443; the ends take what is beyond them.
    [(1.0562, 0), (1.0564, 1), (8.944, 39), (8.945, 40), (0.3, 0), (79.9, 79), (500.0, 79)],
)
def test_being_sure_of_the_label_between_the_right_thresholds_costs_nothing(depth_mm, label):
    target = torch.full((B, 1, H, W), depth_mm)
    for wrong in (0, 1, 3):
        if label + wrong > 80:
            continue
        logits = sure(torch.full((B, 1, H, W), label + wrong), 80)
        got = ordinal_loss(logits, target, all_valid(target), labels=EIGHTY, corners_aligned=False)
        assert_close(got.item(), 40.0 * wrong, atol=1e-4, rtol=1e-6)


def test_it_is_the_formula_of_the_paper_pixel_by_pixel():
    dice = torch.Generator().manual_seed(0)
    logits = torch.randn(B, 10, H, W, generator=dice, dtype=torch.float64)
    target = 100 * torch.rand(B, 1, H, W, generator=dice, dtype=torch.float64)
    valid = torch.rand(B, 1, H, W, generator=dice) < 0.7
    ratio = (90 - 2 + 1) ** (1 / 5)  # shifted by -1: from 1 to 89
    thresholds = [ratio**i + 1 for i in range(6)]
    means = []
    for image in range(B):
        costs = []
        for v, u in valid[image, 0].nonzero().tolist():
            label = sum(threshold <= target[image, 0, v, u] for threshold in thresholds[1:5])
            cost = 0.0
            for k in range(5):
                p = logits[image, 2 * k : 2 * k + 2, v, u].softmax(dim=0)[1].item()
                cost -= math.log(p if k < label else 1 - p)
            costs.append(cost)
        means.append(sum(costs) / len(costs))
    got = ordinal_loss(logits, target, valid, labels=FIVE, corners_aligned=False)
    assert_close(got.item(), sum(means) / B)


@pytest.mark.parametrize(
    ("corners_aligned", "size", "rows", "columns"),
    [
        (True, (17, 25), [0, 8, 16], [0, 8, 16, 24]),
        (True, (9, 11), [0, 4, 8], [0, 3, 7, 10]),
        (False, (17, 25), [2, 8, 14], [3, 9, 15, 21]),
        (False, (3, 4), [0, 1, 2], [0, 1, 2, 3]),
    ],
)
def test_coarse_logits_meet_the_pixel_under_their_centre(corners_aligned, size, rows, columns):
    target = torch.full((B, 1, *size), 80.0)  # label 4
    valid = torch.zeros(B, 1, *size, dtype=torch.bool)
    for v in rows:
        for u in columns:
            target[..., v, u] = 2.5  # label 0
            valid[..., v, u] = True
    valid[..., rows[1], columns[2]] = False
    label = torch.zeros(B, 1, 3, 4)
    label[..., 1, 2] = 3  # a cell over an unknown pixel may say anything
    got = ordinal_loss(sure(label, 5), target, valid, labels=FIVE, corners_aligned=corners_aligned)
    assert 0 < got.item() < 1e-6
    label[..., 2, 3] = 3
    worse = ordinal_loss(
        sure(label, 5), target, valid, labels=FIVE, corners_aligned=corners_aligned
    )
    assert_close(worse.item(), 3 * 40 / 11, rtol=1e-5, atol=0)


def test_logits_of_another_number_of_labels_are_refused():
    target = torch.full((B, 1, H, W), 9.0)
    with pytest.raises(ShapeError, match="12 channels, expected 10"):
        ordinal_loss(
            torch.zeros(B, 12, H, W), target, target > 0, labels=FIVE, corners_aligned=False
        )
