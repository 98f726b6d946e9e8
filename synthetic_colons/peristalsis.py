"""The wall moves: rings of contraction travel along the colon, and breathing narrows all of it.

At a moment the lumen's radius is the radius at rest times `factor` of arc length. A point of the
wall keeps its arc length and its angle and moves towards the centre line; a polyp on a stalk goes
along with the place it stands on.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from colondepth.centre_line import NODE_STEP_MM, CentreLine
from colondepth.errors import DataError
from colondepth.shapes import require_shapes
from synthetic_colons.clinic_settings import BREATHING_MOST, ClinicDraw
from synthetic_colons.colon import Colon
from synthetic_colons.renderer import Rendering
from synthetic_colons.wall import Wall
from synthetic_colons.wall_tables import (
    BEND_SLOT,
    CELL_COLUMNS,
    COLUMNS,
    POLYP_NUMBERS,
    ROUND_WINDOWS,
    ROW_MM,
    SLOTS,
    STALK_ARC,
    WallTables,
    wall_bounds,
)

# Bounds of a row know of what lies within the widest window, stretched in bends by up to 2.5.
_MARGIN_NODES = math.ceil(2.5 * ROUND_WINDOWS[-1] / NODE_STEP_MM) + 3
# How far on either side of the scope, 12 mm thick, the wall cannot close in on it.
KEPT_OPEN_MM = 25.0
_PER_NODE = round(NODE_STEP_MM / ROW_MM)


def factor(
    draw: ClinicDraw, arc_mm: Tensor, time_s: Tensor | float, *, scope_mm: Tensor | None = None
) -> Tensor:
    """Return the radius at a moment over the radius at rest.

    Args:
        draw: of the clip.
        arc_mm: arc lengths, of any shape.
        time_s: one, or of a shape that broadcasts.
        scope_mm: arc length of the scope's tip, of a shape that broadcasts; the wave spares its
            surroundings. None spares nothing.
    """
    time = torch.as_tensor(time_s, dtype=torch.float32, device=arc_mm.device)
    narrow = torch.zeros_like(arc_mm + time)
    for wave in draw.waves:
        away = (arc_mm - wave.arc_mm - wave.speed_mm_per_s * time) / wave.length_mm
        bell = (math.pi * away.clamp(-0.5, 0.5)).cos()
        narrow = torch.maximum(narrow, wave.narrowing * bell * bell)
    if scope_mm is not None:
        free = ((arc_mm - scope_mm.to(arc_mm)).abs() / KEPT_OPEN_MM).clamp(max=1)
        narrow = narrow * free * free * (3 - 2 * free)
    return (1 - narrow) * breath(draw, time)


def breath(draw: ClinicDraw, time_s: Tensor) -> Tensor:
    """Return what breathing makes of the radius, of the shape of the times; 1 without."""
    if draw.breathing is None:
        return torch.ones_like(time_s)
    own = draw.breathing
    turn = 2 * math.pi / own.period_s * time_s + own.phase_rad
    return 1 - own.narrowing * (0.5 - 0.5 * turn.cos())


def contracted(
    colon: Colon, draw: ClinicDraw, time_s: float, *, scope_mm: float | None = None
) -> Colon:
    """Return the colon as it is at a moment; the colon itself where nothing moves.

    Args:
        colon: at rest.
        draw: of the clip.
        time_s: the moment.
        scope_mm: arc length of the scope's tip, see `factor`.
    """
    if not draw.waves and draw.breathing is None:
        return colon
    rows = len(colon.wall.radius_mm)
    arc = torch.arange(rows, device=colon.device) * ROW_MM
    spared = None if scope_mm is None else torch.tensor(scope_mm)
    share = factor(draw, arc, time_s, scope_mm=spared)  # (S,)
    whole = float(breath(draw, torch.tensor(time_s)))
    if not 1 - BREATHING_MOST <= whole <= 1:
        raise DataError(f"breathing to {whole}; bounds hold from {1 - BREATHING_MOST} to 1")
    radius = colon.wall.radius_mm * share[:, None]
    wall = Wall(radius, colon.wall.label, colon.wall.fold)
    stalked = _carried_stalks(colon, draw, time_s, spared)
    flat = stalked.flatten() if len(stalked) else colon.tables.stalked
    tables = WallTables(
        nodes=colon.tables.nodes,
        radius_mm=torch.cat([radius.flatten(), radius.new_zeros(COLUMNS)]),
        bounds=_bounds(colon, radius, share != whole, whole).flatten(),
        node_start=colon.tables.node_start,
        node_last=colon.tables.node_last,
        stalked=flat,
        stalk_of=colon.tables.stalk_of,
    )
    return replace(colon, wall=wall, stalked=stalked, tables=tables)


def moved_wall(
    rendering: Rendering,
    points: Tensor,
    colon: Colon,
    draw: ClinicDraw,
    *,
    from_s: Tensor,
    to_s: Tensor,
    from_scope_mm: Tensor | None = None,
    to_scope_mm: Tensor | None = None,
) -> Tensor:
    """Return where the tissue that frames show is at another moment, in the world.

    Args:
        rendering: of B frames, with the wall's own coordinates.
        points: what the pixels show, in the world, (B, 3, H, W).
        colon: at rest.
        draw: of the clip.
        from_s: moments of the frames, (B,).
        to_s: the other moments, (B,).
        from_scope_mm: arc lengths of the scope in the frames, (B,), if `contracted` was told.
        to_scope_mm: arc lengths of the scope in the other moments, (B,).
    """
    require_shapes(points=(points, "B 3 H W"), from_s=(from_s, "B"), to_s=(to_s, "B"))
    arc, angle = rendering.arc_mm[:, 0], rendering.angle_rad[:, 0]  # (B, H, W)
    before, after = (
        factor(draw, arc, _each(time), scope_mm=None if scope is None else _each(scope))
        for time, scope in ((from_s, from_scope_mm), (to_s, to_scope_mm))
    )
    towards = (after / before - 1) * rendering.axis_mm[:, 0]  # mm, outward
    for number, row in zip(colon.stalked_numbers, colon.stalked, strict=True):
        own = rendering.label[:, 0] == number
        spot, turn, radius = _stands_on(colon, row)
        gain = [
            factor(draw, spot.expand(len(time)), time, scope_mm=scope)
            for time, scope in ((from_s, from_scope_mm), (to_s, to_scope_mm))
        ]
        towards = torch.where(own, _each((gain[1] - gain[0]) * radius).to(towards), towards)
        arc, angle = torch.where(own, spot, arc), torch.where(own, turn, angle)
    _, frame = colon.line.at(arc)  # (B, H, W, 3, 3)
    outward = angle.cos()[..., None] * frame[..., 0] + angle.sin()[..., None] * frame[..., 1]
    return points + (towards[..., None] * outward).movedim(-1, 1)


def _bounds(colon: Colon, radius: Tensor, changed: Tensor, whole: float) -> Tensor:
    """Return the bounds of the narrowed wall: scaled everywhere, made anew around waves."""
    nodes = len(colon.line.nodes)
    found = colon.tables.bounds.view(nodes, CELL_COLUMNS, SLOTS).clone()
    if whole < 1:
        found[..., :BEND_SLOT] *= whole
        # No term of the bend grows by more than 1 / factor; and a narrower lumen turns the window
        # by less than one cell, which its neighbours know of.
        bend = found[..., BEND_SLOT:]
        wide = torch.maximum(bend, torch.maximum(bend.roll(1, 1), bend.roll(-1, 1)))
        found[..., BEND_SLOT:] = wide / whole
    for first, last in _stretches(changed):
        start, end = max(0, first - _MARGIN_NODES), min(nodes, last + _MARGIN_NODES + 1)
        low, high = max(0, start - _MARGIN_NODES), min(nodes, end + _MARGIN_NODES)
        line = CentreLine(colon.line.nodes[low:high])
        own = wall_bounds(line, radius[_PER_NODE * low : _PER_NODE * (high - 1) + 1])
        found[start:end] = own[start - low : end - low]
    return found


def _stretches(changed: Tensor) -> list[tuple[int, int]]:
    """Return the first and last node of each run of changed rows; close ones are one."""
    found: list[tuple[int, int]] = []
    for row in changed.nonzero()[:, 0].tolist():
        node = row // _PER_NODE
        if found and node - found[-1][1] <= 2 * _MARGIN_NODES:
            found[-1] = (found[-1][0], node + 1)
        else:
            found.append((node, node + 1))
    return found


def _carried_stalks(
    colon: Colon, draw: ClinicDraw, time_s: float, scope_mm: Tensor | None
) -> Tensor:
    """Return the polyps on stalks where the wall has taken them."""
    out = colon.stalked.clone()
    for row in out:
        arc, angle, radius = _stands_on(colon, row)
        gain = factor(draw, arc, time_s, scope_mm=scope_mm)
        _, frame = colon.line.at(arc)
        outward = angle.cos() * frame[:, 0] + angle.sin() * frame[:, 1]
        shift = ((gain - 1) * radius) * outward
        row[0:3] += shift
        row[3:6] += shift
    return out


def _stands_on(colon: Colon, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return arc length, angle and radius at rest of the place that a polyp's stalk stands on."""
    assert len(row) == POLYP_NUMBERS
    arc = row[STALK_ARC]
    for _ in range(4):  # from the polyp's middle to its base: Newton along the line
        here, frame = colon.line.at(arc)
        arc = arc + (row[0:3] - here) @ frame[:, 2]
    off = (row[0:3] - here) @ frame
    columns = colon.wall.radius_mm.shape[1]
    angle = torch.atan2(off[1], off[0])
    column = round(float(angle) / (2 * math.pi) * columns) % columns
    at = min(len(colon.wall.radius_mm) - 1, max(0, round(float(arc) / ROW_MM)))
    return arc, angle, colon.wall.radius_mm[at, column]


def _each(values: Tensor) -> Tensor:
    return values[:, None, None]
