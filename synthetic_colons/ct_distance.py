"""How far points are from a mesh, and points all over one."""

import numpy as np
from scipy.spatial import cKDTree

from synthetic_colons.ct_sections import Floats, Ints

_GOLDEN = (0.7548776662466927, 0.5698402909980532)  # Roberts (2018): fills a square evenly
_CANDIDATES = 6  # of the nearest sample points, whose triangles are measured
_TINY = 1e-12


def spread(corners: Floats, step: float) -> tuple[Floats, Ints]:
    """Return points (P, 3) all over triangles (F, 3, 3), a step apart at most, and their owners."""
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1).max(axis=1)
    parts = np.ceil(longest / step).clip(1).astype(np.int64)
    points, owners = [], []
    for count in np.unique(parts):
        i, j = np.mgrid[: count + 1, : count + 1]
        a, b = i[i + j <= count] / count, j[i + j <= count] / count
        shares = np.stack([a, b, 1 - a - b], axis=-1)  # (S, 3)
        own = np.flatnonzero(parts == count)
        points.append((shares @ corners[own]).reshape(-1, 3))
        owners.append(own.repeat(len(shares)))
    return np.concatenate(points), np.concatenate(owners)


def sampled(corners: Floats, count: int) -> tuple[Floats, Ints]:
    """Return points (count, 3) on triangles (F, 3, 3), as dense everywhere, and whose they are."""
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1
    )
    filled = area.cumsum()
    number = np.arange(count)
    own = np.searchsorted(filled, (number + 0.5) / count * filled[-1]).clip(0, len(corners) - 1)
    a, b = (number * _GOLDEN[0]) % 1, (number * _GOLDEN[1]) % 1
    folded = a + b > 1  # the square's other half
    a, b = np.where(folded, 1 - a, a), np.where(folded, 1 - b, b)
    shares = np.stack([1 - a - b, a, b], axis=-1)
    return (shares[:, :, None] * corners[own]).sum(axis=1), own


def distance(points: Floats, corners: Floats, step: float) -> Floats:
    """Return the distance of points (P, 3) to triangles (F, 3, 3), (P,).

    Exact but where more triangles than a few are as near as `step`, and never too small.
    """
    places, owners = spread(corners, step)
    _, near = cKDTree(places).query(points, k=_CANDIDATES)
    best = np.full(len(points), np.inf)
    for k in range(_CANDIDATES):
        best = np.minimum(best, _to_triangle(points, corners[owners[near[:, k]]]))
    return best


def _to_triangle(p: Floats, corners: Floats) -> Floats:
    """Return the distance of points (P, 3) to their own triangles (P, 3, 3)."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    normal = np.cross(b - a, c - a)
    square = (normal**2).sum(axis=1).clip(_TINY)
    v = (np.cross(p - a, c - a) * normal).sum(axis=1) / square
    w = (np.cross(b - a, p - a) * normal).sum(axis=1) / square
    within = (v >= 0) & (w >= 0) & (v + w <= 1)
    flat = np.abs(((p - a) * normal).sum(axis=1)) / np.sqrt(square)
    rim = np.minimum(_to_edge(p, a, b), np.minimum(_to_edge(p, b, c), _to_edge(p, c, a)))
    out: Floats = np.where(within, flat, rim)
    return out


def _to_edge(p: Floats, a: Floats, b: Floats) -> Floats:
    way = b - a
    share = (((p - a) * way).sum(axis=1) / (way**2).sum(axis=1).clip(_TINY)).clip(0, 1)
    out: Floats = np.linalg.norm(p - a - share[:, None] * way, axis=1)
    return out
