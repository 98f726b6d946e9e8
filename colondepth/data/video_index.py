"""What is in a video file: its frames in the order shown, their times, and where to jump to.

The index is made from the packets without decoding them, except for the first few, which tell
whether the time stamps order the pictures. Where they do not (H.264 with B-frames in AVI, raw
streams), the whole file is decoded once to learn the order, which takes as long as it takes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from colondepth.data.reading import Opening
from colondepth.data.video_packets import (
    UNKNOWN,
    Packets,
    Whole,
    opened,
    packets_of,
    read_packets,
)
from colondepth.errors import DataError

PROBE_PACKETS = 64  # longer than any chain of B-frames
SLACK_S, SLACK_SHARE = 1.0, 0.02  # headers round the length of a video
NAMED_MAX = 5  # damaged places are named in a message up to this many


@dataclass(frozen=True, eq=False, kw_only=True)
class VideoIndex:
    """Where every frame of a video is, and what is common to all of them."""

    path: Path
    size_bytes: int  # with `changed_ns`: to notice that the file is another by now
    changed_ns: int
    height: int  # of the stored pictures, before they are turned upright
    width: int
    pixel_aspect: float  # width of a stored pixel over its height
    upright: tuple[bool, bool, bool]  # swap rows and columns, then mirror columns, mirror rows
    interlaced: bool
    ordinals: Whole  # (N,), the packet of each frame, in the order shown
    time_s: NDArray[np.float64]  # (N,), when each is shown
    byte_seeks: bool
    # Where decoding may begin: a packet, the frame it shows, and how to find it in the file.
    key_ordinals: Whole  # (K,)
    key_frames: Whole  # (K,), increasing
    key_targets: Whole  # (K,), time stamps, or bytes if `byte_seeks`
    key_names: tuple[tuple[int, int], ...]  # (K,), see `name_of`

    def __len__(self) -> int:
        return len(self.ordinals)


@dataclass
class _Decoded:
    ordinals: list[int] = field(default_factory=list)  # of the frames, as they came out
    damaged: list[int] = field(default_factory=list)  # packets at which decoding failed
    first: VideoFrame | None = None
    aspect: float = 1.0
    interlaced: bool = False
    sent: int = 0


def index_video(path: Path | str, opening: Opening | None = None) -> VideoIndex:
    """Make the index of any video file that PyAV decodes.

    Args:
        path: the file.
        opening: if it skips what is bad, the whole file is decoded once, and what cannot be is
            left out and listed; if not, a file that is not whole is an error.
    """
    opening, path = opening or Opening(), Path(path)
    packets = read_packets(path)
    size = path.stat()
    shown, ordered = packets.shown()
    if ordered:
        shown = _from_first_key(path, packets, shown, opening)
    decoded = _decode(path, packets=PROBE_PACKETS)
    one_each = ordered and _agree(shown, decoded)
    if opening.skip_bad or not one_each:
        decoded = _decode(path, packets=len(packets))
        shown = np.array(decoded.ordinals, dtype=np.int64)
        ordered = False
    if decoded.first is None:
        raise DataError(f"{path}: none of its {len(packets)} frames can be decoded")
    times_s = packets.times_s(shown)
    _complain(path, packets, decoded, opening, shown=shown, times_s=times_s, one_each=one_each)
    return VideoIndex(
        path=path,
        size_bytes=size.st_size,
        changed_ns=size.st_mtime_ns,
        height=decoded.first.height,
        width=decoded.first.width,
        pixel_aspect=decoded.aspect,
        upright=_upright(decoded.first),
        interlaced=decoded.interlaced,
        ordinals=shown,
        time_s=times_s,
        byte_seeks=packets.byte_seeks,
        **_keys(packets, shown),  # type: ignore[arg-type]
    )


def name_of(place: int | None, size: int, pts: int | None) -> tuple[int, int]:
    """Return what a packet is recognised by after a jump into the file."""
    if place is not None and place != UNKNOWN:
        return place, size
    return (UNKNOWN if pts is None else pts), -size


def _keys(packets: Packets, shown: Whole) -> dict[str, Whole | tuple[tuple[int, int], ...]]:
    frames = np.full(len(packets), -1, dtype=np.int64)
    frames[shown] = np.arange(len(shown))
    ordinals, latest = [0], 0  # the beginning of the file can always be found
    for ordinal in np.flatnonzero(packets.key).tolist():
        if frames[ordinal] > latest:
            ordinals.append(ordinal)
            latest = int(frames[ordinal])
    chosen = np.array(ordinals, dtype=np.int64)
    if packets.byte_seeks:  # a packet may begin in the middle of what the container can find
        targets = np.maximum.accumulate(np.maximum(packets.place, 0))[chosen]
    else:
        targets = np.where(packets.pts == UNKNOWN, packets.dts, packets.pts)[chosen]
    rows = (values[chosen].tolist() for values in (packets.place, packets.size, packets.pts))
    return {
        "key_ordinals": chosen,
        "key_frames": np.maximum(frames[chosen], 0),
        "key_targets": targets,
        "key_names": tuple(name_of(*row) for row in zip(*rows, strict=True)),
    }


def _from_first_key(path: Path, packets: Packets, shown: Whole, opening: Opening) -> Whole:
    """Leave out the frames that refer to pictures before the file's beginning."""
    if not packets.key.any():
        return shown
    clock = packets.clock()
    lead = int((clock[shown] < clock[packets.key.argmax()]).sum())
    if lead:
        opening.bad(path, f"its first {lead} frames refer to pictures before its beginning")
    return shown[lead:]


def _agree(shown: Whole, decoded: _Decoded) -> bool:
    """Return whether the decoder gave one frame a packet, in the order of the time stamps."""
    expected = shown[shown < decoded.sent].tolist()
    known = set(expected)
    return bool([ordinal for ordinal in decoded.ordinals if ordinal in known] == expected)


def _complain(
    path: Path,
    packets: Packets,
    decoded: _Decoded,
    opening: Opening,
    *,
    shown: Whole,
    times_s: NDArray[np.float64],
    one_each: bool,
) -> None:
    """Say what is missing, how much of how much."""
    whole = int((~packets.cut).sum())
    if whole < packets.frames_promised:
        found = len(shown) if opening.skip_bad else whole
        opening.bad(
            path,
            f"{found} of the {packets.frames_promised} frames that its header promises are there;"
            " the file was cut off, or its header lies",
        )
    elif packets.end_promised_s:
        end_s = float(times_s[-1]) + packets.step_s
        if end_s < (1 - SLACK_SHARE) * packets.end_promised_s - SLACK_S:
            opening.bad(
                path,
                f"{end_s:.2f} of the {packets.end_promised_s:.2f} seconds that its header promises"
                f" are there ({len(shown)} frames); the file was cut off, or its header lies",
            )
    shown_ever = int((~packets.hidden).sum())
    if decoded.damaged or (opening.skip_bad and one_each and len(shown) < shown_ever):
        clock = packets.clock()
        places = [f"{clock[o] * packets.tick_s:.2f} s" for o in decoded.damaged[:NAMED_MAX]]
        near = f", with faults near {', '.join(places)}" if places else ""
        opening.bad(path, f"{len(shown)} of its {shown_ever} frames can be decoded{near}")


def _decode(path: Path, *, packets: int) -> _Decoded:
    """Decode the first packets and note which of them gave a frame, in the order shown."""
    decoded = _Decoded()
    with opened(path) as (container, stream):
        aspect = stream.codec_context.sample_aspect_ratio or stream.sample_aspect_ratio
        decoded.aspect = float(aspect) if aspect else 1.0
        source = packets_of(container, stream)
        while True:
            packet = next(source, None) if decoded.sent < packets else None
            if packet is not None:
                packet.pts = packet.dts = decoded.sent  # the decoder carries it to the frame
            try:
                frames = stream.decode(packet)
            except av.FFmpegError:
                decoded.damaged.append(max(decoded.sent - (packet is None), 0))
                frames = []
            for frame in frames:
                _note(decoded, frame)
            if packet is None:
                return decoded
            decoded.sent += 1


def _note(decoded: _Decoded, frame: VideoFrame) -> None:
    ordinal = frame.pts
    if ordinal is None or frame.is_corrupt or ordinal in decoded.ordinals[-1:]:
        decoded.damaged.append(decoded.sent if ordinal is None else ordinal)
        return
    decoded.first = decoded.first or frame
    decoded.interlaced |= frame.interlaced_frame
    decoded.ordinals.append(ordinal)


def _upright(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Return how the file says that its pictures are to be turned, see `VideoIndex.upright`."""
    for data in cast(Iterable[Any], frame.side_data):
        if data.type.name == "DISPLAYMATRIX":
            matrix = np.frombuffer(bytes(data)[:36], dtype=np.int32).reshape(3, 3)
            # A row (x, y) times the matrix is where the pixel goes.
            (xx, xy), (yx, yy) = matrix[:2, :2].tolist()
            if abs(xy) > abs(xx):
                return True, yx < 0, xy < 0
            return False, xx < 0, yy < 0
    return False, False, False
