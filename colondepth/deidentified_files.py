"""De-identified copies of image and video files, each with a log of what was removed.

The copy of a video is H.264 in an MP4 at a constant quality, with the time stamps of the original
and nothing else: no sound, no other stream, no metadata. Frames go through one by one, so memory
does not grow with the video's length.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import ExifTags
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.data.reading import Opening
from colondepth.data.video import open_video
from colondepth.deidentification import (
    SAMPLE_FRAMES,
    Removed,
    blank_frames,
    find_blanking,
)
from colondepth.errors import DataError
from colondepth.images import opened_image, read_image, write_image
from colondepth.views import Clip

TICKS_PER_S = 90_000  # the clock of MPEG: fine enough for every frame rate
QUALITY = "18"  # of x264: what it loses cannot be seen
# Fields that Pillow fills in from the pixels' own format; they are nobody's.
_OF_THE_FORMAT = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "gamma", "srgb"}
_OF_THE_FORMAT |= {"compression", "interlace", "transparency", "progressive", "progression"}


def deidentify_video(
    source: Path, target: Path, *, seen: Callable[[int], None] | None = None
) -> Removed:
    """Write a de-identified copy of a video and TARGET.removed.json.

    Args:
        source: any video that can be read; a damaged one is an error.
        target: an .mp4 file; never the source itself.
        seen: called with the number of all frames, once for each that is done.
    """
    _require_other(source, target)
    if target.suffix.lower() != ".mp4":
        raise DataError(f"{target}: a de-identified video is written as .mp4")
    clip = open_video(source, Opening())
    streams, keys = _streams_and_keys(source)
    removed = Removed(streams=streams, metadata_keys=keys)
    numbers = range(0, len(clip), max(1, len(clip) // SAMPLE_FRAMES))
    blanking = find_blanking([clip[number]["image"] for number in numbers])
    times: list[float] = []
    frames = blank_frames(_images(clip, times), blanking, removed)
    with written_whole(target) as temporary:
        _encode(frames, times, clip, temporary, lambda: seen(len(clip)) if seen else None)
    _write_log(target, removed)
    return removed


def deidentify_image(source: Path, target: Path) -> Removed:
    """Write a de-identified copy of an image, in the format that the suffix names, and its log."""
    _require_other(source, target)
    removed = Removed(metadata_keys=_image_keys(source))
    image = read_image(source)
    (blanked,) = blank_frames([image], find_blanking([image]), removed)
    write_image(blanked, target)
    _write_log(target, removed)
    return removed


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
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        for number, image in enumerate(frames):
            pixels = (image * 255).round().clamp(0, 255).to(torch.uint8).movedim(0, -1)
            kept = pixels[: stream.height, : stream.width].contiguous().numpy()
            frame = av.VideoFrame.from_ndarray(kept, format="rgb24")
            frame.pts = round(times[number] * TICKS_PER_S)
            frame.time_base = stream.time_base
            container.mux(stream.encode(frame))
            done()
        container.mux(stream.encode())


def _streams_and_keys(path: Path) -> tuple[dict[str, int], list[str]]:
    """Return which streams and fields a video has, names only."""
    import av

    with av.open(str(path), metadata_errors="replace") as container:
        keys = set(container.metadata)
        streams: dict[str, int] = {}
        shown = container.streams.best("video")
        for stream in container.streams:
            keys |= set(stream.metadata)
            if stream is not shown:
                streams[stream.type] = streams.get(stream.type, 0) + 1
    return streams, sorted(keys)


def _image_keys(path: Path) -> list[str]:
    with opened_image(path) as file:
        exif = {ExifTags.TAGS.get(tag, str(tag)) for tag in file.getexif()}
        other = {str(key) for key in file.info if str(key).lower() not in _OF_THE_FORMAT}
    return sorted(exif | other)


def _require_other(source: Path, target: Path) -> None:
    if source.resolve() == target.resolve():
        raise DataError(f"{target} is the original itself; give the copy another name")


def _write_log(target: Path, removed: Removed) -> None:
    log = {"version": version("colondepth"), "copy": target.name, **asdict(removed)}
    with written_whole(target.with_name(f"{target.name}.removed.json")) as temporary:
        temporary.write_text(json.dumps(log, indent=2) + "\n", encoding="utf-8")
