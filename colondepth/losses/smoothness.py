"""Depth that changes where the image does not: the prior of self-supervised training."""

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.losses.known import image_means, precise, require_at_least, step, sum_average
from colondepth.shapes import require_bool, require_float, require_shapes


def smoothness_loss(
    pred_mm: Tensor, image: Tensor, valid: Tensor, *, order: int, edge_sharpness: float
) -> Tensor:
    """Mean absolute difference of inverse depth, less where the image has an edge.

    Inverse depth is divided by its mean over the valid pixels of each image (Wang 2018), without
    which making depth small or large everywhere would pay. Order 1 takes |s_x| exp(-a |I_x|) along
    rows and columns (Godard 2017, eq. 3), 0 for a wall that faces the camera. Order 2 takes |s_xx|
    exp(-a max of the two |I_x| within it), 0 for every plane seen by a pinhole camera, whose
    inverse depth is straight. |I_x| is the mean over the colours; the averages along rows and
    along columns are added.

    Args:
        pred_mm: predicted depth, positive where `valid`, shape (B, 1, H, W).
        image: the image, in [0, 1], shape (B, C, H, W).
        valid: bool, True where the wall is seen, shape (B, 1, H, W); none gives exactly 0.
        order: 1 or 2.
        edge_sharpness: a, 0 or more: 0 sees no image, the papers have 1, or 10 with flow.
    """
    if order not in (1, 2):
        raise DataError(f"order is {order}, expected 1 (differences) or 2 (differences of them)")
    require_at_least(0, edge_sharpness=edge_sharpness)
    require_shapes(pred_mm=(pred_mm, "B 1 H W"), image=(image, "B C H W"), valid=(valid, "B 1 H W"))
    require_float(pred_mm=pred_mm, image=image)
    require_bool(valid=valid)
    inverse = 1 / torch.where(valid, precise(pred_mm), 1.0)  # (B, 1, H, W)
    mean = image_means(inverse, valid)  # (B,), 0 where nothing is valid
    inverse = inverse / mean.where(mean > 0, 1.0)[:, None, None, None]
    seen = torch.where(valid, precise(image), 0.0)  # (B, C, H, W)
    parts = []
    for axis in (-1, -2):
        change, known = step(inverse, valid, axis=axis)
        edge = step(seen, valid, axis=axis)[0].abs().mean(dim=1, keepdim=True)
        if order == 2:
            change, known = step(change, known, axis=axis)
            edge = _larger_neighbour(edge, axis=axis)
        parts.append((change.abs() * (-edge_sharpness * edge).exp(), known))
    return sum_average(*parts)


def _larger_neighbour(edge: Tensor, *, axis: int) -> Tensor:
    """Return the larger of each two neighbours along an axis, which gets one shorter."""
    pairs = max(edge.shape[axis] - 1, 0)
    first = edge.narrow(axis, 0, pairs)
    return torch.maximum(first, edge.narrow(axis, edge.shape[axis] - pairs, pairs))
