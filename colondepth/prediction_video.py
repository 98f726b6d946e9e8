"""Every frame of a clip beside its predicted depth in colours, as a video to look at.

H.264 in an MP4 of constant quality, with the times of the original. It is made from the pictures of
a finished run, so a run that was stopped has lost nothing by it.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.data.prefetch import prefetched
from colondepth.errors import DataError
from colondepth.images import read_image
from colondepth.pictures import bar_width
from colondepth.prediction_files import FrameFiles, room_in
from colondepth.views import Clip

TICKS_PER_S = 90_000  # the clock of MPEG
QUALITY = "20"  # of x264: for looking at, not for measuring
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
    import av

    height, width = clip.camera.height, clip.camera.width
    across = 2 * width + bar_width(height)
    even = height - height % 2  # the colours of H.264 come in pairs of rows
    latest = -1
    start_s: float | None = None
    with (
        room_in(path.parent),
        written_whole(path) as temporary,
        av.open(str(temporary), "w", format="mp4") as container,
        closing(prefetched(clip)) as views,  # type: ignore[type-var]
    ):
        stream = container.add_stream("libx264", options={"crf": QUALITY, "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = across, even, "yuv420p"
        stream.codec_context.sample_aspect_ratio = _pixel_aspect(clip)
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        for number, (view, each) in enumerate(zip(views, files, strict=True)):
            seen(view["image"])
            pair = torch.cat([view["image"], read_image(each.colours)], dim=-1)  # (3, H, across)
            if pair.shape[-1] != across:
                raise DataError(f"{each.colours} is not as `predict` wrote it; delete it and run")
            pixels = (pair[:, :even] * 255).round().clamp(0, 255).to(torch.uint8).movedim(0, -1)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels.numpy()), "rgb24")
            time_s = view.get("time_s", number / STILLS_PER_S)
            start_s = time_s if start_s is None else start_s
            latest = max(latest + 1, round((time_s - start_s) * TICKS_PER_S))
            frame.pts, frame.time_base = latest, stream.time_base
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _pixel_aspect(clip: Clip) -> Fraction:
    """Return the width of a pixel over its height, which only an assumed camera takes over."""
    if clip.camera.calibrated:
        return Fraction(1)
    (fx, _), (_, fy) = clip.camera.linear.tolist()
    return Fraction(fy / fx).limit_denominator(ASPECT_TERMS_MAX)
