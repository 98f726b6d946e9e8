"""What an evaluation found, in files that another program, or another year, can read.

    summary.json    the figures with their intervals, and how they were made
    scores.csv      one line per frame that was scored; an empty cell is "not defined here"
    excluded.csv    one line per frame that was not, and why

In memory a number that is not defined is nan; in JSON it is null.
"""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from math import isinf, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np

from colondepth.atomic import written_whole
from colondepth.errors import DataError
from evaluation.quantities import Quantity
from evaluation.statistics import Average, Interval, bootstrap_mean

SCHEMA = 1  # of summary.json; a change of what a key means makes it 2


@dataclass(frozen=True, slots=True)
class FrameScore:
    """The scores of one frame by the name of their quantity; nan where one is not defined."""

    clip: str
    frame: str
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A frame that was not scored."""

    clip: str
    frame: str
    why: str  # the same words for the same reason, for they are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """How the numbers of a summary were made; two that differ here may not be compared.

    `backbone`, `weights_sha256` and `commit` may differ: they are what a comparison is about.
    """

    protocol: str  # its name
    settings: Mapping[str, str]  # all that the protocol fixes, in words
    dataset: str  # with its split
    alignment: str
    mask: str
    cap_mm: float | None  # truth beyond is not scored; None for no limit
    average: Average  # the protocol's own order of averaging
    backbone: str  # its registered name, or "predictions" for depth maps of other people
    weights_sha256: str  # "" for predictions
    commit: str  # of the code that scored; "" where it is not known
    group_by: str = "clip"  # what intervals draw: "clip", or a label of clips such as "patient"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRow:
    """One clip of a summary."""

    clip: str
    group: str
    frames: int  # scored
    excluded: int
    means: Mapping[str, float]  # over the frames where each is defined


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of one evaluation, and all that a reader must know to judge them."""

    schema: int = SCHEMA
    version: str = field(default_factory=lambda: version("colondepth"))
    made: Made
    quantities: Mapping[str, Quantity]
    frames: int  # scored
    frames_sha256: str  # of the list of them, see `frame_list_sha256`
    excluded: Mapping[str, int]  # by reason
    macro: Mapping[str, Interval]
    micro: Mapping[str, Interval]  # over frames
    clips: tuple[ClipRow, ...]
    # By a label of clips ("level"), its values ("5") and the quantity, in the protocol's average.
    tables: Mapping[str, Mapping[str, Mapping[str, Interval]]]

    @property
    def figures(self) -> Mapping[str, Interval]:
        """The figures as the protocol averages them."""
        return self.macro if self.made.average is Average.MACRO else self.micro


def summarise(
    frames: Sequence[FrameScore],
    exclusions: Sequence[Exclusion],
    *,
    made: Made,
    quantities: Mapping[str, Quantity],
    labels: Mapping[str, Mapping[str, str]] | None = None,
    seed: int = 0,
) -> Summary:
    """Average the scores of frames, with intervals from drawing whole groups.

    Args:
        frames: what was scored, every frame with every quantity; none at all gives figures of nan.
        exclusions: what was not.
        made: how the scores were made.
        quantities: what each score is.
        labels: by the name of a label ("patient", "level") its value for every clip. A table is
            made of each but the one that `made.group_by` names.
        seed: of the draws.
    """
    labels = labels or {}
    _require_sound(frames, exclusions, quantities)
    clips = sorted({frame.clip for frame in frames} | {out.clip for out in exclusions})
    for label, values in labels.items():
        if lacking := [clip for clip in clips if clip not in values]:
            raise DataError(f"label {label!r} says nothing of the clips {lacking[:3]}")
    if made.group_by != "clip" and made.group_by not in labels:
        raise DataError(
            f"figures are grouped by {made.group_by!r}, expected 'clip' or one of the labels"
            f" {sorted(labels)}"
        )
    group_of = {clip: clip for clip in clips} if made.group_by == "clip" else labels[made.group_by]

    def figures(chosen: Sequence[FrameScore], average: Average) -> dict[str, Interval]:
        groups = np.array([group_of[frame.clip] for frame in chosen], dtype=np.str_)
        return {
            name: bootstrap_mean(
                np.array([frame.scores[name] for frame in chosen], dtype=np.float64),
                groups,
                average=average,
                seed=seed,
            )
            for name in quantities
        }

    tables = {
        label: {
            value: figures([f for f in frames if values[f.clip] == value], made.average)
            for value in sorted({values[clip] for clip in clips})
        }
        for label, values in labels.items()
        if label != made.group_by
    }
    return Summary(
        made=made,
        quantities=dict(quantities),
        frames=len(frames),
        frames_sha256=frame_list_sha256(frames),
        excluded=dict(sorted(Counter(out.why for out in exclusions).items())),
        macro=figures(frames, Average.MACRO),
        micro=figures(frames, Average.MICRO),
        clips=_clip_rows(clips, frames, exclusions, group_of, list(quantities)),
        tables=tables,
    )


def frame_list_sha256(frames: Iterable[FrameScore]) -> str:
    """Return a digest of which frames were scored, whatever their order."""
    names = sorted(json.dumps([frame.clip, frame.frame]) for frame in frames)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def write_summary(
    folder: Path,
    summary: Summary,
    frames: Sequence[FrameScore],
    exclusions: Sequence[Exclusion],
) -> None:
    """Write summary.json, scores.csv and excluded.csv into a folder, each whole or not at all."""
    with written_whole(folder / "scores.csv") as path, _opened_to_write(path) as file:
        table = csv.writer(file)
        table.writerow(["clip", "frame", *summary.quantities])
        for frame in frames:
            numbers = [frame.scores[name] for name in summary.quantities]
            cells = ["" if isnan(number) else repr(float(number)) for number in numbers]
            table.writerow([frame.clip, frame.frame, *cells])
    with written_whole(folder / "excluded.csv") as path, _opened_to_write(path) as file:
        table = csv.writer(file)
        table.writerow(["clip", "frame", "why"])
        table.writerows([out.clip, out.frame, out.why] for out in exclusions)
    text = json.dumps(_without_nan(asdict(summary)), indent=2, allow_nan=False)
    with written_whole(folder / "summary.json") as path:
        path.write_text(text + "\n", encoding="utf-8")


def read_summary(path: Path) -> Summary:
    """Read a summary.json, or that of a folder."""
    path = path / "summary.json" if path.is_dir() else path
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); expected the folder that"
            " `colondepth evaluate` wrote, or its summary.json"
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); expected a summary.json") from error
    found = parts.get("schema") if isinstance(parts, dict) else None
    if found != SCHEMA:
        raise DataError(
            f"{path} has schema {found}, expected {SCHEMA}; evaluate again with this version"
        )
    try:
        return _summary(parts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} lacks or garbles a part: {error}; evaluate again") from error


def read_scores(path: Path) -> tuple[FrameScore, ...]:
    """Read a scores.csv, or that of a folder."""
    path = path / "scores.csv" if path.is_dir() else path
    rows = _rows(path)
    if rows[0][:2] != ["clip", "frame"]:
        raise DataError(f"{path} begins with {rows[0][:2]}, expected clip,frame and quantities")
    names = rows[0][2:]
    frames = []
    for number, row in enumerate(rows[1:], start=2):
        try:
            cells = [nan if cell == "" else float(cell) for cell in row[2:]]
            scores = dict(zip(names, cells, strict=True))
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: {error}; expected a number a column"
            ) from error
        frames.append(FrameScore(row[0], row[1], scores))
    return tuple(frames)


def read_exclusions(path: Path) -> tuple[Exclusion, ...]:
    """Read an excluded.csv, or that of a folder."""
    path = path / "excluded.csv" if path.is_dir() else path
    rows = _rows(path)
    if wrong := [row for row in rows if len(row) != 3] or rows[0] != ["clip", "frame", "why"]:
        raise DataError(f"{path} has other columns than clip,frame,why: {wrong}")
    return tuple(Exclusion(*row) for row in rows[1:])


def _require_sound(
    frames: Sequence[FrameScore],
    exclusions: Sequence[Exclusion],
    quantities: Mapping[str, Quantity],
) -> None:
    names = [(each.clip, each.frame) for each in frames]
    seen = Counter(names + [(each.clip, each.frame) for each in exclusions])
    if twice := [name for name, count in seen.items() if count > 1]:
        raise DataError(
            f"frame {twice[0][1]!r} of clip {twice[0][0]!r} is there twice; expected each frame"
            " once, scored or excluded"
        )
    for frame in frames:
        if odd := sorted(frame.scores.keys() ^ quantities.keys()):
            raise DataError(
                f"frame {frame.frame!r} of clip {frame.clip!r} lacks or adds the scores {odd}"
            )
        if endless := [name for name, score in frame.scores.items() if isinf(score)]:
            raise DataError(
                f"frame {frame.frame!r} of clip {frame.clip!r} has an infinite {endless[0]};"
                " expected a number, or nan where it is not defined"
            )


def _clip_rows(
    clips: Sequence[str],
    frames: Sequence[FrameScore],
    exclusions: Sequence[Exclusion],
    group_of: Mapping[str, str],
    names: Sequence[str],
) -> tuple[ClipRow, ...]:
    scored: dict[str, list[FrameScore]] = {clip: [] for clip in clips}
    for frame in frames:
        scored[frame.clip].append(frame)
    left_out = Counter(out.clip for out in exclusions)
    return tuple(
        ClipRow(
            clip=clip,
            group=group_of[clip],
            frames=len(scored[clip]),
            excluded=left_out[clip],
            means={name: _mean([each.scores[name] for each in scored[clip]]) for name in names},
        )
        for clip in clips
    )


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not isnan(value)]
    return sum(defined) / len(defined) if defined else nan


def _opened_to_write(path: Path) -> Any:
    return path.open("w", newline="", encoding="utf-8")


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; evaluate again") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a table: {error}; evaluate again") from error
    if not rows:
        raise DataError(f"{path} is empty, expected a line of names; evaluate again")
    return rows


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and isnan(value) else value


def _summary(parts: Mapping[str, Any]) -> Summary:
    _require_keys(parts, Summary)
    _require_keys(parts["made"], Made)
    made = Made(**{**parts["made"], "average": Average(parts["made"]["average"])})
    return Summary(
        **{
            **parts,
            "made": made,
            "quantities": {name: Quantity(**each) for name, each in parts["quantities"].items()},
            "macro": _intervals(parts["macro"]),
            "micro": _intervals(parts["micro"]),
            "clips": tuple(_clip_row(row) for row in parts["clips"]),
            "tables": {
                label: {value: _intervals(row) for value, row in table.items()}
                for label, table in parts["tables"].items()
            },
        }
    )


def _intervals(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Interval]:
    return {name: Interval(**_with_nan(each)) for name, each in parts.items()}


def _clip_row(parts: Mapping[str, Any]) -> ClipRow:
    return ClipRow(**{**parts, "means": _with_nan(parts["means"])})


def _with_nan(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: nan if value is None else value for name, value in parts.items()}


def _require_keys(parts: Mapping[str, Any], kind: type[Summary] | type[Made]) -> None:
    if odd := sorted(set(parts) ^ {each.name for each in fields(kind)}):
        raise ValueError(f"keys {odd} are missing or unknown in a {kind.__name__}")
