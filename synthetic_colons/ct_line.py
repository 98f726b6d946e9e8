"""The line through the middle of a mesh from CT.

The mesh is filled with voxels, openings closed, and the way between the two places that are
farthest apart inside it, as far from the wall as it can, is a first line. Sections across it
(`ct_sections.py`) then draw it to their middles, and it goes on from its two ends until nothing is
around it or something is in front of it.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.graph import MCP_Geometric

from colondepth.errors import DataError
from synthetic_colons.ct_distance import spread
from synthetic_colons.ct_sections import Floats, Ints, Sections

VOXELS = 2.5e6  # 1.8 mm in a colon as it lies, and bounded memory for one that was straightened
_NARROWEST_VOXELS = 2.0  # what is narrower is the space between the two sides of a wall
_CENTRED = 4.0  # power of the distance from the wall that a step of the way is divided by
KNOT_MM = 8.0  # between places where the line is drawn to the middle
_CUT_MM = 20.0  # at either end, where the way comes from a corner
_SHORTEST_MM = 100.0
_ROUNDS = 8
_DRAWN = 0.6  # of the way to the middle, a round
_FARTHEST_DRAW_MM = 4.0
# Taubin (1995): smoothed, then sharpened a little more, so that bends stay where they are.
_EVENED = (0.33, -0.34)
_ASKEW = 1.8  # widest over median radius: a section that looks along the colon has no middle
_COLUMNS = 64
_ENOUGH = 0.7  # share of a section's angles that meet the wall
_STEP_MM = 2.0  # of the line beyond its knots
_DRAWN_AT_END, _TURNED_AT_END = 0.3, 0.2  # shares a step, so that the end of a line does not swerve
_LONGEST_END_MM = 60.0


def way_inside(vertices: Floats, faces: Ints) -> Floats:
    """Return the way (P, 3) between the two farthest places inside a mesh, in its unit."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    step = float(np.prod(high - low) / VOXELS) ** (1 / 3)
    corner = low - 3 * step
    shape = tuple(np.ceil((high - corner) / step).astype(int) + 4)

    def marked(corners: Floats) -> NDArray[np.bool_]:
        out = np.zeros(shape, bool)
        out[tuple(np.floor((spread(corners, step / 2)[0] - corner) / step).astype(int).T)] = True
        return out

    wall = marked(vertices[faces])
    lids = _lids(vertices, faces)
    closed = ndimage.binary_dilation(wall | marked(lids) if len(lids) else wall)
    rooms, _ = ndimage.label(~closed)
    inside = (rooms != rooms[0, 0, 0]) & ~wall
    away = ndimage.distance_transform_edt(inside)
    free = away >= _NARROWEST_VOXELS
    rooms, count = ndimage.label(free, np.ones((3, 3, 3)))
    if count == 0:
        raise DataError(
            "the mesh holds nothing: it is open, or no tube; close it but for its two ends"
        )
    sizes = np.bincount(rooms.ravel())
    free = rooms == sizes[1:].argmax() + 1
    same = np.where(free, 1.0, -1.0)  # below 0: no way through
    start = _farthest(same, np.argwhere(free)[0])
    end = _farthest(same, start)
    ways = MCP_Geometric(np.where(free, 1 / away.clip(1) ** _CENTRED, -1.0))
    ways.find_costs([tuple(start)], [tuple(end)])
    way = np.array(ways.traceback(tuple(end)), np.float64)
    out: Floats = corner + (way + 0.5) * step
    return out


def middle_line(way: Floats, sections: Sections) -> Floats:
    """Return points (P, 3) `KNOT_MM` apart in the middle of a colon, lengths in millimetres.

    Args:
        way: (Q, 3), through the colon, near its middle.
        sections: of its mesh.
    """
    way = spread_evenly(way, _STEP_MM)
    cut = round(_CUT_MM / _STEP_MM)
    length = (len(way) - 1) * _STEP_MM
    if length < _SHORTEST_MM:
        raise DataError(f"the mesh is {length:.0f} mm long, too short for a colon")
    kernel = KNOT_MM / _STEP_MM  # a voxel's corners are evened out
    drawn = ndimage.gaussian_filter1d(way, kernel, axis=0, mode="nearest")[cut:-cut]
    drawn = spread_evenly(drawn, KNOT_MM)
    for _ in range(_ROUNDS):
        drawn = spread_evenly(_drawn(drawn, sections), KNOT_MM)
    first = _end(drawn[::-1], sections)
    last = _end(drawn, sections)
    return spread_evenly(np.concatenate([first[::-1], drawn, last]), KNOT_MM)


def frames(line: Floats) -> Floats:
    """Return U, V and T as columns at every point of a line, without twist, (P, 3, 3)."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.eye(3)[np.abs(tangent[0]).argmin()]
    out = np.empty((len(line), 3, 3))
    for k, t in enumerate(tangent):
        normal = normal - (normal @ t) * t
        normal = normal / np.linalg.norm(normal)
        out[k] = np.stack([normal, np.cross(t, normal), t], axis=1)
    return out


def spread_evenly(line: Floats, step: float) -> Floats:
    """Return points of a polyline about `step` apart; its ends stay."""
    along = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
    count = max(2, round(float(along[-1]) / step) + 1)
    wanted = np.linspace(0, along[-1], count)
    return np.stack([np.interp(wanted, along, line[:, k]) for k in range(3)], axis=1)


def _farthest(costs: Floats, start: Ints) -> Ints:
    """Return the voxel that is dearest to reach."""
    spent, _ = MCP_Geometric(costs).find_costs([tuple(start)])
    spent = np.where(np.isfinite(spent), spent, -1.0)
    return np.array(np.unravel_index(spent.argmax(), spent.shape))


def _lids(vertices: Floats, faces: Ints) -> Floats:
    """Return triangles (L, 3, 3) that close every opening from its middle."""
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    keys, times = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    rim = keys[times == 1]
    if len(rim) == 0:
        return np.zeros((0, 3, 3))
    used, ends = np.unique(rim, return_inverse=True)
    ends = ends.reshape(rim.shape)
    links = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(used),) * 2)
    count, loop = connected_components(links, directed=False)
    middle = np.stack([vertices[used[loop == k]].mean(axis=0) for k in range(count)])
    own = middle[loop[ends[:, 0]]]
    return np.stack([vertices[rim[:, 0]], vertices[rim[:, 1]], own], axis=1)


def _drawn(line: Floats, sections: Sections) -> Floats:
    """Draw a line to the middles of its sections, and even it."""
    moved = line.copy()
    for k, frame in enumerate(frames(line)):
        middle = _middle(line[k], frame, sections.radius_mm(line[k], frame, _COLUMNS))
        if middle is None:
            continue
        move = _DRAWN * (middle - line[k])
        moved[k] += move * min(1.0, _FARTHEST_DRAW_MM / max(float(np.linalg.norm(move)), 1e-9))
    for share in _EVENED:
        inner = moved[1:-1]
        moved[1:-1] = inner + share * (moved[:-2] + moved[2:] - 2 * inner)
    return moved


def _middle(place: Floats, frame: Floats, radius: Floats) -> Floats | None:
    """Return the centre of a section's area; None where it is too open or looks along the colon."""
    met = np.isfinite(radius)
    if met.mean() < _ENOUGH:
        return None
    median = float(np.median(radius[met]))
    if radius[met].max() > _ASKEW * median:
        return None
    radius = np.where(met, radius, median)
    turn = np.arange(_COLUMNS) * (2 * math.pi / _COLUMNS)
    rim = radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    following = np.roll(rim, -1, axis=0)
    area = rim[:, 0] * following[:, 1] - rim[:, 1] * following[:, 0]
    centre: Floats = ((rim + following) * area[:, None]).sum(axis=0) / (3 * area.sum())
    return place + frame[:, :2] @ centre


def _end(line: Floats, sections: Sections) -> Floats:
    """Return how a line goes on behind its last point, (Q, 3)."""
    place, tangent = line[-1], line[-1] - line[-4]
    tangent = tangent / np.linalg.norm(tangent)
    found: list[Floats] = []
    for _ in range(int(_LONGEST_END_MM / _STEP_MM)):
        frame = frames(np.stack([place - tangent, place, place + tangent]))[1]
        ahead = _ahead(place, frame, sections)
        if ahead < _STEP_MM:  # the pole of the cap
            found.append(place + ahead * tangent)
            break
        onward = place + _STEP_MM * tangent
        radius = sections.radius_mm(onward, frame, _COLUMNS)
        if np.isfinite(radius).mean() < _ENOUGH:  # the opening
            break
        middle = _middle(onward, frame, radius)
        if middle is not None:
            onward = onward + _DRAWN_AT_END * (middle - onward)
        way = onward - place
        tangent = (1 - _TURNED_AT_END) * tangent + _TURNED_AT_END * way / np.linalg.norm(way)
        tangent, place = tangent / np.linalg.norm(tangent), onward
        found.append(place)
    return np.array(found).reshape(-1, 3)


def _ahead(place: Floats, frame: Floats, sections: Sections) -> float:
    """Return how far the mesh is straight ahead."""
    # A plane through the tangent: angle 0 of its section is straight ahead.
    turned = np.stack([frame[:, 2], frame[:, 0], frame[:, 1]], axis=1)
    return float(sections.radius_mm(place, turned, _COLUMNS)[0])
