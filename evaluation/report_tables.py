"""The tables of a report, for a paper as much as for the page: Markdown, LaTeX and HTML.

A table is words only: numbers are put into words once, so that all three forms show the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import isnan

from evaluation.published import Published
from evaluation.quantities import Quantity
from evaluation.statistics import Average, Interval, fewest_groups
from evaluation.summary import Exclusion, Summary

DIGITS = 3  # of a figure; the fourth is noise with the number of clips that the field has
WIDE = 9  # columns; a table with more is printed across the page
FEW_ROWS = 5
_AVERAGED = {Average.MACRO: "over {}s", Average.MICRO: "over frames"}
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_MARKDOWN = r"\`*_{}[]<>#|~$"


@dataclass(frozen=True, slots=True)
class Table:
    """Words in rows; the first column and those that `texts` names are text, others numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    texts: frozenset[str] = frozenset()

    @property
    def are_texts(self) -> tuple[bool, ...]:
        """Whether each column is text."""
        return tuple(place == 0 or name in self.texts for place, name in enumerate(self.head))


def figures_table(summary: Summary) -> Table:
    """Return every figure with its interval, in the protocol's average and in the other."""
    ours = summary.made.average
    both = {Average.MACRO: summary.macro, Average.MICRO: summary.micro}
    order = [ours, *(each for each in Average if each is not ours)]
    head = [f"{each} ({averaged(each, summary)})" for each in order]
    return Table(
        title="Figures",
        head=("name", "measure", f"{head[0]}, the protocol's", head[1]),
        rows=tuple(
            (name, in_words(quantity), *(figure(both[each][name]) for each in order))
            for name, quantity in summary.quantities.items()
        ),
        notes=(interval_words(summary), *_undefined(summary)),
        texts=frozenset({"measure"}),
    )


def clips_table(summary: Summary) -> Table:
    """Return one line per clip: frames, exclusions, and the mean of every score."""
    by_group = summary.made.group_by != "clip"
    first = ("clip", summary.made.group_by) if by_group else ("clip",)
    return Table(
        title="Clips",
        head=(*first, "frames", "excluded", *summary.quantities),
        rows=tuple(
            (
                row.clip,
                *((row.group,) if by_group else ()),
                str(row.frames),
                str(row.excluded),
                *(number(row.means[name]) for name in summary.quantities),
            )
            for row in summary.clips
        ),
        notes=("The mean over the frames of each clip.",),
        texts=frozenset({summary.made.group_by}),
    )


def label_tables(summary: Summary) -> tuple[Table, ...]:
    """Return a table for every label of clips, such as the level."""
    average = summary.made.average
    return tuple(
        Table(
            title=f"By {label}",
            head=(label, *summary.quantities),
            rows=tuple(
                (value, *(figure(figures[name]) for name in summary.quantities))
                for value, figures in table.items()
            ),
            notes=(
                f"{str(average).capitalize()}-average, {averaged(average, summary)}; with 95 %"
                f" intervals where there are {fewest_groups()} {summary.made.group_by}s or more.",
            ),
        )
        for label, table in summary.tables.items()
    )


def published_table(summary: Summary, published: Sequence[Published]) -> Table | None:
    """Return what others published under this very protocol beside ours; None if nobody did."""
    shown = [
        name for name in summary.quantities if any(name in system.figures for system in published)
    ]
    if not shown:
        return None
    ours = summary.made
    sources = list(dict.fromkeys(system.source for system in published))
    return Table(
        title="Published under the same protocol",
        head=("system", "on", *shown, "source"),
        rows=(
            (
                f"{ours.backbone} (this run)",
                ours.dataset,
                *(figure(summary.figures[name]) for name in shown),
                "",
            ),
            *(
                (
                    system.system,
                    system.part,
                    *(number(system.figures.get(name, float("nan"))) for name in shown),
                    f"[{1 + sources.index(system.source)}]",
                )
                for system in published
            ),
        ),
        notes=(
            "Numbers of others are as they were published, without intervals. Compare them with"
            " this run only where both are on the same part of the dataset.",
            *(f"[{place}] {source}" for place, source in enumerate(sources, start=1)),
        ),
        texts=frozenset({"on", "source"}),
    )


def exclusions_table(exclusions: Sequence[Exclusion]) -> Table:
    """Return every frame that was not scored, under its reason."""
    ordered = sorted(exclusions, key=lambda out: (out.why, out.clip, out.frame))
    return Table(
        title="Excluded frames",
        head=("why", "clip", "frame"),
        rows=tuple((out.why, out.clip, out.frame) for out in ordered),
        texts=frozenset({"clip", "frame"}),
    )


def made_table(summary: Summary) -> Table:
    """Return how the figures were made."""
    made = summary.made
    cap = "none" if made.cap_mm is None else f"{made.cap_mm:g} mm"
    rows = {
        "protocol": made.protocol,
        "dataset": made.dataset,
        "alignment": made.alignment,
        "mask": made.mask,
        "cap": cap,
        "average": f"{made.average} ({averaged(made.average, summary)})",
        "frames": f"{summary.frames} scored, {sum(summary.excluded.values())} excluded",
        "frame list": f"sha256 {summary.frames_sha256}",
        "network": made.backbone,
        "weights": f"sha256 {made.weights_sha256}" if made.weights_sha256 else "none of ours",
        "scored by": f"colondepth {summary.version}, commit {made.commit or 'not known'}",
    }
    others = {name: words for name, words in made.settings.items() if name not in rows}
    return Table(
        title="How this was made",
        head=("setting", "value"),
        rows=tuple((rows | others).items()),
        texts=frozenset({"value"}),
    )


def made_words(summary: Summary) -> str:
    """Return how the figures were made, in a line: what must stand beside any of them."""
    made = summary.made
    cap = "" if made.cap_mm is None else f", up to {made.cap_mm:g} mm"
    frames = f"{summary.frames} frame{'' if summary.frames == 1 else 's'} of {made.dataset}"
    return (
        f"{frames}; {made.mask}{cap}; alignment {made.alignment}; {made.average} average."
        " The rest is at the end, under How this was made."
    )


def fitting(table: Table) -> Table:
    """Return a table of many columns and few rows with its rows as columns; others as they are."""
    if not (len(table.head) > WIDE and 0 < len(table.rows) <= FEW_ROWS):
        return table
    columns = list(zip(*table.rows, strict=True))
    return Table(
        title=table.title,
        head=(table.head[0], *columns[0]),
        rows=tuple((name, *cells) for name, cells in zip(table.head[1:], columns[1:], strict=True)),
        notes=table.notes,
    )


def as_markdown(table: Table) -> str:
    """Return a table as GitHub, GitLab and pandoc read it."""
    rule = ["---" if text else "---:" for text in table.are_texts]
    lines = [list(map(markdown, table.head)), rule, *(map(markdown, row) for row in table.rows)]
    rows = "\n".join(f"| {' | '.join(row)} |" for row in lines)
    return "\n\n".join([f"**{markdown(table.title)}**", rows, *map(markdown, table.notes)]) + "\n"


def as_latex(table: Table) -> str:
    """Return a table for a paper that loads booktabs and graphicx."""
    notes = "".join(f" {latex(note)}" for note in table.notes)
    columns = "".join("l" if text else "r" for text in table.are_texts)
    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{latex(table.title)}.{notes}}}",
        # As wide as it is, or as the column of the paper where that is narrower.
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        f"  \\begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        f"    {' & '.join(map(latex, table.head))} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(map(latex, row))} \\\\" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def as_html(table: Table) -> str:
    """Return a table for the page, without its title."""
    kinds = ["" if text else " class=n" for text in table.are_texts]
    head = "".join(
        f"<th{kind}>{escape(cell)}" for kind, cell in zip(kinds, table.head, strict=True)
    )
    rows = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}" for kind, cell in zip(kinds, row, strict=True))
        for row in table.rows
    )
    notes = "".join(f"<p class=note>{escape(note)}</p>" for note in table.notes)
    return f"<table><thead><tr>{head}<tbody>{rows}</table>{notes}"


def latex(words: str) -> str:
    """Return words that LaTeX prints as they are."""
    one_line = " ".join(words.split())
    return "".join(_LATEX.get(sign, sign) for sign in one_line).replace("\N{EN DASH}", "--")


def markdown(words: str) -> str:
    """Return words that Markdown prints as they are, in one cell."""
    one_line = " ".join(words.split())
    return "".join(f"\\{sign}" if sign in _MARKDOWN else sign for sign in one_line)


def figure(interval: Interval) -> str:
    """Return a mean with its interval, both to as many digits."""
    if isnan(interval.low):
        return number(interval.mean)
    low, mean, high = numbers_alike(interval.low, interval.mean, interval.high)
    return f"{mean} [{low}, {high}]"


def number(value: float) -> str:
    """Return a number to `DIGITS` digits; one that is not defined as a dash."""
    return "\N{EN DASH}" if isnan(value) else numbers_alike(value)[0]


def numbers_alike(*values: float) -> tuple[str, ...]:
    """Return numbers with one count of decimals: what the largest needs for `DIGITS` digits."""
    largest = max((abs(value) for value in values if not isnan(value)), default=0.0)
    if largest == 0 or not 1e-4 <= largest < 1e6:
        return tuple(f"{value:.{DIGITS}g}" for value in values)
    before = len(str(int(largest))) if largest >= 1 else 1 - _leading_zeros(largest)
    decimals = max(0, DIGITS - before)
    return tuple(f"{value:.{decimals}f}" for value in values)


def in_words(quantity: Quantity) -> str:
    """Return a quantity with its unit and which way is better, if any is."""
    unit = f" ({quantity.unit})" if quantity.unit else ""
    if not quantity.ranks:
        return f"{quantity.words}{unit}"
    return f"{quantity.words}{unit}, {'lower' if quantity.lower_is_better else 'higher'} is better"


def averaged(average: Average, summary: Summary) -> str:
    """Return over what an average goes, in words."""
    return _AVERAGED[average].format(summary.made.group_by)


def interval_words(summary: Summary) -> str:
    """Return what the intervals of a summary are, or why there are none."""
    groups = max((each.groups for each in summary.macro.values()), default=0)
    drawn = summary.made.group_by
    if groups < fewest_groups():
        return (
            f"No intervals: {groups} {drawn}{'' if groups == 1 else 's'}, and a 95 % interval takes"
            f" {fewest_groups()}. Frames of one {drawn} are too alike to be drawn one by one."
        )
    return (
        f"In brackets: 95 % intervals from drawing {groups} whole {drawn}s with replacement"
        " (bootstrap); frames are never drawn one by one."
    )


def _undefined(summary: Summary) -> tuple[str, ...]:
    short = [
        f"{name} in {each.values}"
        for name, each in summary.micro.items()
        if each.values < summary.frames
    ]
    if not short:
        return ()
    return (f"Not defined in every one of the {summary.frames} frames: {', '.join(short)}.",)


def _leading_zeros(value: float) -> int:
    """Return how many zeros follow the point before the first other digit, for 0 < value < 1."""
    return -int(f"{value:e}".split("e")[1])
