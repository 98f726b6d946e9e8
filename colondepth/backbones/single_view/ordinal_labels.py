"""Depth as one of K ordered labels, narrow ones near and wide ones far (Fu et al. 2018, eq. 1).

Spacing-increasing discretisation: with a shift such that nearest + shift = 1 unit, the thresholds
are t_i = (farthest + shift)^(i / K) for i = 0 to K, and label l is the depth from t_l to t_(l+1),
less the shift. A network says for every label k how probable it is that the true one is beyond k.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import exp, log

import torch
from torch import Tensor

from colondepth.errors import DataError


class Decode(StrEnum):
    """How a label becomes a depth."""

    PAPER = "paper"  # the middle of the label's two thresholds
    KITTI = "kitti"  # the formula of the weights released for KITTI, in their unit, the metre
    NYU = "nyu"  # the same for NYU


# Released formulas: depth = exp((label - 1 + start) / rate), label 1 being the nearest.
_RATE = 25.0
_START = {Decode.KITTI: 40.0, Decode.NYU: -0.36 * _RATE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """K labels from the nearest to the farthest depth, in millimetres outside and units inside.

    Args:
        count: K.
        nearest: depth of the first threshold, in units; above 0.
        farthest: depth of the last threshold, in units.
        unit_mm: one unit in millimetres.
    """

    count: int
    nearest: float
    farthest: float
    unit_mm: float

    def __post_init__(self) -> None:
        """Refuse a range that holds no labels."""
        if self.count < 1 or not 0 < self.nearest < self.farthest or not self.unit_mm > 0:
            raise DataError(
                f"{self.count} labels from {self.nearest} to {self.farthest} units of"
                f" {self.unit_mm} mm: expected 1 label or more, 0 < nearest < farthest and a unit"
                " above 0"
            )

    @property
    def shift(self) -> float:
        """What is added to depths, in units, so that the nearest becomes 1."""
        return 1 - self.nearest

    @property
    def step(self) -> float:
        """Logarithm of a threshold over the one before."""
        return log(self.farthest + self.shift) / self.count

    def thresholds(self, like: Tensor) -> Tensor:
        """Return the thresholds with the shift, in units, (K + 1,): t_0 = 1."""
        index = torch.arange(self.count + 1, dtype=like.dtype, device=like.device)
        return (self.step * index).exp()

    def label(self, depth_mm: Tensor) -> Tensor:
        """Return the label of every depth, of its shape, int64; beyond an end the last one."""
        shifted = (depth_mm / self.unit_mm + self.shift).clamp(min=1)  # before the logarithm
        index: Tensor = (shifted.log() / self.step).floor().long().clamp(0, self.count - 1)
        return index

    def depth_mm(self, label: Tensor, decode: Decode) -> Tensor:
        """Return the depth of labels, of their shape.

        Args:
            label: how many labels the depth is probably beyond, 0 to K, which need not be a whole
                number: all formulas are exponentials. K itself is taken for the last label.
            decode: which formula.
        """
        if decode is not Decode.PAPER:
            depth: Tensor = ((label - 1 + _START[decode]) / _RATE).exp()
            return depth * self.unit_mm
        low = (self.step * label.clamp(max=self.count - 1)).exp()  # t_l
        middle: Tensor = low * (1 + exp(self.step)) / 2  # t_(l+1) is exp(step) times t_l
        return (middle - self.shift) * self.unit_mm


def beyond(label_logits: Tensor) -> Tensor:
    """Return log odds that the true label is beyond k, (B, 2K, h, w) -> (B, K, h, w).

    The softmax over the pair (2k, 2k + 1) is the sigmoid of their difference; the second of a pair
    stands for "beyond", whose probability the paper calls P_k.
    """
    pairs = label_logits.unflatten(1, (-1, 2))  # (B, K, 2, h, w)
    odds: Tensor = pairs[:, :, 1] - pairs[:, :, 0]
    return odds
