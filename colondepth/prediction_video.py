"""Every frame of a clip beside its predicted depth in colours, as a video to look at.

It has the times of the original, and is made from the pictures of a finished run, so a run that was
stopped has lost nothing by it.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from colondepth.data.prefetch import prefetched
from colondepth.errors import DataError
from colondepth.films import film
from colondepth.images import read_image
from colondepth.pictures import bar_width
from colondepth.prediction_files import FrameFiles, room_in
from colondepth.views import Clip

STILLS_PER_S = 10  # how fast frames without times are shown
ASPECT_TERMS_MAX = 500  # of a pixel's aspect as a fraction; 59:54 and 64:45 are in use


def write_side_by_side(
    clip: Clip,
    files: Sequence[FrameFiles],
    path: Path,
    *,
    seen: Callable[[Tensor], None] = lambda _: None,
) -> None:
    """Write a video of frames, left, and colours with their scale, right; whole or not at all.

    Args:
        clip: the frames.
        files: of the prediction of each.
        path: an .mp4 file.
        seen: called with every image that is written.
    """
    if len(clip) != len(files):
        raise DataError(f"{len(clip)} frames and {len(files)} predictions; expected as many")
    height, width = clip.camera.height, clip.camera.width
    across = 2 * width + bar_width(height)
    with (
        room_in(path.parent),
        film(path, height=height, width=across, pixel_aspect=_pixel_aspect(clip)) as add,
        closing(prefetched(clip)) as views,  # type: ignore[type-var]
    ):
        for number, (view, each) in enumerate(zip(views, files, strict=True)):
            seen(view["image"])
            pair = torch.cat([view["image"], read_image(each.colours)], dim=-1)  # (3, H, across)
            if pair.shape[-1] != across:
                raise DataError(f"{each.colours} is not as `predict` wrote it; delete it and run")
            add(pair, view.get("time_s", number / STILLS_PER_S))


def _pixel_aspect(clip: Clip) -> Fraction:
    """Return the width of a pixel over its height, which only an assumed camera takes over."""
    if clip.camera.calibrated:
        return Fraction(1)
    (fx, _), (_, fy) = clip.camera.linear.tolist()
    return Fraction(fy / fx).limit_denominator(ASPECT_TERMS_MAX)
