"""Where planes across a colon cut its mesh: the lumen's radius at every angle, exactly.

All rays of one section lie in a plane, so the mesh is cut once and every cut edge is written down
at the angles that it covers. What is nearest wins; what lies behind it is not seen from the line.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REACH_MM = 60.0  # no colon is this wide on one side of its line
_TINY = 1e-12


class Sections:
    """A mesh that is cut again and again; lengths in millimetres."""

    def __init__(self, vertices: Floats, faces: Ints) -> None:
        self._corners = vertices[faces]  # (F, 3, 3)
        self._middle = self._corners.mean(axis=1)  # (F, 3)
        self._reach = np.linalg.norm(self._corners - self._middle[:, None], axis=-1).max(axis=1)

    def radius_mm(self, place: Floats, frame: Floats, columns: int) -> Floats:
        """Return the distance to the mesh at angles k / columns of a turn, (columns,).

        Args:
            place: (3,), in the middle.
            frame: (3, 3) with the columns U, V and T: angles go from U to V, T is the plane's.
            columns: how many angles.

        Returns:
            The distances; infinite where there is nothing within `REACH_MM`.
        """
        height = self._middle @ frame[:, 2] - place @ frame[:, 2]  # (F,)
        own = self._corners[np.abs(height) <= self._reach]  # (F', 3, 3)
        above = own @ frame[:, 2] > place @ frame[:, 2]  # (F, 3)
        own = own[above.any(axis=1) & ~above.all(axis=1)]
        ends = _cut((own - place) @ frame)  # (E, 2, 2)
        return _nearest(ends, columns)


def _cut(corners: Floats) -> Floats:
    """Return where triangles (F, 3, 3), each on both sides of z = 0, cross it, (F, 2, 2)."""
    above = corners[..., 2] > 0
    split = above.any(axis=1) & ~above.all(axis=1)  # a corner in the plane may have changed sides
    corners, above = corners[split], above[split]
    # The corner that is alone on its side; the two edges from it cross the plane.
    alone = np.where(above.sum(axis=1) == 1, above.argmax(axis=1), (~above).argmax(axis=1))
    rows = np.arange(len(corners))
    peak = corners[rows, alone]
    ends = []
    for turn in (1, 2):
        foot = corners[rows, (alone + turn) % 3]
        share = peak[:, 2] / (peak[:, 2] - foot[:, 2])
        ends.append(peak[:, :2] + share[:, None] * (foot[:, :2] - peak[:, :2]))
    return np.stack(ends, axis=1)


def _nearest(ends: Floats, columns: int) -> Floats:
    """Return the nearest of edges (E, 2, 2) at every angle."""
    out = np.full(columns, np.inf)
    step = 2 * math.pi / columns
    a, b = ends[:, 0], ends[:, 1]
    start = np.arctan2(a[:, 1], a[:, 0])
    cross = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    turn = np.arctan2(cross, (a * b).sum(axis=1))  # from a to b the short way
    start = np.where(turn < 0, start + turn, start)
    first = np.ceil(start / step).astype(np.int64)
    count = np.floor((start + np.abs(turn)) / step).astype(np.int64) - first + 1
    edge = np.repeat(np.arange(len(ends)), np.maximum(count, 0))
    own = np.maximum(count, 0)
    column = first[edge] + np.arange(len(edge)) - np.repeat(own.cumsum() - own, own)
    way = np.stack([np.cos(column * step), np.sin(column * step)], axis=-1)
    along = (b - a)[edge]
    # a + t along = r way: r = (a x along) / (way x along)
    below = way[:, 0] * along[:, 1] - way[:, 1] * along[:, 0]
    safe = np.where(np.abs(below) < _TINY, _TINY, below)
    radius = cross[edge] / safe
    good = (radius > 0) & (radius <= REACH_MM)
    np.minimum.at(out, column[good] % columns, radius[good])
    return out
