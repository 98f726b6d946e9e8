"""A colon's wall laid flat: arc length by angle, with how much of each cell was looked at.

Rows are stretches of the line through the lumen, columns angles around it. A triangle is of the
cell in which its middle lies. Of a known wall all areas are known. Of a wall that was fused from
depth only what was seen is there; what is missing is a guess: between seen places of one angle the
wall is taken to run straight, and a cell in which less than half of such a wall was found has the
rest of it. The backs of folds are wall as well: where the wall leaps from a fold's tip to its next
seen place, a wall lies between, and a cell that holds the leap without it is a hole.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from colondepth.centre_line import CentreLine
from colondepth.errors import DataError
from colondepth.reconstruction.surface import Surface
from colondepth.shapes import require_shapes

CELL_MM = 2.0
COLUMNS = 64  # at 20 mm from the middle 2 mm each
FOUND_SHARE = 0.5  # of a cell's area: with less it is a hole and not a coarse mesh
FEW_LOOKS = 3  # frames: a place that fewer saw passed by in a fifth of a second
WIDEST_MM = 45.0  # from the line: what lies farther off is another bend of the colon
STEEPEST = 4.0  # times the flat area may be guessed: no fold hides more than that behind it

_SPREAD_CELLS = 0.5

Map = NDArray[np.float64]  # (R, C)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WallMap:
    """The wall of a stretch, cell by cell; row r lies `start_mm` + r * `CELL_MM` along the line."""

    line: CentreLine
    start_mm: float
    area_mm2: Map  # of the wall, guessed where it was not seen
    seen_mm2: Map  # of it, looked at
    badly_mm2: Map  # part of `seen_mm2` that few frames saw
    radius_mm: Map  # of the wall from the line
    std_mm: Map  # of the wall's place where it was seen, nan elsewhere
    known: bool  # whether the areas are those of a known wall

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.area_mm2)

    @property
    def share(self) -> Map:
        """Seen share of every cell, in [0, 1]; nan where there is no wall."""
        with np.errstate(invalid="ignore"):
            shares: Map = np.where(self.area_mm2 > 0, self.seen_mm2 / self.area_mm2, np.nan)
        return shares

    @property
    def missed(self) -> NDArray[np.bool_]:
        """Cells of which less than half was seen."""
        return np.nan_to_num(self.share, nan=1.0) < FOUND_SHARE

    @property
    def gap_score(self) -> Map:
        """How likely each cell is missed, in [0, 1]: the unseen share, spread over half a cell.

        Where a fold hides wall, its edge may be found a cell away from where it is.
        """
        unseen = 1 - np.nan_to_num(self.share, nan=0.0).clip(0, 1)
        spread: Map = gaussian_filter(unseen, _SPREAD_CELLS, mode=("nearest", "wrap"))
        return spread


def known_map(
    wall: Surface,
    looks: Tensor,
    line: CentreLine,
    stretch_mm: tuple[float, float],
) -> WallMap:
    """Lay a known wall flat.

    Args:
        wall: all of it.
        looks: how many views looked at each triangle, (F,).
        line: through its lumen.
        stretch_mm: arc lengths between which the wall counts.
    """
    require_shapes(faces=(wall.faces, "F 3"), looks=(looks, "F"))
    start, rows = _rows(line, stretch_mm)
    middles = wall.vertices_mm.double().cpu()[wall.faces.cpu()].mean(dim=1)
    areas = wall.areas_mm2().double().cpu().numpy()
    cell, radius = _cells(middles, line, start, rows)
    seen = looks.cpu().numpy() > 0
    few = seen & (looks.cpu().numpy() < FEW_LOOKS)
    area = _summed(cell, areas, rows)
    return WallMap(
        line=line,
        start_mm=start,
        area_mm2=area,
        seen_mm2=_summed(cell, areas * seen, rows),
        badly_mm2=_summed(cell, areas * few, rows),
        radius_mm=_filled(_mean(_summed(cell, areas * radius, rows), area), area > 0),
        std_mm=np.where(area > 0, 0.0, np.nan),
        known=True,
    )


def estimated_map(wall: Surface, line: CentreLine, stretch_mm: tuple[float, float]) -> WallMap:
    """Lay a wall flat of which only what was seen is there, and guess the rest.

    Args:
        wall: fused from views, with `seen`: how many looked at each corner.
        line: through its lumen, see `lumen_line`.
        stretch_mm: arc lengths between which the wall counts.
    """
    if wall.seen is None:
        raise DataError("the wall does not say how often it was seen; expected that of a Fusion")
    start, rows = _rows(line, stretch_mm)
    faces = wall.faces.cpu()
    corners = wall.vertices_mm.double().cpu()[faces]  # (F, 3, 3)
    areas = wall.areas_mm2().double().cpu().numpy()
    looks = wall.seen.cpu()[faces].amin(dim=1).numpy()
    std = np.zeros(len(faces))
    if wall.std_mm is not None:
        std = wall.std_mm.double().cpu()[faces].mean(dim=1).numpy()
    # Four pieces of each triangle, so that a cell's area is not that of whole triangles.
    a, b, c = corners.unbind(dim=1)
    pieces = torch.cat(
        [(4 * a + b + c) / 6, (4 * b + a + c) / 6, (4 * c + a + b) / 6, (a + b + c) / 3]
    )
    areas, looks, std = np.tile(areas / 4, 4), np.tile(looks, 4), np.tile(std, 4)
    cell, radius = _cells(pieces, line, start, rows)
    found = _summed(cell, areas, rows)
    seen = _summed(cell, areas * (looks > 0), rows)
    badly = _summed(cell, areas * ((looks > 0) & (looks < FEW_LOOKS)), rows)
    own_radius = _mean(_summed(cell, areas * radius, rows), found)
    radius_mm = _filled(own_radius, found > 0)
    expected = _expected_area(line, start, _bridged(own_radius, found > 0, radius_mm))
    hole = found < FOUND_SHARE * expected
    return WallMap(
        line=line,
        start_mm=start,
        area_mm2=np.where(hole, expected, found),
        seen_mm2=seen,
        badly_mm2=badly,
        radius_mm=radius_mm,
        std_mm=_mean(_summed(cell, areas * std, rows), found),
        known=False,
    )


def _rows(line: CentreLine, stretch_mm: tuple[float, float]) -> tuple[float, int]:
    low, high = stretch_mm
    if not (0 <= low < high <= line.length_mm + 1):
        raise DataError(
            f"no stretch from {low:.1f} to {high:.1f} mm; the line is {line.length_mm:.1f} mm long"
        )
    return low, max(1, round((high - low) / CELL_MM))


def _cells(
    points: Tensor, line: CentreLine, start: float, rows: int
) -> tuple[NDArray[np.int64], Map]:
    """Return the cell of each point, -1 outside of the stretch, and its distance from the line."""
    arc = line.nearest(points.float())
    here, frame = line.at(arc)
    away = points - here.double()
    x, y = ((away * frame[..., k].double()).sum(dim=-1) for k in range(2))
    radius = torch.hypot(x, y)
    angle = torch.atan2(y, x) % (2 * torch.pi)
    row = ((arc.double() - start) / CELL_MM).floor().long()
    column = (angle * (COLUMNS / (2 * torch.pi))).long() % COLUMNS
    inside = (row >= 0) & (row < rows) & (radius < WIDEST_MM)
    # Beyond an end of the line all points are nearest to that end.
    inside &= (arc > 0) & (arc < line.length_mm)
    cell = torch.where(inside, row * COLUMNS + column, -1)
    return cell.numpy(), radius.numpy()


def _summed(cell: NDArray[np.int64], weights: Map, rows: int) -> Map:
    inside = cell >= 0
    total: Map = np.zeros(rows * COLUMNS)
    total += np.bincount(cell[inside], weights=weights[inside], minlength=rows * COLUMNS)
    return total.reshape(rows, COLUMNS)


def _mean(total: Map, weight: Map) -> Map:
    mean: Map = np.where(weight > 0, total / np.maximum(weight, 1e-12), np.nan)
    return mean


def _filled(values: Map, known: NDArray[np.bool_]) -> Map:
    """Return a map without holes: each is the mean of its surroundings, near ones first."""
    filled = np.where(known, np.nan_to_num(values), 0.0)
    left = ~known
    for sigma in (1, 2, 4, 8, 16, 32, 64):
        if not left.any():
            break
        modes = ("nearest", "wrap")
        weight = gaussian_filter(known.astype(float), sigma, mode=modes)
        total = gaussian_filter(np.where(known, np.nan_to_num(values), 0.0), sigma, mode=modes)
        sure = left & (weight > 1e-3)
        filled[sure] = total[sure] / weight[sure]
        left &= ~sure
    if left.any():
        filled[left] = filled[~left].mean() if (~left).any() else 20.0
    return filled


def _bridged(radius: Map, known: NDArray[np.bool_], filled: Map) -> Map:
    """Return the radius of a wall that runs straight between seen places of an angle."""
    row = np.arange(len(radius))
    bridged = filled.copy()
    for column in range(radius.shape[1]):
        own = known[:, column]
        if own.sum() >= 2:
            inner = (row >= row[own][0]) & (row <= row[own][-1])
            line = np.interp(row, row[own], radius[own, column])
            bridged[inner, column] = line[inner]
    return bridged


def _expected_area(line: CentreLine, start: float, radius: Map) -> Map:
    """Return every cell's area on a wall of this radius: where the line bends, the inside is short.

    A quarter of each of the four squares that meet in the middle of a cell.
    """
    rows = len(radius)
    # One row more at both ends, so that every cell has four squares.
    arc = start + (torch.arange(-1, rows + 1, dtype=torch.float32) + 0.5) * CELL_MM
    angle = (torch.arange(COLUMNS, dtype=torch.float32) + 0.5) * (2 * torch.pi / COLUMNS)
    long = torch.from_numpy(np.pad(radius, ((1, 1), (0, 0)), mode="edge")).float()
    grid = line.point(arc[:, None].expand_as(long), angle.expand_as(long), long).double()
    beside = grid.roll(-1, dims=1)
    across = torch.linalg.cross(beside[1:] - grid[:-1], grid[1:] - beside[:-1])
    squares = across.norm(dim=-1) / 2  # (R + 1, C), half the product of the diagonals
    flat = torch.from_numpy(np.pad(radius, ((1, 1), (0, 0)), mode="edge"))
    most = STEEPEST * CELL_MM * (2 * torch.pi / COLUMNS) * (flat[1:] + flat[:-1]) / 2
    squares = torch.minimum(squares, most)
    both = squares + squares.roll(1, dims=1)
    area: Map = ((both[1:] + both[:-1]) / 4).numpy()
    return area
