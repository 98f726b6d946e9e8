"""Edges and curvatures of the wall: what SfSNet adds to depth to sharpen folds and polyps.

Ruano et al. (2023) say that their loss minimises the error in edges and curvatures; they give
neither formula nor weights. What stands here is ours and is not theirs in any number.
"""

from enum import StrEnum

from torch import Tensor

from colondepth.errors import DataError
from colondepth.losses.known import (
    image_means,
    known_depths,
    require_at_least,
    step,
    sum_average,
)


class DepthScale(StrEnum):
    """What is made of depth before it is compared; neither depends on the unit."""

    LOG = "log"  # natural logarithm
    INVERSE = "inverse"  # 1 / depth in means of the image's true 1 / depth; straight on planes


def edges_and_curvature_loss(
    pred_mm: Tensor,
    target_mm: Tensor,
    valid: Tensor,
    *,
    edge_weight: float,
    curvature_weight: float,
    scale: DepthScale,
) -> Tensor:
    """Weighted sum of how far edges and curvatures of depth are from the true ones; ours.

    With r = f(pred) - f(target) on the depth scale f and differences between neighbouring pixels,

        edges     = mean |r_x| + mean |r_y|,
        curvature = mean |r_xx| + 2 mean |r_xy| + mean |r_yy|,

    each mean over the places where all the pixels that enter are known. The first is the error
    of the gradient, the second that of the Hessian, whose mixed term stands in it twice.

    Args:
        pred_mm: predicted depth, positive, shape (B, 1, H, W).
        target_mm: true depth, 0 where unknown, shape (B, 1, H, W).
        valid: bool, shape (B, 1, H, W); a batch with no known pair gives exactly 0.
        edge_weight: weight of the first sum, 0 or more.
        curvature_weight: weight of the second sum, 0 or more.
        scale: f.
    """
    if scale not in tuple(DepthScale):
        raise DataError(f"scale is {scale!r}, expected one of {', '.join(DepthScale)}")
    require_at_least(0, edge_weight=edge_weight, curvature_weight=curvature_weight)
    r, known = _difference(pred_mm, target_mm, valid, DepthScale(scale))
    across = step(r, known, axis=-1)
    down = step(r, known, axis=-2)
    return sum_average(
        _weighted(*across, edge_weight),
        _weighted(*down, edge_weight),
        _weighted(*step(*across, axis=-1), curvature_weight),
        _weighted(*step(*across, axis=-2), 2 * curvature_weight),
        _weighted(*step(*down, axis=-2), curvature_weight),
    )


def _difference(
    pred_mm: Tensor, target_mm: Tensor, valid: Tensor, scale: DepthScale
) -> tuple[Tensor, Tensor]:
    pred, target, known = known_depths(pred_mm, target_mm, valid)
    if scale is DepthScale.LOG:
        return pred.log() - target.log(), known
    difference = 1 / pred - 1 / target  # (B, 1, H, W)
    unit = image_means(1 / target, known)  # (B,), 0 where nothing is known
    return difference / unit.where(unit > 0, 1.0)[:, None, None, None], known


def _weighted(change: Tensor, known: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    return weight * change.abs(), known
