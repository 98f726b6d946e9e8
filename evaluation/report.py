"""The report of an evaluation: one folder that explains itself, and a page that needs no network.

report.html                 everything, with its pictures inside; prints on A4
summary.json, scores.csv, excluded.csv    see `evaluation.summary`
tables/NAME.md, NAME.tex    the tables of the page, for a paper (LaTeX with booktabs)
figures/NAME.svg, .png      its pictures, for a paper
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from types import MappingProxyType

from colondepth.atomic import written_whole
from colondepth.pages import figure, inlined, write_page
from evaluation.evidence import Evidence, WorstFrame
from evaluation.published import published_under
from evaluation.report_figures import (
    LARGEST_ERROR,
    MOST_CLIPS,
    draw_calibration,
    draw_errors_by_depth,
    draw_histograms,
    draw_violins,
    draw_worst,
)
from evaluation.report_tables import (
    WIDE,
    Table,
    as_html,
    as_latex,
    as_markdown,
    clips_table,
    exclusions_table,
    figures_table,
    fitting,
    label_tables,
    made_table,
    made_words,
    number,
    published_table,
)
from evaluation.summary import Exclusion, FrameScore, Summary, write_summary

__all__ = ["WorstFrame", "write_report"]

MOST_LISTED = 200  # excluded frames on the page; all of them are in excluded.csv
_LISTED = 12  # pictures on the page; all of them are in their folder


def write_report(
    folder: Path,
    summary: Summary,
    frames: Sequence[FrameScore],
    exclusions: Sequence[Exclusion],
    worst: Sequence[WorstFrame],
    *,
    evidence: Evidence | None = None,
    pictures: Mapping[str, Path] = MappingProxyType({}),
    meanings: Table | None = None,
) -> Path:
    """Write the whole folder of an evaluation and return the path of its page.

    Args:
        folder: made if it is missing.
        summary: of these frames and exclusions.
        frames: what was scored.
        exclusions: what was not.
        worst: frames to show, the worst first.
        evidence: histograms, errors by depth and calibration, if they were gathered.
        pictures: words under each, and its file.
        meanings: what the scores can tell and what not, where that needs to be said.
    """
    write_summary(folder, summary, frames, exclusions)
    others = published_table(summary, published_under(summary.made.protocol))
    for name, table in _for_papers(summary, others).items():
        for suffix, written in ((".md", as_markdown(table)), (".tex", as_latex(table))):
            with written_whole(folder / "tables" / f"{name}{suffix}") as path:
                path.write_text(written, encoding="utf-8")
    sections = [
        _section(figures_table(summary)),
        _section(meanings) if meanings else "",
        _section(others) if others else "",
        _spread(folder, summary, frames),
        *map(_section, label_tables(summary)),
        _section(clips_table(summary)),
        _counted(folder, summary, evidence) if evidence else "",
        _worst(folder, summary, worst),
        _listed(pictures),
        _excluded(summary, exclusions),
        _section(made_table(summary)),
    ]
    write_page(
        folder / "report.html",
        title=f"{summary.made.backbone}, evaluated by {summary.made.protocol}",
        lead=escape(made_words(summary)),
        body="".join(sections),
    )
    return folder / "report.html"


def _for_papers(summary: Summary, others: Table | None) -> dict[str, Table]:
    tables = {"figures": figures_table(summary), "clips": clips_table(summary)}
    # Numbered, since a label may be any word and not every word is the name of a file.
    tables |= {f"by_label_{n}": table for n, table in enumerate(label_tables(summary), start=1)}
    tables |= {"published": others} if others else {}
    return {name: fitting(table) for name, table in tables.items()}


def _section(table: Table) -> str:
    table = fitting(table)
    wide = " class=wide" if len(table.head) > WIDE else ""
    return f"<section{wide}><h2>{escape(table.title)}</h2>{as_html(table)}</section>"


def _spread(folder: Path, summary: Summary, frames: Sequence[FrameScore]) -> str:
    names = list(summary.quantities)[:2]
    path = folder / "figures" / "clips.svg"
    shown = draw_violins(path, summary, frames, names=names)
    if not shown:
        return ""
    some = f" The {MOST_CLIPS} worst of {len(summary.clips)}." if shown == MOST_CLIPS else ""
    words = (
        f"Each frame's score, clip by clip, the worst clip by {names[0]} on top.{some} A short"
        " line is the mean of a clip, the dashed line the figure of the table above."
    )
    return f"<section><h2>Spread over frames</h2>{figure(inlined(path), words)}</section>"


def _counted(folder: Path, summary: Summary, evidence: Evidence) -> str:
    far = evidence.edges_mm[-1]
    beyond = [
        f"{count / max(1, count + int(pixels.sum())):.1%} of the {name} ones"
        for name, count, pixels in (
            ("true", evidence.beyond[0], evidence.true_pixels),
            ("estimated", evidence.beyond[1], evidence.found_pixels),
        )
    ]
    of = f"From {evidence.frames} of {summary.frames} frames."
    drawn = [
        (
            "depths.svg",
            draw_histograms,
            f"How often each depth occurs. Beyond {far:g} mm lie {' and '.join(beyond)}. {of}",
        ),
        (
            "errors_by_depth.svg",
            draw_errors_by_depth,
            "Relative error by true depth: the mean of a clip's pixels, then over clips; the band"
            f" is its 95 % interval from drawing clips, where there are enough. {of}",
        ),
    ]
    if evidence.sureness is not None:
        drawn.append(
            (
                "calibration.svg",
                draw_calibration,
                "Of the intervals that the network states around log depth, taken as normal, how"
                " many hold the truth. Below the dashed line it is surer than it should be. Pixels"
                f" of one frame are not independent, so no interval is given here. {of}",
            )
        )
    parts = []
    for name, draw, words in drawn:
        draw(folder / "figures" / name, evidence)
        parts.append(figure(inlined(folder / "figures" / name), words))
    return f"<section><h2>Pixels</h2>{''.join(parts)}</section>"


def _worst(folder: Path, summary: Summary, worst: Sequence[WorstFrame]) -> str:
    parts = []
    for place, frame in enumerate(worst, start=1):
        path = folder / "figures" / f"worst_{place}.png"
        draw_worst(path, frame)
        known = f"{float(frame.known.double().mean()):.0%} of its pixels were scored"
        words = (
            f"{place}. Clip {frame.clip}, frame {frame.frame}: {frame.quantity}"
            f" {number(frame.score)}; {known}. Aligned: {summary.made.alignment}."
        )
        parts.append(figure(inlined(path), words))
    if not parts:
        return ""
    row = (
        "From left to right: the image, true depth, the estimate in the same colours (mm), and the"
        f" relative error up to {LARGEST_ERROR:g}. What was not scored is blank."
    )
    return f"<section><h2>Worst frames</h2><p class=note>{row}</p>{''.join(parts)}</section>"


def _listed(pictures: Mapping[str, Path]) -> str:
    if not pictures:
        return ""
    shown = list(pictures.items())[:_LISTED]
    rest = len(pictures) - len(shown)
    more = f"<p class=note>And {rest} more, in the folder pictures.</p>" if rest else ""
    drawn = "".join(figure(inlined(path), words) for words, path in shown)
    return f"<section><h2>Images</h2>{drawn}{more}</section>"


def _excluded(summary: Summary, exclusions: Sequence[Exclusion]) -> str:
    if not exclusions:
        return "<section><h2>Excluded frames</h2><p>None: every frame was scored.</p></section>"
    reasons = "".join(
        f"<li><b>{count}</b> {escape(why)}" for why, count in summary.excluded.items()
    )
    table = exclusions_table(exclusions)
    listed = replace(table, rows=table.rows[:MOST_LISTED])
    rest = len(exclusions) - MOST_LISTED
    more = f"<p class=note>And {rest} more, in excluded.csv.</p>" if rest > 0 else ""
    return f"<section><h2>Excluded frames</h2><ul>{reasons}</ul>{as_html(listed)}{more}</section>"
