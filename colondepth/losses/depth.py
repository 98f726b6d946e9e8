"""How far predicted depth is from true depth, pixel by pixel.

All take positive predictions, truth with 0 where unknown and `valid`, each (B, 1, H, W), and
average as in `colondepth.losses.known`.
"""

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.losses.known import (
    average,
    image_means,
    known_average,
    known_depths,
    log_difference,
)


def l1_loss(pred_mm: Tensor, target_mm: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute error, in mm."""
    pred, target, known = known_depths(pred_mm, target_mm, valid)
    return known_average((pred - target).abs(), known)


def l2_loss(pred_mm: Tensor, target_mm: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error, in square mm."""
    pred, target, known = known_depths(pred_mm, target_mm, valid)
    return known_average((pred - target).square(), known)


def log_l1_loss(pred_mm: Tensor, target_mm: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute error of the natural logarithm; when small, it is the relative error."""
    d, known = log_difference(pred_mm, target_mm, valid)
    return known_average(d.abs(), known)


def log_l2_loss(pred_mm: Tensor, target_mm: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error of the natural logarithm."""
    d, known = log_difference(pred_mm, target_mm, valid)
    return known_average(d.square(), known)


def shape_loss(pred_mm: Tensor, target_mm: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute error of log depth once each image has its best scale.

    With d = log pred - log target, an image contributes the mean of |d - median(d)|: no scale
    makes it smaller. Multiplying the prediction by any number changes nothing, and no pixel is
    moved by an error that the whole image shares.
    """
    d, known = log_difference(pred_mm, target_mm, valid)
    flat = torch.where(known, d, torch.nan).flatten(start_dim=1)
    scale = flat.nanmedian(dim=1).values.nan_to_num(0.0)  # (B,)
    return known_average((d - scale[:, None, None, None]).abs(), known)


def silog_loss(
    pred_mm: Tensor, target_mm: Tensor, valid: Tensor, *, forgive_scale: float
) -> Tensor:
    """Scale-invariant log error (Eigen 2014, eq. 4).

    With d = log pred - log target, an image contributes mean(d^2) - forgive_scale * mean(d)^2:
    1 forgives any scale of the whole image, 0 forgives none and is `log_l2_loss`, the paper
    trains with 0.5.

    Args:
        pred_mm: predicted depth, positive, shape (B, 1, H, W).
        target_mm: true depth, 0 where unknown, shape (B, 1, H, W).
        valid: bool, shape (B, 1, H, W); a batch with no known pixel gives exactly 0.
        forgive_scale: weight of the scale term, in [0, 1].
    """
    if not 0 <= forgive_scale <= 1:
        raise DataError(f"forgive_scale is {forgive_scale:g}, expected 0 to 1")
    d, known = log_difference(pred_mm, target_mm, valid)
    scale = image_means(d, known)  # (B,)
    # The spread around the mean, not mean(d^2) - mean(d)^2: that would lose digits, and its sign.
    spread = image_means((d - scale[:, None, None, None]).square(), known)
    images = known.flatten(start_dim=1).any(dim=1)  # (B,)
    return average(spread + (1 - forgive_scale) * scale.square(), images)
