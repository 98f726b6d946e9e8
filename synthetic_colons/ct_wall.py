"""From a line through a mesh to the wall: a gentler line, radii all over it, crests of folds."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from colondepth.centre_line import CentreLine, centre_line, sharpest_bends
from synthetic_colons.ct_line import frames, spread_evenly
from synthetic_colons.ct_sections import Floats, Sections
from synthetic_colons.field import CAP_BLEND_MM
from synthetic_colons.wall_tables import COLUMNS, ROW_MM, rows_of

# Of the bend's radius, on its inner side: wall coordinates fold over at 1, and the windows of
# `wall_tables.py` hold up to here.
LARGEST_BEND = 0.6
NARROWEST_MM = 3.0  # what a scope's rays may pass
CONTROL_MM = 16.0  # between control points of the line: as dense as a flexure needs
_OWN_SHARE = 0.9  # of the way to where another piece of the line is as near
_OTHERS = 2  # every so many nodes are asked
_SMOOTHINGS = 80
_PULL = 0.2  # of the way to the middle of its neighbours, where a control point bends too sharply
_ASIDE = 0.5  # of the radius there: the line leaves the middle no further
_COLUMNS = 64  # of a section that is asked for its width alone
_WHOLE_ROUNDS = 4  # each leaves a hundredth of what the length is from a whole number of mm
_OPEN = 2.0  # of the median radius: what is farther was seen through an opening
_MEDIAN_ROWS = 41  # 20 mm
_FILLS = (2.0, 4.0, 8.0, 16.0, 32.0)  # sigmas in cells of the wall, until openings are closed
_FILLED = 0.05  # of a sigma's weight: enough to believe it
_END_MM = 15.0  # over which the narrowest lumen grows to a cap's
_FOLD_MM, _AROUND_MM = 2.0, 12.0  # sigmas: of a fold, and of the lumen that it stands in
_CREST_SHARE = 0.3  # of the radius: this much is a full crest, as in `wall.py`


def gentle_line(points: Floats, sections: Sections) -> CentreLine:
    """Return a line near points (P, 3) that bends as gently as the lumen's width asks for."""
    controls = spread_evenly(points, CONTROL_MM)
    start = controls.copy()
    radius = np.array(
        [
            _width(sections.radius_mm(place, frame, _COLUMNS))
            for place, frame in zip(controls, frames(controls), strict=True)
        ]
    )
    wanted = radius / LARGEST_BEND  # the bend's radius
    for _ in range(_SMOOTHINGS):
        length = float(np.linalg.norm(np.diff(controls, axis=0), axis=1).sum())
        sharp = sharpest_bends(torch.from_numpy(controls), length_mm=length).numpy()
        too = sharp[1:-1] < wanted[1:-1]
        if not too.any():
            break
        middle = (controls[:-2] + controls[2:]) / 2
        controls[1:-1] += _PULL * too[:, None] * (middle - controls[1:-1])
        aside = controls - start
        away = np.linalg.norm(aside, axis=1, keepdims=True).clip(1e-9)
        controls = start + aside * np.minimum(1, _ASIDE * radius[:, None] / away)
    # A line is scaled to a whole number of steps: the last control point moves until it is one.
    for _ in range(_WHOLE_ROUNDS):
        length = _length(controls)
        way = controls[-1] - controls[-2]
        controls[-1] -= (length - round(length)) * way / np.linalg.norm(way)
    return centre_line(torch.from_numpy(controls), length_mm=round(_length(controls)) + 0.5)


def wall_radii(line: CentreLine, sections: Sections) -> tuple[Floats, float, float]:
    """Return the radius over arc length and angle (S, COLUMNS), and two shares of its cells.

    The first share are cells filled from around them because there was an opening, the second
    those that were brought nearer for a bend or pushed back to leave a lumen.
    """
    rows = rows_of(len(line.nodes))
    arc = torch.arange(rows, dtype=torch.float64) * ROW_MM
    places, axes = CentreLine(line.nodes.double()).at(arc)
    radius = np.stack(
        [
            sections.radius_mm(place, frame, COLUMNS)
            for place, frame in zip(places.numpy(), axes.numpy(), strict=True)
        ]
    )
    width = ndimage.median_filter([_width(row) for row in radius], _MEDIAN_ROWS, mode="nearest")
    known = np.isfinite(radius) & (radius <= _OPEN * width[:, None])
    radius = _filled(radius, known, width)
    limited = np.clip(radius, _narrowest(arc.numpy()), _widest(line, places.numpy(), axes.numpy()))
    changed = np.abs(limited - radius) > 0
    return limited, float(1 - known.mean()), float(changed.mean())


def crests(radius: Floats) -> Floats:
    """Return where the wall bends into the lumen along the colon, in [0, 1], (S, COLUMNS).

    The difference of two means of the radius is its curvature at the width of a fold.
    """
    near, around = (
        ndimage.gaussian_filter1d(radius, sigma / ROW_MM, axis=0, mode="nearest")
        for sigma in (_FOLD_MM, _AROUND_MM)
    )
    out: Floats = ((around - near) / (_CREST_SHARE * around)).clip(0, 1)
    return out


def _width(radius: Floats) -> float:
    """Return the median radius of a section, `NARROWEST_MM` where it meets nothing."""
    met = np.isfinite(radius)
    return max(float(np.median(radius[met])), NARROWEST_MM) if met.any() else NARROWEST_MM


def _length(controls: Floats) -> float:
    """Return the length of the line through control points: it starts and ends on them."""
    guess = 1000.0
    nodes = centre_line(torch.from_numpy(controls), length_mm=guess).nodes
    span = float((nodes[-1, :3] - nodes[0, :3]).double().norm())
    return guess * float(np.linalg.norm(controls[-1] - controls[0])) / span


def _filled(radius: Floats, known: NDArray[np.bool_], width: Floats) -> Floats:
    """Return the radius with means of what is around in the place of what is not known."""
    out = np.where(known, radius, np.nan)
    for sigma in _FILLS:
        if not np.isnan(out).any():
            return out
        weight = ndimage.gaussian_filter(known.astype(float), sigma, mode=("nearest", "wrap"))
        total = ndimage.gaussian_filter(
            np.where(known, radius, 0.0), sigma, mode=("nearest", "wrap")
        )
        better = np.isnan(out) & (weight > _FILLED)
        out[better] = total[better] / weight[better]
    return np.where(np.isnan(out), width[:, None], out)


def _narrowest(arc: Floats) -> Floats:
    """Return the smallest radius of every row (S, 1): near its ends a cap needs more."""
    ahead = np.minimum(arc, arc[-1] - arc)
    share = (1 - ahead / _END_MM).clip(0, 1)
    out: Floats = (NARROWEST_MM + (CAP_BLEND_MM - NARROWEST_MM) * share)[:, None]
    return out


def _widest(line: CentreLine, places: Floats, axes: Floats) -> Floats:
    """Return the largest radius over the wall (S, COLUMNS).

    On the inner side of a bend it is a share of the bend's radius; and everywhere a place must be
    nearer to its own piece of the line than to any other: |c + r e - c'| > r for every c'.
    """
    node = (np.arange(len(axes)) + 1) // 2
    bend = line.nodes[:, 6:9].double().numpy()[node.clip(0, len(line.nodes) - 1)]  # (S, 3)
    turn = np.arange(COLUMNS) * (2 * math.pi / COLUMNS)
    out = axes[:, :, 0, None] * np.cos(turn) + axes[:, :, 1, None] * np.sin(turn)  # (S, 3, A)
    inward = (bend[:, :, None] * out).sum(axis=1)
    widest: Floats = LARGEST_BEND / inward.clip(1e-6)
    others = line.nodes[::_OTHERS, :3].double().numpy()  # (O, 3)
    for row, (place, e) in enumerate(zip(places, out, strict=True)):
        way = others - place
        square = (way**2).sum(axis=1)
        apart = square > 1  # mm^2, not the place itself
        towards = 2 * (way[apart] @ e)  # (O, A)
        free = (square[apart, None] / towards.clip(1e-6)).min(axis=0)
        widest[row] = np.minimum(widest[row], _OWN_SHARE * free)
    return np.maximum(widest, NARROWEST_MM)
