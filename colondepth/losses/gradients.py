"""Whether depth changes from pixel to pixel as the true depth does, near and far apart."""

from torch import Tensor

from colondepth.errors import ShapeError
from colondepth.losses.known import log_difference, require_at_least, step, sum_average


def gradient_loss(
    pred_mm: Tensor, target_mm: Tensor, valid: Tensor, *, scales: int, distance_px: int
) -> Tensor:
    """Match the gradients of log depth at several scales (Li and Snavely 2018, eq. 3; Li 2019).

    With d = log pred - log target, scale s takes every 2^s-th pixel of d; there the absolute
    differences of pixels `distance_px` apart are averaged along rows and along columns, and the
    two averages are added. The loss is the mean over the scales, so that their number does not
    change its size; the papers add them up. Multiplying the prediction by any number changes
    nothing.

    Args:
        pred_mm: predicted depth, positive, shape (B, 1, H, W).
        target_mm: true depth, 0 where unknown, shape (B, 1, H, W).
        valid: bool, shape (B, 1, H, W); a batch with no known pair gives exactly 0.
        scales: how many, 1 or more; the published code for Li 2019 has 5.
        distance_px: between the pixels compared, in pixels of each scale; there it is 2.
    """
    require_at_least(1, scales=scales, distance_px=distance_px)
    d, known = log_difference(pred_mm, target_mm, valid)
    _require_pairs(d, scales, distance_px)
    parts = []
    for scale in range(scales):
        every = 2**scale
        some, some_known = d[..., ::every, ::every], known[..., ::every, ::every]
        for axis in (-1, -2):
            change, both = step(some, some_known, axis=axis, distance=distance_px)
            parts.append((change.abs() / scales, both))
    return sum_average(*parts)


def _require_pairs(d: Tensor, scales: int, distance_px: int) -> None:
    side = min(d.shape[-2:])
    if side <= distance_px * 2 ** (scales - 1):
        fitting = 0
        while side > distance_px * 2**fitting:
            fitting += 1
        cure = f"at most {fitting} scales" if fitting else "a smaller distance_px"
        raise ShapeError(
            f"maps of {d.shape[-2]}x{d.shape[-1]} have no pixels {distance_px} apart once every"
            f" {2 ** (scales - 1)}th is taken (scales={scales}); expected {cure}"
        )
