"""The quality of a clip's frames as a table and as a timeline."""

import csv
from collections.abc import Sequence
from pathlib import Path
from warnings import catch_warnings, filterwarnings

from matplotlib.figure import Figure

from colondepth.atomic import written_whole
from colondepth.data.quality import Fault, Quality, measured_names, usable_share
from colondepth.pictures import DPI, ORANGE

WIDTH_IN, ROW_IN = 11.0, 0.28  # of the timeline, and of each fault's row in it


def write_table(
    path: Path,
    frame_ids: Sequence[str],
    times_s: Sequence[float | None],
    qualities: Sequence[Quality],
) -> None:
    """Write one line per frame: its name, its time, what was measured, and its faults."""
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["frame", "time_s", *measured_names(), "usable", "faults"])
        for name, time_s, quality in zip(frame_ids, times_s, qualities, strict=True):
            numbers = [f"{getattr(quality, each):.5g}" for each in measured_names()]
            faults = "; ".join(quality.faults)
            time = "" if time_s is None else f"{time_s:.6f}"
            table.writerow([name, time, *numbers, int(quality.usable), faults])


def write_timeline(path: Path, name: str, qualities: Sequence[Quality]) -> None:
    """Draw one row per fault along the frames, and the usable ones below."""
    rows = [*Fault]
    figure = Figure(
        figsize=(WIDTH_IN, ROW_IN * (len(rows) + 1) + 0.9), dpi=DPI, layout="constrained"
    )
    axes = figure.subplots()
    for height, fault in enumerate(rows):
        spans = _spans([fault in quality.faults for quality in qualities])
        axes.broken_barh(spans, (height - 0.4, 0.8), facecolors=ORANGE)
    usable = _spans([quality.usable for quality in qualities])
    axes.broken_barh(usable, (len(rows) - 0.4, 0.8), facecolors="#009e73")
    axes.set_yticks(range(len(rows) + 1), [*map(str, rows), "usable"])
    axes.set_xlim(0, max(1, len(qualities)))
    axes.set_ylim(len(rows) + 0.6, -0.6)
    axes.set_xlabel("frame")
    axes.set_title(f"{name}: {usable_share(qualities):.1%} of {len(qualities)} frames usable")
    with written_whole(path) as temporary, catch_warnings():
        filterwarnings("ignore", "Glyph .* missing")  # a name in letters that the font has not
        figure.savefig(temporary)


def _spans(holds: Sequence[bool]) -> list[tuple[float, float]]:
    """Return (start, length) of every run of True."""
    spans: list[tuple[float, float]] = []
    for number, value in enumerate(holds):
        if value and spans and sum(spans[-1]) == number:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        elif value:
            spans.append((float(number), 1.0))
    return spans
