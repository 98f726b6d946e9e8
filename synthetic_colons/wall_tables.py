"""What the renderer looks up of colons: one flat table a subject, several colons in one.

A wall is a lumen radius over arc length and angle. Rows are `ROW_MM` apart and `COLUMNS` go
around; the surface is the biquadratic B-spline of these numbers, so that its normal is continuous.
Bounds are what lets a ray stride: for cells of 1 mm and 1/128 turn, how narrow the lumen gets
within 1, 2 and 4 mm on this side and within 8 and 16 mm on any side, and how sharply the wall
bends within 0.4, 1.2 and 4 mm. All of them hold for every point of the cell.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from colondepth.centre_line import NODE_STEP_MM, CentreLine

ROW_MM = 0.5
COLUMNS = 256  # 0.6 mm apart in a lumen of 25 mm: finer than any fold
BOUND_ROWS, BOUND_COLUMNS = 2, 2  # rows and columns of the wall in a cell of the bounds
CELL_COLUMNS = COLUMNS // BOUND_COLUMNS
SLOTS = 8  # numbers a cell: a cache line holds two
# Windows on one side: (reach in mm, half its angle in rad). A ball of that reach stays within the
# angle if its centre is reach / sin(angle) or more from the centre line.
SIDE_WINDOWS = (
    (1.0, math.radians(10)),
    (2.0, math.radians(15)),
    (4.0, math.radians(25)),
)
ROUND_WINDOWS = (8.0, 16.0)
BEND_SLOT = len(SIDE_WINDOWS) + len(ROUND_WINDOWS)
BEND_REACHES_MM = (0.4, 1.2, 4.0)
POLYP_NUMBERS = 16
# On the inner side of a bend arc length passes faster than the ray travels, by up to this.
_STRETCHES = (1.2, 1.6, 2.5)


@dataclass(frozen=True, slots=True, eq=False)
class WallTables:
    """Colons, one after the other; a ray knows which is its own."""

    nodes: Tensor  # (nodes of all * 12,)
    radius_mm: Tensor  # (rows of all * COLUMNS,)
    bounds: Tensor  # (cells of all * SLOTS,)
    node_start: Tensor  # (C,) int32, the first node of each colon; rows and cells follow from it
    node_last: Tensor  # (C,) int32, number of the last node, from 0
    stalked: Tensor  # (polyps of all * POLYP_NUMBERS,), polyps on stalks
    stalk_of: Tensor  # (nodes of all,) int32, the polyp on a stalk that is nearest along the line


def rows_of(nodes: int) -> int:
    """Return how many rows a wall has over so many nodes."""
    return (nodes - 1) * round(NODE_STEP_MM / ROW_MM) + 1


def join_tables(tables: Sequence[WallTables]) -> WallTables:
    """Put the tables of several colons behind each other."""
    counts = torch.cat([each.node_last + 1 for each in tables])
    polyps = [len(each.stalked) // POLYP_NUMBERS for each in tables]
    first = [sum(polyps[:number]) for number in range(len(tables))]
    return WallTables(
        nodes=torch.cat([each.nodes for each in tables]),
        radius_mm=torch.cat([each.radius_mm for each in tables]),
        bounds=torch.cat([each.bounds for each in tables]),
        node_start=(counts.cumsum(0) - counts).int(),
        node_last=(counts - 1).int(),
        stalked=torch.cat([each.stalked for each in tables]),
        stalk_of=torch.cat([one.stalk_of + k for one, k in zip(tables, first, strict=True)]),
    )


# base x y z, head x y z, stalk radius, head's radius along the stalk and across it, arc length;
# this one is of no colon, but every colon has one
FAR_POLYP = (*(1e6, 1e6, 1e6), *(1e6, 1e6, 1e6 + 1), *(1e-3, 1e-3, 1e-3), *(0.0,) * 7)
STALK_ARC = 9  # where the arc length stands


def wall_tables(line: CentreLine, radius_mm: Tensor, stalked: Tensor) -> WallTables:
    """Make the tables of one colon.

    Args:
        line: the centre line, N nodes.
        radius_mm: the wall (`rows_of(N)`, COLUMNS).
        stalked: (K, POLYP_NUMBERS), see `FAR_POLYP`; farther from each other along the line than
            the widest window, so that a place needs to ask for the nearest alone.
    """
    device = radius_mm.device
    stalked = stalked if len(stalked) else torch.tensor([FAR_POLYP])
    arc = torch.arange(len(line.nodes)) * NODE_STEP_MM
    nearest = (arc[:, None] - stalked[None, :, STALK_ARC].cpu()).abs().argmin(dim=1)
    return WallTables(
        nodes=line.nodes.to(device).flatten(),
        radius_mm=pad(radius_mm.flatten(), (0, COLUMNS)).contiguous(),
        bounds=wall_bounds(line, radius_mm).flatten(),
        node_start=torch.zeros(1, dtype=torch.int32, device=device),
        node_last=torch.tensor([len(line.nodes) - 1], dtype=torch.int32, device=device),
        stalked=stalked.to(device).flatten(),
        stalk_of=nearest.int().to(device),
    )


def wall_bounds(line: CentreLine, radius_mm: Tensor) -> Tensor:
    """Return the bounds of a wall, shape (N, CELL_COLUMNS, SLOTS)."""
    bend = line.nodes[:, 6:9].norm(dim=-1).to(radius_mm)  # (N,)
    per_node = round(NODE_STEP_MM / ROW_MM)
    widest = -_lowest(-radius_mm, rows=round(16 / ROW_MM), columns=COLUMNS)[::per_node, 0]  # (N,)
    sharpest = -_lowest(-bend[:, None].expand(-1, 2), rows=16, columns=2)[:, 0]
    stretch = 1 / (1 - (sharpest * widest).clamp(max=1 - 1 / _STRETCHES[-1]))
    slots = [_within(radius_mm, stretch, reach, angle) for reach, angle in SIDE_WINDOWS]
    slots += [_within(radius_mm, stretch, reach, math.pi) for reach in ROUND_WINDOWS]
    slots += [_bend_bound(radius_mm, stretch, sharpest, reach) for reach in BEND_REACHES_MM]
    return torch.stack(slots, dim=-1)


def _within(values: Tensor, stretch: Tensor, reach_mm: float, angle: float) -> Tensor:
    """Return the lowest value within a reach and an angle of each cell, (N, CELL_COLUMNS)."""
    columns = min(COLUMNS, math.ceil(angle / (2 * math.pi) * COLUMNS) + BOUND_COLUMNS)
    found = torch.zeros_like(values[::BOUND_ROWS, ::BOUND_COLUMNS])
    for factor in reversed(_STRETCHES):  # the narrowest window that still holds has the last word
        rows = math.ceil((reach_mm * factor + NODE_STEP_MM / 2) / ROW_MM) + 1
        lowest = _lowest(values, rows=rows, columns=columns)[::BOUND_ROWS, ::BOUND_COLUMNS]
        holds = (stretch <= factor)[:, None] | (factor == _STRETCHES[-1])
        found = torch.where(holds, lowest, found)
    return found


def _bend_bound(radius_mm: Tensor, stretch: Tensor, sharpest: Tensor, reach_mm: float) -> Tensor:
    """Return how sharply radius - distance may bend along a straight ray near each cell, 1/mm."""
    turn = 2 * math.pi / COLUMNS
    along = pad(radius_mm.diff(dim=0), (0, 0, 0, 1)) / ROW_MM
    along2 = pad(radius_mm.diff(n=2, dim=0), (0, 0, 1, 1)) / ROW_MM**2
    around = (radius_mm.roll(-1, 1) - radius_mm) / turn
    around2 = (radius_mm.roll(-1, 1) - 2 * radius_mm + radius_mm.roll(1, 1)) / turn**2
    mixed = (along.roll(-1, 1) - along) / turn
    g = stretch.repeat_interleave(2)[: len(radius_mm), None]
    k = sharpest.repeat_interleave(2)[: len(radius_mm), None]
    own = along2.abs() * g**2 + 2 * mixed.abs() * g / radius_mm + around2.abs() / radius_mm**2
    own = own + along.abs() * k * g**2 + 2 * around.abs() / radius_mm**2 + k * g
    # A ray at the wall stays within asin(reach / radius) of its angle.
    narrow = max(float(radius_mm.min()), 2 * reach_mm)
    return -_within(-own, stretch, reach_mm, math.asin(reach_mm / narrow))


def _lowest(values: Tensor, *, rows: int, columns: int) -> Tensor:
    """Return the minimum within so many rows and columns on either side; columns close."""
    if 2 * columns + 1 >= values.shape[1]:
        around = values.amin(dim=1, keepdim=True).expand_as(values)
    else:
        wrapped = torch.cat([values[:, -columns:], values, values[:, :columns]], dim=1)
        around = -_slide(-wrapped.T.contiguous(), 2 * columns + 1).T
    padded = torch.cat([around[:1].expand(rows, -1), around, around[-1:].expand(rows, -1)])
    return -_slide(-padded.contiguous(), 2 * rows + 1)


def _slide(values: Tensor, width: int) -> Tensor:
    """Return the maximum of every `width` rows in a row, by doubling: log(width) passes."""
    reach, out = 1, values
    while 2 * reach <= width:
        out = torch.maximum(out[:-reach], out[reach:])
        reach *= 2
    if reach < width:
        out = torch.maximum(out[: len(out) - (width - reach)], out[width - reach :])
    return out
