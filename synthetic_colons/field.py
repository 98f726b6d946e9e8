"""The inside of a colon as a function of place, and how far a ray may go without missing the wall.

    field(p) = smooth minimum of   radius(s, angle) - distance from the centre line     the wall
                                   the bowl at either end                               the caps
                                   distance to polyps on stalks

positive in the lumen, 0 on the surface. Everything here works on flat lists of rays (R,) number by
number, so that a compiler can keep one ray in registers from beginning to end.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from synthetic_colons.centre_line import NODE_NUMBERS, NODE_STEP_MM
from synthetic_colons.wall_tables import (
    BEND_REACH_MM,
    BEND_SLOT,
    CELL_COLUMNS,
    COLUMNS,
    POLYP_NUMBERS,
    ROUND_WINDOWS,
    ROW_MM,
    SIDE_WINDOWS,
    SLOTS,
    WallTables,
)

CAP_BLEND_MM = 8.0  # roundness of the corner between wall and end
CAP_BOWL_MM = 40.0  # radius of the bowl that closes either end
STALK_BLEND_MM = 3.0  # roundness of the corner between wall and stalk
HEAD_BLEND_MM = 1.0  # between stalk and head
# The bowl's slope, with the stretch of a gentle bend: how fast its field may fall.
_CAP_SLOPE = 2.0
_TURN = 2 * math.pi
_TINY = 1e-6
_FARTHEST_STEP = ROUND_WINDOWS[-1]

Triple = tuple[Tensor, Tensor, Tensor]


class Place(NamedTuple):
    """Points in wall coordinates, and the frame there."""

    arc_mm: Tensor
    x: Tensor  # along U
    y: Tensor  # along T x U
    tangent: Triple
    normal: Triple
    side: Triple
    inward: Tensor  # share of the bend's radius that the point is inside of the line


class Wall(NamedTuple):
    """The wall's radius above a place and how it changes."""

    radius_mm: Tensor
    along: Tensor  # per mm of arc length
    around: Tensor  # per rad


class Values(NamedTuple):
    """The field at points of rays."""

    field: Tensor
    change: Tensor  # per mm along the ray
    bend: Tensor  # the most that the change may fall per mm, within BEND_REACH_MM


def locate(point: Triple, arc_mm: Tensor, colon: Tensor, tables: WallTables) -> Place:
    """Find wall coordinates near a guess of the arc length, which should be a few mm off."""
    start = tables.node_start[colon]
    last = tables.node_last[colon]
    node = (arc_mm / NODE_STEP_MM + 0.5).floor().int().clamp(min=0).minimum(last)
    first = (start + node) * NODE_NUMBERS
    n = [tables.nodes[first + k] for k in range(NODE_NUMBERS)]
    px, py, pz = point[0] - n[0], point[1] - n[1], point[2] - n[2]
    d = arc_mm - node * NODE_STEP_MM
    for _ in range(2):  # Newton on (p - c(s)) . c'(s) = 0
        tx, ty, tz = n[3] + d * n[6], n[4] + d * n[7], n[5] + d * n[8]
        ex, ey, ez = _off(px, d, n[3], n[6]), _off(py, d, n[4], n[7]), _off(pz, d, n[5], n[8])
        slope = tx * tx + ty * ty + tz * tz - (ex * n[6] + ey * n[7] + ez * n[8])
        d = d + (ex * tx + ey * ty + ez * tz) / slope.clamp(min=0.1)
    tx, ty, tz = n[3] + d * n[6], n[4] + d * n[7], n[5] + d * n[8]
    ex, ey, ez = _off(px, d, n[3], n[6]), _off(py, d, n[4], n[7]), _off(pz, d, n[5], n[8])
    length = (tx * tx + ty * ty + tz * tz).rsqrt()
    tx, ty, tz = tx * length, ty * length, tz * length
    along = n[9] * tx + n[10] * ty + n[11] * tz
    ux, uy, uz = n[9] - along * tx, n[10] - along * ty, n[11] - along * tz
    length = (ux * ux + uy * uy + uz * uz).rsqrt()
    ux, uy, uz = ux * length, uy * length, uz * length
    vx, vy, vz = ty * uz - tz * uy, tz * ux - tx * uz, tx * uy - ty * ux
    return Place(
        node * NODE_STEP_MM + d,
        ex * ux + ey * uy + ez * uz,
        ex * vx + ey * vy + ez * vz,
        (tx, ty, tz),
        (ux, uy, uz),
        (vx, vy, vz),
        ex * n[6] + ey * n[7] + ez * n[8],
    )


def free_mm(
    place: Place, point: Triple, colon: Tensor, tables: WallTables
) -> tuple[Tensor, Tensor]:
    """Return how far the surface is at least from points, and the wall's bend there."""
    rho = (place.x * place.x + place.y * place.y).sqrt()
    last = tables.node_last[colon]
    row = (place.arc_mm / NODE_STEP_MM + 0.5).floor().int().clamp(min=0).minimum(last)
    column = (torch.atan2(place.y, place.x) * (CELL_COLUMNS / _TURN) + 0.5).floor().int()
    cell = ((tables.node_start[colon] + row) * CELL_COLUMNS + (column & (CELL_COLUMNS - 1))) * SLOTS
    free = torch.zeros_like(rho)
    for slot, (reach, angle) in enumerate(SIDE_WINDOWS):
        seen = (tables.bounds[cell + slot] - rho).clamp(max=reach)
        free = torch.maximum(free, torch.where(rho * math.sin(angle) >= reach, seen, 0))
    for slot, reach in enumerate(ROUND_WINDOWS, start=len(SIDE_WINDOWS)):
        free = torch.maximum(free, (tables.bounds[cell + slot] - rho).clamp(max=reach))
    ahead = torch.minimum(place.arc_mm, last * NODE_STEP_MM - place.arc_mm)
    cap = ahead - rho * rho * (0.5 / CAP_BOWL_MM)
    blends = cap < 1.25 * CAP_BLEND_MM + _CAP_SLOPE * free
    free = torch.minimum(free, cap * (1 / _CAP_SLOPE))
    free = torch.where(blends, free - CAP_BLEND_MM / 4, free)
    for number in range(tables.stalked_each):
        away = _stalked(point, None, colon, number, tables)[0]
        blends = away < 1.25 * STALK_BLEND_MM + free
        free = torch.minimum(free, away)
        free = torch.where(blends, free - STALK_BLEND_MM / 4, free)
    return free.clamp(min=0), tables.bounds[cell + BEND_SLOT]


def wall_at(place: Place, colon: Tensor, tables: WallTables) -> Wall:
    """Look the wall up: the biquadratic B-spline of the radius table."""
    column = torch.atan2(place.y, place.x) * (COLUMNS / _TURN)
    middle = (column + 0.5).floor()
    across = _weights(column - middle)
    rows = tables.node_last[colon] * 2
    row = place.arc_mm * (1 / ROW_MM)
    centre = (row + 0.5).floor().clamp(min=1).minimum((rows - 1).float())
    down = _weights((row - centre).clamp(-0.5, 0.5))
    start = tables.node_start[colon] * 2 - colon  # a colon of N nodes has 2 N - 1 rows
    first = start + centre.int()
    columns = [(middle.int() + k) & (COLUMNS - 1) for k in (-1, 0, 1)]
    radius = along = around = torch.zeros_like(column)
    for k in range(3):
        at = (first + (k - 1)) * COLUMNS
        a, b, c = (tables.radius_mm[at + each] for each in columns)
        value = across[0][0] * a + across[0][1] * b + across[0][2] * c
        radius = radius + down[0][k] * value
        along = along + down[1][k] * value
        around = around + down[0][k] * (across[1][0] * a + across[1][1] * b + across[1][2] * c)
    return Wall(radius, along * (1 / ROW_MM), around * (COLUMNS / _TURN))


def values_along(
    point: Triple,
    direction: Triple,
    place: Place,
    bend: Tensor,
    colon: Tensor,
    tables: WallTables,
) -> Values:
    """Return the field at points, and how it changes along rays through them."""
    wall = wall_at(place, colon, tables)
    x, y = place.x, place.y
    rho = (x * x + y * y).sqrt().clamp(min=_TINY)
    towards = _dot(direction, place.tangent) / (1 - place.inward).clamp(min=0.1)  # of s
    du, dv = _dot(direction, place.normal), _dot(direction, place.side)
    outward = (x * du + y * dv) / rho
    turning = (x * dv - y * du) / (rho * rho)
    field = wall.radius_mm - rho
    change = wall.along * towards + wall.around * turning - outward
    bend = bend + 1.5 / rho
    last = tables.node_last[colon]
    near_end = place.arc_mm > 0.5 * NODE_STEP_MM * last
    ahead = torch.where(near_end, last * NODE_STEP_MM - place.arc_mm, place.arc_mm)
    cap = ahead - rho * rho * (0.5 / CAP_BOWL_MM)
    cap_change = torch.where(near_end, -towards, towards) - rho * outward * (1 / CAP_BOWL_MM)
    field, change, blend = _smooth_minimum(field, change, cap, cap_change, CAP_BLEND_MM)
    bend = bend + blend * (4 / CAP_BLEND_MM)
    for number in range(tables.stalked_each):
        away, away_change = _stalked(point, direction, colon, number, tables)
        field, change, blend = _smooth_minimum(field, change, away, away_change, STALK_BLEND_MM)
        bend = bend + blend * (4 / STALK_BLEND_MM + 4 / HEAD_BLEND_MM)
    return Values(field, change, bend)


def safe_step_mm(values: Values) -> Tensor:
    """Return how far a ray may go before the field can be 0: the root of its lower parabola.

    field + change t - bend t^2 / 2 lies below the field within BEND_REACH_MM, so its root lies
    before the surface, and beside it quadratically near, like Newton's.
    """
    root = (values.change * values.change + 2 * values.bend * values.field.clamp(min=0)).sqrt()
    step = 2 * values.field / (root - values.change).clamp(min=_TINY)
    return step.clamp(-BEND_REACH_MM, BEND_REACH_MM)


def gradient(point: Triple, place: Place, colon: Tensor, tables: WallTables) -> Triple:
    """Return the gradient of the field: it points into the lumen."""
    wall = wall_at(place, colon, tables)
    x, y = place.x, place.y
    rho = (x * x + y * y).sqrt().clamp(min=_TINY)
    along = wall.along / (1 - place.inward).clamp(min=0.1)
    out_u, out_v = x / rho, y / rho
    # of radius - rho: along T, along U and along T x U
    gt = along
    gu = -out_u - wall.around * out_v / rho
    gv = -out_v + wall.around * out_u / rho
    last = tables.node_last[colon]
    near_end = place.arc_mm > 0.5 * NODE_STEP_MM * last
    ahead = torch.where(near_end, last * NODE_STEP_MM - place.arc_mm, place.arc_mm)
    cap = ahead - rho * rho * (0.5 / CAP_BOWL_MM)
    speed = 1 / (1 - place.inward).clamp(min=0.1)
    field = wall.radius_mm - rho
    share = _share(field, cap, CAP_BLEND_MM)
    field = _smooth_minimum(field, field, cap, cap, CAP_BLEND_MM)[0]
    gt = gt + share * (torch.where(near_end, -speed, speed) - gt)
    gu = gu + share * (-x * (1 / CAP_BOWL_MM) - gu)
    gv = gv + share * (-y * (1 / CAP_BOWL_MM) - gv)
    g = [
        gt * t + gu * u + gv * v
        for t, u, v in zip(place.tangent, place.normal, place.side, strict=True)
    ]
    for number in range(tables.stalked_each):
        away, _ = _stalked(point, None, colon, number, tables)
        share = _share(field, away, STALK_BLEND_MM)
        field = _smooth_minimum(field, field, away, away, STALK_BLEND_MM)[0]
        own = [_stalked(point, axis, colon, number, tables)[1] for axis in _axes(point)]
        g = [a + share * (b - a) for a, b in zip(g, own, strict=True)]
    return g[0], g[1], g[2]


def nearest_stalked(point: Triple, colon: Tensor, tables: WallTables) -> tuple[Tensor, Tensor]:
    """Return the distance to the nearest polyp on a stalk and its number within the colon."""
    best = torch.full_like(point[0], torch.inf)
    which = torch.zeros_like(colon)
    for number in range(tables.stalked_each):
        away, _ = _stalked(point, None, colon, number, tables)
        which = torch.where(away < best, number, which)
        best = torch.minimum(best, away)
    return best, which


def _stalked(
    point: Triple,
    direction: Triple | None,
    colon: Tensor,
    number: int,
    tables: WallTables,
) -> tuple[Tensor, Tensor]:
    """Return a lower bound of the distance to a polyp, exact in its zeros, and its change."""
    first = (colon * tables.stalked_each + number) * POLYP_NUMBERS
    n = [tables.stalked[first + k] for k in range(9)]
    bx, by, bz = point[0] - n[0], point[1] - n[1], point[2] - n[2]
    ax, ay, az = n[3] - n[0], n[4] - n[1], n[5] - n[2]
    square = ax * ax + ay * ay + az * az
    share = ((bx * ax + by * ay + bz * az) / square).clamp(0, 1)
    sx, sy, sz = bx - share * ax, by - share * ay, bz - share * az
    off = (sx * sx + sy * sy + sz * sz).sqrt().clamp(min=_TINY)
    stalk = off - n[6]
    hx, hy, hz = point[0] - n[3], point[1] - n[4], point[2] - n[5]
    inverse = square.rsqrt()
    height = (hx * ax + hy * ay + hz * az) * inverse
    flat = (hx * hx + hy * hy + hz * hz - height * height).clamp(min=0)
    level = (height * height / (n[7] * n[7]) + flat / (n[8] * n[8])).sqrt().clamp(min=_TINY)
    smaller = torch.minimum(n[7], n[8])
    head = (level - 1) * smaller
    if direction is None:
        return _smooth_minimum(stalk, stalk, head, head, HEAD_BLEND_MM)[0], stalk
    dx, dy, dz = direction
    stalk_change = (sx * dx + sy * dy + sz * dz) / off
    rise = (dx * ax + dy * ay + dz * az) * inverse
    widen = hx * dx + hy * dy + hz * dz - height * rise
    head_change = (height * rise / (n[7] * n[7]) + widen / (n[8] * n[8])) / level * smaller
    field, change, _ = _smooth_minimum(stalk, stalk_change, head, head_change, HEAD_BLEND_MM)
    return field, change


def _smooth_minimum(
    a: Tensor, a_change: Tensor, b: Tensor, b_change: Tensor, width: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the polynomial smooth minimum, its change, and 1 where both take part."""
    h = (1 - (a - b).abs() * (1 / width)).clamp(min=0)
    value = torch.minimum(a, b) - h * h * (width / 4)
    share = torch.where(a < b, h / 2, 1 - h / 2)  # of b
    near = ((a - b).abs() < width + 4 * BEND_REACH_MM).float()
    return value, a_change + share * (b_change - a_change), near


def _share(a: Tensor, b: Tensor, width: float) -> Tensor:
    h = (1 - (a - b).abs() * (1 / width)).clamp(min=0)
    return torch.where(a < b, h / 2, 1 - h / 2)


def _weights(x: Tensor) -> tuple[Triple, Triple]:
    """Return the weights of a quadratic B-spline and of its slope, x in [-1/2, 1/2]."""
    low, high = 0.5 - x, 0.5 + x
    return (0.5 * low * low, 0.75 - x * x, 0.5 * high * high), (-low, -2 * x, high)


def _off(p: Tensor, d: Tensor, tangent: Tensor, bend: Tensor) -> Tensor:
    return p - d * (tangent + 0.5 * d * bend)


def _dot(a: Triple, b: Triple) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _axes(point: Triple) -> tuple[Triple, Triple, Triple]:
    one, zero = torch.ones_like(point[0]), torch.zeros_like(point[0])
    return (one, zero, zero), (zero, one, zero), (zero, zero, one)
