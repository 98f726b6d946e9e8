"""Which pixels a loss may look at, and how what it finds there is averaged.

A pixel is known where `valid` is True and the true depth is above 0. What is averaged is averaged
within each image first, then over the images that have something to average: a frame with little
truth weighs as much as one with much, and a frame without any weighs nothing. Where there is
nothing at all the average is exactly 0 and so is its gradient.

Everything is computed in float32, or in float64 where that comes in: 16 bits lose depth's third
digit. Depth that is 0 or negative on a known pixel is the network's fault and shows as a loss that
is infinite or NaN; it is not repaired here.
"""

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.shapes import require_bool, require_float, require_shapes


def known_depths(
    pred_mm: Tensor, target_mm: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Check the three maps of a loss, each (B, 1, H, W), and make the unknown pixels harmless.

    Returns:
        Predicted and true depth in float32 or float64 with 1 mm wherever the truth is unknown, so
        that logarithms and quotients stay finite there in both directions; and `known`, bool.
    """
    pattern = "B 1 H W"
    require_shapes(
        pred_mm=(pred_mm, pattern), target_mm=(target_mm, pattern), valid=(valid, pattern)
    )
    require_float(pred_mm=pred_mm, target_mm=target_mm)
    require_bool(valid=valid)
    known = valid & (target_mm > 0)
    dtype = torch.promote_types(precise(pred_mm).dtype, precise(target_mm).dtype)
    pred, target = (torch.where(known, depth.to(dtype), 1.0) for depth in (pred_mm, target_mm))
    return pred, target, known


def log_difference(pred_mm: Tensor, target_mm: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return log pred - log target (B, 1, H, W), 0 where unknown, and `known`."""
    pred, target, known = known_depths(pred_mm, target_mm, valid)
    return pred.log() - target.log(), known


def precise(values: Tensor) -> Tensor:
    """Return values in float32, or in float64 if they are."""
    return values if values.dtype == torch.float64 else values.float()


def image_means(values: Tensor, known: Tensor) -> Tensor:
    """Return the mean of the known values of each image, (B, ...) -> (B,); 0 where none is."""
    axes = tuple(range(1, values.ndim))
    total = torch.where(known, values, 0.0).sum(dim=axes)  # (B,)
    return total / known.sum(dim=axes).clamp(min=1)


def average(per_image: Tensor, images: Tensor) -> Tensor:
    """Return the mean of one number an image (B,) over the images that count, bool (B,)."""
    return torch.where(images, per_image, 0.0).sum() / images.sum().clamp(min=1)


def known_average(values: Tensor, known: Tensor) -> Tensor:
    """Return the average of values (B, ...) within each image, then over images; a number."""
    return sum_average((values, known))


def sum_average(*parts: tuple[Tensor, Tensor]) -> Tensor:
    """Return the average over images of the sum of each one's means of several kinds.

    Args:
        parts: values (B, ...) and where they are known, each of a shape of its own. An image
            without known values of one kind gets 0 for it, without any it does not count.
    """
    means = [image_means(values, known) for values, known in parts]  # (B,) each
    images = [known.flatten(start_dim=1).any(dim=1) for _, known in parts]
    return average(torch.stack(means).sum(dim=0), torch.stack(images).any(dim=0))


def step(values: Tensor, known: Tensor, *, axis: int, distance: int = 1) -> tuple[Tensor, Tensor]:
    """Return how much values grow over `distance` pixels along an axis, and where both are known.

    The axis gets `distance` shorter. Steps of steps are second differences, known where all the
    pixels that enter are: `step(*step(values, known, axis=-1), axis=-1)`.
    """
    length = values.shape[axis]
    pairs = max(length - distance, 0)
    far = values.narrow(axis, length - pairs, pairs)
    near = values.narrow(axis, 0, pairs)
    both = known.narrow(axis, length - pairs, pairs) & known.narrow(axis, 0, pairs)
    return far - near, both


def require_at_least(least: float, **options: float) -> None:
    """Check that numbers given as options are not below a limit."""
    for name, value in options.items():
        if not value >= least:
            raise DataError(f"{name} is {value:g}, expected {least:g} or more")
