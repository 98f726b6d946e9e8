"""A protocol carried out on a dataset: clips opened, frames scored, the report written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from colondepth.cameras import Camera, from_file
from colondepth.data import SPLITS, open_clips, split
from colondepth.errors import DataError, UnknownNameError
from colondepth.inference import Predictor, load
from colondepth.prediction_folder import file_sha256
from colondepth.prediction_run import chosen
from colondepth.views import Clip
from colondepth.weights.files import found as found_weights
from evaluation.alignment import Alignment
from evaluation.depth_sources import DepthSource, MapDepth, NetworkDepth
from evaluation.evidence import WORST, Gathering
from evaluation.prediction_maps import PredictionMaps
from evaluation.protocols.protocol import Length, Protocol, varied
from evaluation.report import write_report
from evaluation.score_journal import ScoreJournal
from evaluation.scored_frames import Settings
from evaluation.scoring import Tick, quantities, score_clips, worst_frames
from evaluation.summary import (
    Exclusion,
    FrameScore,
    Made,
    Summary,
    frame_list_sha256,
    summarise,
)
from synthetic_colons.provenance import commit

EVERY_CLIP = "all"  # in place of a split
_NAMED = 3  # clips that a protocol's name lists


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Frames:
    """What is scored, opened and not read."""

    protocol: Protocol  # under the name that these frames deserve
    clips: tuple[Clip, ...]
    dataset: str  # in words, with its split
    skipped: tuple[Exclusion, ...] = ()  # files that were bad when the dataset was opened
    warnings: tuple[str, ...] = ()
    readers: int = 2

    @property
    def total(self) -> int:
        """How many frames there are."""
        return sum(len(clip) for clip in self.clips)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Judged:
    """Whose depth is scored."""

    source: DepthSource
    name: str  # of the backbone, or "predictions"
    weights_sha256: str = ""
    says: dict[str, Any]  # what tells this depth from other depth, for a run that goes on
    check_unit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What an evaluation left."""

    summary: Summary
    page: Path
    before: int  # frames that were there before


def open_frames(
    protocol: Protocol,
    data: Path,
    *,
    split_name: str | None = None,
    every: int = 1,
    camera: Path | None = None,
    skip_bad: bool = False,
) -> Frames:
    """Open the frames of a dataset that a protocol scores.

    Args:
        protocol: of a dataset on disk.
        data: its folder.
        split_name: another split than the protocol's, or `EVERY_CLIP`; the name changes with it.
        every: take each so many-th frame of a clip; the name changes with it.
        camera: a calibration in place of the dataset's own.
        skip_bad: list bad files; they are errors otherwise.
    """
    if every < 1:
        raise DataError(f"every {every} frames; expected 1 or more")
    if split_name not in (None, EVERY_CLIP, *SPLITS):
        known = ", ".join((EVERY_CLIP, *SPLITS))
        raise UnknownNameError(f"no split is called {split_name!r}. Known: {known}.")
    lens: Camera | None = None if camera is None else from_file(camera)
    reading = open_clips(data, dataset=protocol.dataset, camera=lens, skip_bad=skip_bad)
    clips = reading.clips
    if split_name is not None and split_name != (protocol.split or EVERY_CLIP):
        wanted = None if split_name == EVERY_CLIP else split_name
        names = [clip.name for clip in clips]
        few = ", ".join(names) if len(names) <= _NAMED else f"all {len(names)} clips of the folder"
        words = few if wanted is None else wanted
        protocol = varied(protocol, words, split=wanted, split_words=words)
    if protocol.split is not None:
        try:
            clips = split(clips, protocol.split)
        except DataError as error:
            raise DataError(
                f"{error}; --split {EVERY_CLIP} scores the clips that are there, under a name that"
                " says so"
            ) from error
    if every > 1:
        thinned = (chosen(clip, range(0, len(clip), every)) for clip in clips)
        clips = tuple(clip for clip in thinned if clip is not None)
        words = f"one frame in {every}"
        split_words = f"{protocol.split_words}; {words}"
        protocol = varied(protocol, words, split=protocol.split, split_words=split_words)
    _require_names(clips)
    opened = {clip.name for clip in clips}
    skipped = {(each.path.parent.name, each.path.stem): each.reason for each in reading.skipped}
    return Frames(
        protocol=protocol,
        clips=clips,
        dataset=f"{reading.dataset}, {protocol.split or 'all clips of the folder'}",
        skipped=tuple(
            Exclusion(where if where in opened else f"{where} (file)", file, f"file {reason}")
            for (where, file), reason in skipped.items()
        ),
        warnings=reading.warnings,
    )


def network(
    name: str, protocol: Protocol, *, weights: Path | None = None, device: Any = None
) -> Judged:
    """Return a network with its weights, ready to be judged by a protocol.

    Args:
        name: of the backbone.
        protocol: one that fits a scale, if the network knows no millimetres.
        weights: a file; None for those of the package.
        device: where to work; None for a GPU if there is one.
    """
    predictor: Predictor = load(name, weights=weights, device=device)
    if not predictor.backbone.metric and protocol.alignment is Alignment.NONE:
        raise DataError(
            f"{name} gives depth in no unit, and {protocol.name} compares millimetres without"
            " alignment; take a protocol that fits a scale, such as c3vd-endodac"
        )
    sha256 = file_sha256(found_weights(weights or name))
    return Judged(
        source=NetworkDepth(predictor),
        name=name,
        weights_sha256=sha256,
        says={"backbone": name, "weights": sha256},
    )


def predictions(
    root: Path,
    frames: Frames,
    *,
    mm_per_unit: float,
    length: Length,
    skip_bad: bool = False,
    trust_unit: bool = False,
) -> Judged:
    """Return depth maps that another program made, ready to be judged.

    Args:
        root: their folder.
        frames: that they are for.
        mm_per_unit: millimetres in a 1 of the maps.
        length: what the maps hold.
        skip_bad: list missing and bad maps; they are errors otherwise.
        trust_unit: score maps whose unit looks wrong.
    """
    maps = PredictionMaps(root, mm_per_unit)
    source = MapDepth(
        maps,
        length=length,
        picture=frames.protocol.picture,
        alone=len(frames.clips) == 1,
        skip_bad=skip_bad,
    )
    for clip in frames.clips:  # what is missing is told before hours of scoring, not after
        source.lacking(clip)
    says = {
        "maps": maps.digest(),
        "mm_per_unit": mm_per_unit,
        "maps hold": str(length),
    }
    unaligned = frames.protocol.alignment is Alignment.NONE
    return Judged(
        source=source, name="predictions", says=says, check_unit=unaligned and not trust_unit
    )


def evaluate(
    frames: Frames,
    judged: Judged,
    folder: Path,
    *,
    skip_bad: bool = False,
    tick: Tick = lambda frames: None,
    writing: Callable[[], None] = lambda: None,
) -> Evaluated:
    """Score frames into a folder, from where it was stopped, and write its report.

    Args:
        frames: see there.
        judged: see there.
        folder: new, or of the same evaluation.
        skip_bad: list bad frames and maps as excluded; they are errors otherwise.
        tick: told of frames that are done.
        writing: called when all of them are.
    """
    protocol, scored_by = frames.protocol, quantities(frames.protocol)
    first = protocol.reported[0]
    gathering = Gathering(
        far_mm=protocol.far_mm,
        quantity=first,
        lower_is_better=scored_by[first].lower_is_better,
        worst_count=0,  # they are looked at again, so that a run that went on has all of them
    )
    settings = Settings(skip_bad=skip_bad, readers=frames.readers, check_unit=judged.check_unit)
    made = _made(frames, judged)
    run = {
        "protocol": protocol.name,
        "settings": protocol.settings,
        "dataset": frames.dataset,
        "frames": _listed(frames.clips),
        "commit": made.commit,
        **judged.says,
    }
    with ScoreJournal(folder, run) as journal:
        before = len(journal.frames) + len(journal.exclusions)
        score_clips(
            frames.clips,
            protocol,
            judged.source,
            journal,
            gathering=gathering,
            settings=settings,
            tick=tick,
        )
        writing()
        worst = worst_frames(
            frames.clips, protocol, judged.source, journal, settings=settings, count=WORST
        )
        scores, exclusions = _in_order(frames, journal)
    labels = None
    if protocol.label is not None:
        named = {clip.name: protocol.label.of(clip.name) for clip in frames.clips}
        named |= {each.clip: protocol.label.of(each.clip) for each in exclusions}
        labels = {protocol.label.name: named}
    summary = summarise(scores, exclusions, made=made, quantities=scored_by, labels=labels)
    evidence = gathering.evidence()
    page = write_report(
        folder, summary, scores, exclusions, worst, evidence=evidence if evidence.frames else None
    )
    return Evaluated(summary=summary, page=page, before=before)


def with_words(frames: Frames, how: str) -> Frames:
    """Return the same frames under a protocol whose name says `how` they differ."""
    protocol = varied(frames.protocol, how, split=frames.protocol.split, split_words=how)
    return replace(frames, protocol=protocol)


def _made(frames: Frames, judged: Judged) -> Made:
    protocol = frames.protocol
    settings = dict(protocol.settings)
    if "mm_per_unit" in judged.says:
        settings["predicted maps"] = (
            f"{judged.says['maps hold']}, {judged.says['mm_per_unit']:g} mm a unit"
        )
    return Made(
        protocol=protocol.name,
        settings=settings,
        dataset=frames.dataset,
        alignment=protocol.aligned,
        mask=str(protocol.mask),
        cap_mm=protocol.cap_mm,
        average=protocol.average,
        backbone=judged.name,
        weights_sha256=judged.weights_sha256,
        commit=commit() or "",
    )


def _in_order(frames: Frames, journal: ScoreJournal) -> tuple[list[FrameScore], list[Exclusion]]:
    places = {
        (clip.name, frame): (number, place)
        for number, clip in enumerate(frames.clips)
        for place, frame in enumerate(clip.frame_ids)
    }
    scores = sorted(journal.frames.values(), key=lambda each: places[each.clip, each.frame])
    left_out = sorted(journal.exclusions.values(), key=lambda each: places[each.clip, each.frame])
    known = {(each.clip, each.frame) for each in left_out}
    more = [each for each in frames.skipped if (each.clip, each.frame) not in known]
    return scores, [*left_out, *more]


def _listed(clips: Sequence[Clip]) -> str:
    return frame_list_sha256(
        FrameScore(clip.name, frame, {}) for clip in clips for frame in clip.frame_ids
    )


def _require_names(clips: Sequence[Clip]) -> None:
    names = [clip.name for clip in clips]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"two clips are called {twice[0]!r}; open one copy of the dataset")
