"""Frames of an indexed video, one after another or at a jump, and their fields made one picture."""

from collections import deque
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from colondepth.data.video_index import VideoIndex, name_of
from colondepth.data.video_packets import open_container, packets_of, video_stream
from colondepth.errors import DataError

KEPT_FRAMES = 4  # the last ones read, for a frame and its neighbours without a jump back
FORWARD_FRAMES = 8  # so near ahead, decoding on is faster than a jump
LANDING_PACKETS = 400  # a jump that meets no known key frame within these has missed
STEPS_BACK = (0, 1, 4)  # key frames before the wanted one to try, then the file's beginning


class Decoder:
    """Decodes the frames of one file; for one thread of one process."""

    def __init__(self, index: VideoIndex) -> None:
        size = index.path.stat() if index.path.exists() else None
        if size is None or (size.st_size, size.st_mtime_ns) != (index.size_bytes, index.changed_ns):
            raise DataError(f"{index.path} has changed or gone since it was opened; open it again")
        self.index = index
        self._numbers = {int(ordinal): n for n, ordinal in enumerate(index.ordinals)}
        self._keys = dict(zip(index.key_names, index.key_ordinals.tolist(), strict=True))
        self._recent: deque[tuple[int, VideoFrame]] = deque(maxlen=KEPT_FRAMES)
        self._skip_until = 0  # packets before this one are decoded only if others need them
        self._restart()

    def frame(self, number: int) -> VideoFrame:
        """Return frame `number` as it is stored."""
        for known, frame in self._recent:
            if known == number:
                return frame
        if not self._ahead(number):
            self._seek(number)
        wanted = self._find(number)
        if wanted is None and self._skip_until:
            self._seek(number)
            self._skip_until = 0  # the short way lost it
            wanted = self._find(number)
        if wanted is None:
            raise DataError(
                f"{self.index.path}: frame {number:06d} cannot be decoded; skip_bad (--skip-bad)"
                " leaves such frames out"
            )
        return wanted

    def _find(self, number: int) -> VideoFrame | None:
        """Decode on until a frame comes; None if it does not."""
        while self._ready or self._advance():
            if not self._ready:
                continue
            if self._ready[0][0] > number:
                break
            found, frame = self._ready.popleft()
            self._next = found + 1
            self._recent.append((found, frame))
            if found == number:
                return frame
        return None

    def _ahead(self, number: int) -> bool:
        """Return whether decoding on is the way to a frame, rather than a jump."""
        near = number - self._next <= FORWARD_FRAMES
        return number >= self._next and (near or self._key(number) < self._ordinal)

    def _key(self, number: int, back: int = 0) -> int:
        place = int(np.searchsorted(self.index.key_frames, number, side="right")) - 1 - back
        return int(self.index.key_ordinals[max(place, 0)])

    def _restart(self) -> None:
        if container := getattr(self, "_container", None):
            container.close()
        self._container = open_container(self.index.path)
        self._stream = video_stream(self.index.path, self._container)
        self._begin(ordinal=0)

    def _begin(self, *, ordinal: int) -> None:
        self._packets = packets_of(self._container, self._stream)
        self._ready: deque[tuple[int, VideoFrame]] = deque()
        self._ordinal = ordinal  # of the next packet
        self._next = 0  # frames before have gone by
        self._drained = False
        self._skip_until = 0

    def _seek(self, number: int) -> None:
        """Go to a place in the file from which frame `number` can be decoded."""
        index = self.index
        for back in STEPS_BACK:
            wanted = self._key(number, back)
            if wanted == 0:
                break
            place = int(np.searchsorted(index.key_ordinals, wanted))
            target = int(index.key_targets[place])
            try:
                if index.byte_seeks:
                    self._container.seek(target, unsupported_byte_offset=True)
                else:
                    self._container.seek(target, stream=self._stream)
            except av.FFmpegError:
                continue
            self._begin(ordinal=0)
            self._skip_until = int(index.ordinals[number])
            if self._land(wanted):
                return
        self._restart()
        self._skip_until = int(index.ordinals[number])

    def _land(self, wanted: int) -> bool:
        """Skip to the first packet that is known, and return whether it is early enough."""
        for _, packet in zip(range(LANDING_PACKETS), self._packets, strict=False):
            ordinal = self._keys.get(name_of(packet.pos, packet.size, packet.pts))
            if ordinal is None or not packet.is_keyframe:
                continue
            if ordinal > wanted:
                return False
            self._ordinal = ordinal
            # Frames shown before the key frame that follow it in the file lack what they refer to.
            self._next = self._numbers.get(ordinal, 0)
            self._send(packet)
            return True
        return False

    def _advance(self) -> bool:
        """Send the next packet to the decoder; False when there is none left."""
        if self._drained:
            return False
        self._send(next(self._packets, None))
        return True

    def _send(self, packet: "av.Packet[av.VideoStream] | None") -> None:
        if packet is None:
            self._drained = True
        else:
            packet.pts = packet.dts = self._ordinal  # the decoder carries it to the frame
            near = self._ordinal >= self._skip_until
            self._stream.codec_context.skip_frame = "DEFAULT" if near else "NONREF"
            self._ordinal += 1
        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError:
            return  # its frame will be missed by whoever asks for it
        for frame in frames:
            number = None if frame.pts is None else self._numbers.get(frame.pts)
            if number is not None and number >= self._next and not frame.is_corrupt:
                self._ready.append((number, frame))


class Fields:
    """Frames with both fields of one moment, by the filter bwdif, from a frame's neighbours too.

    Args:
        decoder: gives the stored frames.
        every_frame: also those that do not say that they are interlaced.
    """

    def __init__(self, decoder: Decoder, *, every_frame: bool) -> None:
        self._decoder = decoder
        self._which = "all" if every_frame else "interlaced"
        self._recent: deque[tuple[int, VideoFrame]] = deque(maxlen=KEPT_FRAMES)
        self._graph: Graph | None = None
        self._unfit: int | None = None
        self._fed = self._out = 0  # the next frames to go in and to come out

    def frame(self, number: int) -> VideoFrame:
        """Return frame `number`, deinterlaced."""
        for known, frame in self._recent:
            if known == number:
                return frame
        near = 0 <= number - self._out <= FORWARD_FRAMES
        if self._graph is None or not near:
            self._start(max(number - 1, 0))
        try:
            while True:
                out = self._next_out()
                if self._out != self._unfit:
                    self._recent.append((self._out, out))
                self._out += 1
                if self._out > number:
                    return out
        except DataError:
            self._graph = None  # a filter that missed a frame would pair the wrong ones
            raise

    def _start(self, first: int) -> None:
        self._recent.clear()
        self._graph = self._graph_for(self._decoder.frame(first))
        self._fed = self._out = first
        # What comes out first had no frame before it, which is right for the film's first only.
        self._unfit = first or None

    def _next_out(self) -> VideoFrame:
        assert self._graph is not None
        while True:
            try:
                return self._graph.vpull()
            except (av.BlockingIOError, av.EOFError) as end:
                if self._fed > len(self._decoder.index):
                    raise DataError(f"{self._decoder.index.path} ended early") from end
            if self._fed == len(self._decoder.index):
                self._graph.vpush(None)
            else:
                frame = self._decoder.frame(self._fed)
                frame.pts, frame.time_base = self._fed, Fraction(1)
                self._graph.vpush(frame)
            self._fed += 1

    def _graph_for(self, frame: VideoFrame) -> Graph:
        graph = Graph()
        graph.threads = 1  # see `video`: threads do not survive a fork
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
        )
        bwdif = graph.add("bwdif", f"mode=send_frame:parity=auto:deint={self._which}")
        graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
        return graph
