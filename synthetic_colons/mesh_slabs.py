"""Where polyps on stalks stand, the surface has no one radius above an angle: marching cubes there.

A slab is a stretch of the colon with a polyp on a stalk in it, sampled on a grid of arc length and
the two axes across the line. Its vertices are then moved along the gradient onto the surface.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import marching_cubes
from torch import Tensor

from colondepth.errors import DataError
from synthetic_colons.field import (
    STALK_BLEND_MM,
    Place,
    Triple,
    gradient,
    locate,
    values_along,
)
from synthetic_colons.mesh_columns import (
    PROBE_MM,
    Ground,
    Piece,
    arc_of_t,
    density,
    surface_radius,
    t_of_arc,
)
from synthetic_colons.wall_tables import COLUMNS, ROW_MM, STALK_ARC

ON_SURFACE_MM = 1e-6  # of the field, when a vertex counts as being on it
_POLISH_ROUNDS = 15
_LONGEST_MOVE = 0.5  # of the grid's step, a round
_BALLS = 12  # along a stalk
_DIRECTIONS = 96  # on each ball
_MARGIN_MM = 1.0  # of arc length, between what a stalk reaches and a slab's end
_CALM_MM = 6.0  # within which the end of a slab looks for a place where the wall is level
_CALM_STEP_MM = 0.25
_CALM_COLUMNS = 64
_BEYOND_MM = 1.5  # past the end of the colon, so that the grid closes behind a cap
_SMALLEST_ROW = 0.25  # of the grid's step
_ROWS_A_BLOCK = 16  # of the grid, evaluated at a time
_OFF_CENTRE = 0.37  # of the grid's step: no line of the grid on an axis of symmetry


def slab_ends(own: Ground) -> list[tuple[float, float]]:
    """Return the stretches of arc length that polyps on stalks change, merged and in order.

    An end below 0 or beyond the length says that the cap belongs to the slab.
    """
    found: list[tuple[float, float]] = []
    for n in sorted(own.stalked, key=lambda numbers: float(numbers[STALK_ARC])):
        smaller, larger = float(n[7:9].min()), float(n[7:9].max())
        # The head's field grows by `smaller` for every radius, see `field.py`.
        reach = max(larger * (1 + STALK_BLEND_MM / smaller), float(n[6]) + STALK_BLEND_MM)
        share = torch.linspace(0, 1, _BALLS, dtype=torch.float64)[:, None, None]
        points = n[:3] + share * (n[3:6] - n[:3]) + reach * _directions()  # (balls, directions, 3)
        arc = own.line.nearest(points.reshape(-1, 3))
        low, high = _calm(float(arc.min()) - _MARGIN_MM, float(arc.max()) + _MARGIN_MM, own)
        if found and low < found[-1][1] + 2 * _MARGIN_MM:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found


def slab(
    low: float, high: float, own: Ground, *, step_mm: float, level: tuple[bool, bool]
) -> Piece:
    """Mesh the surface between two arc lengths by marching cubes.

    Args:
        low: the first plane; below 0 the cap is within.
        high: the last plane; beyond the length the cap is within.
        own: the colon.
        step_mm: the grid's.
        level: whether the first and the last ring of vertices stay in their planes.
    """
    rows = _rows(low, high, own, step_mm=step_mm)
    table = own.tables.radius_mm[:-COLUMNS].reshape(-1, COLUMNS)
    table = table[max(0, int(low / ROW_MM) - 1) : int(high / ROW_MM) + 3]
    half = math.ceil(float(table.max()) / step_mm) + 2
    across = (torch.arange(-half, half + 1, dtype=torch.float64) + _OFF_CENTRE) * step_mm
    volume = _sampled(rows, across, own)
    volume[volume == 0] = -ON_SURFACE_MM  # a vertex on a point of the grid would be several
    found, triangles, _, _ = marching_cubes(volume, 0.0)
    index = torch.from_numpy(found.astype(np.float64))  # (V, 3)
    arc = _between(rows, index[:, 0])
    x, y = _between(across, index[:, 1]), _between(across, index[:, 2])
    angle, rho = torch.atan2(y, x).remainder(2 * math.pi), torch.hypot(x, y)
    first, last = index[:, 0] == 0, index[:, 0] == len(rows) - 1
    arc[first], arc[last] = rows[0], rows[-1]  # exact, as rings are found by it
    flat = (first & level[0]) | (last & level[1])
    rho[flat] = surface_radius(arc[flat], angle[flat], own)
    points = own.line.point(arc, angle, rho)
    points[~flat], arc[~flat], angle[~flat] = _polished(
        points[~flat], arc[~flat], own, longest_mm=_LONGEST_MOVE * step_mm
    )
    faces = torch.from_numpy(triangles.astype(np.int64))
    return Piece(arc, angle, points, faces)


def open_ring(piece: Piece, arc_mm: float) -> Tensor:
    """Return the vertices of the open end in the plane of an arc length, by rising angle."""
    there = (piece.arc_mm == arc_mm).nonzero()[:, 0]
    ring = there[piece.angle_rad[there].argsort()]
    pairs = torch.stack([ring, ring.roll(-1)], dim=1).sort(dim=1).values
    edges = piece.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).sort(dim=1).values
    count = len(piece.arc_mm)
    keys, times = (edges[:, 0] * count + edges[:, 1]).unique(return_counts=True)
    rim = keys[times == 1]
    if not bool(torch.isin(pairs[:, 0] * count + pairs[:, 1], rim).all()):
        raise DataError(
            f"the wall at {arc_mm:.1f} mm is too rough for a grid this coarse;"
            " ask for a smaller along_mm"
        )
    return ring


def _calm(low: float, high: float, own: Ground) -> tuple[float, float]:
    """Move two ends outwards to where the wall is most level."""
    angle = torch.arange(_CALM_COLUMNS, dtype=torch.float64) * (2 * math.pi / _CALM_COLUMNS)
    ends = []
    for end, way in ((low, -1.0), (high, 1.0)):
        arc = end + way * torch.arange(0, _CALM_MM, _CALM_STEP_MM, dtype=torch.float64)
        # The bowl of a cap is level nowhere, and small at its end: it comes into the slab.
        if float(arc.min()) < _CALM_MM or float(arc.max()) > own.length_mm - _CALM_MM:
            ends.append(-_BEYOND_MM if way < 0 else own.length_mm + _BEYOND_MM)
            continue
        grid = (arc[:, None].expand(-1, len(angle)), angle[None].expand(len(arc), -1))
        radius = surface_radius(*grid, own)
        slope = (radius[2:] - radius[:-2]).abs().amax(dim=1)
        ends.append(float(arc[1:-1][slope.argmin()]))
    return ends[0], ends[1]


def _rows(low: float, high: float, own: Ground, *, step_mm: float) -> Tensor:
    """Return arc lengths, dense where the wall bends."""
    ends = torch.tensor([max(low, 0.0), min(high, own.length_mm)], dtype=torch.float64)
    start, stop = t_of_arc(ends, own.length_mm).tolist()
    t = torch.linspace(start, stop, math.ceil((stop - start) / PROBE_MM) + 1, dtype=torch.float64)
    arc = arc_of_t(t, own.length_mm)
    angle = torch.arange(COLUMNS, dtype=torch.float64) * (2 * math.pi / COLUMNS)
    dense = density(t, angle, own, along_mm=step_mm).amax(dim=1) * t.diff()
    dense = torch.minimum(dense, arc.diff() / (_SMALLEST_ROW * step_mm))
    filled = torch.cat([dense.new_zeros(1), dense.cumsum(dim=0)])
    parts = math.ceil(float(filled[-1]))
    wanted = np.linspace(0, float(filled[-1]), parts + 1)
    rows = torch.from_numpy(np.interp(wanted, filled.numpy(), arc.numpy()))
    rows[0], rows[-1] = ends[0], ends[1]
    beyond = torch.arange(step_mm, _BEYOND_MM + step_mm, step_mm, dtype=torch.float64)
    before = -beyond.flip(0) if low < 0 else beyond[:0]
    after = own.length_mm + beyond if high > own.length_mm else beyond[:0]
    return torch.cat([before, rows, after])


def _sampled(rows: Tensor, across: Tensor, own: Ground) -> NDArray[np.float32]:
    """Return the field on the grid, (S, X, Y)."""
    grid = torch.meshgrid(across.float(), across.float(), indexing="ij")
    x, y = (each.flatten() for each in grid)
    out = np.empty((len(rows), len(across), len(across)), np.float32)
    for first in range(0, len(rows), _ROWS_A_BLOCK):
        arc = rows[first : first + _ROWS_A_BLOCK]
        here, frame = (each.float() for each in own.line.at(arc))
        size = (len(arc), len(x))
        u, v, t = (_triple(frame[:, :, k, None].expand(-1, -1, len(x))) for k in range(3))
        spots = here[..., None] + frame[:, :, 0, None] * x + frame[:, :, 1, None] * y
        zero = torch.zeros(size[0] * size[1])
        place = Place(
            arc.float()[:, None].expand(size).flatten(),
            x.expand(size).flatten(),
            y.expand(size).flatten(),
            *(t, u, v),
            zero,
        )
        still, colon = (zero, zero, zero), zero.int()
        field = values_along(_triple(spots), still, place, colon, own.single).field
        out[first : first + len(arc)] = field.reshape(len(arc), len(across), -1).numpy()
    return out


def _polished(
    points: Tensor, arc: Tensor, own: Ground, *, longest_mm: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Move points (P, 3) along the gradient until they lie on the surface; also arc and angle."""
    points, arc, angle = points.clone(), arc.clone(), torch.zeros_like(arc)
    left = torch.arange(len(arc))
    for _ in range(_POLISH_ROUNDS):
        point = (points[left, 0], points[left, 1], points[left, 2])
        colon, zero = torch.zeros_like(left, dtype=torch.int32), torch.zeros_like(point[0])
        place = locate(point, arc[left], colon, own.tables)
        place = locate(point, place.arc_mm, colon, own.tables)
        still = (zero, zero, zero)
        field = values_along(point, still, place, colon, own.tables).field
        arc[left], angle[left] = place.arc_mm, torch.atan2(place.y, place.x).remainder(2 * math.pi)
        off = (field.abs() > ON_SURFACE_MM).nonzero()[:, 0]
        if len(off) == 0:
            break
        slope = torch.stack(gradient(point, place, colon, own.tables), dim=-1)  # (P, 3)
        move = slope * (-field / slope.square().sum(dim=-1).clamp(min=1e-3))[:, None]
        length = move.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        points[left[off]] += (move * (longest_mm / length).clamp(max=1))[off]
        left = left[off]
    return points, arc, angle


def _directions() -> Tensor:
    """Return unit vectors all over a sphere, (1, _DIRECTIONS, 3)."""
    k = torch.arange(_DIRECTIONS, dtype=torch.float64) + 0.5
    z, turn = 1 - 2 * k / _DIRECTIONS, k * math.pi * (1 + math.sqrt(5))
    flat = (1 - z * z).sqrt()
    return torch.stack([flat * turn.cos(), flat * turn.sin(), z], dim=-1)[None]


def _between(values: Tensor, index: Tensor) -> Tensor:
    low = index.floor().long().clamp(0, len(values) - 2)
    return values[low] + (index - low) * (values[low + 1] - values[low])


def _triple(vectors: Tensor) -> Triple:
    """Split (S, 3, P) into three lists."""
    return vectors[:, 0].flatten(), vectors[:, 1].flatten(), vectors[:, 2].flatten()
