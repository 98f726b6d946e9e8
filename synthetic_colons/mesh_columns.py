"""Where the surface is one radius above every arc length and angle: curves along it, sewn together.

Every angle has a curve of its own with as many vertices as its folds need, and the curves of two
neighbours are sewn together by a strip of triangles. Along a curve counts the parameter t: arc
length in the middle, and near either end, where the cap's radius leaves the axis like a square
root, the radius itself.
"""

import math
from dataclasses import fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from colondepth.centre_line import CentreLine
from synthetic_colons.colon import Colon
from synthetic_colons.field import CAP_BLEND_MM, CAP_BOWL_MM, Place, values_along, wall_at
from synthetic_colons.wall_tables import FAR_POLYP, WallTables

PROBE_MM = 0.125  # of t: a quarter of the wall's rows
# A wall that bends as sharply as this is followed with `along_mm` just so; sharper ones are denser.
BEND_PER_MM = 0.32
LONGEST_EDGE = 2.5  # of `along_mm`, on the steep sides of folds
SHORTEST_EDGE = 0.08  # of `along_mm`, so that no crest takes all the vertices
_NEWTON_ROUNDS = (
    12  # the field falls along the radius without a turn, so that every round is nearer
)
_LEVEL = 1e-6  # a slope that is none: the field's at the pole of a cap


class Piece(NamedTuple):
    """A part of a mesh."""

    arc_mm: Tensor  # (V,)
    angle_rad: Tensor  # (V,)
    points: Tensor  # (V, 3)
    faces: Tensor  # (F, 3), counter-clockwise as seen from the lumen


class Ground(NamedTuple):
    """A colon in double precision, on the CPU."""

    line: CentreLine
    tables: WallTables
    bare: WallTables  # without polyps on stalks
    single: WallTables  # float32
    length_mm: float
    stalked: Tensor  # (K, POLYP_NUMBERS), the polyps on stalks


def ground(colon: Colon) -> Ground:
    """Return a colon in double precision."""
    own = colon.tables
    single = replace(
        own,
        **{
            each.name: getattr(own, each.name).cpu()
            for each in fields(own)
            if isinstance(getattr(own, each.name), Tensor)
        },
    )
    double = replace(
        single,
        nodes=single.nodes.double(),
        radius_mm=single.radius_mm.double(),
        stalked=single.stalked.double(),
    )
    line = CentreLine(colon.line.nodes.double().cpu())
    alone = {
        "stalked": torch.tensor(FAR_POLYP, dtype=torch.float64),
        "stalk_of": torch.zeros_like(single.stalk_of),
    }
    stalked = colon.stalked.double().cpu()
    return Ground(line, double, replace(double, **alone), single, colon.length_mm, stalked)


def t_of_arc(arc_mm: Tensor, length_mm: float) -> Tensor:
    """Return the parameter of arc lengths, see the module; it ends at `t_of_arc(length_mm)`."""
    turn, slope = _turn(length_mm)
    near = torch.minimum(arc_mm, length_mm - arc_mm).clamp(min=0)
    end = turn * turn / (2 * CAP_BOWL_MM)
    t = torch.where(near < end, (2 * CAP_BOWL_MM * near).sqrt(), turn + (near - end) / slope)
    half = turn + (length_mm / 2 - end) / slope
    return torch.where(arc_mm > length_mm / 2, 2 * half - t, t)


def arc_of_t(t: Tensor, length_mm: float) -> Tensor:
    """Return the arc length of parameters."""
    turn, slope = _turn(length_mm)
    end = turn * turn / (2 * CAP_BOWL_MM)
    half = turn + (length_mm / 2 - end) / slope
    near = torch.minimum(t, 2 * half - t).clamp(min=0)
    arc = torch.where(near < turn, near * near / (2 * CAP_BOWL_MM), end + (near - turn) * slope)
    return torch.where(t > half, length_mm - arc, arc)


def surface_radius(arc_mm: Tensor, angle_rad: Tensor, own: Ground) -> Tensor:
    """Return how far the surface is from the line, stalks aside, shape of `arc_mm`."""
    arc, x, y = arc_mm.flatten(), angle_rad.cos().flatten(), angle_rad.sin().flatten()
    wall = wall_at(_spot(arc, x, y), torch.zeros_like(arc, dtype=torch.int32), own.bare)
    radius = wall.radius_mm
    # The bowl meets the wall, and is blended with it, within this much of an end.
    near = CAP_BLEND_MM + radius.max().square() / (2 * CAP_BOWL_MM)
    ahead = torch.minimum(arc, own.length_mm - arc)
    capped = (ahead < near).nonzero()[:, 0]
    if len(capped) == 0:
        return radius.reshape(arc_mm.shape)
    arc, x, y, ahead = arc[capped], x[capped], y[capped], ahead[capped].clamp(min=0)
    rho = torch.minimum((2 * CAP_BOWL_MM * ahead).sqrt(), radius[capped])
    zero = torch.zeros_like(arc)
    out = (x, y, zero)  # in the axes of `_spot`
    for _ in range(_NEWTON_ROUNDS):
        place = _spot(arc, rho * x, rho * y)
        at = values_along(out, out, place, zero.int(), own.bare)
        rho = (rho - at.field / at.change.clamp(max=-_LEVEL)).clamp(min=0)
    radius[capped] = rho
    return radius.reshape(arc_mm.shape)


def density(t: Tensor, angle: Tensor, own: Ground, *, along_mm: float) -> Tensor:
    """Return how many vertices a unit of t needs between evenly spaced probes t, (N - 1, A)."""
    arc = arc_of_t(t, own.length_mm)[:, None].expand(-1, len(angle))  # (N, A)
    rho = surface_radius(arc, angle[None].expand_as(arc), own)
    step = t.diff()[:, None]
    du, dr = arc.diff(dim=0) / step, rho.diff(dim=0) / step
    speed = torch.hypot(du, dr).clamp(min=_LEVEL)
    turned = (du[:-1] * dr[1:] - du[1:] * dr[:-1]) / step[1:]  # of the tangent, times speed^2
    bend = turned.abs() / (0.5 * (speed[:-1] + speed[1:]))  # of the chord's sagitta, per t^2
    bend = torch.cat([bend[:1], torch.maximum(bend[1:], bend[:-1]), bend[-1:]])
    sharp = (bend / BEND_PER_MM).sqrt() / along_mm
    straight = torch.maximum(du, speed / LONGEST_EDGE) / along_mm
    return torch.maximum(sharp, straight).clamp(max=1 / (SHORTEST_EDGE * along_mm))


def columns(start_mm: float, stop_mm: float, around: int, own: Ground, *, along_mm: float) -> Piece:
    """Mesh the surface between two arc lengths, stalks aside.

    All curves begin in the plane of the first and end in that of the last; at a pole they meet in
    as many vertices as there are curves.
    """
    ends = torch.tensor([start_mm, stop_mm], dtype=torch.float64)
    start_t, stop_t = t_of_arc(ends, own.length_mm).tolist()
    angle = torch.arange(around, dtype=torch.float64) * (2 * math.pi / around)
    count = max(2, math.ceil((stop_t - start_t) / PROBE_MM))
    t = torch.linspace(start_t, stop_t, count + 1, dtype=torch.float64)
    dense = density(t, angle, own, along_mm=along_mm) * ((stop_t - start_t) / count)
    filled = torch.cat([dense.new_zeros(1, around), dense.cumsum(dim=0)]).T.contiguous()  # (A, N+1)
    parts = filled[:, -1].ceil().clamp(min=1)  # (A,)
    most = int(parts.max())
    number = torch.arange(most + 1, dtype=torch.float64)
    wanted = (number[None] / parts[:, None]).clamp(max=1) * filled[:, -1:]
    right = torch.searchsorted(filled, wanted).clamp(1, count)
    below, above = filled.gather(1, right - 1), filled.gather(1, right)
    share = ((wanted - below) / (above - below)).clamp(0, 1)
    spot = t[right - 1] + share * (t[right] - t[right - 1])
    spot[:, 0] = start_t
    used = number[None] <= parts[:, None]
    spot = torch.where(number[None] == parts[:, None], stop_t, spot)
    spot, column = spot[used], torch.arange(around)[:, None].expand(-1, most + 1)[used]
    arc = arc_of_t(spot, own.length_mm)
    rho = surface_radius(arc, angle[column], own)
    points = own.line.point(arc, angle[column], rho)
    return Piece(arc, angle[column], points, _strips(spot, parts.long() + 1))


def ring_ends(piece: Piece) -> tuple[Tensor, Tensor]:
    """Return the vertices of the first and of the last ring of columns, in the order of angles."""
    starts = torch.cat([torch.tensor([True]), piece.angle_rad.diff() != 0]).nonzero()[:, 0]
    stops = torch.cat([starts[1:], torch.tensor([len(piece.arc_mm)])]) - 1
    return starts, stops


def sewn_rings(first: Tensor, second: Tensor) -> Tensor:
    """Return the strip of triangles between two rings, given their angles in rising order.

    The vertices of the first ring are 0 to n - 1, those of the second follow.
    """
    a, b = torch.arange(len(first) + 1), torch.arange(len(second) + 1)
    keys = [torch.cat([each, each[:1] + 2 * math.pi]) for each in (first, second)]
    counts = (torch.tensor([len(a)]), torch.tensor([len(b)]))
    faces = _sewn(torch.cat(keys), torch.zeros_like(counts[0]), *counts)
    back = torch.cat([a % len(first), b % len(second) + len(first)])
    return back[faces].flip(1)


def _strips(key: Tensor, counts: Tensor) -> Tensor:
    """Sew every curve to the next one and the last to the first, (F, 3)."""
    starts = _before(counts)
    # The first curve once more behind the last, so that every pair is neighbours in the list.
    faces = _sewn(
        torch.cat([key, key[: counts[0]]]), starts, counts, torch.cat([counts[1:], counts[:1]])
    )
    return torch.where(faces >= len(key), faces - len(key), faces)


def _sewn(key: Tensor, starts: Tensor, counts: Tensor, next_counts: Tensor) -> Tensor:
    """Return triangles between curves that lie behind each other in a list.

    Args:
        key: rising along every curve; the strip goes forward where the middle of an edge is behind.
        starts: of the curves.
        counts: vertices of each curve.
        next_counts: vertices of the curve behind it.
    """
    ours, theirs = _edges(starts, counts), _edges(starts + counts, next_counts)
    pair = torch.cat(
        [torch.arange(len(starts)).repeat_interleave(n - 1) for n in (counts, next_counts)]
    )
    middle = torch.cat([(key[edge] + key[edge + 1]) / 2 for edge in (ours, theirs)])
    apart = 2 * float(key.max() - key.min()) + 1  # no pair's keys reach the next pair's
    order = (pair * apart + middle).argsort(stable=True)
    second, pair = order >= len(ours), pair[order]
    # How many edges of either curve of its pair lie behind or belong to each triangle.
    mine = (~second).long().cumsum(dim=0) - _before(counts - 1)[pair]
    other = second.long().cumsum(dim=0) - _before(next_counts - 1)[pair]
    a, b = starts[pair] + mine, starts[pair] + counts[pair] + other
    # An edge of ours ends at a, an edge of theirs at b.
    corners = (
        torch.where(second, a, a - 1),
        torch.where(second, b, a),
        torch.where(second, b - 1, b),
    )
    return torch.stack(corners, dim=1)


def _spot(arc: Tensor, x: Tensor, y: Tensor) -> Place:
    """Return places in wall coordinates, in axes of their own: the line along z."""
    zero, one = torch.zeros_like(arc), torch.ones_like(arc)
    return Place(arc, x, y, (zero, zero, one), (one, zero, zero), (zero, one, zero), zero)


def _edges(starts: Tensor, counts: Tensor) -> Tensor:
    """Return the first vertex of every edge of curves."""
    each = counts - 1
    own = torch.arange(int(each.sum())) - _before(each).repeat_interleave(each)
    return own + starts.repeat_interleave(each)


def _before(counts: Tensor) -> Tensor:
    """Return the sum of all counts before each."""
    return counts.cumsum(0) - counts


def _turn(length_mm: float) -> tuple[float, float]:
    """Return the parameter where a cap's square root ends, and arc length's slope behind it."""
    turn = min(CAP_BOWL_MM, math.sqrt(CAP_BOWL_MM * length_mm))
    return turn, turn / CAP_BOWL_MM
