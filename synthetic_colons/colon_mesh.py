"""The surface of a colon as triangles: what reconstructions and coverage are judged by.

Every vertex lies on `Colon.field` = 0 and every edge belongs to two triangles, but at the two ends
of a piece that was cut out. Triangles are counter-clockwise as seen from the lumen, so that their
normals point into it. A stretch without polyps on stalks is made of curves (`mesh_columns.py`), a
stretch with one of marching cubes (`mesh_slabs.py`), and rings of triangles join them.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from colondepth.centre_line import NODE_STEP_MM
from colondepth.errors import DataError
from synthetic_colons.anatomy import SEGMENTS
from synthetic_colons.colon import Colon
from synthetic_colons.field import from_stalk_mm
from synthetic_colons.mesh_columns import (
    Ground,
    Piece,
    columns,
    ground,
    ring_ends,
    sewn_rings,
)
from synthetic_colons.mesh_slabs import open_ring, slab, slab_ends
from synthetic_colons.shading import ON_STALK_MM

_FEWEST_AROUND = 8
_COARSEST_MM = 3.0  # a grid that still meets a stalk
_SEAM_SHARE = 0.5  # of `along_mm`, between a slab and its neighbours
_SHORTEST_MM = 4.0  # of a stretch, and between a slab and an end
_BLOCK_MM = 120.0  # of columns made at a time: bounds the memory


@dataclass(frozen=True, slots=True, eq=False)
class ColonMesh:
    """Triangles in the world, in millimetres."""

    vertices: Tensor  # (V, 3) float64
    faces: Tensor  # (F, 3) int64, counter-clockwise as seen from the lumen
    arc_mm: Tensor  # (V,) float64
    angle_rad: Tensor  # (V,) float64 in [0, 2 pi); 0 at the pole of a cap, which has none
    label: Tensor  # (V,) int16, see `wall.LABELS`
    segment: Tensor  # (V,) int16, place in `segment_names`
    segment_names: tuple[str, ...]


def colon_mesh(
    colon: Colon,
    *,
    along_mm: float = 0.5,
    around: int = 256,
    stretch: tuple[float, float] | None = None,
) -> ColonMesh:
    """Make the mesh of a colon.

    Args:
        colon: what is meshed.
        along_mm: between vertices where the wall is level; folds get more of them.
        around: vertices around the lumen.
        stretch: the arc lengths of a piece, which is open where it was cut; all by default.
    """
    if not 0 < along_mm <= _COARSEST_MM:
        raise DataError(f"along_mm is {along_mm}, expected above 0 and at most {_COARSEST_MM} mm")
    if around < _FEWEST_AROUND:
        raise DataError(f"around is {around}, expected {_FEWEST_AROUND} vertices or more")
    low, high = stretch or (0.0, colon.length_mm)
    if not (low >= 0 and high <= colon.length_mm and high - low >= _SHORTEST_MM):
        raise DataError(
            f"no stretch from {low} to {high} mm; the colon goes from 0 to {colon.length_mm} mm,"
            f" and a stretch is {_SHORTEST_MM} mm long or more"
        )
    own = ground(colon)
    parts = _parts(own, low, high, seam_mm=_SEAM_SHARE * along_mm)
    pieces = [_piece(part, own, along_mm=along_mm, around=around) for part in parts]
    return _named(_tidy(_joined(parts, pieces, own)), colon, own)


class _Part(NamedTuple):
    """A stretch that is meshed in one go."""

    start_mm: float
    stop_mm: float
    stalked: bool
    joined: tuple[bool, bool]  # to the part before it, to the part behind it


def _parts(own: Ground, low: float, high: float, *, seam_mm: float) -> list[_Part]:
    """Cut a stretch at the polyps on stalks, and the rest into blocks."""
    parts: list[_Part] = []
    at = low
    for start, stop in slab_ends(own):
        if stop <= low + _SHORTEST_MM or start >= high - _SHORTEST_MM:
            continue
        before, behind = start > low + _SHORTEST_MM, stop < high - _SHORTEST_MM
        if before:
            parts += _blocks(at, start - seam_mm)
        inner = start if before or (start < 0 and low == 0) else low
        outer = stop if behind or (stop > own.length_mm and high == own.length_mm) else high
        parts.append(_Part(inner, outer, True, (before, behind)))
        at = stop + seam_mm
        if not behind:
            return parts
    return parts + _blocks(at, high)


def _blocks(low: float, high: float) -> list[_Part]:
    count = math.ceil((high - low) / _BLOCK_MM)
    ends = [low + (high - low) * k / count for k in range(count)] + [high]
    return [_Part(a, b, False, (True, True)) for a, b in pairwise(ends)]


def _piece(part: _Part, own: Ground, *, along_mm: float, around: int) -> Piece:
    if part.stalked:
        return slab(part.start_mm, part.stop_mm, own, step_mm=along_mm, level=part.joined)
    return columns(part.start_mm, part.stop_mm, around, own, along_mm=along_mm)


def _ring(part: _Part, piece: Piece, *, last: bool) -> Tensor:
    if part.stalked:
        return open_ring(piece, part.stop_mm if last else part.start_mm)
    return ring_ends(piece)[last]


def _joined(parts: list[_Part], pieces: list[Piece], own: Ground) -> Piece:
    """Make one piece: rings in one plane become one, others are sewn together, poles close."""
    starts = [sum(len(each.arc_mm) for each in pieces[:k]) for k in range(len(pieces) + 1)]
    faces = [each.faces + start for each, start in zip(pieces, starts, strict=False)]
    angle = torch.cat([each.angle_rad for each in pieces])
    same = torch.arange(starts[-1])  # the vertex that each one becomes
    for k, (one, other) in enumerate(pairwise(parts)):
        end = _ring(one, pieces[k], last=True) + starts[k]
        begin = _ring(other, pieces[k + 1], last=False) + starts[k + 1]
        if one.stop_mm == other.start_mm:
            same[begin] = end
        else:
            faces.append(torch.cat([end, begin])[sewn_rings(angle[end], angle[begin])])
    for part, piece, start in zip(parts, pieces, starts, strict=False):
        for last, pole in ((False, part.start_mm == 0), (True, part.stop_mm == own.length_mm)):
            if pole and not part.stalked:
                ring = ring_ends(piece)[last] + start
                same[ring] = ring[0]
    arc, points = (torch.cat([each[k] for each in pieces]) for k in (0, 2))
    return Piece(arc, angle, points, same[torch.cat(faces)])


def _tidy(piece: Piece) -> Piece:
    """Leave out triangles that have become edges, and vertices that no triangle has."""
    a, b, c = piece.faces.T
    faces = piece.faces[(a != b) & (b != c) & (c != a)]
    used, faces = faces.unique(return_inverse=True)
    return Piece(piece.arc_mm[used], piece.angle_rad[used], piece.points[used], faces)


def _named(piece: Piece, colon: Colon, own: Ground) -> ColonMesh:
    """Say of every vertex what it is on."""
    arc, device = piece.arc_mm, colon.device
    label = colon.label_at(arc.to(device), piece.angle_rad.to(device)).cpu()
    last = len(own.tables.stalk_of) - 1
    for start, stop in slab_ends(own):
        there = ((arc > start) & (arc < stop)).nonzero()[:, 0]
        which = own.tables.stalk_of[(arc[there] / NODE_STEP_MM).round().long().clamp(0, last)]
        x, y, z = piece.points[there].T
        away = from_stalk_mm((x, y, z), which, own.tables)
        numbers = torch.tensor(colon.stalked_numbers, dtype=label.dtype)[which.long()]
        label[there] = torch.where(away < ON_STALK_MM, numbers, label[there])
    ends = torch.tensor(colon.draw.segment_ends_mm, dtype=torch.float64)
    segment = torch.searchsorted(ends, arc).clamp(max=len(SEGMENTS) - 1)
    return ColonMesh(
        vertices=piece.points,
        faces=piece.faces,
        arc_mm=arc,
        angle_rad=piece.angle_rad,
        label=label,
        segment=segment.to(torch.int16),
        segment_names=tuple(each.name for each in SEGMENTS),
    )
