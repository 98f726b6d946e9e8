"""Videos made for the tests, whose frames carry their number as blocks of light and dark."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

HEIGHT, WIDTH, FRAMES, RATE = 96, 160, 40, 25
BITS, BLOCK_PX = 8, 16
WALL = (150, 90, 80)
AUDIO_RATE = 8000
INTERLACED_FLAGS = 0x40000 | 0x20000000  # interlaced DCT and motion estimation


def picture(number: int) -> NDArray[np.uint8]:
    """Return frame `number`: blocks in row 1 of blocks, a light bar that moves, a green corner."""
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:] = WALL
    for bit in range(BITS):
        block = np.s_[BLOCK_PX : 2 * BLOCK_PX, BLOCK_PX * (bit + 1) : BLOCK_PX * (bit + 2)]
        pixels[block] = 235 if number >> bit & 1 else 20
    pixels[64:, (number * 3) % 120 : (number * 3) % 120 + 24] = 230
    pixels[48:64, :BLOCK_PX] = (20, 220, 30)
    return pixels


def number_of(image: Tensor) -> int:
    """Return the number that the blocks of an image (3, H, W) hold."""
    grey = image.mean(dim=0)[BLOCK_PX + 4 : 2 * BLOCK_PX - 4]
    lit = [
        grey[:, BLOCK_PX * (b + 1) + 4 : BLOCK_PX * (b + 2) - 4].mean() > 0.5 for b in range(BITS)
    ]
    return sum(int(light) << bit for bit, light in enumerate(lit))


def fields(number: int) -> NDArray[np.uint8]:
    """Return an interlaced frame: its lower lines are half a frame later, the bar further on."""
    pixels = picture(number)
    later = np.roll(pixels[64:], 8, axis=1)
    pixels[65::2] = later[1::2]
    return pixels


def film(
    path: Path,
    codec: str = "mpeg4",
    *,
    pictures: Sequence[NDArray[np.uint8]] | None = None,
    pts: Sequence[int] | None = None,
    tick_s: Fraction = Fraction(1, RATE),
    pix_fmt: str = "yuv420p",
    b_frames: int = 2,
    flags: int = 0,
    container: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    rotation_deg: float = 0,
    aspect: Fraction | None = None,
    form: str | None = None,
) -> Path:
    """Write a video of the given pictures, with the given time stamps in ticks."""
    pictures = [picture(n) for n in range(FRAMES)] if pictures is None else pictures
    with av.open(str(path), "w", format=form, options=container or {}) as file:
        stream = file.add_stream(codec, rate=RATE, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        context.time_base, context.gop_size, context.bit_rate = tick_s, 10, 4_000_000
        context.flags |= flags
        if b_frames:
            context.max_b_frames = b_frames
        if aspect:
            context.sample_aspect_ratio = aspect
        if rotation_deg:
            stream.set_display_rotation(rotation_deg)
        for packet in _encoded(stream, pictures, pts, tick_s):
            file.mux(packet)
    return path


def _encoded(
    stream: "av.VideoStream",
    pictures: Sequence[NDArray[np.uint8]],
    pts: Sequence[int] | None,
    tick_s: Fraction,
) -> Iterator["av.Packet"]:
    for number, pixels in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = pts[number] if pts else number, tick_s
        yield from stream.encode(frame)
    yield from stream.encode(None)


def sound(path: Path) -> Path:
    """Write a file that holds sound only."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=AUDIO_RATE, layout="mono")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        tone.sample_rate = AUDIO_RATE
        for packet in [*stream.encode(tone), *stream.encode(None)]:
            file.mux(packet)
    return path
