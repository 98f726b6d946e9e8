"""Two evaluations held against each other on the frames that both scored.

Only runs that were made alike are compared: another protocol, alignment, mask, limit, dataset or
averaging is refused. The networks, their weights and the commit may differ.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from colondepth.errors import DataError
from evaluation.quantities import Quantity
from evaluation.report_tables import Table, figure, number
from evaluation.statistics import Average, Interval, Paired, bootstrap_mean, family_p, paired
from evaluation.summary import (
    FrameScore,
    Made,
    Summary,
    frame_list_sha256,
    read_scores,
    read_summary,
)

MAY_DIFFER = frozenset({"backbone", "weights_sha256", "commit"})
ANSWERER = frozenset({"predicted maps"})  # settings that say who answered, not what was asked
MOST_TOLD = 3  # differences in one message; those of another protocol are endless
SIGNIFICANT = 0.05  # of a p-value that allows for how many there are


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFigure:
    """One quantity of A and B on their shared frames."""

    name: str
    quantity: Quantity
    a: Interval
    b: Interval
    paired: Paired  # A minus B
    p_family: float  # the p-value, allowing for how many quantities are compared

    @property
    def better(self) -> str:
        """Return "A" or "B" where the difference is significant, else nothing."""
        unclear = isnan(self.p_family) or self.p_family >= SIGNIFICANT
        if unclear or not self.quantity.ranks:
            return ""
        return "A" if (self.paired.difference < 0) == self.quantity.lower_is_better else "B"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two evaluations on their shared frames."""

    a: Made
    b: Made
    frames: int  # shared
    only_a: int  # frames that B did not score
    only_b: int
    average: Average
    figures: tuple[ComparedFigure, ...]
    left_out: tuple[str, ...]  # quantities that only one of them has


def compare(a: Path, b: Path, *, average: Average | None = None, seed: int = 0) -> Comparison:
    """Compare two folders of evaluations, or their summary.json files.

    Args:
        a: the one that differences are counted from: A minus B.
        b: the other.
        average: macro or micro; the protocol's own if it is not said.
        seed: of the draws.
    """
    summaries = read_summary(a), read_summary(b)
    _require_alike(*summaries, groups_a=_groups(summaries[0]), groups_b=_groups(summaries[1]))
    of_a, of_b = _scores(a, summaries[0]), _scores(b, summaries[1])
    shared = sorted(of_a.keys() & of_b.keys())
    if not shared:
        raise DataError(f"{a} and {b} scored no frame in common; expected the same dataset")
    group_of = _groups(summaries[0]) | _groups(summaries[1])
    groups = np.array([group_of[clip] for clip, _ in shared], dtype=np.str_)
    names = [name for name in summaries[0].quantities if name in summaries[1].quantities]
    order = average or summaries[0].made.average
    rows, differences = [], []
    for name in names:
        # Where only one of them is defined, neither counts, so that both columns are of one kind.
        values = np.array([[of[key].scores[name] for key in shared] for of in (of_a, of_b)])
        values[:, np.isnan(values).any(axis=0)] = np.nan
        means = [bootstrap_mean(each, groups, average=order, seed=seed) for each in values]
        rows.append((name, means, paired(values[0], values[1], groups, average=order, seed=seed)))
        differences.append(values[0] - values[1])
    adjusted = family_p(np.array(differences), groups, average=order, seed=seed)
    return Comparison(
        a=summaries[0].made,
        b=summaries[1].made,
        frames=len(shared),
        only_a=len(of_a) - len(shared),
        only_b=len(of_b) - len(shared),
        average=order,
        figures=tuple(
            ComparedFigure(
                name=name,
                quantity=summaries[0].quantities[name],
                a=means[0],
                b=means[1],
                paired=difference,
                p_family=p,
            )
            for (name, means, difference), p in zip(rows, adjusted, strict=True)
        ),
        left_out=tuple(sorted(summaries[0].quantities.keys() ^ summaries[1].quantities.keys())),
    )


def comparison_table(comparison: Comparison) -> Table:
    """Return a comparison in words."""
    drawn = comparison.a.group_by
    groups = max((row.paired.groups for row in comparison.figures), default=0)
    notes = [
        f"A is {_who(comparison.a)}; B is {_who(comparison.b)}.",
        f"{comparison.a.protocol} on {comparison.a.dataset}, alignment {comparison.a.alignment},"
        f" mask {comparison.a.mask}; {comparison.average}-average over {comparison.frames} frames"
        f" of {groups} {drawn}{'' if groups == 1 else 's'} that both scored.",
        "p is two-sided, from swapping A and B in whole"
        f" {drawn}s; p of all allows for {len(comparison.figures)} quantities (Westfall-Young)."
        f" Effect size is the difference over its standard deviation among {drawn}s.",
    ]
    if comparison.only_a or comparison.only_b:
        notes.append(
            f"Not compared: {comparison.only_a} frames that only A scored and"
            f" {comparison.only_b} that only B did. If one of them leaves out the hard frames, its"
            " own figures look better than they are."
        )
    if comparison.left_out:
        notes.append(f"Only one of them has {', '.join(comparison.left_out)}.")
    return Table(
        title="A and B",
        head=("name", "A", "B", "A - B", "p", "p of all", "effect size", "better"),
        rows=tuple(
            (
                row.name,
                figure(row.a),
                figure(row.b),
                figure(_interval(row.paired)),
                probability(row.paired.p_value),
                probability(row.p_family),
                number(row.paired.effect_size),
                row.better or "not clear",
            )
            for row in comparison.figures
        ),
        notes=tuple(notes),
    )


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data; what is not defined is None."""
    figures = [asdict(row) | {"better": row.better} for row in comparison.figures]
    parts = asdict(comparison) | {"figures": figures}
    text = json.dumps(parts, default=str)
    answer: dict[str, Any] = json.loads(text, parse_constant=lambda _: None)
    return answer


def probability(p: float) -> str:
    """Return a p-value in words."""
    return "<0.001" if p < 0.001 else number(p)


def _who(made: Made) -> str:
    weights = f", weights {made.weights_sha256[:12]}" if made.weights_sha256 else ""
    return f"{made.backbone}{weights}, scored by commit {made.commit[:12] or 'not known'}"


def _interval(difference: Paired) -> Interval:
    return Interval(
        difference.difference,
        difference.low,
        difference.high,
        difference.groups,
        difference.values,
    )


def _groups(summary: Summary) -> dict[str, str]:
    return {row.clip: row.group for row in summary.clips}


def _require_alike(
    a: Summary, b: Summary, *, groups_a: Mapping[str, str], groups_b: Mapping[str, str]
) -> None:
    if a.made.protocol != b.made.protocol:
        told = _differs("protocol", a.made.protocol, b.made.protocol)
        raise DataError(
            f"A and B cannot be compared, since they differ in {told}; evaluate both under one"
        )
    differing = []
    for part in fields(Made):
        of_a, of_b = getattr(a.made, part.name), getattr(b.made, part.name)
        if part.name in MAY_DIFFER or of_a == of_b:
            continue
        if part.name == "settings":
            names = sorted(of_a.keys() | of_b.keys())
            differing += [
                _differs(f"setting {name!r}", of_a.get(name), of_b.get(name))
                for name in names
                if of_a.get(name) != of_b.get(name) and name not in ANSWERER
            ]
        else:
            differing.append(_differs(part.name.replace("_", " "), of_a, of_b))
    for name in a.quantities.keys() & b.quantities.keys():
        if a.quantities[name] != b.quantities[name]:
            differing.append(f"what {name} is")
    for clip in sorted(groups_a.keys() & groups_b.keys()):
        if groups_a[clip] != groups_b[clip]:
            differing.append(_differs(f"group of clip {clip!r}", groups_a[clip], groups_b[clip]))
    if differing:
        rest = len(differing) - MOST_TOLD
        more = f" and {rest} more" if rest > 0 else ""
        raise DataError(
            "A and B cannot be compared, since they differ in"
            f" {'; '.join(differing[:MOST_TOLD])}{more}; evaluate both under one protocol"
        )


def _differs(what: str, a: object, b: object) -> str:
    return f"{what} ({_plain(a)} in A, {_plain(b)} in B)"


def _plain(value: object) -> str:
    return repr(str(value)) if value is not None else "none"


def _scores(path: Path, summary: Summary) -> Mapping[tuple[str, str], FrameScore]:
    folder = path if path.is_dir() else path.parent
    frames: Sequence[FrameScore] = read_scores(folder)
    if frame_list_sha256(frames) != summary.frames_sha256:
        raise DataError(
            f"{folder / 'scores.csv'} holds other frames than the summary.json beside it;"
            " evaluate again"
        )
    lacking = summary.quantities.keys() - (frames[0].scores.keys() if frames else set())
    if frames and lacking:
        raise DataError(f"{folder / 'scores.csv'} lacks {sorted(lacking)}; evaluate again")
    return {(frame.clip, frame.frame): frame for frame in frames}
