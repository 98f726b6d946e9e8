"""Pictures as a film: H.264 in an MP4 of constant quality, whole or not at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from colondepth.atomic import written_whole

TICKS_PER_S = 90_000  # the clock of MPEG
QUALITY = "20"  # of x264: for looking at, not for measuring


@contextmanager
def film(
    path: Path, *, height: int, width: int, pixel_aspect: Fraction = Fraction(1)
) -> Iterator[Callable[[Tensor, float], None]]:
    """Open a film and give the function that adds a picture (3, H, W) in [0, 1] at a time in s.

    The colours of H.264 come in pairs of pixels: an odd last row or column is cut off.

    Args:
        path: an .mp4 file.
        height: of the pictures.
        width: of the pictures.
        pixel_aspect: the width of a pixel over its height.
    """
    import av

    rows, columns = height - height % 2, width - width % 2
    with (
        written_whole(path) as temporary,
        av.open(str(temporary), "w", format="mp4") as container,
    ):
        stream = container.add_stream("libx264", options={"crf": QUALITY, "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        latest = -1
        start_s: float | None = None

        def add(picture: Tensor, time_s: float) -> None:
            nonlocal latest, start_s
            pixels = (picture[:, :rows, :columns] * 255).round().clamp(0, 255)
            array = np.ascontiguousarray(pixels.to(torch.uint8).movedim(0, -1).cpu().numpy())
            frame = av.VideoFrame.from_ndarray(array, "rgb24")
            start_s = time_s if start_s is None else start_s
            latest = max(latest + 1, round((time_s - start_s) * TICKS_PER_S))
            frame.pts, frame.time_base = latest, stream.time_base
            for packet in stream.encode(frame):
                container.mux(packet)

        yield add
        for packet in stream.encode():
            container.mux(packet)
