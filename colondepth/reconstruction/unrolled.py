"""The flattened colon: arc length across, angle down; seen, badly seen and missed in colours."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colondepth.atomic import written_whole
from colondepth.reconstruction.coverage import Coverage
from colondepth.reconstruction.wall_map import CELL_MM, WallMap

SEEN, BADLY, MISSED = (0.55, 0.75, 0.90), (0.94, 0.89, 0.26), (0.84, 0.37, 0.0)  # Okabe and Ito
_INCH_PER_MM = 0.035
_MOST_INCHES = 20.0
_TOLD = 6  # gaps that are numbered on the picture


def write_unrolled(path: Path, coverages: dict[str, Coverage]) -> None:
    """Write the maps below each other, each with coverage by stretch; for one wall or to compare.

    Args:
        path: of a PNG or SVG.
        coverages: by their titles.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    longest = max(coverage.wall.rows for coverage in coverages.values()) * CELL_MM
    width = min(max(7.0, longest * _INCH_PER_MM), _MOST_INCHES)
    figure = Figure(figsize=(width, 2.9 * len(coverages) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        2 * len(coverages), 1, squeeze=False, height_ratios=[3, 1] * len(coverages)
    )[:, 0]
    for k, (title, coverage) in enumerate(coverages.items()):
        wall, stretches = coverage.wall, coverage.by_stretch()
        long = wall.rows * CELL_MM
        upper, lower = grid[2 * k], grid[2 * k + 1]
        picture = colours(wall).transpose(1, 0, 2)
        upper.imshow(picture, extent=(0, long, 360, 0), aspect="auto", interpolation="nearest")
        upper.set_yticks([0, 90, 180, 270, 360])
        upper.set_ylabel("angle (degrees)")
        upper.set_title(f"{title}: {coverage.seen_share:.1%} of the wall seen", loc="left")
        told = [gap for gap in coverage.gaps if not gap.open_end][:_TOLD]
        for number, gap in enumerate(told, start=1):
            high = gap.angle_deg[1] + (360 if gap.angle_deg[1] < gap.angle_deg[0] else 0)
            upper.text(
                sum(gap.arc_mm) / 2,
                (gap.angle_deg[0] + high) / 2 % 360,
                str(number),
                ha="center",
                va="center",
                fontsize=8,
                bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": "black", "lw": 0.6},
            )
        edges = [stretches[0]["from_mm"], *(each["to_mm"] for each in stretches)]
        shares = [100 * each["seen_share"] for each in stretches]
        lower.stairs(shares, edges, fill=True, color=SEEN)
        lower.set_xlim(0, long)
        lower.set_ylim(0, 100)
        lower.set_ylabel("seen (%)")
        upper.set_xticklabels([])
    grid[-1].set_xlabel("along the stretch that the camera passed, from its first place (mm)")
    figure.legend(
        handles=[
            Patch(color=SEEN, label="seen"),
            Patch(color=BADLY, label="seen in one or two frames"),
            Patch(color=MISSED, label="missed"),
        ],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=110, format=path.suffix.removeprefix("."))


def colours(wall: WallMap) -> NDArray[np.float64]:
    """Return the colour of every cell, (R, C, 3)."""
    picture = np.empty((*wall.area_mm2.shape, 3))
    picture[:] = SEEN
    picture[wall.badly_mm2 > wall.seen_mm2 / 2] = BADLY
    picture[wall.missed] = MISSED
    return picture
