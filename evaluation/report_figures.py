"""The pictures of a report, each a file that a paper can take, in colours for everybody's eyes.

Lines and bars are SVG, maps are PNG. Colours are those of Okabe and Ito (2008); maps are cividis.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from colondepth.atomic import written_whole
from colondepth.pictures import image_panel, values_panel, write_row
from evaluation.evidence import Evidence, WorstFrame
from evaluation.summary import FrameScore, Summary

BLUE, ORANGE, VERMILION, GREY = "#0072b2", "#e69f00", "#d55e00", "#666666"
MOST_CLIPS = 40  # that a page has room for; of more, the worst
FEWEST_FOR_VIOLIN = 8  # frames; fewer are points without a shape
LARGEST_ERROR = 0.5  # relative, at the end of the colour scale of error maps
_WIDTH_IN, _HEIGHT_IN, _ROW_IN = 7.0, 3.2, 0.26
_NAME_LENGTH = 40  # of a clip beside its violin


def draw_violins(
    path: Path, summary: Summary, frames: Sequence[FrameScore], *, names: Sequence[str]
) -> int:
    """Draw how the scores of each clip are spread, worst clip on top; return how many clips.

    Args:
        path: an SVG file.
        summary: of these frames.
        frames: what was scored.
        names: of the quantities, one panel each; the first one orders the clips.
    """
    first = summary.quantities[names[0]]
    scored = [row for row in summary.clips if not isnan(row.means[names[0]])]
    scored.sort(key=lambda row: row.means[names[0]], reverse=first.lower_is_better)
    clips = [row.clip for row in scored[:MOST_CLIPS]]
    if not clips:
        return 0
    with _figure(path, height_in=_ROW_IN * len(clips) + 1.1) as figure:
        panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
        for axes, name in zip(panels, names, strict=True):
            by_clip = {clip: [f.scores[name] for f in frames if f.clip == clip] for clip in clips}
            for place, clip in enumerate(clips):
                values = np.array([v for v in by_clip[clip] if not isnan(v)])
                _draw_spread(axes, place, values)
            quantity = summary.quantities[name]
            axes.set_xlabel(f"{name} ({quantity.unit})" if quantity.unit else name)
            axes.axvline(summary.figures[name].mean, color=GREY, linewidth=1, linestyle="--")
            axes.grid(axis="x", alpha=0.3)
        panels[0].set_yticks(range(len(clips)))
        labels = panels[0].set_yticklabels([_short(clip) for clip in clips])
        for label in labels:
            label.set_parse_math(False)  # a name may hold "$"
        panels[0].set_ylim(len(clips) - 0.4, -0.6)
    return len(clips)


def draw_histograms(path: Path, evidence: Evidence) -> None:
    """Draw how often each depth is true, and how often it is estimated."""
    with _figure(path, height_in=_HEIGHT_IN) as figure:
        axes = figure.subplots()
        for pixels, colour, name in (
            (evidence.true_pixels, GREY, "true"),
            (evidence.found_pixels, BLUE, "estimated"),
        ):
            share = pixels / max(1, int(pixels.sum()))
            filled = name == "true"
            axes.stairs(
                share, evidence.edges_mm, color=colour, fill=filled, alpha=0.4 if filled else 1,
                linewidth=1.8, label=name,
            )  # fmt: skip
        axes.set(xlabel="depth (mm)", ylabel="share of pixels", xlim=(0, evidence.edges_mm[-1]))
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)


def draw_errors_by_depth(path: Path, evidence: Evidence) -> None:
    """Draw the relative error against true depth, with its interval over clips."""
    middle = (evidence.edges_mm[:-1] + evidence.edges_mm[1:]) / 2
    mean, low, high = np.array([(each.mean, each.low, each.high) for each in evidence.errors]).T
    with _figure(path, height_in=_HEIGHT_IN) as figure:
        axes = figure.subplots()
        axes.fill_between(middle, low, high, color=BLUE, alpha=0.25, linewidth=0)
        axes.plot(middle, mean, color=BLUE, marker="o", markersize=3)
        axes.set(xlabel="true depth (mm)", ylabel="mean relative error")
        axes.set_xlim(0, evidence.edges_mm[-1])
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)


def draw_calibration(path: Path, evidence: Evidence) -> None:
    """Draw how many pixels lie in the intervals that the network states, for each sureness."""
    if evidence.sureness is None or evidence.held is None:
        return
    with _figure(path, height_in=_HEIGHT_IN + 0.6) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="calibrated")
        axes.plot(
            evidence.sureness, evidence.held, color=VERMILION, marker="o", markersize=3,
            label="this network",
        )  # fmt: skip
        axes.set(xlabel="stated probability", ylabel="share of pixels inside")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.legend(frameon=False, loc="upper left")
        axes.grid(alpha=0.3)


def draw_worst(path: Path, worst: WorstFrame) -> None:
    """Draw one frame as a row: image, true depth, estimate on the same scale, relative error."""
    known = worst.known
    scored = worst.true_mm[known]
    limits = (float(scored.min()), float(scored.max())) if scored.numel() else (0.0, 1.0)
    given = (worst.found_mm > 0) & worst.found_mm.isfinite()
    error = (worst.found_mm - worst.true_mm).abs() / worst.true_mm.clamp(min=1e-6)
    write_row(
        [
            image_panel("image", worst.image),
            values_panel("true depth", worst.true_mm, known=known, unit="mm", limits=limits),
            values_panel("estimate", worst.found_mm, known=given, unit="mm", limits=limits),
            values_panel(
                "relative error", error, known=known & given, unit="", limits=(0, LARGEST_ERROR)
            ),
        ],
        path,
    )


def _draw_spread(axes: Any, place: int, values: Any) -> None:
    if len(values) >= FEWEST_FOR_VIOLIN and np.ptp(values) > 1e-9 * np.abs(values).max():
        parts = axes.violinplot(
            values, positions=[place], orientation="horizontal", widths=0.85, showextrema=False
        )
        for body in parts["bodies"]:
            body.set(facecolor=BLUE, edgecolor="none", alpha=0.45)
    else:
        axes.plot(values, np.full(len(values), place), ".", color=BLUE, alpha=0.6, markersize=4)
    if len(values):
        axes.plot(values.mean(), place, "|", color="black", markersize=9, markeredgewidth=1.5)


def _short(name: str) -> str:
    one_line = "".join(sign if sign.isprintable() else " " for sign in name)
    return one_line if len(one_line) <= _NAME_LENGTH else f"{one_line[: _NAME_LENGTH - 1]}…"


@contextmanager
def _figure(path: Path, *, height_in: float) -> Iterator[Figure]:
    """Give a figure to draw on, and write it when the block ends, the same bytes every time."""
    style: Any = {"font.size": 9, "svg.hashsalt": "colondepth"}
    style |= {"axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(style), catch_warnings():
        filterwarnings("ignore", "Glyph .* missing")  # a name in letters that the font has not
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        yield figure
        with written_whole(path) as temporary:
            figure.savefig(temporary, metadata={"Date": None})
