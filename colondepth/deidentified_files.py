"""De-identified copies of image and video files, each with a log of what was removed.

The copy of a video is H.264 in an MP4 at a constant quality, with the time stamps of the original
and nothing else: no sound, no other stream, no metadata. Frames go through one by one, so memory
does not grow with the video's length.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from av.bitstream import BitStreamFilterContext
from PIL import ExifTags
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.data.rasters import read_colour_counts, stored_bits, write_counts
from colondepth.data.reading import Opening
from colondepth.data.video import open_video
from colondepth.data.video_packets import video_stream
from colondepth.deidentification import (
    SAMPLE_FRAMES,
    Removed,
    blank_frames,
    find_blanking,
)
from colondepth.deidentified_log import require_other, write_log
from colondepth.errors import DataError
from colondepth.images import opened_image, read_image, write_image
from colondepth.views import Clip

TICKS_PER_S = 90_000  # the clock of MPEG: fine enough for every frame rate
QUALITY = "18"  # of x264: what it loses cannot be seen
ASPECT_TERMS_MAX = 500  # of a pixel's aspect as a fraction; 59:54 and 64:45 are in use
# x264 writes its version and settings into the stream, as SEI, the H.264 unit of this number.
NO_SEI = "filter_units=remove_types=6"
# Fields that Pillow fills in from the pixels' own format; they are nobody's.
_OF_THE_FORMAT = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "gamma", "srgb"}
_OF_THE_FORMAT |= {"compression", "interlace", "transparency", "progressive", "progression"}


def deidentify_video(
    source: Path,
    target: Path,
    *,
    opening: Opening | None = None,
    seen: Callable[[int], None] | None = None,
) -> Removed:
    """Write a de-identified copy of a video and TARGET.removed.json.

    Args:
        source: any video that can be read.
        target: an .mp4 file; never the source itself.
        opening: says what becomes of damaged frames; they are errors by default.
        seen: called with the number of all frames, once for each that is done.
    """
    require_other(source, target)
    if target.suffix.lower() != ".mp4":
        raise DataError(f"{target}: a de-identified video is written as .mp4")
    clip = open_video(source, opening or Opening())
    removed = _around_the_pictures(source)
    numbers = range(0, len(clip), max(1, len(clip) // SAMPLE_FRAMES))
    blanking = find_blanking([clip[number]["image"] for number in numbers])
    times: list[float] = []
    frames = blank_frames(_images(clip, times), blanking, removed)
    with written_whole(target) as temporary:
        _encode(frames, times, clip, temporary, lambda: seen(len(clip)) if seen else None)
    write_log(source, target, removed)
    return removed


def deidentify_image(source: Path, target: Path) -> Removed:
    """Write a de-identified copy of an image, in the format that the suffix names, and its log."""
    require_other(source, target)
    removed = Removed(metadata_keys=_image_keys(source))
    deep = stored_bits(source) == 16
    image = _deep_image(source) if deep else read_image(source)
    (blanked,) = blank_frames([image], find_blanking([image]), removed)
    if deep:
        write_counts((blanked * 65535).round().movedim(0, -1).numpy().astype(np.uint16), target)
    else:
        write_image(blanked, target)
    write_log(source, target, removed)
    return removed


def _deep_image(path: Path) -> Tensor:
    """Read colours of 16 bits; a depth map of 16 is an error, as one of 32 is."""
    counts = read_colour_counts(str(path)).astype(np.float32)  # (H, W, 3)
    return torch.from_numpy(counts).movedim(-1, 0) / 65535


def _images(clip: Clip, times: list[float]) -> Iterator[Tensor]:
    for view in clip:
        times.append(view["time_s"])
        yield view["image"]


def _encode(
    frames: Iterator[Tensor],
    times: list[float],
    clip: Clip,
    path: Path,
    done: Callable[[], None],
) -> None:
    import av

    height, width = clip.camera.height, clip.camera.width
    # bitexact keeps the names of libraries out; the colours need even sizes.
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", options={"crf": QUALITY, "preset": "medium"})
        stream.width, stream.height = width - width % 2, height - height % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = _pixel_aspect(clip)
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        plain = BitStreamFilterContext(NO_SEI, stream)
        for number, image in enumerate(frames):
            pixels = (image * 255).round().clamp(0, 255).to(torch.uint8).movedim(0, -1)
            kept = pixels[: stream.height, : stream.width].contiguous().numpy()
            frame = av.VideoFrame.from_ndarray(kept, format="rgb24")
            frame.pts = round(times[number] * TICKS_PER_S)
            frame.time_base = stream.time_base
            for packet in stream.encode(frame):
                container.mux(plain.filter(packet))
            done()
        for last in stream.encode():
            container.mux(plain.filter(last))
        container.mux(plain.filter(None))


def _pixel_aspect(clip: Clip) -> Fraction:
    """Return the width of a pixel over its height, which the assumed camera follows."""
    (fx, _), (_, fy) = clip.camera.linear.tolist()
    return Fraction(fy / fx).limit_denominator(ASPECT_TERMS_MAX)


def _around_the_pictures(path: Path) -> Removed:
    """Return what a video file has apart from its pictures: how many, and names only."""
    import av

    with av.open(str(path), metadata_errors="replace") as container:
        chapters = container.chapters()
        keys = set(container.metadata).union(*(chapter["metadata"] for chapter in chapters))
        streams: dict[str, int] = {"chapter": len(chapters)} if chapters else {}
        shown = video_stream(path, container)
        for stream in container.streams:
            keys |= set(stream.metadata)
            if stream is not shown:
                streams[stream.type] = streams.get(stream.type, 0) + 1
    return Removed(streams=streams, metadata_keys=sorted(keys))


def _image_keys(path: Path) -> list[str]:
    with opened_image(path) as file:
        if (pages := getattr(file, "n_frames", 1)) > 1:
            raise DataError(f"{path} has {pages} pictures in one file; save each as its own first")
        exif = {ExifTags.TAGS.get(tag, str(tag)) for tag in file.getexif()}
        other = {str(key) for key in file.info if str(key).lower() not in _OF_THE_FORMAT}
    return sorted(exif | other)
