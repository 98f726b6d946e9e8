"""Morphology on one image: what is thinner or wider than a width, and what lies near.

Maps are (H, W), of float32 or bool; a structuring element is a square, because that separates into
rows and columns and leaves octagons and rectangles as they are. Beyond its edge an image goes on
as it ends.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn.functional import avg_pool2d, interpolate

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

WIDE_POOLED_PX = 90  # the shorter side at which a wide background is computed


def opened(values: Map, width_px: float) -> Map:
    """Take away what is bright and thinner than `width_px`."""
    size = 2 * round(width_px / 2) + 1
    return np.asarray(ndimage.grey_opening(values, size=(size, size), mode="nearest"))


def opened_mask(found: Mask, width_px: float) -> Mask:
    """Take away what is thinner than `width_px`."""
    return opened(found.astype(np.float32), width_px) > 0.5


def closed_mask(found: Mask, width_px: float) -> Mask:
    """Fill gaps that are thinner than `width_px`."""
    return ~opened_mask(~found, width_px)


def widely_opened(values: Map, width_px: float) -> Map:
    """Open by a wide square on pooled values: smoother, never lower, and a tenth of the time."""
    pool = max(1, min(values.shape) // WIDE_POOLED_PX)
    small = ndimage.maximum_filter(opened(pooled(values, pool), width_px / pool), 3)
    wide = torch.from_numpy(small)[None, None]
    wide = interpolate(wide, scale_factor=pool, mode="bilinear", align_corners=False)
    return np.asarray(wide[0, 0, : values.shape[0], : values.shape[1]].numpy())


def grown(found: Mask, reach_px: float) -> Mask:
    """Add the pixels within `reach_px`, and within one at least, along rows and columns."""
    size = 2 * max(1, round(reach_px)) + 1
    return np.asarray(ndimage.maximum_filter(found.view(np.uint8), size, mode="nearest") > 0)


def spread(values: Map, reach_px: float) -> Map:
    """Return the largest difference between values that lie within `reach_px` of a pixel."""
    size = 2 * round(reach_px) + 1
    top = ndimage.maximum_filter(values, size, mode="nearest")
    return np.asarray(top - ndimage.minimum_filter(values, size, mode="nearest"))


def touching(weak: Mask, seeds: Mask) -> Mask:
    """Return the connected pieces of `weak` that hold a seed."""
    labels, count = ndimage.label(weak, structure=np.ones((3, 3)))
    kept = np.zeros(count + 1, dtype=bool)
    kept[labels[seeds]] = True
    kept[0] = False
    return np.asarray(kept[labels])


def pooled(values: Map, pool: int) -> Map:
    """Return the means of blocks of `pool` x `pool` pixels; the last ones may be smaller."""
    blocks = torch.from_numpy(np.ascontiguousarray(values))[None]
    means = avg_pool2d(blocks, pool, ceil_mode=True, count_include_pad=False)
    return np.asarray(means[0].numpy())
