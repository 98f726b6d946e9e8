"""The convex outline of a lit area that dark parts may have broken to pieces.

An area is a bool map; positions are (row, column) with pixel 0 spanning 0 to 1. A convex polygon
is its edges (N, 3): a position is inside if a row + b column + c <= 0 for each (a, b, c), where
(a, b) has length 1.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

Mask = NDArray[np.bool_]
Edges = NDArray[np.float64]

BEYOND_PX = 4.0  # an area that the image cuts off goes on beyond, further than edges are moved


def roundest_hull(lit: Mask) -> Edges | None:
    """Return the edges (N, 3) of the hull of the largest piece and those that round it.

    Pieces join from large to small, each if the hull's 4 pi area / perimeter^2 does not fall by it.
    """
    labels, count = ndimage.label(lit)
    if count == 0:
        return None
    largest_first = np.argsort(-np.bincount(labels.ravel())[1:], kind="stable") + 1
    hull, best = None, 0.0
    for label in largest_first:
        points = _outline(labels == label)
        if hull is not None:
            points = np.concatenate([hull.points[hull.vertices], points])
        joined = ConvexHull(points)  # in the plane, `volume` is the area, `area` the perimeter
        roundness = 4 * np.pi * joined.volume / joined.area**2
        if roundness >= best:
            hull, best = joined, roundness
    assert hull is not None
    return np.array(hull.equations)


def draw_polygon(edges: Edges, height: int, width: int) -> Mask:
    """Return the pixels whose centres lie in a convex polygon: a row + b column + c <= 0."""
    v, u = np.arange(height) + 0.5, np.arange(width) + 0.5
    a, b, c = edges[:, :, None].transpose(1, 0, 2)  # (N, 1) each
    over = a * v + c  # (N, H)
    flat, right, left = (b == 0)[:, 0], (b > 0)[:, 0], (b < 0)[:, 0]
    rows = (over[flat] <= 0).all(axis=0)  # (H,)
    first = (-over[left] / b[left]).max(axis=0)
    last = (-over[right] / b[right]).min(axis=0)
    return np.asarray(rows[:, None] & (u >= first[:, None]) & (u <= last[:, None]))


def _outline(piece: Mask) -> NDArray[np.float64]:
    """Return the pixel corners (row, column) at both ends of every row; pixel 0 spans 0 to 1.

    Where the image cuts the piece off, it is taken to go on beyond.
    """
    height, width = piece.shape
    rows = np.flatnonzero(piece.any(axis=1))
    left = piece[rows].argmax(axis=1)
    right = width - piece[rows, ::-1].argmax(axis=1)
    ends = [np.stack([rows + dv, u], axis=1) for dv in (0, 1) for u in (left, right)]
    corners = np.concatenate(ends).astype(float)
    corners[corners == 0] -= BEYOND_PX
    corners[corners == (height, width)] += BEYOND_PX
    return corners
