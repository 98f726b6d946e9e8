"""The frames of one clip as a protocol scores them: truth, mask, and the depth that was predicted.

Threads read ahead. A frame in which there is nothing to score is given as an exclusion with its
reason; so is one whose files are bad, if `skip_bad` says so.
"""

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.errors import DataError
from colondepth.views import Clip, View
from evaluation.alignment import Scope
from evaluation.depth_sources import DepthSource, Found, as_length, true_length
from evaluation.prediction_maps import MapError
from evaluation.protocols.picture import pictured
from evaluation.protocols.protocol import Mask, Protocol
from evaluation.protocols.rounding import rounded
from evaluation.summary import Exclusion

AHEAD = 16  # frames that are read before their turn
# Words for the list of excluded frames: the same ones for the same reason.
NO_TRUTH, NO_DEPTH = "no known truth in the frame", "no depth predicted where truth is known"
UNREADABLE = "frame cannot be read"
NO_DEPTH_FILE = "dataset has no depth for the frame"

_Read = tuple[View, View, Found | None]  # as the dataset has it, as it is scored, its depth


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Settings:
    """How frames are gone through; none of it changes a number."""

    skip_bad: bool = False
    readers: int = 2  # threads that read frames; 1 for clips that only one may read
    check_unit: bool = False  # whether depth that is off by `UNIT_OFF` is a mistake of its unit


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ScoredFrame:
    """A frame with all that its scores are made of; maps (1, H, W)."""

    name: str
    image: Tensor  # (3, H, W)
    true_mm: Tensor
    known: Tensor
    found_mm: Tensor  # before alignment, 0 where unknown
    log_depth_std: Tensor | None


class ClipFrames:
    """One clip on its way through; what a network said waits in a folder where it is needed."""

    def __init__(
        self, clip: Clip, protocol: Protocol, source: DepthSource, settings: Settings, waiting: Path
    ) -> None:
        self.clip, self.protocol, self.source = clip, protocol, source
        self.settings, self.waiting = settings, waiting

    def frames(self, numbers: Sequence[int]) -> Iterator[ScoredFrame | Exclusion]:
        """Give frames in order, or why one is left out."""
        for number, read in _ahead(self._read, numbers, self.settings.readers):
            try:
                own, view, found = read.result()
                found = found or self._asked(number, own, view)
                yield self._frame(self.clip.frame_ids[number], view, found)
            except DataError as error:
                if not self.settings.skip_bad:
                    raise
                why = error.why if isinstance(error, MapError | _LeftOutError) else UNREADABLE
                yield Exclusion(self.clip.name, self.clip.frame_ids[number], why)
            except _NothingError as nothing:
                yield Exclusion(self.clip.name, self.clip.frame_ids[number], str(nothing))

    def forget(self) -> None:
        """Delete what waited."""
        shutil.rmtree(self.waiting, ignore_errors=True)
        with suppress(OSError):  # other clips' may be in it
            self.waiting.parent.rmdir()

    def _read(self, number: int) -> _Read:
        own = self.clip[number]
        if "depth_mm" not in own:
            raise _LeftOutError(
                f"frame {own['frame_id']!r} of clip {self.clip.name!r} has no depth to compare"
                " with; --skip-bad lists such frames as excluded",
                why=NO_DEPTH_FILE,
            )
        view = pictured(own, self.protocol.picture)
        ahead = self.source.depth(self.clip.name, own, view) if self.source.ahead else None
        return own, view, ahead

    def _asked(self, number: int, own: View, view: View) -> Found:
        """Ask a network, or remember what it said the first time."""
        if self.protocol.scope is not Scope.CLIP:
            return self.source.depth(self.clip.name, own, view)
        path = self.waiting / f"{number}.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as kept:
                return Found(**{name: torch.from_numpy(kept[name]) for name in kept.files})
        found = self.source.depth(self.clip.name, own, view)
        parts = {"depth_mm": found.depth_mm.numpy()}
        if found.log_depth_std is not None:
            parts["log_depth_std"] = found.log_depth_std.numpy()
        with written_whole(path) as temporary:
            np.savez(temporary, **parts)  # type: ignore[arg-type]
        return found

    def _frame(self, name: str, view: View, found: Found) -> ScoredFrame:
        protocol = self.protocol
        true_mm = true_length(view, protocol.length)
        known = true_mm > 0
        if protocol.near_mm:
            known &= true_mm >= protocol.near_mm
        if protocol.cap_mm is not None:
            known &= true_mm <= protocol.cap_mm
        if protocol.mask is Mask.KNOWN and "valid" in view:
            known &= view["valid"]
        if protocol.region is not None:
            known &= protocol.region.inside(*true_mm.shape[-2:])
        if not bool(known.any()):
            raise _NothingError(NO_TRUTH)
        length_mm = as_length(found.depth_mm.to(true_mm), view, protocol.length)
        found_mm = rounded(length_mm, protocol.rounding)
        if not bool((known & (found_mm > 0)).any()):
            raise _NothingError(NO_DEPTH)
        return ScoredFrame(
            name=name,
            image=view["image"],
            true_mm=true_mm,
            known=known,
            found_mm=found_mm,
            log_depth_std=found.log_depth_std,
        )


class _LeftOutError(DataError):
    """A frame that can be left out if its user says so."""

    def __init__(self, message: str, *, why: str) -> None:
        super().__init__(message)
        self.why = why


class _NothingError(Exception):
    """A frame in which there is nothing to score; the message is the reason."""


def _ahead(
    read: Callable[[int], _Read], numbers: Sequence[int], readers: int
) -> Iterator[tuple[int, "Future[_Read]"]]:
    """Give what `read` makes of numbers, in order, worked out by threads before it is asked for."""
    with ThreadPoolExecutor(readers, thread_name_prefix="score") as pool:
        waiting: deque[tuple[int, Future[_Read]]] = deque()
        try:
            for number in numbers:
                waiting.append((number, pool.submit(read, number)))
                if len(waiting) >= AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
