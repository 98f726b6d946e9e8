"""Where a tip can pass: a smooth way through the lumen that keeps clear of folds and polyps.

The centre line itself is no such way: polyps on stalks hang across it. The way is found once for a
colon, as an offset (along U, along T x U) from the centre line over arc length. Both the way and
what is laid around it are cubic B-splines, so that a camera on them moves without a jerk.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from colondepth.centre_line import NODE_STEP_MM, CentreLine
from colondepth.errors import DataError
from colondepth.shapes import require_shapes
from synthetic_colons.colon import Colon
from synthetic_colons.field import Triple, free_mm, locate
from synthetic_colons.wall_tables import ROW_MM

KNOT_MM = 2.0  # between two controls of the way: half a fold's thickness
EDGE_MM = 0.5  # kept beyond the clearance, for what lies between two looked-at places
# The bounds that rays stride by are loose beside a sloping wall. Nearer than this it is measured.
_MEASURED_MM = 6.0
# Points of the wall are 0.5 mm apart along and 0.6 mm around: 1.5 mm away, the wall between them is
# nearer by 0.1 mm or less, and its spline lies behind the crests of its table.
_GRAIN_MM = 0.15
_ONLY_WALL_MM = 60.0  # from either end, and from a polyp on a stalk: nothing but wall within 6 mm
_LOCATED = 2  # rounds until wall coordinates are exact from the foot on the line
_CANDIDATE_SHARES = (0.18, 0.36, 0.54, 0.72)  # of the lumen's radius; the centre comes first
_CANDIDATE_ANGLES = 16
_WIDE_MM = 7.0  # more room than this is not worth a detour
_BLOCKED_COST = 300.0  # of a place that is too narrow; the widest detour costs less
_DETOUR_COST = 0.03  # per mm^2 from the centre line
_BEND_COST = 0.3  # per mm^2 from one control to the next
_SMOOTHING = (1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9)  # of the controls: no corner over 8 mm
_ROOM_REACH = 5  # controls on either side whose room is evened out: the lumen between two folds
_SHORTEST_MM = 30.0  # a passable stretch that is worth flying in
_MARCH_ROUNDS = 20  # each covers what is free
_MARCH_LEFT_MM = 0.05  # less is not worth another round


@dataclass(frozen=True, slots=True, eq=False)
class ClearWay:
    """A way through one colon, in float64 on the CPU."""

    line: CentreLine
    offset_mm: Tensor  # (K, 2), B-spline controls, KNOT_MM apart
    room_mm: Tensor  # (K, 1), B-spline controls: the lumen's radius, folds evened out
    stretches_mm: tuple[tuple[float, float], ...]  # arc lengths where the clearance is kept
    clearance_mm: float
    wall: cKDTree  # points of the wall
    only_wall: Tensor  # (N,), True at the nodes near which nothing else than wall is in reach

    def offset(self, arc_mm: Tensor) -> Tensor:
        """Return the way's offset from the centre line at arc lengths (*B), shape (*B, 2)."""
        return spline(self.offset_mm, arc_mm / KNOT_MM)

    def room(self, arc_mm: Tensor) -> Tensor:
        """Return the lumen's radius at arc lengths (*B), folds evened out."""
        return spline(self.room_mm, arc_mm / KNOT_MM)[..., 0]

    def points(self, arc_mm: Tensor) -> Tensor:
        """Return the places of the way at arc lengths (*B), shape (*B, 3)."""
        here, frame = self.line.at(arc_mm)
        return here + across(frame, self.offset(arc_mm))

    def clearance(self, colon: Colon, points: Tensor, arc_mm: Tensor) -> Tensor:
        """Return a lower bound of the distance from points (P, 3) to the surface, (P,).

        It is `clearance_near`, or the distance to the nearest point of the wall where that is
        more and nothing but the wall is in reach.
        """
        found = clearance_near(colon, points, arc_mm)
        node = (arc_mm / NODE_STEP_MM).round().long().clamp(0, len(self.only_wall) - 1)
        # Outside it is 0, and stays so.
        close = (found > 0) & (found < _MEASURED_MM) & self.only_wall[node]
        away, _ = self.wall.query(points[close].numpy(), distance_upper_bound=2 * _MEASURED_MM)
        away = torch.from_numpy(away).clamp(max=_MEASURED_MM) - _GRAIN_MM
        found[close] = torch.maximum(found[close], away.to(found))
        return found


def clear_way(colon: Colon, *, clearance_mm: float) -> ClearWay:
    """Find the way through a colon and where it is open.

    Args:
        colon: on any device.
        clearance_mm: the least distance to the surface; where even the way has less, for example
            at a polyp as wide as the lumen, the way is not passable.
    """
    line = CentreLine(colon.line.nodes.double().cpu())
    count = math.ceil(line.length_mm / KNOT_MM) + 1
    arc = torch.arange(count, dtype=torch.float64) * KNOT_MM
    radius = colon.wall.radius_mm.double().cpu().median(dim=1).values  # (S,)
    radius = radius[(arc / ROW_MM).round().long().clamp(max=len(radius) - 1)]
    options = _options(radius)  # (K, A, 2)
    here, frame = line.at(arc)
    spots = here[:, None] + across(frame[:, None], options)
    free = clearance_near(colon, spots.flatten(0, 1), arc.repeat_interleave(options.shape[1]))
    free = free.reshape(options.shape[:2])
    narrow = clearance_mm + EDGE_MM
    cost = (_WIDE_MM - free.clamp(max=_WIDE_MM)).square() + _BLOCKED_COST * (free < narrow)
    cost = cost + _DETOUR_COST * options.square().sum(dim=-1)
    offset = torch.from_numpy(_cheapest(cost.numpy(), options.numpy()))
    offset = _evened(offset, torch.tensor(_SMOOTHING, dtype=torch.float64))
    even = torch.full((2 * _ROOM_REACH + 1,), 1 / (2 * _ROOM_REACH + 1), dtype=torch.float64)
    room = _evened(radius[:, None], even)
    tree, only_wall = _wall_tree(colon, line), _only_wall(colon)
    way = ClearWay(line, offset, room, (), clearance_mm, tree, only_wall)
    open_mm = _open_stretches(colon, way, narrow)
    if not open_mm:
        raise DataError(
            f"no stretch of {_SHORTEST_MM:g} mm of this colon is open for a clearance of"
            f" {clearance_mm:g} mm; ask for less"
        )
    return replace(way, stretches_mm=open_mm)


def reach(
    colon: Colon, way: ClearWay, arc_mm: Tensor, offset_mm: Tensor, need_mm: Tensor
) -> Tensor:
    """Return how much of an offset from the way can be had, (T,) in [0, 1].

    All of the stretch from the way to that share of the offset keeps the distance `need_mm`, since
    the march strides by no more than what is free.

    Args:
        colon: what must not be touched.
        way: where the march starts; where the way has less than `need_mm`, the share is 0.
        arc_mm: (T,)
        offset_mm: (T, 2), from the way, along U and T x U.
        need_mm: (T,)
    """
    require_shapes(arc_mm=(arc_mm, "T"), offset_mm=(offset_mm, "T 2"), need_mm=(need_mm, "T"))
    here, frame = way.line.at(arc_mm)
    start = here + across(frame, way.offset(arc_mm))
    ray = across(frame, offset_mm)
    length = ray.norm(dim=-1).clamp(min=1e-6)
    share = torch.zeros_like(length)
    going = torch.arange(len(share))
    for _ in range(_MARCH_ROUNDS):
        spots = start[going] + share[going, None] * ray[going]
        free = way.clearance(colon, spots, arc_mm[going]) - need_mm[going]
        share[going] = (share[going] + free.clamp(min=0) / length[going]).clamp(max=1)
        going = going[(free > _MARCH_LEFT_MM) & (share[going] < 1)]
        if not len(going):
            break
    return share


def clearance_near(colon: Colon, points: Tensor, arc_mm: Tensor) -> Tensor:
    """Return `Colon.clearance_mm` of points (P, 3) whose arc length is known to some mm, (P,).

    Without the search for the nearest node this takes a third of the time.
    """
    require_shapes(points=(points, "P 3"), arc_mm=(arc_mm, "P"))
    own = points.to(colon.tables.nodes)
    which = torch.zeros(len(own), dtype=torch.int32, device=own.device)
    point: Triple = (own[:, 0], own[:, 1], own[:, 2])
    place = locate(point, arc_mm.to(own), which, colon.tables)
    for _ in range(_LOCATED - 1):
        place = locate(point, place.arc_mm, which, colon.tables)
    return free_mm(place, point, which, colon.tables)[0].to(points)


def across(frame: Tensor, offset_mm: Tensor) -> Tensor:
    """Return offsets (*B, 2) along U and T x U of frames (*B, 3, 3) as vectors (*B, 3)."""
    return offset_mm[..., :1] * frame[..., 0] + offset_mm[..., 1:] * frame[..., 1]


def spline(controls: Tensor, where: Tensor) -> Tensor:
    """Return the cubic B-spline of controls (K, C) at places (*B) counted in controls, (*B, C).

    Every value is a mean, with weights from 0 to 1, of the controls within 2 of its place.
    """
    last = len(controls) - 1
    index = where.floor()
    u = (where - index)[..., None]
    weights = (
        (1 - u) ** 3,
        3 * u**3 - 6 * u**2 + 4,
        -3 * u**3 + 3 * u**2 + 3 * u + 1,
        u**3,
    )
    index = index.long()
    terms = [w * controls[(index + k).clamp(0, last)] for k, w in enumerate(weights, start=-1)]
    return (terms[0] + terms[1] + terms[2] + terms[3]) / 6


def _options(radius_mm: Tensor) -> Tensor:
    """Return offsets to choose from, (K, A, 2)."""
    turn = torch.arange(_CANDIDATE_ANGLES, dtype=torch.float64) * (2 * math.pi / _CANDIDATE_ANGLES)
    ring = torch.stack([turn.cos(), turn.sin()], dim=-1)  # (angles, 2)
    rings = [share * ring for share in _CANDIDATE_SHARES]
    unit = torch.cat([ring.new_zeros(1, 2), *rings])  # (A, 2)
    return radius_mm[:, None, None] * unit


def _cheapest(cost: NDArray[np.float64], options: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the chain of options (K, 2) with the least sum of costs and of squared steps."""
    # In numpy: hundreds of small steps that hang on each other.
    total, back = cost[0], []
    for k in range(1, len(cost)):
        step = options[k][:, None] - options[k - 1][None]
        through = total + _BEND_COST * (step * step).sum(axis=-1)  # (to, from)
        best = through.argmin(axis=1)
        back.append(best)
        total = cost[k] + through[np.arange(len(best)), best]
    chosen = [int(total.argmin())]
    for best in reversed(back):
        chosen.append(int(best[chosen[-1]]))
    return options[np.arange(len(cost)), chosen[::-1]]


def _wall_tree(colon: Colon, line: CentreLine) -> cKDTree:
    radius = colon.wall.radius_mm.double().cpu()
    rows, columns = radius.shape
    here, frame = line.at(torch.arange(rows, dtype=torch.float64) * ROW_MM)
    angle = torch.arange(columns, dtype=torch.float64) * (2 * math.pi / columns)
    offset = radius[..., None] * torch.stack([angle.cos(), angle.sin()], dim=-1)
    points = here[:, None] + across(frame[:, None], offset)  # (S, COLUMNS, 3)
    # Unbalanced: built four times quicker, asked as quickly.
    return cKDTree(points.reshape(-1, 3).numpy(), balanced_tree=False, compact_nodes=False)


def _only_wall(colon: Colon) -> Tensor:
    arc = torch.arange(len(colon.line.nodes)) * NODE_STEP_MM
    free = (arc > _ONLY_WALL_MM) & (arc < colon.length_mm - _ONLY_WALL_MM)
    for label in colon.stalked_numbers:
        free = free & ((arc - colon.polyp(label).arc_mm).abs() > _ONLY_WALL_MM)
    return free


def _evened(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of every row (K, C) and its neighbours."""
    side = len(weights) // 2
    padded = torch.cat([values[:1].expand(side, -1), values, values[-1:].expand(side, -1)])
    return (padded.unfold(0, len(weights), 1) * weights).sum(dim=-1)


def _open_stretches(
    colon: Colon, way: ClearWay, narrow_mm: float
) -> tuple[tuple[float, float], ...]:
    step = 0.25 * KNOT_MM
    arc = torch.arange(int(colon.length_mm / step) + 1, dtype=torch.float64) * step
    is_open = way.clearance(colon, way.points(arc), arc) >= narrow_mm
    edges = torch.nn.functional.pad(is_open.int(), (1, 1)).diff()
    starts, ends = (edges == 1).nonzero()[:, 0], (edges == -1).nonzero()[:, 0] - 1
    found = zip((starts * step).tolist(), (ends * step).tolist(), strict=True)
    return tuple((a, b) for a, b in found if b - a >= _SHORTEST_MM)
