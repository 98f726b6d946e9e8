"""What of the wall was seen and what was missed: shares, and every gap with place, size and time.

Only the stretch that the camera passed counts. What lies ahead of its first place or behind its
last was not missed but not visited; a gap that touches an end of the stretch is told apart as open,
since the next frame could have shown it. Coverage is the seen area over the area of the wall. Where
the wall is known both are exact; where it was fused from depth the missed area is a guess (see
`wall_map`), and all lengths have the scale of the depth.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import erf, nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.cameras import Camera
from colondepth.centre_line import CentreLine
from colondepth.errors import DataError
from colondepth.reconstruction.lumen_line import lumen_line
from colondepth.reconstruction.surface import Surface
from colondepth.reconstruction.visibility import SEEN_COSINE, SEEN_MM, KnownWall
from colondepth.reconstruction.wall_map import CELL_MM, COLUMNS, WallMap, estimated_map, known_map

SCHEMA = 1  # of coverage.json
LEAST_GAP_MM2 = 25.0  # a gap below that hides no polyp that matters (5 mm)
STRETCH_MM = 10.0  # for which coverage is told
_BACK_MM = 15.0  # of the line that come nearer than this to another part of it: it turns back


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A piece of wall that was not seen."""

    arc_mm: tuple[float, float]  # from the beginning of the stretch that was passed
    angle_deg: tuple[
        float, float
    ]  # from one edge on, growing, to the other; 0 to 360 is all around
    area_mm2: float
    time_s: float  # when the camera was nearest to it along the line; nan without times
    frame: int  # the number of that frame among those that were placed
    open_end: bool  # touches an end of the stretch: not visited rather than missed
    sure: float  # in [0, 1]: a hole as wide would be seen through noise as large as the wall's


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Coverage:
    """What was seen of the stretch that a camera passed."""

    wall: WallMap
    gaps: tuple[Gap, ...]  # the largest first
    passed_s: NDArray[np.float64]  # (R,), when the camera passed each row; nan without times
    turns_back: bool  # the line comes near to itself: wall of two bends may be mixed up

    @property
    def seen_share(self) -> float:
        """Seen area over all area; nan for no wall."""
        total = float(self.wall.area_mm2.sum())
        return float(self.wall.seen_mm2.sum()) / total if total else nan

    @property
    def well_seen_share(self) -> float:
        """The same of what more than two frames saw."""
        total = float(self.wall.area_mm2.sum())
        well = float((self.wall.seen_mm2 - self.wall.badly_mm2).sum())
        return well / total if total else nan

    def by_stretch(self, stretch_mm: float = STRETCH_MM) -> list[dict[str, float]]:
        """Return coverage of every stretch along the line, the last one as long as is left."""
        rows = max(1, round(stretch_mm / CELL_MM))
        found = []
        for first in range(0, self.wall.rows, rows):
            part = slice(first, first + rows)
            area = float(self.wall.area_mm2[part].sum())
            seen = float(self.wall.seen_mm2[part].sum())
            badly = float(self.wall.badly_mm2[part].sum())
            found.append(
                {
                    "from_mm": first * CELL_MM,
                    "to_mm": min(first + rows, self.wall.rows) * CELL_MM,
                    "area_mm2": area,
                    "seen_share": seen / area if area else nan,
                    "badly_seen_share": badly / area if area else nan,
                    "time_s": float(self.passed_s[part].mean()),
                }
            )
        return found


class KnownCoverage:
    """Coverage of a wall that is known, such as a synthetic colon's or C3VD's, by following rays.

    Args:
        wall: its triangles are counter-clockwise as seen from the lumen.
    """

    def __init__(self, wall: Surface) -> None:
        self._wall = wall
        self._known = KnownWall(wall)
        self.looks = torch.zeros(len(wall.faces), dtype=torch.int64)  # of each triangle
        self._places: list[Tensor] = []
        self._times: list[float] = []

    def add(
        self,
        camera: Camera,
        world_from_camera: Tensor,
        *,
        valid: Tensor | None = None,
        time_s: float = nan,
    ) -> None:
        """Count what a view looks at: near enough, and not along the wall."""
        shown = self._known.shown(camera, world_from_camera, farthest_mm=SEEN_MM, valid=valid)
        self.looks[shown.face[shown.cosine > SEEN_COSINE]] += 1
        self._places.append(world_from_camera[:3, 3].double().cpu())
        self._times.append(time_s)

    def coverage(self, line: CentreLine | None = None) -> Coverage:
        """Return what was seen; the line is made of the camera's way and the wall by default."""
        places = torch.stack(self._places) if self._places else torch.empty(0, 3).double()
        line = line or lumen_line(places, self._wall)
        stretch = passed(line, places)
        made = known_map(self._wall, self.looks, line, stretch)
        return _judged(made, places, np.array(self._times))


def facing_the_lumen(wall: Surface, camera: Camera, poses: Sequence[Tensor]) -> Surface:
    """Return a mesh with its fronts to the cameras: files differ in which way triangles turn.

    Args:
        wall: of somebody's file.
        camera: of the views.
        poses: world_from_camera of some of them, (4, 4) each.
    """
    turned = Surface(vertices_mm=wall.vertices_mm, faces=wall.faces.flip(-1))
    shown = [
        sum(len(known.shown(camera, pose, farthest_mm=SEEN_MM).face) for pose in poses)
        for known in (KnownWall(wall), KnownWall(turned))
    ]
    if not any(shown):
        raise DataError(
            "no camera sees a triangle of the mesh within"
            f" {SEEN_MM:.0f} mm: are mesh and poses in one frame, and both in millimetres?"
        )
    return wall if shown[0] >= shown[1] else turned


def estimated_coverage(
    wall: Surface, places_mm: Tensor, *, times_s: Sequence[float] | None = None
) -> Coverage:
    """Estimate coverage from a wall that was fused from depth.

    Args:
        wall: of a `Fusion`: only what was seen is there.
        places_mm: of the camera, in the order of time, in the wall's frame, shape (T, 3).
        times_s: of each place.
    """
    line = lumen_line(places_mm, wall)
    made = estimated_map(wall, line, passed(line, places_mm))
    times = np.full(len(places_mm), nan) if times_s is None else np.array(times_s, dtype=float)
    return _judged(made, places_mm, times)


def passed(line: CentreLine, places_mm: Tensor) -> tuple[float, float]:
    """Return the arc lengths between which a camera was."""
    arc = line.nearest(places_mm.float())
    return float(arc.min()), max(float(arc.max()), float(arc.min()) + CELL_MM)


def write_coverage(path: Path, coverage: Coverage, *, made_with: dict[str, Any]) -> None:
    """Write coverage.json; `made_with` says of what depth, poses and frames."""
    wall = coverage.wall
    answer = {
        "schema": SCHEMA,
        "version": version("colondepth"),
        "warning": "Research software, not for diagnosis.",
        "made_with": made_with,
        "wall": "known" if wall.known else "estimated: the area of what was missed is a guess",
        "counts_as_seen": {"cosine_above": SEEN_COSINE, "nearer_than_mm": SEEN_MM},
        "stretch_mm": wall.rows * CELL_MM,
        "area_mm2": float(wall.area_mm2.sum()),
        "seen_share": coverage.seen_share,
        "well_seen_share": coverage.well_seen_share,
        "turns_back": coverage.turns_back,
        "by_stretch": coverage.by_stretch(),
        "gaps": [asdict(gap) for gap in coverage.gaps],
    }
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(_plain(answer), indent=2) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return a value in which a number that is not defined is None, as JSON wants it."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and value != value else value


def _judged(wall: WallMap, places_mm: Tensor, times_s: NDArray[np.float64]) -> Coverage:
    arc = wall.line.nearest(places_mm.float()).double().numpy() - wall.start_mm
    rows = (np.arange(wall.rows) + 0.5) * CELL_MM
    # The last time that it was nearest: on the way out a place is looked at for the last time.
    nearest = len(arc) - 1 - np.abs(rows[:, None] - arc[None, ::-1]).argmin(axis=1)
    passed_s = times_s[nearest]
    return Coverage(
        wall=wall,
        gaps=_gaps(wall, passed_s, nearest),
        passed_s=passed_s,
        turns_back=_turns_back(wall.line),
    )


def _gaps(
    wall: WallMap, passed_s: NDArray[np.float64], nearest: NDArray[np.int64]
) -> tuple[Gap, ...]:
    missed = wall.missed
    # Twice around, so that a gap over the seam is one piece; the piece that begins first is kept.
    labels, count = ndimage.label(np.concatenate([missed, missed], axis=1))
    area = wall.area_mm2 - wall.seen_mm2
    found: list[Gap] = []
    taken = np.zeros_like(missed)
    order = sorted(range(1, count + 1), key=lambda k: -int((labels == k).sum()))
    for label in order:
        rows, columns = np.nonzero(labels == label)
        own = np.zeros_like(missed)
        own[rows, columns % COLUMNS] = True
        if (own & taken).any():
            continue
        taken |= own
        size = float(area[own].sum())
        if size < LEAST_GAP_MM2:
            continue
        all_around = len(np.unique(columns % COLUMNS)) == COLUMNS
        first, last = (0, COLUMNS) if all_around else (columns.min(), columns.max() + 1)
        turn = 360 / COLUMNS
        low, high = int(rows.min()), int(rows.max()) + 1
        found.append(
            Gap(
                arc_mm=(low * CELL_MM, high * CELL_MM),
                angle_deg=(
                    float(first % COLUMNS * turn) if not all_around else 0.0,
                    float((last - 1) % COLUMNS * turn + turn),
                ),
                area_mm2=size,
                time_s=float(passed_s[(low + high) // 2]),
                frame=int(nearest[(low + high) // 2]),
                open_end=low == 0 or high == wall.rows,
                sure=_sure(wall, own, size),
            )
        )
    return tuple(sorted(found, key=lambda gap: (gap.open_end, -gap.area_mm2)))


def _sure(wall: WallMap, own: NDArray[np.bool_], size: float) -> float:
    """Return how likely noise of the wall around it would not have made a hole as wide.

    Half the width of a disc as large, against the standard deviation of the wall at its rim. It
    ranks gaps; it was not calibrated.
    """
    if wall.known:
        return 1.0
    rim = ndimage.binary_dilation(own, iterations=2) & ~own
    stds = wall.std_mm[rim]
    stds = stds[~np.isnan(stds)]
    if not len(stds):
        return 0.0
    std = max(float(np.median(stds)), 0.5)
    return erf(sqrt(size / np.pi) / (sqrt(2) * std))


def _turns_back(line: CentreLine) -> bool:
    places = line.nodes[::4, :3].double()
    apart = torch.cdist(places, places)
    number = torch.arange(len(places))
    # Farther along the line than a half circle of that diameter could be.
    far = (number[:, None] - number).abs() * 4 > torch.pi * _BACK_MM
    return bool((apart[far] < _BACK_MM).any())
