"""What a report shows besides scores, gathered while frames stream by.

Pixels are counted, not kept: only the worst frames stay in memory. After an interrupted run the
evidence is of the frames since; `Evidence.frames` says of how many.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from colondepth.shapes import require_bool, require_shapes
from evaluation.statistics import Average, Interval, bootstrap_mean

DEPTH_BINS = 25  # 4 mm each up to 100 mm
SURENESS_BINS = 20  # of the calibration curve: steps of 5 %
WORST = 6  # frames whose pictures are kept


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class WorstFrame:
    """A frame with a bad score, and what to see in it."""

    clip: str
    frame: str
    quantity: str  # that it is bad in, by name
    score: float
    image: Tensor  # (3, H, W)
    found_mm: Tensor  # (1, H, W), aligned as it was scored
    true_mm: Tensor  # (1, H, W)
    known: Tensor  # (1, H, W) bool, what was scored


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Evidence:
    """Counts over all pixels that were scored."""

    frames: int
    edges_mm: NDArray[np.float64]  # (K + 1,) of the bins of depth
    true_pixels: NDArray[np.int64]  # (K,) by true depth
    found_pixels: NDArray[np.int64]  # (K,) by estimated depth
    beyond: tuple[int, int]  # true and estimated pixels that lie beyond the last edge
    errors: tuple[Interval, ...]  # K, mean relative error of the pixels of a bin, over clips
    sureness: NDArray[np.float64] | None  # (S,) of intervals that the network states
    held: NDArray[np.float64] | None  # (S,) share of pixels that lie inside them


@dataclass(slots=True, kw_only=True)
class Gathering:
    """Gathers evidence frame by frame; `far_mm` is where the bins of depth end."""

    far_mm: float
    quantity: str  # that makes a frame a bad one
    lower_is_better: bool
    worst_count: int = WORST
    _frames: int = 0
    _true: NDArray[np.int64] = field(default_factory=lambda: _zeros(DEPTH_BINS + 1))
    _found: NDArray[np.int64] = field(default_factory=lambda: _zeros(DEPTH_BINS + 1))
    _of_clip: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(
        default_factory=dict
    )
    _sure: NDArray[np.int64] = field(default_factory=lambda: _zeros(SURENESS_BINS + 1))
    _worst: list[tuple[float, int, WorstFrame]] = field(default_factory=list)

    def add(
        self,
        clip: str,
        frame: str,
        score: float,
        *,
        image: Tensor,
        found_mm: Tensor,
        true_mm: Tensor,
        known: Tensor,
        log_depth_std: Tensor | None = None,
    ) -> None:
        """Count one frame.

        Args:
            clip: its name.
            frame: its name.
            score: in `quantity`; a frame with nan is never among the worst.
            image: (3, H, W).
            found_mm: estimated depth, aligned, (1, H, W).
            true_mm: (1, H, W), positive where `known`.
            known: bool, (1, H, W), the pixels that were scored.
            log_depth_std: the network's own uncertainty, (1, H, W), if it gives any.
        """
        require_shapes(
            image=(image, "3 H W"),
            found_mm=(found_mm, "1 H W"),
            true_mm=(true_mm, "1 H W"),
            known=(known, "1 H W"),
        )
        require_bool(known=known)
        self._frames += 1
        used = known & (found_mm > 0) & found_mm.isfinite()
        found, true = found_mm[used].float(), true_mm[used].float()  # (n,)
        place = self._places(true)
        self._true += _counted(place, DEPTH_BINS + 1)
        self._found += _counted(self._places(found), DEPTH_BINS + 1)
        self._add_errors(clip, place, (found - true).abs() / true)
        if log_depth_std is not None:
            self._add_sureness((found / true).log().abs() / log_depth_std[used].float())
        self._keep_if_bad(
            WorstFrame(
                clip=clip,
                frame=frame,
                quantity=self.quantity,
                score=score,
                image=image,
                found_mm=found_mm,
                true_mm=true_mm,
                known=known,
            )
        )

    def evidence(self) -> Evidence:
        """Return what was counted so far."""
        sure = self._sure[:-1].cumsum() / max(1, int(self._sure.sum()))
        said = np.arange(1, SURENESS_BINS + 1) / SURENESS_BINS
        stated = int(self._sure.sum()) > 0
        return Evidence(
            frames=self._frames,
            edges_mm=np.linspace(0, self.far_mm, DEPTH_BINS + 1),
            true_pixels=self._true[:-1].copy(),
            found_pixels=self._found[:-1].copy(),
            beyond=(int(self._true[-1]), int(self._found[-1])),
            errors=_errors(self._of_clip),
            # The last point, certainty, is left out: nothing lies outside of it.
            sureness=said[:-1] if stated else None,
            held=sure[:-1] if stated else None,
        )

    def worst(self) -> tuple[WorstFrame, ...]:
        """Return the worst frames so far, the worst first."""
        return tuple(frame for _, _, frame in sorted(self._worst, key=lambda each: -each[0]))

    def _places(self, depth_mm: Tensor) -> Tensor:
        return (depth_mm * (DEPTH_BINS / self.far_mm)).long().clamp(max=DEPTH_BINS)

    def _add_errors(self, clip: str, place: Tensor, error: Tensor) -> None:
        sums, counts = self._of_clip.setdefault(clip, (np.zeros(DEPTH_BINS), np.zeros(DEPTH_BINS)))
        total = torch.bincount(place, weights=error.double(), minlength=DEPTH_BINS + 1)
        sums += total.cpu().numpy()[:DEPTH_BINS]
        counts += _counted(place, DEPTH_BINS + 1)[:DEPTH_BINS]

    def _add_sureness(self, away: Tensor) -> None:
        """Count how sure an interval must be to hold each pixel, if log depth is normal."""
        level = torch.erf(away / 2**0.5).nan_to_num(nan=1.0)  # an error of 0 over a std of 0
        self._sure += _counted((level * SURENESS_BINS).long(), SURENESS_BINS + 1)

    def _keep_if_bad(self, frame: WorstFrame) -> None:
        if frame.score != frame.score:
            return
        badness = frame.score if self.lower_is_better else -frame.score
        heapq.heappush(self._worst, (badness, -self._frames, frame))
        if len(self._worst) > self.worst_count:
            heapq.heappop(self._worst)


def _zeros(count: int) -> NDArray[np.int64]:
    return np.zeros(count, dtype=np.int64)


def _counted(place: Tensor, length: int) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = torch.bincount(place, minlength=length).cpu().numpy()
    return counts


def _errors(
    of_clip: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> tuple[Interval, ...]:
    names = np.array(list(of_clip), dtype=np.str_)
    rows = []
    for place in range(DEPTH_BINS):
        sums = np.array([sums[place] for sums, _ in of_clip.values()])
        counts = np.array([counts[place] for _, counts in of_clip.values()])
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        rows.append(bootstrap_mean(means, names, average=Average.MACRO))
    return tuple(rows)
