"""Frames of clips beside depth that was predicted, into scores by a protocol.

Frames are read ahead by threads and scored a few at a time; nothing is kept of them but their
scores, which are on disk as soon as they are known (`evaluation.score_journal`). One scale for a
whole clip needs every frame of it twice: what a network said waits on disk for the second time.

A frame that cannot be scored is left out with its reason, never in silence. That is so where it
has no known truth or no depth was predicted. A file that is missing or bad is an error, and a
reason only if `skip_bad` says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import isinf
from typing import Protocol as Promise

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.views import Clip
from evaluation.alignment import Alignment, Fit, Pooling, Scope, clip_fit, fit
from evaluation.depth_errors import DEPTH_ERRORS, depth_errors
from evaluation.depth_sources import DepthSource
from evaluation.evidence import Gathering, WorstFrame
from evaluation.protocols.protocol import Protocol
from evaluation.quantities import Quantity
from evaluation.score_journal import ScoreJournal
from evaluation.scored_frames import ClipFrames, ScoredFrame, Settings
from evaluation.summary import Exclusion, FrameScore

TOGETHER = 2  # frames that are scored at a time: as float64 two of 256x320 stay near the processor
BESIDE = ("abs_rel", "rmse_mm", "delta_1_25")  # what other alignments are scored by
# No network that knows its unit is wrong by so much on every frame; a slip of units is 10 or 1000.
UNIT_OFF = 5.0


class Tick(Promise):
    """Told how many frames are done since the last time."""

    def __call__(self, frames: int) -> None:
        """Take note of so many more."""
        ...


def quantities(protocol: Protocol) -> dict[str, Quantity]:
    """Return what every frame is scored by, the paper's own figures first."""
    every: dict[str, Quantity] = {**DEPTH_ERRORS}
    every |= {name: each.quantity for name, each in protocol.own.items()}
    if unknown := [name for name in protocol.reported if name not in every]:
        raise DataError(f"protocol {protocol.name!r} reports {unknown}, which nothing measures")
    ordered = {name: every[name] for name in [*protocol.reported, *every]}
    for alignment in protocol.beside:
        for name in BESIDE:
            words = f"{every[name].words}, aligned by {alignment}"
            ordered[_beside(name, alignment)] = replace(every[name], words=words)
    return ordered


def score_clips(
    clips: Sequence[Clip],
    protocol: Protocol,
    source: DepthSource,
    journal: ScoreJournal,
    *,
    gathering: Gathering,
    settings: Settings,
    tick: Tick = lambda frames: None,
) -> None:
    """Score every frame that the journal does not have.

    Args:
        clips: of the dataset.
        protocol: how.
        source: of the depth that is scored.
        journal: takes every score when it is known; open.
        gathering: takes what the report shows, of the frames that are scored now.
        settings: see there.
        tick: told of frames that were there before, then of those that are done.
    """
    asked = bool(journal.frames)
    for number, clip in enumerate(clips):
        lacking = source.lacking(clip)
        journal.add(
            Exclusion(clip.name, frame, why)
            for frame, why in lacking.items()
            if not journal.has(clip.name, frame)
        )
        pending = [
            place for place, frame in enumerate(clip.frame_ids) if not journal.has(clip.name, frame)
        ]
        tick(len(clip) - len(pending))
        if not pending:
            continue
        run = ClipFrames(
            clip, protocol, source, settings, journal.path.parent / "waiting" / f"{number}"
        )
        fixed = _fit_of_clip(run, journal, lacking) if protocol.scope is Scope.CLIP else None
        frames = run.frames(pending)
        while some := list(islice(frames, TOGETHER)):
            whole = [frame for frame in some if isinstance(frame, ScoredFrame)]
            if whole and settings.check_unit and not asked:
                _require_unit(whole, clip.name)
                asked = True
            done: list[FrameScore | Exclusion] = [f for f in some if isinstance(f, Exclusion)]
            done += _scored(whole, clip.name, protocol, fixed, gathering)
            journal.add(done)
            tick(len(some))
        run.forget()


def worst_frames(
    clips: Sequence[Clip],
    protocol: Protocol,
    source: DepthSource,
    journal: ScoreJournal,
    *,
    settings: Settings,
    count: int,
) -> tuple[WorstFrame, ...]:
    """Look again at the worst frames by the paper's first figure, the worst first."""
    name = protocol.reported[0]
    sign = 1 if quantities(protocol)[name].lower_is_better else -1
    defined = [each for each in journal.frames.values() if each.scores[name] == each.scores[name]]
    chosen = sorted(defined, key=lambda each: -sign * each.scores[name])[:count]
    by_name = {clip.name: clip for clip in clips}
    worst: list[WorstFrame] = []
    for score in chosen:
        clip = by_name[score.clip]
        source.lacking(clip)
        run = ClipFrames(
            clip, protocol, source, settings, journal.path.parent / "waiting" / "worst"
        )
        for frame in run.frames([clip.frame_ids.index(score.frame)]):
            if isinstance(frame, ScoredFrame):
                fixed = _fixed(journal.fits[clip.name]) if clip.name in journal.fits else None
                found_mm = _aligned(_stacked([frame]), protocol, protocol.alignment, fixed)
                worst.append(
                    WorstFrame(
                        clip=score.clip,
                        frame=score.frame,
                        quantity=name,
                        score=score.scores[name],
                        image=frame.image,
                        found_mm=found_mm[0].float(),
                        true_mm=frame.true_mm,
                        known=frame.known & (frame.found_mm > 0),
                    )
                )
        run.forget()
    return tuple(worst)


@dataclass(frozen=True, eq=False, slots=True)
class _Batch:
    """Frames of one size, maps (B, 1, H, W)."""

    found_mm: Tensor
    true_mm: Tensor
    known: Tensor

    @property
    def scored(self) -> Tensor:
        """Where truth is known and depth was predicted."""
        return self.known & (self.found_mm > 0)


def _stacked(frames: Sequence[ScoredFrame]) -> _Batch:
    return _Batch(
        torch.stack([frame.found_mm for frame in frames]),
        torch.stack([frame.true_mm for frame in frames]),
        torch.stack([frame.known for frame in frames]),
    )


def _scored(
    frames: Sequence[ScoredFrame],
    clip: str,
    protocol: Protocol,
    fixed: Fit | None,
    gathering: Gathering,
) -> list[FrameScore | Exclusion]:
    if not frames:
        return []
    batch = _stacked(frames)
    found_mm = _aligned(batch, protocol, protocol.alignment, fixed)
    scores: dict[str, Tensor] = depth_errors(found_mm, batch.true_mm, batch.known)
    scores |= {
        name: own.measure(found_mm, batch.true_mm, batch.scored)
        for name, own in protocol.own.items()
    }
    for alignment in protocol.beside:
        otherwise_mm = _aligned(batch, protocol, alignment, None)
        other = depth_errors(otherwise_mm, batch.true_mm, batch.known)
        scores |= {_beside(name, alignment): other[name] for name in BESIDE}
    columns = {name: values.tolist() for name, values in scores.items()}
    done: list[FrameScore | Exclusion] = []
    for row, frame in enumerate(frames):
        own = {name: float(values[row]) for name, values in columns.items()}
        if endless := [name for name, score in own.items() if isinf(score)]:
            done.append(Exclusion(clip, frame.name, f"{endless[0]} is infinite"))
            continue
        done.append(FrameScore(clip, frame.name, own))
        gathering.add(
            clip,
            frame.name,
            own[gathering.quantity],
            image=frame.image,
            found_mm=found_mm[row].float(),
            true_mm=frame.true_mm,
            known=frame.known & (frame.found_mm > 0),
            log_depth_std=frame.log_depth_std,
        )
    return done


def _aligned(batch: _Batch, protocol: Protocol, alignment: Alignment, fixed: Fit | None) -> Tensor:
    """Return depth after alignment and limits, (B, 1, H, W) float64, 0 where none was predicted."""
    fitted = fixed or fit(batch.found_mm, batch.true_mm, batch.known, alignment=alignment)
    found_mm = fitted.applied(batch.found_mm)
    if not protocol.clamped:
        return found_mm
    kept_mm = found_mm.clamp(protocol.near_mm, protocol.cap_mm)
    return torch.where(found_mm > 0, kept_mm, found_mm)


def _fit_of_clip(frames: ClipFrames, journal: ScoreJournal, lacking: Mapping[str, str]) -> Fit:
    """Return the one fit of a clip, to the means of its frames over the pixels that are scored."""
    name, ids = frames.clip.name, frames.clip.frame_ids
    if name not in journal.fits:
        numbers = [number for number in range(len(ids)) if ids[number] not in lacking]
        maps = (
            (frame.found_mm[None], frame.true_mm[None], frame.known[None])
            for frame in frames.frames(numbers)
            if isinstance(frame, ScoredFrame)
        )
        fitted = clip_fit(maps, alignment=frames.protocol.alignment, pooling=Pooling.FRAME_MEANS)
        journal.add_fit(name, float(fitted.scale), float(fitted.shift_mm))
    return _fixed(journal.fits[name])


def _fixed(numbers: tuple[float, float]) -> Fit:
    scale, shift_mm = torch.tensor(numbers, dtype=torch.float64).reshape(2, 1)
    return Fit(scale, shift_mm)


def _require_unit(frames: Sequence[ScoredFrame], clip: str) -> None:
    batch = _stacked(frames)
    scale = fit(batch.found_mm, batch.true_mm, batch.known, alignment=Alignment.MEDIAN).scale
    if bool((scale > UNIT_OFF).all()) or bool((scale < 1 / UNIT_OFF).all()):
        raise DataError(
            f"the depth of the first {len(frames)} frames of {clip!r} has to be multiplied by"
            f" {float(scale.median()):.3g} to fit the truth: the unit looks wrong; --mm-per-unit is"
            " 1 for maps in millimetres, 10 for centimetres, 1000 for metres, and --trust-unit"
            " scores them as they are"
        )


def _beside(name: str, alignment: Alignment) -> str:
    return f"{name}_by_{alignment.replace(' ', '_')}"
