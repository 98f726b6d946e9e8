"""Structural similarity (Wang 2004) under a square mean window.

Not kornia's: its window is a Gaussian with sigma 1.5 at every size, while the papers built on here
average squares of 3x3 pixels, and it would be a dependency for one function.
"""

from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from colondepth.errors import DataError, ShapeError
from colondepth.losses.known import known_average, known_depths, precise
from colondepth.shapes import require_float, require_shapes

# Wang 2004: they keep the quotient tame where the window is flat or black.
LUMINANCE_CONSTANT = 0.01  # of the data's range
CONTRAST_CONSTANT = 0.03


def ssim_loss(
    pred_mm: Tensor, target_mm: Tensor, valid: Tensor, *, window: int, data_range_mm: float
) -> Tensor:
    """Half of 1 - SSIM between predicted and true depth, in [0, 1].

    Only windows without an unknown pixel count: what a map holds where nothing is known is not
    structure.

    Args:
        pred_mm: predicted depth, positive, shape (B, 1, H, W).
        target_mm: true depth, 0 where unknown, shape (B, 1, H, W).
        valid: bool, shape (B, 1, H, W); a batch with no known window gives exactly 0.
        window: side of the square, an odd number of pixels.
        data_range_mm: the depth over which the constants of SSIM are taken; relief below some
            3 % of it counts little.
    """
    pred, target, known = known_depths(pred_mm, target_mm, valid)
    similarity = ssim_map(pred, target, window=window, data_range=data_range_mm)
    return known_average((1 - similarity) / 2, whole_windows(known, window=window))


def ssim_map(first: Tensor, second: Tensor, *, window: int, data_range: float) -> Tensor:
    """Return SSIM around every pixel, in [-1, 1]; borders are reflected without their last pixel.

    Means, variances and the covariance are plain ones over the window (divided by its pixels).

    Args:
        first: images or maps, shape (B, C, H, W).
        second: what they are compared with, shape (B, C, H, W).
        window: side of the square, an odd number of pixels.
        data_range: largest difference that the values can have; 1 for images in [0, 1].
    """
    require_shapes(first=(first, "B C H W"), second=(second, "B C H W"))
    require_float(first=first, second=second)
    if not data_range > 0:
        raise DataError(f"the data range is {data_range:g}, expected more than 0")
    x = _padded(precise(first), window)  # (B, C, H + window - 1, W + window - 1)
    y = _padded(precise(second), window)
    mean_x, mean_y = _window_mean(x, window), _window_mean(y, window)  # (B, C, H, W)
    variance_x = _window_mean(x * x, window) - mean_x * mean_x
    variance_y = _window_mean(y * y, window) - mean_y * mean_y
    covariance = _window_mean(x * y, window) - mean_x * mean_y
    c1 = (LUMINANCE_CONSTANT * data_range) ** 2
    c2 = (CONTRAST_CONSTANT * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    return luminance * (2 * covariance + c2) / (variance_x + variance_y + c2)  # Wang 2004, eq. 13


def whole_windows(known: Tensor, *, window: int) -> Tensor:
    """Return where the whole window is known, bool (B, 1, H, W) -> (B, 1, H, W)."""
    require_shapes(known=(known, "B 1 H W"))
    unknown = _padded((~known).float(), window)
    return max_pool2d(unknown, window, stride=1) == 0


def _padded(values: Tensor, window: int) -> Tensor:
    height, width = values.shape[-2:]
    if window < 1 or window % 2 == 0:
        raise DataError(f"window is {window}, expected an odd number of pixels")
    reach = window // 2
    if min(height, width) <= reach:
        raise ShapeError(
            f"maps of {height}x{width} are too small for a window of {window},"
            f" expected sides above {reach}"
        )
    return pad(values, (reach, reach, reach, reach), mode="reflect")


def _window_mean(values: Tensor, window: int) -> Tensor:
    # Rows, then columns: 2 n additions a pixel, not n^2.
    return avg_pool2d(avg_pool2d(values, (1, window), stride=1), (window, 1), stride=1)
