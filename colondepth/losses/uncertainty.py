"""Depth with a standard deviation: likelihoods to train both, and how honest the second is.

The quantity is the natural logarithm of depth, so a standard deviation of 0.1 says "10 % or so".
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from colondepth.errors import DataError, ShapeError
from colondepth.losses.known import known_average, log_difference, precise
from colondepth.shapes import require_bool, require_float, require_shapes

# Shares of a normal distribution inside 1 and 2 standard deviations: erf(k / sqrt(2)).
NORMAL_SHARES = (0.682689, 0.954500)


class Shares(NamedTuple):
    """Which part of the errors lies inside 1 and inside 2 predicted standard deviations."""

    one: float
    two: float


def laplace_loss(
    pred_mm: Tensor, target_mm: Tensor, valid: Tensor, *, log_depth_std: Tensor
) -> Tensor:
    """Negative log likelihood of true log depth under a Laplace distribution around the predicted.

    With d = log pred - log target and b = std / sqrt(2), |d| / b + log(2 b), in nats: a density, so
    it may be negative, and its constants are kept. The std that makes it smallest is sqrt(2) |d|;
    a perfect depth leaves log(sqrt(2) std).

    Args:
        pred_mm: predicted depth, positive, shape (B, 1, H, W).
        target_mm: true depth, 0 where unknown, shape (B, 1, H, W).
        valid: bool, shape (B, 1, H, W); a batch with no known pixel gives exactly 0.
        log_depth_std: predicted standard deviation of log depth, positive, shape (B, 1, H, W);
            the network bounds it away from 0, where the loss has no bottom.
    """
    d, std, known = _error_and_std(pred_mm, target_mm, valid, log_depth_std)
    b = std / math.sqrt(2)
    return known_average(d.abs() / b + (2 * b).log(), known)


def gaussian_loss(
    pred_mm: Tensor, target_mm: Tensor, valid: Tensor, *, log_depth_std: Tensor
) -> Tensor:
    """Negative log likelihood of true log depth under a normal distribution around the predicted.

    d^2 / (2 std^2) + log std + log(2 pi) / 2, in nats, constants kept; a perfect depth leaves the
    last two. Arguments as in `laplace_loss`, which minds outliers less.
    """
    d, std, known = _error_and_std(pred_mm, target_mm, valid, log_depth_std)
    constant = math.log(2 * math.pi) / 2
    return known_average((d / std).square() / 2 + std.log() + constant, known)


def shares_within(
    log_error: Tensor, std: Tensor, valid: Tensor, *, temperature: float = 1.0
) -> Shares:
    """Return the shares of errors inside 1 and 2 standard deviations, images weighing the same.

    Args:
        log_error: log pred - log target, shape (B, ...).
        std: predicted standard deviation, positive where `valid`, same shape.
        valid: bool, where both are meant, same shape.
        temperature: multiplies `std` first.
    """
    ratio, weight = _ratios(log_error, std, valid)
    if not temperature > 0:
        raise DataError(f"temperature is {temperature:g}, expected more than 0")
    one, two = (float(weight[ratio <= deviations * temperature].sum()) for deviations in (1.0, 2.0))
    return Shares(one, two)


def one_temperature(log_error: Tensor, std: Tensor, valid: Tensor) -> float:
    """Return the one factor on `std` that makes its shares most like those of a normal error.

    Minimises the sum of the squared misses of `shares_within` against 68.27 % and 95.45 %. The
    shares change only where the factor passes an error, so all the factors that matter are tried;
    of equally good ones the smallest is taken. For errors that follow a Laplace distribution of
    exactly this std the answer is 0.87, not 1: more of them lie inside one std than of normal ones.

    Args:
        log_error: log pred - log target, shape (B, ...).
        std: predicted standard deviation, positive where `valid`, same shape.
        valid: bool, where both are meant, same shape.
    """
    ratio, weight = _ratios(log_error, std, valid)
    ratio, order = ratio.sort()
    # Share of the errors up to and with number n, from none of them to all.
    share = torch.cat([weight.new_zeros(1), weight[order].cumsum(dim=0)])
    factors = torch.cat([ratio, ratio / 2]).sort().values
    factors = factors[factors > 0]
    if len(factors) == 0:
        raise DataError("every error is exactly 0; expected errors to fit a temperature to")
    miss = torch.zeros_like(factors)
    for deviations, wanted in zip((1.0, 2.0), NORMAL_SHARES, strict=True):
        inside = share[torch.searchsorted(ratio, deviations * factors, right=True)]
        miss += (inside - wanted).square()
    return float(factors[miss.argmin()])


def _error_and_std(
    pred_mm: Tensor, target_mm: Tensor, valid: Tensor, log_depth_std: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    require_shapes(pred_mm=(pred_mm, "B 1 H W"), log_depth_std=(log_depth_std, "B 1 H W"))
    require_float(log_depth_std=log_depth_std)
    d, known = log_difference(pred_mm, target_mm, valid)
    return d, torch.where(known, precise(log_depth_std), 1.0), known


def _ratios(log_error: Tensor, std: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return |error| / std of the valid pixels, and weights that give images equal parts of 1."""
    if not log_error.shape == std.shape == valid.shape:
        raise ShapeError(
            f"log_error {tuple(log_error.shape)}, std {tuple(std.shape)} and valid"
            f" {tuple(valid.shape)} differ in shape, expected one shape (B, ...)"
        )
    require_float(log_error=log_error, std=std)
    require_bool(valid=valid)
    if not bool(valid.any()):
        raise DataError("no pixel is valid; expected errors to compare with std")
    if not bool((std[valid] > 0).all()):
        raise DataError("std is 0, negative or NaN at a valid pixel, expected positive numbers")
    count = valid.flatten(start_dim=1).sum(dim=1)  # (B,)
    images = (count > 0).sum()
    each = 1 / (count.clamp(min=1) * images).double()  # (B,)
    shape = (-1, *([1] * (valid.ndim - 1)))
    weight = each.view(shape).expand(valid.shape)[valid]
    return log_error[valid].double().abs() / std[valid].double(), weight
