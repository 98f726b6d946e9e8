"""How honest a predicted uncertainty is: does the std fit the errors, and does it sort them?

The quantity is the natural logarithm of depth, as in `Prediction.log_depth_std`.
Calibration: which share of the errors lies inside the central interval that should hold a share p
(Kuleshov, Fenner and Ermon, "Accurate uncertainties for deep learning using calibrated
regression", 2018). Sorting: the mean error of what is left as the most uncertain
pixels are removed, against an oracle that knows the errors (Ilg et al., "Uncertainty estimates and
multi-hypotheses networks for optical flow", 2018); and what is gained over removing at
random (Poggi et al., "On the uncertainty of self-supervised monocular depth estimation", 2020).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import nan, sqrt

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.losses.known import image_means
from colondepth.shapes import require_bool, require_float, require_shapes
from evaluation.depth_errors import measured_pixels
from evaluation.quantities import Quantity

LEVELS = 100  # of the reliability curve, one a percent
REMOVALS = 100  # of the sparsification curve: 0, 1, ... 99 % are removed
CALIBRATION_ERRORS: Mapping[str, Quantity] = {
    "calibration_ece": Quantity("mean miss of the shares inside predicted intervals", "", True),
    "calibration_miss_1": Quantity("miss of the share inside 1 std", "", True),
    "calibration_miss_2": Quantity("miss of the share inside 2 std", "", True),
    "calibration_miss_3": Quantity("miss of the share inside 3 std", "", True),
    "calibration_ause": Quantity("sparsification: area above the oracle (AUSE)", "", True),
    "calibration_aurg": Quantity("sparsification: area below chance (AURG)", "", False),
    "calibration_answered": Quantity("known pixels that have a depth and a std", "", False),
}
_DEVIATIONS = (1.0, 2.0, 3.0)


class ErrorShape(StrEnum):
    """Which distribution of log depth a predicted std is the std of."""

    NORMAL = "normal"
    LAPLACE = "laplace"

    def share_within(self, deviations: Tensor) -> Tensor:
        """Return the probability of an error of at most so many standard deviations."""
        if self is ErrorShape.NORMAL:
            return torch.erf(deviations / sqrt(2))
        return -torch.expm1(-sqrt(2) * deviations)  # the scale of a Laplace is std / sqrt(2)


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Which share of the errors lies inside the interval that should hold `expected`."""

    expected: Tensor  # (K,) rising, in (0, 1)
    observed: Tensor  # (B, K); above `expected` the std is too large, below too small

    @property
    def ece(self) -> Tensor:
        """Return the mean of |observed - expected| over the levels, (B,)."""
        return (self.observed - self.expected).abs().mean(dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class Sparsification:
    """The mean error of the pixels left, as a share of the mean of all."""

    removed: Tensor  # (K,) rising from 0, share of the pixels
    by_std: Tensor  # (B, K), the most uncertain removed first
    oracle: Tensor  # (B, K), the largest errors removed first

    @property
    def ause(self) -> Tensor:
        """Return the area between the two curves, (B,); 0 is best."""
        return torch.trapezoid(self.by_std - self.oracle, self.removed, dim=1)

    @property
    def aurg(self) -> Tensor:
        """Return the area between 1 (pixels removed at random) and `by_std`, (B,)."""
        return torch.trapezoid(1 - self.by_std, self.removed, dim=1)


def calibration_errors(
    found_mm: Tensor, true_mm: Tensor, log_depth_std: Tensor, known: Tensor, *, shape: ErrorShape
) -> dict[str, Tensor]:
    """Return the errors of each frame, (B,) float64 each, named as in `CALIBRATION_ERRORS`.

    A pixel whose found depth or std is no positive number is no answer: it is left out and lowers
    `calibration_answered`. A frame without known pixels gives nan everywhere; a depth without any
    error leaves nothing to sort, and its two areas are nan. For one figure over a clip, make it
    one tall frame.

    Args:
        found_mm: after alignment, shape (B, 1, H, W).
        true_mm: finite, 0 where unknown, shape (B, 1, H, W).
        log_depth_std: shape (B, 1, H, W).
        known: bool, where to measure, shape (B, 1, H, W).
        shape: the distribution that the network was trained to predict.
    """
    error, std, measured, asked = log_errors(found_mm, true_mm, log_depth_std, known)
    ratio = error / std  # (B, 1, H, W)
    sparse = sparsification(error, std, measured)
    errors = {"calibration_ece": reliability(error, std, measured, shape=shape).ece}
    for deviations in _DEVIATIONS:
        inside = image_means((ratio <= deviations).double(), measured)
        expected = shape.share_within(ratio.new_tensor(deviations))
        errors[f"calibration_miss_{deviations:.0f}"] = (inside - expected).abs()
    empty, unasked = (~mask.flatten(start_dim=1).any(dim=1) for mask in (measured, asked))
    errors = {name: values.masked_fill(empty, nan) for name, values in errors.items()}
    return {
        **errors,
        "calibration_ause": sparse.ause,
        "calibration_aurg": sparse.aurg,
        "calibration_answered": image_means(measured.double(), asked).masked_fill(unasked, nan),
    }


def log_errors(
    found_mm: Tensor, true_mm: Tensor, log_depth_std: Tensor, known: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what the two curves are made of, each (B, 1, H, W).

    Returns:
        |log found - log true| and the std, in float64 and 1 where not measured; `measured`, True
        where truth, depth and std are there; and `known` where there is a true depth.
    """
    require_shapes(found_mm=(found_mm, "B 1 H W"), log_depth_std=(log_depth_std, "B 1 H W"))
    require_float(log_depth_std=log_depth_std)
    asked, measured = measured_pixels(found_mm, true_mm, known)
    measured = measured & log_depth_std.isfinite() & (log_depth_std > 0)
    found, true, std = (
        torch.where(measured, values.double(), 1.0) for values in (found_mm, true_mm, log_depth_std)
    )
    error = torch.where(measured, (found.log() - true.log()).abs(), 1.0)
    return error, std, measured, asked


def reliability(
    error: Tensor, std: Tensor, measured: Tensor, *, shape: ErrorShape, levels: int = LEVELS
) -> Reliability:
    """Return the reliability curve of each frame; nan for one without a measured pixel.

    Args:
        error: absolute error of log depth, shape (B, 1, H, W).
        std: predicted standard deviation of it, positive where `measured`, same shape.
        measured: bool, same shape.
        shape: of the predicted distribution.
        levels: the curve is told at 1 / levels, 2 / levels, ... below 1.
    """
    _require_maps(error, std, measured)
    if levels < 2:
        raise DataError(f"levels is {levels}, expected 2 or more")
    safe = torch.where(measured, std.double(), 1.0)
    # The level of the interval on whose end the error lies: uniform in [0, 1] if all is right.
    level = shape.share_within(torch.where(measured, error.double() / safe, 0.0))
    ordered = torch.where(measured, level, torch.inf).flatten(start_dim=1).sort(dim=1).values
    expected = torch.arange(1, levels, dtype=torch.float64, device=error.device) / levels
    wanted = expected.expand(len(ordered), -1).contiguous()  # (B, K)
    below = torch.searchsorted(ordered, wanted, right=True)  # (B, K)
    count = measured.flatten(start_dim=1).sum(dim=1, keepdim=True)  # (B, 1)
    observed = (below / count.clamp(min=1).double()).masked_fill(count == 0, nan)
    return Reliability(expected, observed)


def sparsification(error: Tensor, std: Tensor, measured: Tensor) -> Sparsification:
    """Return the sparsification curves of each frame.

    Pixels of equal std leave together, each with their mean error, as they would on average in a
    random order; so one std for all pixels gives the flat curve of chance. A frame without a
    measured pixel, or without any error, gives nan.

    Args:
        error: not negative, of any kind, shape (B, 1, H, W).
        std: shape (B, 1, H, W); only its order matters.
        measured: bool, shape (B, 1, H, W).
    """
    _require_maps(error, std, measured)
    errors = torch.where(measured, error.double(), 0.0).flatten(start_dim=1)  # (B, N)
    doubt = torch.where(measured, std.double(), torch.inf).flatten(start_dim=1)
    doubt, order = doubt.sort(dim=1)
    group = torch.nn.functional.pad((doubt.diff(dim=1) != 0).long(), (1, 0)).cumsum(dim=1)
    group_sum = torch.zeros_like(errors).scatter_add(1, group, errors.gather(1, order))
    group_size = torch.zeros_like(errors).scatter_add(1, group, torch.ones_like(errors))
    by_std = (group_sum / group_size.clamp(min=1)).gather(1, group)
    oracle = torch.where(measured.flatten(start_dim=1), errors, torch.inf).sort(dim=1).values
    oracle = torch.where(oracle.isfinite(), oracle, 0.0)
    count = measured.flatten(start_dim=1).sum(dim=1, keepdim=True)  # (B, 1)
    step = torch.arange(REMOVALS, device=error.device)
    kept = (count - count * step // REMOVALS).clamp(min=1)  # (B, K)

    def curve(ordered: Tensor) -> Tensor:
        means = ordered.cumsum(dim=1).gather(1, kept - 1) / kept  # (B, K)
        whole = means[:, :1]
        return torch.where(whole > 0, means / torch.where(whole > 0, whole, 1.0), nan)

    return Sparsification(step.double() / REMOVALS, curve(by_std), curve(oracle))


def _require_maps(error: Tensor, std: Tensor, measured: Tensor) -> None:
    require_shapes(error=(error, "B 1 H W"), std=(std, "B 1 H W"), measured=(measured, "B 1 H W"))
    require_float(error=error, std=std)
    require_bool(measured=measured)
