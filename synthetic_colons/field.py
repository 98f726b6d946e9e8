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

from colondepth.centre_line import NODE_NUMBERS, NODE_STEP_MM
from synthetic_colons.wall_tables import (
    BEND_REACHES_MM,
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
    bends: Triple  # the most that the change may fall per mm, without the wall's own bend


def take(table: Tensor, index: Tensor) -> Tensor:
    """Look numbers up, (N,) and (R,) -> (R,); `table[index]` would also test for index < 0."""
    return table.gather(0, index.long())


def locate(point: Triple, arc_mm: Tensor, colon: Tensor, tables: WallTables) -> Place:
    """Find wall coordinates near a guess of the arc length, which should be a few mm off."""
    start = take(tables.node_start, colon)
    last = take(tables.node_last, colon)
    node = (arc_mm / NODE_STEP_MM + 0.5).floor().int().clamp(min=0).minimum(last)
    first = (start + node) * NODE_NUMBERS
    n = [take(tables.nodes, first + k) for k in range(NODE_NUMBERS)]
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
) -> tuple[Tensor, Triple]:
    """Return how far the surface is at least, and the wall's bend within `BEND_REACHES_MM`."""
    rho = (place.x * place.x + place.y * place.y).sqrt()
    last = take(tables.node_last, colon)
    row = (place.arc_mm / NODE_STEP_MM + 0.5).floor().int().clamp(min=0).minimum(last)
    column = (torch.atan2(place.y, place.x) * (CELL_COLUMNS / _TURN) + 0.5).floor().int()
    cell = (
        (take(tables.node_start, colon) + row) * CELL_COLUMNS + (column & (CELL_COLUMNS - 1))
    ) * SLOTS
    free = torch.zeros_like(rho)
    for slot, (reach, angle) in enumerate(SIDE_WINDOWS):
        seen = (take(tables.bounds, cell + slot) - rho).clamp(max=reach)
        free = torch.maximum(free, torch.where(rho * math.sin(angle) >= reach, seen, 0))
    for slot, reach in enumerate(ROUND_WINDOWS, start=len(SIDE_WINDOWS)):
        free = torch.maximum(free, (take(tables.bounds, cell + slot) - rho).clamp(max=reach))
    ahead = torch.minimum(place.arc_mm, last * NODE_STEP_MM - place.arc_mm)
    cap = ahead - rho * rho * (0.5 / CAP_BOWL_MM)
    blends = cap < 1.25 * CAP_BLEND_MM + _CAP_SLOPE * free
    free = torch.minimum(free, cap * (1 / _CAP_SLOPE))
    free = torch.where(blends, free - CAP_BLEND_MM / 4, free)
    away = _stalk(point, take(tables.stalk_of, take(tables.node_start, colon) + row), tables).away
    blends = away < 1.25 * STALK_BLEND_MM + free
    free = torch.minimum(free, away)
    free = torch.where(blends, free - STALK_BLEND_MM / 4, free)
    bends = [take(tables.bounds, cell + BEND_SLOT + k) for k in range(len(BEND_REACHES_MM))]
    return free.clamp(min=0), (bends[0], bends[1], bends[2])


def wall_at(place: Place, colon: Tensor, tables: WallTables) -> Wall:
    """Look the wall up: the biquadratic B-spline of the radius table."""
    column = torch.atan2(place.y, place.x) * (COLUMNS / _TURN)
    middle = (column + 0.5).floor()
    across = _weights(column - middle)
    rows = take(tables.node_last, colon) * 2
    row = place.arc_mm * (1 / ROW_MM)
    centre = (row + 0.5).floor().clamp(min=1).minimum((rows - 1).float())
    down = _weights((row - centre).clamp(-0.5, 0.5))
    start = take(tables.node_start, colon) * 2  # N nodes have 2 N - 1 rows, and one to spare
    first = start + centre.int()
    columns = [(middle.int() + k) & (COLUMNS - 1) for k in (-1, 0, 1)]
    radius = along = around = torch.zeros_like(column)
    for k in range(3):
        at = (first + (k - 1)) * COLUMNS
        a, b, c = (take(tables.radius_mm, at + each) for each in columns)
        value = across[0][0] * a + across[0][1] * b + across[0][2] * c
        radius = radius + down[0][k] * value
        along = along + down[1][k] * value
        around = around + down[0][k] * (across[1][0] * a + across[1][1] * b + across[1][2] * c)
    return Wall(radius, along * (1 / ROW_MM), around * (COLUMNS / _TURN))


def values_along(
    point: Triple,
    direction: Triple,
    place: Place,
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
    bends = [1.5 / rho] * len(BEND_REACHES_MM)
    last = take(tables.node_last, colon)
    near_end = place.arc_mm > 0.5 * NODE_STEP_MM * last
    ahead = torch.where(near_end, last * NODE_STEP_MM - place.arc_mm, place.arc_mm)
    cap = ahead - rho * rho * (0.5 / CAP_BOWL_MM)
    cap_change = torch.where(near_end, -towards, towards) - rho * outward * (1 / CAP_BOWL_MM)
    bends = _with_blend(bends, field, cap, CAP_BLEND_MM, 4 / CAP_BLEND_MM)
    field, change = _smooth_minimum(field, change, cap, cap_change, CAP_BLEND_MM)
    stalk = _stalk(point, stalk_at(place, colon, tables), tables)
    away_change = _dot(direction, stalk.outward)
    sharpest = 4 / STALK_BLEND_MM + 4 / HEAD_BLEND_MM
    bends = _with_blend(bends, field, stalk.away, STALK_BLEND_MM, sharpest)
    field, change = _smooth_minimum(field, change, stalk.away, away_change, STALK_BLEND_MM)
    return Values(field, change, (bends[0], bends[1], bends[2]))


def safe_step_mm(values: Values, wall_bends: Triple) -> tuple[Tensor, Tensor]:
    """Return how far a ray may go before the field can be 0, and how far beyond it must be.

    field + change t - bend t^2 / 2 lies below the field within the reach of that bend, so its
    root lies before the surface; the parabola that bends the other way lies above, and its root
    lies behind. Both close in quadratically, like Newton's. The step is the best of several: with
    the bend of nearby, and with those of farther around.

    Args:
        values: the field along the rays.
        wall_bends: of the wall, within each of `BEND_REACHES_MM`.

    Returns:
        The step, negative where the point lies behind the surface, and the gap between the two
        roots, infinite where the ray may pass by.
    """
    near = BEND_REACHES_MM[0]
    field, change, own = values
    bends = [a + b for a, b in zip(own, wall_bends, strict=True)]
    squared, outside = change * change, field.clamp(min=0)
    step = _root(field, change, squared + 2 * bends[0] * outside)
    upper = squared - 2 * bends[0] * field.abs()
    meets = (upper > 0) & (change < 0) & (step.abs() < near)
    gap = (_root(field, change, upper.clamp(min=0)) - step).abs()
    step = step.clamp(-near, near)
    for reach, bend in zip(BEND_REACHES_MM[1:], bends[1:], strict=True):
        wide = _root(field, change, squared + 2 * bend * outside)
        step = torch.maximum(step, wide.clamp(max=reach))
    return step, torch.where(meets, gap, torch.inf)


def _root(field: Tensor, change: Tensor, square: Tensor) -> Tensor:
    return 2 * field / (square.sqrt() - change).clamp(min=_TINY)


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
    last = take(tables.node_last, colon)
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
    stalk = _stalk(point, stalk_at(place, colon, tables), tables)
    share = _share(field, stalk.away, STALK_BLEND_MM)
    return (
        g[0] + share * (stalk.outward[0] - g[0]),
        g[1] + share * (stalk.outward[1] - g[1]),
        g[2] + share * (stalk.outward[2] - g[2]),
    )


def stalk_at(place: Place, colon: Tensor, tables: WallTables) -> Tensor:
    """Return the number of the polyp on a stalk that is nearest along the line."""
    last = take(tables.node_last, colon)
    node = (place.arc_mm / NODE_STEP_MM + 0.5).floor().int().clamp(min=0).minimum(last)
    return take(tables.stalk_of, take(tables.node_start, colon) + node)


def from_stalk_mm(point: Triple, number: Tensor, tables: WallTables) -> Tensor:
    """Return a lower bound of the distance to a polyp on a stalk, 0 on its surface."""
    return _stalk(point, number, tables).away


class _Stalk(NamedTuple):
    away: Tensor
    outward: Triple  # its gradient


def _stalk(point: Triple, number: Tensor, tables: WallTables) -> _Stalk:
    """Return a lower bound of the distance to a polyp, exact in its zeros, and its gradient."""
    first = number * POLYP_NUMBERS
    n = [take(tables.stalked, first + k) for k in range(9)]
    bx, by, bz = point[0] - n[0], point[1] - n[1], point[2] - n[2]
    ax, ay, az = n[3] - n[0], n[4] - n[1], n[5] - n[2]
    square = ax * ax + ay * ay + az * az
    share = ((bx * ax + by * ay + bz * az) / square).clamp(0, 1)
    sx, sy, sz = bx - share * ax, by - share * ay, bz - share * az
    off = (sx * sx + sy * sy + sz * sz).sqrt().clamp(min=_TINY)
    stalk = off - n[6]
    hx, hy, hz = point[0] - n[3], point[1] - n[4], point[2] - n[5]
    inverse = square.rsqrt()
    ax, ay, az = ax * inverse, ay * inverse, az * inverse
    height = hx * ax + hy * ay + hz * az
    fx, fy, fz = hx - height * ax, hy - height * ay, hz - height * az
    up, out = height / (n[7] * n[7]), 1 / (n[8] * n[8])
    level = (height * up + (fx * fx + fy * fy + fz * fz) * out).sqrt().clamp(min=_TINY)
    smaller = torch.minimum(n[7], n[8])
    head = (level - 1) * smaller
    h = (1 - (stalk - head).abs() * (1 / HEAD_BLEND_MM)).clamp(min=0)
    away = torch.minimum(stalk, head) - h * h * (HEAD_BLEND_MM / 4)
    of_head = torch.where(stalk < head, h / 2, 1 - h / 2)
    to_stalk, to_head = (1 - of_head) / off, of_head * smaller / level
    outward = (
        to_stalk * sx + to_head * (up * ax + out * fx),
        to_stalk * sy + to_head * (up * ay + out * fy),
        to_stalk * sz + to_head * (up * az + out * fz),
    )
    return _Stalk(away, outward)


def _smooth_minimum(
    a: Tensor, a_change: Tensor, b: Tensor, b_change: Tensor, width: float
) -> tuple[Tensor, Tensor]:
    """Return the polynomial smooth minimum and its change."""
    h = (1 - (a - b).abs() * (1 / width)).clamp(min=0)
    value = torch.minimum(a, b) - h * h * (width / 4)
    return value, a_change + torch.where(a < b, h / 2, 1 - h / 2) * (b_change - a_change)


def _with_blend(
    bends: list[Tensor], a: Tensor, b: Tensor, width: float, sharpest: float
) -> list[Tensor]:
    """Return bends to which a smooth minimum adds wherever it may set in within their reach."""
    apart = (a - b).abs()
    # Two fields of slopes up to 3 and 1 come together by 4 mm in each mm.
    return [
        bend + torch.where(apart < width + 4 * reach, sharpest, 0.0)
        for bend, reach in zip(bends, BEND_REACHES_MM, strict=True)
    ]


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
