"""What all frames of a clip share: the scope's aperture, and the ranges of the colours.

Both come from a few frames, evenly spaced over the clip, so that neither flickers in a video and a
long one costs no more than a short one. A folder of images is a clip, too: one scope, one aperture.
"""

from collections.abc import Sequence
from enum import StrEnum
from math import floor, log10

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from colondepth.masks import find_aperture
from colondepth.pictures import Scale
from colondepth.prediction_files import Scales, relative
from colondepth.shapes import require_shapes

SURVEYED = 8  # frames of a clip
SURVEYED_PIXELS = 64_000_000  # of all of them together; 768 MB as floats
SEARCH_LONG_PX = 640  # the aperture's edge is found to two pixels of a full-HD frame
VIEW_AREA_MIN = 0.2  # of the image; no scope's picture is smaller, a lone bright wall is
# The step of red across the edge of an aperture. On images of ETIS-Larib that were cut to be full
# and darkened down to 1/16 the false edge of a shadow has up to 0.016; true edges have from 0.18
# up, a quarter of that at a quarter of the light. What is darker than that keeps its border.
EDGE_STEP_MIN = 0.02
EDGE_NEAR_SIDE, EDGE_FAR_SIDE = 0.006, 0.02  # the step is taken between: beyond the edge's blur
ENDS = (0.02, 0.98)  # quantiles where the colours end: a few specks do not take the range
PIXELS_A_FRAME = 20_000  # of each frame are looked at for the quantiles
NOTHING_KNOWN = (0.0, 100.0)  # the range of a clip in which no pixel is known


class Aperture(StrEnum):
    """What becomes of the black border around a scope's picture."""

    AUTO = "auto"  # found and left without depth
    NONE = "none"  # not looked for: depth everywhere


def surveyed(frames: int, *, pixels: int) -> list[int]:
    """Return the numbers of the frames to look at, the first one among them.

    Args:
        frames: of the clip.
        pixels: of a frame; of large frames fewer are taken.
    """
    count = min(frames, SURVEYED, max(1, SURVEYED_PIXELS // pixels))
    return [round(float(number)) for number in np.linspace(0, frames - 1, count)]


def shared_aperture(images: Sequence[Tensor]) -> Tensor:
    """Return `inside`, (H, W) bool: True inside the scope's aperture, all over where none is sure.

    An aperture is sure if light ends at its edge in a step: a dark picture without a border, in
    which light fades, keeps all of its pixels.

    Args:
        images: of one clip, each (3, H, W) in [0, 1].
    """
    height, width = images[0].shape[-2:]
    step = -(-max(height, width) // SEARCH_LONG_PX)
    thin = torch.stack([image[:, ::step, ::step] for image in images])  # (T, 3, h, w)
    require_shapes(images=(thin, "T 3 h w"))
    inside = find_aperture(thin, shared=True)[0]  # (h, w)
    if not _is_sure(inside.cpu().numpy(), thin[:, 0].mean(dim=0).cpu().numpy()):
        return torch.ones(height, width, dtype=torch.bool)
    wide = inside.repeat_interleave(step, dim=0).repeat_interleave(step, dim=1)  # (>= H, >= W)
    return wide[:height, :width].cpu()


def scales_of(
    depths: Sequence[NDArray[np.float32]],
    stds: Sequence[NDArray[np.float32]],
    *,
    metric: bool,
    calibrated: bool,
) -> Scales:
    """Return the ranges of a clip's colours.

    Args:
        depths: of the surveyed frames, (H, W) each, 0 where unknown.
        stds: of log depth, likewise; empty for a network without uncertainty.
        metric: whether depth is in mm; else each frame is shown as multiples of its own median.
        calibrated: whether the camera is; the scale says so if not.
    """
    shown = depths if metric else [relative(depth) for depth in depths]
    unit = "mm" if metric else "in medians of the frame"
    guess = "" if calibrated or not metric else " (camera guessed)"
    low, high = _range(shown)
    words = f"depth, {unit}{guess}"
    depth = Scale(words=words, low=low, high=high, low_is_bright=True, logarithmic=low > 0)
    if not stds:
        return Scales(depth=depth, uncertainty=None, metric=metric)
    low, high = _range([100 * std for std in stds])
    words = "uncertainty, ±% of depth"
    return Scales(depth=depth, uncertainty=Scale(words=words, low=low, high=high), metric=metric)


def _is_sure(inside: NDArray[np.bool_], redness: NDArray[np.float32]) -> bool:
    if inside.all() or inside.mean() < VIEW_AREA_MIN:
        return False
    side = min(inside.shape)
    near, far = max(1.0, EDGE_NEAR_SIDE * side), max(3.0, EDGE_FAR_SIDE * side)
    before, beyond = (distance_transform_edt(each) for each in (inside, ~inside))
    lit = redness[(before > near) & (before <= far)]
    dark = redness[(beyond > near) & (beyond <= far)]
    if not lit.size or not dark.size:
        return False
    return bool(np.median(lit) - np.median(dark) > EDGE_STEP_MIN)


def _range(maps: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    """Return where the colours of maps begin and end, as numbers of two digits or so."""
    known = [_some(values[values > 0]) for values in maps]
    together = np.concatenate(known) if known else np.empty(0)
    if not together.size:
        return NOTHING_KNOWN
    low, high = (float(end) for end in np.quantile(together, ENDS))
    if high - low < 0.02 * high:  # all the same: it lies in the middle
        low, high = 0.9 * low, 1.1 * high
    digits = 1 - floor(log10(high - low))  # of which one step is a tenth of the range, or finer
    unit = 10.0**-digits
    return round(floor(low / unit) * unit, digits), round(-(-high // unit) * unit, digits)


def _some(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values[:: -(-values.size // PIXELS_A_FRAME) or 1]
