"""The packets of a video file, read without decoding them, and the door where files are opened.

A packet holds one compressed picture; packets lie in the order of decoding and are shown in
another. A packet is known by its ordinal, its place among those that are not empty.
"""

import os
import stat
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from colondepth.errors import DataError

UNKNOWN = int(np.iinfo(np.int64).min)  # of a time stamp or a place in the file
THREADS_MAX = 4  # each decoding thread holds one frame back, which slows the jump to a frame
# libav opens single pictures and texts as films of one frame or of scrolling letters.
NOT_VIDEO = ("image2", "tty", "_pipe", "ass", "srt", "webvtt")
_NO_STEADY_CLOCK = cast(int, Flags.ts_discont.value) | cast(int, Flags.no_timestamps.value)

Whole = NDArray[np.int64]
Truth = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, kw_only=True)
class Packets:
    """What the container says about each packet of one video stream, (P,) each."""

    pts: Whole  # when it is shown, in ticks, or UNKNOWN
    dts: Whole  # when it is decoded, in ticks, or UNKNOWN
    place: Whole  # bytes from the file's beginning, or UNKNOWN
    size: Whole  # bytes
    key: Truth  # decoding may begin here
    hidden: Truth  # needed for others, not shown itself (an edit list cuts it off)
    cut: Truth  # the file ends, or has a hole, in the middle of it
    tick_s: float
    step_s: float  # from one frame to the next, as far as the header tells
    own_clock: bool  # starts anywhere, or has no times of its own: count from the first frame
    byte_seeks: bool  # positions in the file are found by bytes, time stamps may repeat
    frames_promised: int  # by the header; 0 if it does not say
    end_promised_s: float  # by the header; 0 if it does not say

    def __len__(self) -> int:
        return len(self.pts)

    def clock(self) -> Whole:
        """Return when each packet is shown, in ticks, over restarts of a stream's clock."""
        if not self.byte_seeks or bool((self.dts == UNKNOWN).any() or (self.pts == UNKNOWN).any()):
            return self.pts
        clock = self.pts.copy()
        bounds = [*(1 + np.flatnonzero(np.diff(self.dts) < 0)).tolist(), len(clock)]
        for start, end in pairwise(bounds):
            gap = round(self.step_s / self.tick_s)
            clock[start:end] += clock[:start].max() + gap - self.pts[start:end].min()
        return clock

    def shown(self) -> tuple[Whole, bool]:
        """Return the ordinals of the frames in the order shown, and whether times tell it."""
        kept = np.flatnonzero(~self.hidden)
        times = self.clock()[kept]
        if bool((times == UNKNOWN).any()):
            return kept, False
        return kept[np.argsort(times, kind="stable")], len(np.unique(times)) == len(times)

    def times_s(self, shown: Whole) -> NDArray[np.float64]:
        """Return when each of `shown`, given in the order shown, is seen."""
        ticks = np.sort(self.clock()[shown])  # unordered time stamps are still the right ones
        if bool((ticks == UNKNOWN).any()):
            return np.arange(len(shown), dtype=np.float64) * np.float64(self.step_s)
        gap = round(self.step_s / self.tick_s)
        for place in (1 + np.flatnonzero(np.diff(ticks) == 0)).tolist():
            # libav guesses the times that a program stream leaves out, the last one badly.
            room = ticks[place + 1] - ticks[place] if place + 1 < len(ticks) else 2 * gap
            ticks[place] += min(gap, room // 2)
        start = ticks[0] if self.own_clock else 0
        seconds: NDArray[np.float64] = (ticks - start).astype(np.float64) * self.tick_s
        return seconds


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file and give it with its main video stream; never a network address."""
    container = open_container(path)
    try:
        yield container, video_stream(path, container)
    finally:
        container.close()


def open_container(path: Path) -> InputContainer:
    """Open a file for reading; whatever is wrong with it is one DataError."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            found = "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
            raise DataError(f"{path} is {found}; expected a video file")
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise DataError(f"{path} is empty (0 bytes); expected a video file")
    try:
        container = av.open(str(path.resolve()), options={"protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError) as error:
        if head[4:8] == b"ftyp":
            raise DataError(
                f"{path} begins as MP4 but its index (moov) is missing or damaged: the file was"
                " cut off, or the recording was never finished"
            ) from error
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path} cannot be opened as a video: {reason}") from error
    if any(word in container.format.name for word in NOT_VIDEO):
        name = container.format.name
        container.close()
        raise DataError(f"{path} is no video (its content is {name})")
    return container


def video_stream(path: Path, container: InputContainer) -> VideoStream:
    """Return the largest video stream that is not a cover picture, ready to decode."""
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        found = ", ".join(sorted(stream.type for stream in container.streams)) or "nothing"
        raise DataError(f"{path} has no video stream; found: {found}")
    stream = max(streams, key=lambda stream: stream.codec_context.width or 0)
    if not stream.codec_context.is_decoder:
        raise DataError(f"{path} holds video of a kind that this PyAV cannot decode")
    if not stream.codec_context.is_open:
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(THREADS_MAX, _cores())
    return stream


def packets_of(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """Give the packets that hold something, until the file ends, or is damaged beyond reading."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.FFmpegError:
        return  # what is missing is counted against what the header promises


def read_packets(path: Path) -> Packets:
    """Read what the container says about each packet of its video."""
    with opened(path) as (container, stream):
        found = array("q")  # an hour has 100,000 packets: a list of tuples would be 30 MB
        for packet in packets_of(container, stream):
            for stamp in (packet.pts, packet.dts, packet.pos):
                found.append(UNKNOWN if stamp is None else stamp)
            found.extend((packet.size, packet.is_keyframe, packet.is_discard, packet.is_corrupt))
        if not found:
            raise DataError(f"{path} has a header, but no picture follows; it was cut off")
        pts, dts, place, size, *truths = np.frombuffer(found, dtype=np.int64).reshape(-1, 7).T
        key, hidden, cut = (truth.astype(bool) for truth in truths)
        byte_seeks = bool(container.format.flags & _NO_STEADY_CLOCK)
        return Packets(
            pts=pts,
            dts=dts,
            place=place,
            size=size,
            key=key,
            hidden=hidden,
            cut=cut,
            tick_s=float(stream.time_base or 1),
            step_s=float(1 / (stream.average_rate or stream.guessed_rate or 25)),
            own_clock=byte_seeks or container.format.name == "avi",
            byte_seeks=byte_seeks,
            frames_promised=stream.frames,
            end_promised_s=0.0 if byte_seeks else _promised_end_s(container, stream),
        )


def _promised_end_s(container: InputContainer, stream: VideoStream) -> float:
    """Return until when the header says that the video lasts, 0 if it does not say."""
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")  # of Matroska
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        pass
    if stream.duration is not None:
        return float((stream.duration + (stream.start_time or 0)) * (stream.time_base or 0))
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return 0.0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
