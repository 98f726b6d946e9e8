"""The line through the middle of a lumen, from where a camera was and the wall that it saw.

A camera goes back and forth and looks around. Its places are joined where they lie within a lumen's
width, and the line begins as the shortest way between the two that are farthest apart along it: a
detour to the wall is cut short, a bend of the colon is not. A way that is no longer than a lumen is
wide may as well go across it: there the line begins straight, in the direction that the wall's
normals are upright to. It is then moved to the middle of the wall's cross-sections where there is
wall around it, smoothed, and carried on beyond both ends.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from torch import Tensor

from colondepth.centre_line import CentreLine, centre_line
from colondepth.errors import DataError
from colondepth.reconstruction.surface import Surface
from colondepth.shapes import require_finite, require_shapes

Points = NDArray[np.float64]

SHORTEST_MM = 5.0  # of a camera's way: less is looking around from one place
BEYOND_MM = 40.0  # that the line goes on past both ends
_CROSSING_MM, _CROSSING_SHARE = 20.0, 0.25  # at an end, of the way: half a lumen's width
_STEP_MM = 2.0  # between cross-sections
_SMOOTH_MM = 8.0  # standard deviation: haustra are 20 mm long, and the line must not follow them
_CELL_MM = 2.0  # of places that count as one
_HOP_MM, _HOP_COST = 30.0, 1.2  # across a lumen and not into the next bend, whose middle is 40 off
_SLAB_MM, _REACH_MM = 3.0, 45.0  # a section is half as thick to either side; no lumen is wider
_BINS, _FEWEST_BINS = 24, 14  # of angle: with fewer that have wall, the middle is not known
_ROUNDS = 5
_SHORT_MM = 60.0  # of a way: shorter, its direction is no longer that of the lumen
_PLAIN = 0.5  # of the normals' spread along an axis to the next: above it they tell of none


def lumen_line(places_mm: Tensor, wall: Surface | None = None) -> CentreLine:
    """Return the line through the lumen that a camera passed, from its first end to its last.

    Args:
        places_mm: of the camera, in the order of time, shape (T, 3).
        wall: what it saw, in the same frame; without it the line is the camera's way, smoothed.
    """
    require_shapes(places_mm=(places_mm, "T 3"))
    require_finite(places_mm=places_mm)
    places = places_mm.double().cpu().numpy()
    way = _smoothed(_trimmed(_spread(_way(places))))
    if wall is not None and len(wall.faces):
        if np.linalg.norm(np.diff(way, axis=0), axis=1).sum() < _SHORT_MM:
            way = _along_the_wall(way, places, wall)
        points = wall.vertices_mm.double().cpu().numpy()
        tree = cKDTree(points)
        for _ in range(_ROUNDS):
            way = _smoothed(_spread(_centred(way, points, tree)))
    return _line(way)


def _way(places: Points) -> Points:
    """Return the places along the shortest way between the two ends that are farthest apart."""
    extent = float(np.linalg.norm(np.ptp(places, axis=0))) if len(places) else 0.0
    if extent < SHORTEST_MM:
        raise DataError(
            f"the camera moved by {extent:.1f} mm, expected {SHORTEST_MM:g} mm or more: from one"
            " place there is no way through a lumen"
        )
    # Places that lie together are one: a camera that waits is not more of a way.
    _, number = np.unique(np.floor(places / _CELL_MM).astype(np.int64), axis=0, return_inverse=True)
    number = number.reshape(-1)
    count = np.bincount(number)
    kept = np.stack([np.bincount(number, weights=axis) / count for axis in places.T], axis=1)
    pairs = cKDTree(kept).query_pairs(_HOP_MM, output_type="ndarray")
    # And each with the next in time, so that a jump does not part the way.
    pairs = np.concatenate([pairs, np.stack([number[:-1], number[1:]], axis=1)])
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    length = np.linalg.norm(kept[pairs[:, 0]] - kept[pairs[:, 1]], axis=1)
    # Short hops are a little cheaper, so that the way stays among the places.
    graph = csr_matrix((length**_HOP_COST, pairs.T), shape=(len(kept), len(kept)))
    first = int(np.argmax(dijkstra(graph, directed=False, indices=0)))
    costs, before = dijkstra(graph, directed=False, indices=first, return_predecessors=True)
    at = int(np.argmax(costs))
    found = [at]
    while at != first:
        at = int(before[at])
        found.append(at)
    # In the order of time: the line begins where the clip does.
    when = np.array([np.flatnonzero(number == each).mean() for each in (found[0], found[-1])])
    if when[0] > when[1]:
        found.reverse()
    return kept[found]


def _along_the_wall(way: Points, places: Points, wall: Surface) -> Points:
    """Return a straight way along the axis of the wall around it; the way itself without one."""
    middle = way.mean(axis=0)
    centres = wall.vertices_mm.double().cpu().numpy()[wall.faces.cpu().numpy()].mean(axis=1)
    near = np.linalg.norm(centres - middle, axis=1) < _REACH_MM
    normals = wall.normals().double().cpu().numpy()[near]
    weights = wall.areas_mm2().double().cpu().numpy()[near]
    spread, axes = np.linalg.eigh((normals * weights[:, None]).T @ normals)
    if spread[0] > _PLAIN * spread[1]:
        return way
    axis = axes[:, 0] * (1.0 if axes[:, 0] @ (way[-1] - way[0]) >= 0 else -1.0)
    along = (places - middle) @ axis
    low, high = along.min(), along.max()
    if high - low < SHORTEST_MM:
        return way
    return _spread(middle + np.linspace(low, high, 4)[:, None] * axis)


def _spread(way: Points) -> Points:
    """Return the way at even steps of about `_STEP_MM`."""
    steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
    kept = np.append(True, steps > 1e-6)
    way, along = way[kept], np.append(0, np.cumsum(steps[kept[1:]]))
    count = max(4, round(along[-1] / _STEP_MM) + 1)
    wanted = np.linspace(0, along[-1], count)
    return np.stack([np.interp(wanted, along, way[:, k]) for k in range(3)], axis=1)


def _trimmed(way: Points) -> Points:
    """Return the way without its ends, where a camera that looks around crosses the lumen."""
    cut = round(min(_CROSSING_MM / _STEP_MM, _CROSSING_SHARE * len(way)))
    return way[cut : len(way) - cut]


def _smoothed(way: Points) -> Points:
    # Odd reflection: the ends stay where they are, and straight stays straight.
    pad = min(len(way) - 1, round(3 * _SMOOTH_MM / _STEP_MM))
    long = np.pad(way, ((pad, pad), (0, 0)), mode="reflect", reflect_type="odd")
    smooth: Points = gaussian_filter1d(long, _SMOOTH_MM / _STEP_MM, axis=0)[pad : pad + len(way)]
    return smooth


def _centred(way: Points, points: Points, tree: cKDTree) -> Points:
    """Move every place to the middle of its cross-section, where enough of one is known."""
    tangents = np.gradient(way, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    moved = way.copy()
    angles = (np.arange(_BINS) + 0.5) * (2 * np.pi / _BINS)
    for k, (place, tangent) in enumerate(zip(way, tangents, strict=True)):
        away = points[tree.query_ball_point(place, _REACH_MM)] - place
        along = away @ tangent
        away = away[np.abs(along) < _SLAB_MM]
        side = np.cross(tangent, np.eye(3)[np.abs(tangent).argmin()])
        side /= np.linalg.norm(side)
        other = np.cross(tangent, side)
        x, y = away @ side, away @ other
        number = ((np.arctan2(y, x) % (2 * np.pi)) / (2 * np.pi) * _BINS).astype(int) % _BINS
        total = np.bincount(number, weights=np.hypot(x, y), minlength=_BINS)
        count = np.bincount(number, minlength=_BINS)
        known = count > 0
        if known.sum() < _FEWEST_BINS:
            continue
        radius = np.interp(angles, angles[known], total[known] / count[known], period=2 * np.pi)
        # The centroid of the polygon that the bins draw.
        px, py = radius * np.cos(angles), radius * np.sin(angles)
        doubled = px * np.roll(py, -1) - np.roll(px, -1) * py
        area = doubled.sum() / 2
        cx = ((px + np.roll(px, -1)) * doubled).sum() / (6 * area)
        cy = ((py + np.roll(py, -1)) * doubled).sum() / (6 * area)
        moved[k] = place + cx * side + cy * other
    return moved


def _line(way: Points) -> CentreLine:
    """Return the line with both ends carried on."""
    few = min(len(way) - 1, max(2, round(_SMOOTH_MM / _STEP_MM)))
    ahead, behind = way[-1] - way[-1 - few], way[0] - way[few]
    steps = np.arange(1, round(BEYOND_MM / _STEP_MM) + 1)[:, None] * _STEP_MM
    before = way[0] + steps[::-1] * behind / np.linalg.norm(behind)
    after = way[-1] + steps * ahead / np.linalg.norm(ahead)
    whole = np.concatenate([before, way, after])
    middle = whole.mean(axis=0)
    controls = torch.from_numpy(whole - middle)[::2]
    length = float(np.linalg.norm(np.diff(whole, axis=0), axis=1).sum())
    made = centre_line(controls, length_mm=length)
    nodes = made.nodes.clone()
    nodes[:, :3] += torch.from_numpy(middle).to(nodes)
    return CentreLine(nodes)
