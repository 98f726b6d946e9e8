"""A triangle mesh from CT in the place of a drawn colon.

What comes out is an ordinary `Colon`: a line, a radius over arc length and angle, and bowls at its
two ends. What that cannot say is lost: what a fold hides from the line, a polyp's underside, a bend
sharper than the lumen is wide, the shape of the ends beyond a bowl. `CtColon` says how much.
Nothing is labelled, and its `ColonDraw` tells what is known but does not make it again: keep the
file. The world is the file's, in millimetres.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from colondepth.centre_line import CentreLine
from colondepth.errors import DataError
from synthetic_colons.anatomy import SEGMENTS, ColonDraw
from synthetic_colons.colon import Colon
from synthetic_colons.colon_mesh import colon_mesh
from synthetic_colons.ct_distance import distance, sampled
from synthetic_colons.ct_line import frames, middle_line, way_inside
from synthetic_colons.ct_mesh import CtMesh
from synthetic_colons.ct_sections import Floats, Ints, Sections
from synthetic_colons.ct_wall import crests, gentle_line, wall_radii
from synthetic_colons.wall import Wall
from synthetic_colons.wall_tables import COLUMNS, FAR_POLYP, ROW_MM, wall_tables

LENGTH_MM = (600.0, 2400.0)  # 0.8 to 2 m, and what a line cuts short or winds
UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_ENOUGH_NAMES = 4  # parts with names of segments, before names are believed
_END_STEPS = 8  # of the line's points: over 60 mm, ends are compared in width
_END_COLUMNS = 32
_CONTROL_MM = 16.0  # between the places of the line that a `ColonDraw` tells
_SAMPLES = 20_000  # points that distances are measured from
_SPACING_MM = 0.7  # of the points that they are measured to
_SEEN_MM = 1.5  # behind the wall's radius: still the wall
_INNER_SEEN = 0.5  # share of a piece's points; of a piece that is an outer side less is seen


class EndsBy(StrEnum):
    """How rectum and caecum were told apart."""

    NAMES = "names"
    PLACE = "place"
    WIDTH = "width"


@dataclass(frozen=True, slots=True)
class Apart:
    """Distances between two surfaces."""

    median_mm: float
    most_mm: float  # 95 % are less


@dataclass(frozen=True, slots=True, eq=False)
class CtColon:
    """A colon from CT, and how far it is from its mesh."""

    colon: Colon
    unit: str
    mm_per_unit: float
    ends_by: EndsBy
    named: bool  # segments are the file's; else shares of the length
    left_out: tuple[str, ...]  # parts that are no part of the tube
    to_mesh: Apart  # from points of the stand-in
    from_mesh: Apart  # from points of the mesh, outer sides of walls left out
    hidden_share: float  # of the same points: not seen from the line, and lost
    filled_share: float  # of the wall: openings, filled from around them
    limited_share: float  # of the wall: brought nearer, because the line bends there


def ct_colon(
    mesh: CtMesh,
    *,
    mm_per_unit: float | None = None,
    rectum_at: tuple[float, float, float] | None = None,
) -> CtColon:
    """Make a colon from a mesh.

    Args:
        mesh: from CT; one surface or two (both sides of the wall), open or closed at its ends.
        mm_per_unit: of the mesh; None tells mm, cm and m by the length that a colon has.
        rectum_at: a place nearer to the rectum than to the caecum, in the mesh's unit; without it
            and without names the narrower end is taken for the rectum.
    """
    if mm_per_unit is not None and not (math.isfinite(mm_per_unit) and mm_per_unit > 0):
        raise DataError(f"mm_per_unit is {mm_per_unit}, expected a positive number")
    ranks = np.array([_rank(name) for name in mesh.names])
    named = bool(np.isfinite(ranks).sum() >= _ENOUGH_NAMES)
    ranks = ranks if named else np.zeros(len(ranks))
    kept = np.isfinite(ranks[mesh.part])
    faces, face_rank = mesh.faces[kept], ranks[mesh.part[kept]]
    way = way_inside(mesh.vertices, faces)
    unit, scale = _unit(float(np.linalg.norm(np.diff(way, axis=0), axis=1).sum()), mm_per_unit)
    vertices = mesh.vertices * scale
    sections = Sections(vertices, faces)
    points = middle_line(way * scale, sections)
    middles = vertices[faces].mean(axis=1)
    near = face_rank[cKDTree(middles).query(points)[1]]
    place = None if rectum_at is None else np.array(rectum_at) * scale
    points, ends_by = _from_rectum(points, near if named else None, place, sections)
    line = gentle_line(points, sections)
    radius, filled, limited = wall_radii(line, sections)
    wall = Wall(
        torch.from_numpy(radius).float(),
        torch.zeros(radius.shape, dtype=torch.int16),
        torch.from_numpy(crests(radius)).float(),
    )
    segment_ends = _segment_ends(line, middles, face_rank if named else None)
    none = torch.tensor([FAR_POLYP])[:0]
    tables = wall_tables(line, wall.radius_mm, none)
    colon = Colon(_draw(line, radius, segment_ends), line, wall, none, (), tables)
    to_mesh, from_mesh, hidden = _apart(colon, vertices, faces)
    return CtColon(
        colon=colon,
        unit=unit,
        mm_per_unit=scale,
        ends_by=ends_by,
        named=named,
        left_out=tuple(n for n, r in zip(mesh.names, ranks, strict=True) if not np.isfinite(r)),
        to_mesh=to_mesh,
        from_mesh=from_mesh,
        hidden_share=hidden,
        filled_share=filled,
        limited_share=limited,
    )


# Words in the names of parts, and their place in the order of `SEGMENTS`; flexures lie between two.
_WORDS = {
    "rectosigmoid": 0.5,
    "rectum": 0.0,
    "sigmoid": 1.0,
    "descending": 2.0,
    "splenic": 2.5,
    "left_colic": 2.5,
    "transverse": 3.0,
    "hepatic": 3.5,
    "right_colic": 3.5,
    "ascending": 4.0,
    "caecum": 5.0,
    "cecum": 5.0,
}


def _rank(name: str) -> float:
    """Return a part's place in the order of `SEGMENTS`; NaN for what is no segment."""
    plain = name.lower().replace(" ", "_").replace("-", "_")
    return next((rank for word, rank in _WORDS.items() if word in plain), math.nan)


def _unit(length: float, given: float | None) -> tuple[str, float]:
    if given is not None:
        return next((name for name, mm in UNITS_MM.items() if mm == given), "other"), given
    for name, mm in UNITS_MM.items():
        if LENGTH_MM[0] <= length * mm <= LENGTH_MM[1]:
            return name, mm
    raise DataError(
        f"the mesh is {length:.4g} units long; a colon is {LENGTH_MM[0]:.0f} to"
        f" {LENGTH_MM[1]:.0f} mm, which fits neither mm, cm nor m; say mm_per_unit"
    )


def _from_rectum(
    points: Floats, near: Floats | None, place: Floats | None, sections: Sections
) -> tuple[Floats, EndsBy]:
    """Return the line from the rectum on, and how it was known."""
    if place is not None:
        first, last = (np.linalg.norm(points[k] - place) for k in (0, -1))
        return (points if first <= last else points[::-1]), EndsBy.PLACE
    if near is not None:
        return (points if near[0] <= near[-1] else points[::-1]), EndsBy.NAMES
    across = frames(points)
    widths = []
    for end in (slice(1, _END_STEPS), slice(-_END_STEPS, -1)):
        radii = [
            sections.radius_mm(p, f, _END_COLUMNS)
            for p, f in zip(points[end], across[end], strict=True)
        ]
        widths.append(float(np.median(np.concatenate(radii))))
    return (points if widths[0] <= widths[1] else points[::-1]), EndsBy.WIDTH


def _segment_ends(line: CentreLine, middles: Floats, rank: Floats | None) -> tuple[float, ...]:
    """Return where segments end: by the names of parts, or by a colon's usual shares."""
    length = line.length_mm
    usual = np.cumsum([sum(each.length_share) for each in SEGMENTS])
    ends = usual / usual[-1] * length
    if rank is not None:
        some = np.linspace(0, len(middles) - 1, min(len(middles), _SAMPLES)).astype(int)
        arc = line.nearest(torch.from_numpy(middles[some]).float()).numpy()
        own = rank[some]
        for k in range(len(SEGMENTS) - 1):
            between, before, behind = (own == k + 0.5), (own == k), (own == k + 1)
            if between.any():  # a flexure: half of it to either side
                ends[k] = np.median(arc[between])
            elif before.any() and behind.any():
                ends[k] = (np.quantile(arc[before], 0.95) + np.quantile(arc[behind], 0.05)) / 2
    ends = np.maximum.accumulate(ends)
    return (*(min(float(each), length) for each in ends[:-1]), length)


def _draw(line: CentreLine, radius: Floats, ends: tuple[float, ...]) -> ColonDraw:
    """Return what is known of a colon from CT in the form of a drawn one."""
    rows = [0, *(min(len(radius) - 1, round(end / ROW_MM)) for end in ends)]
    widths = [float(np.median(radius[a : max(b, a + 1)])) for a, b in pairwise(rows)]
    places = line.nodes[:: round(_CONTROL_MM), :3].tolist()
    return ColonDraw(
        seed=0,
        length_mm=line.length_mm,
        controls=tuple((x, y, z) for x, y, z in places),
        segment_ends_mm=ends,
        segment_radius_mm=tuple(widths),
        swell=0.0,
        swell_wavelength_mm=1.0,
        collapsed=(),
        taenia_angle_rad=0.0,
        taenia_twist_rad_per_mm=0.0,
        taenia_width_mm=1.0,
        taenia_rise_mm=0.0,
        haustra_bulge=0.0,
        lumps_mm=0.0,
        relief_mm=0.0,
        folds=(),
        polyps=(),
        findings=(),
    )


def _apart(colon: Colon, vertices: Floats, faces: Ints) -> tuple[Apart, Apart, float]:
    """Return distances from the stand-in to the mesh and back, and what is hidden of the mesh."""
    own = colon_mesh(colon, along_mm=1.0, around=COLUMNS // 2)
    ours, theirs = own.vertices.numpy()[own.faces.numpy()], vertices[faces]
    out = distance(sampled(ours, _SAMPLES)[0], theirs, _SPACING_MM)
    points, triangle = sampled(theirs, _SAMPLES)
    seen = _seen(colon, points)
    piece = _pieces(len(vertices), faces)[faces[triangle, 0]]
    share = np.bincount(piece, seen) / np.bincount(piece).clip(1)
    inner = share[piece] >= min(_INNER_SEEN, share.max())
    back = distance(points[inner], ours, _SPACING_MM)
    return _figures(out), _figures(back), float(1 - seen[inner].mean())


def _seen(colon: Colon, points: Floats) -> NDArray[np.bool_]:
    """Return which points are not behind the wall, (P,)."""
    arc, angle, away = colon.coordinates(torch.from_numpy(points).float())
    row = (arc / ROW_MM).round().long().clamp(0, len(colon.wall.radius_mm) - 1)
    column = (angle * (COLUMNS / (2 * math.pi))).round().long() % COLUMNS
    found: NDArray[np.bool_] = (away <= colon.wall.radius_mm[row, column] + _SEEN_MM).numpy()
    return found


def _pieces(count: int, faces: Ints) -> Ints:
    """Return which connected piece every vertex is in."""
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    links = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    found: Ints = connected_components(links, directed=False)[1].astype(np.int64)
    return found


def _figures(away: Floats) -> Apart:
    return Apart(float(np.median(away)), float(np.quantile(away, 0.95)))
