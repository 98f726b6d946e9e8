"""Video files as clips: any frame at any time, true presentation times, deinterlaced, upright.

The file is indexed once, see `video_index`. Reading frame k jumps to the key frame before it and
decodes from there; reading on in order does not jump. Nothing is kept but the last few frames, so
memory does not grow with the video's length. Time is the file's own time stamp in seconds; where
the clock starts anywhere (MPEG streams) or there is none (AVI), it is 0 at the first frame.
Colours follow the file's own matrix, BT.601 where it names none, as in libav.

The pixels of a clip are those of the file. Where they are not square, the assumed camera is not
either, so depth and rays are right for the picture as it is shown.
"""

import gc
import os
from enum import StrEnum
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from av.video.frame import VideoFrame
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.data.reading import Opening
from colondepth.data.video_decoder import Decoder, Fields
from colondepth.data.video_index import VideoIndex, index_video
from colondepth.errors import DataError
from colondepth.views import Clip, View

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".vob", ".ts", ".m2ts"),
    *(".mts", ".m2v", ".h264", ".264", ".hevc", ".265", ".wmv", ".asf", ".flv", ".3gp", ".mxf"),
    *(".dv", ".ogv"),
)


class Deinterlace(StrEnum):
    """When the two half pictures of an interlaced frame are made one."""

    AUTO = "auto"  # where the video says that a frame is interlaced
    ALWAYS = "always"  # recorders forget to say
    NEVER = "never"


def read_video(
    path: Path | str,
    *,
    camera: Camera | None = None,
    deinterlace: Deinterlace = Deinterlace.AUTO,
) -> Clip:
    """Open a video file that is whole; for what is readable of a damaged one, see `open_video`.

    Args:
        path: any file that PyAV decodes.
        camera: of the upright frames; `Camera.assumed`, uncalibrated, where none is given.
        deinterlace: when to make one picture of two fields (bwdif).
    """
    return open_video(path, Opening(camera=camera), deinterlace=deinterlace)


def open_video(
    path: Path | str, opening: Opening, *, deinterlace: Deinterlace = Deinterlace.AUTO
) -> Clip:
    """Open a video file; `opening` gives the camera and says what becomes of damaged frames.

    With `opening.skip_bad` the whole file is decoded once, the clip holds the frames that can be,
    and `opening.skipped` says how many of how many. Without it a file that is cut off is an
    error, and so is reading a damaged frame.
    """
    index = index_video(path, opening)
    height, width = (index.width, index.height) if index.upright[0] else (index.height, index.width)
    camera = opening.camera_for(index.path, height, width, None)
    aspect = 1 / index.pixel_aspect if index.upright[0] else index.pixel_aspect
    if opening.camera is None and aspect != 1:
        camera = Camera.assumed(height, max(1, round(width * aspect))).resized(height, width)
        opening.warn(f"{index.path} has pixels of {aspect:.4g}:1; its assumed camera follows them")
    names = [f"{number:06d}" for number in range(len(index))]
    frames = VideoFrames(index, camera=camera, deinterlace=Deinterlace(deinterlace))
    return Clip(frames, names, camera=camera, name=index.path.stem)


class VideoFrames:
    """Reads view number k of an indexed video; may travel to other processes and threads."""

    def __init__(self, index: VideoIndex, *, camera: Camera, deinterlace: Deinterlace) -> None:
        self.index = index
        self.camera = camera
        self.deinterlace = deinterlace
        self.lock = Lock()
        self.source: Decoder | Fields | None = None  # opened when it is needed
        _readers.add(self)

    def __call__(self, number: int) -> View:
        """Return view `number`."""
        with self.lock:
            self.source = self.source or self._open()
            image = _image(self.source.frame(number), self.index, number)
        return View(image=image, camera=self.camera, time_s=float(self.index.time_s[number]))

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out what belongs to this process."""
        return partial(VideoFrames, camera=self.camera, deinterlace=self.deinterlace), (self.index,)

    def _open(self) -> Decoder | Fields:
        decoder = Decoder(self.index)
        if self.deinterlace is Deinterlace.ALWAYS:
            return Fields(decoder, every_frame=True)
        if self.deinterlace is Deinterlace.AUTO and self.index.interlaced:
            return Fields(decoder, every_frame=False)
        return decoder


def _image(frame: VideoFrame, index: VideoIndex, number: int) -> Tensor:
    """Return a frame upright, (3, H, W) in [0, 1]."""
    if (frame.height, frame.width) != (index.height, index.width):
        raise DataError(
            f"{index.path}: frame {number:06d} has {frame.height}x{frame.width} pixels, the first"
            f" {index.height}x{index.width}; cut the video where its size changes"
        )
    deep = frame.format.components[0].bits > 8
    # One thread: others would stay with the frame, and be missing after a fork.
    pixels = frame.to_ndarray(format="rgb48le" if deep else "rgb24", threads=1)  # (H, W, 3)
    swap, mirror_columns, mirror_rows = index.upright
    pixels = pixels.swapaxes(0, 1) if swap else pixels
    pixels = pixels[:: -1 if mirror_rows else 1, :: -1 if mirror_columns else 1]
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)  # (3, H, W)
    return torch.from_numpy(planes).div_(65535 if deep else 255)


def _before_fork() -> None:
    """Close every decoder: its threads would not come along, and closing it there would hang."""
    for reader in list(_readers):
        reader.lock.acquire()
        _held.append(reader)
        reader.source = None


def _after_fork() -> None:
    while _held:
        _held.pop().lock.release()


def _in_child() -> None:
    _after_fork()
    gc.freeze()  # decoders and encoders that were waiting to be collected would hang just so


_readers: "WeakSet[VideoFrames]" = WeakSet()
_held: list[VideoFrames] = []
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
