"""One colon: its line, its wall, what is on it, and questions about places inside it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from colondepth.centre_line import CentreLine
from colondepth.errors import DataError
from colondepth.shapes import require_shapes
from synthetic_colons.anatomy import SEGMENTS, AnatomyRanges, ColonDraw, PolypDraw
from synthetic_colons.field import (
    Place,
    Triple,
    free_mm,
    from_stalk_mm,
    gradient,
    locate,
    stalk_at,
    values_along,
)
from synthetic_colons.shading import ON_STALK_MM
from synthetic_colons.wall import Wall, build_line, build_wall, stalked_polyps
from synthetic_colons.wall_tables import ROW_MM, WallTables, wall_tables

_LOCATED = 3  # rounds until wall coordinates are exact from the nearest node


@dataclass(frozen=True, slots=True, eq=False)
class Colon:
    """A colon in the world, in millimetres, from the rectum (s = 0) to the caecum."""

    draw: ColonDraw
    line: CentreLine
    wall: Wall
    stalked: Tensor  # (K, POLYP_NUMBERS)
    stalked_numbers: tuple[int, ...]  # label of each polyp on a stalk, its place in the draw + 1
    tables: WallTables

    @property
    def length_mm(self) -> float:
        """Arc length from end to end."""
        return self.line.length_mm

    @property
    def device(self) -> torch.device:
        """Where its tables live."""
        return self.tables.radius_mm.device

    def polyp(self, label: int) -> PolypDraw:
        """Return the polyp with a label of the wall, 1 or more."""
        if not 1 <= label <= len(self.draw.polyps):
            raise DataError(f"no polyp {label}; this colon has {len(self.draw.polyps)}")
        return self.draw.polyps[label - 1]

    def segment_name(self, arc_mm: float) -> str:
        """Return the segment at an arc length, from "rectum" to "caecum"."""
        for end, segment in zip(self.draw.segment_ends_mm, SEGMENTS, strict=True):
            if arc_mm <= end:
                return segment.name
        return SEGMENTS[-1].name

    def coordinates(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return arc length, angle and distance from the line of points (P, 3), (P,) each."""
        point, place, _ = self._place(points)
        del point
        return place.arc_mm, torch.atan2(place.y, place.x), torch.hypot(place.x, place.y)

    def field(self, points: Tensor) -> Tensor:
        """Return the field at points (P, 3): positive in the lumen, 0 on the surface, (P,)."""
        point, place, colon = self._place(points)
        zero = torch.zeros_like(point[0])
        return values_along(point, (zero, zero, zero), place, colon, self.tables).field

    def clearance_mm(self, points: Tensor) -> Tensor:
        """Return a lower bound of the distance of points (P, 3) to the surface, 0 outside, (P,)."""
        point, place, colon = self._place(points)
        return free_mm(place, point, colon, self.tables)[0]

    def normals(self, points: Tensor) -> Tensor:
        """Return the unit normals, into the lumen, at points (P, 3) of the surface."""
        point, place, colon = self._place(points)
        found = torch.stack(gradient(point, place, colon, self.tables), dim=-1)
        return torch.nn.functional.normalize(found, dim=-1)

    def labels(self, points: Tensor) -> Tensor:
        """Return what is at points (P, 3) of the surface, see `wall.LABELS`; int16 (P,)."""
        point, place, colon = self._place(points)
        found = self.label_at(place.arc_mm, torch.atan2(place.y, place.x))
        if not self.stalked_numbers:
            return found
        which = stalk_at(place, colon, self.tables)
        away = from_stalk_mm(point, which, self.tables)
        numbers = torch.tensor(self.stalked_numbers, dtype=found.dtype, device=found.device)
        return torch.where(away < ON_STALK_MM, numbers[which.long()], found)

    def label_at(self, arc_mm: Tensor, angle_rad: Tensor) -> Tensor:
        """Return what the wall is at wall coordinates, stalks aside; int16, of one shape."""
        rows, columns = self.wall.label.shape
        row = (arc_mm / ROW_MM).round().long().clamp(0, rows - 1)
        column = (angle_rad * (columns / (2 * math.pi))).round().long() % columns
        return self.wall.label.flatten()[row * columns + column]

    def _place(self, points: Tensor) -> tuple[Triple, Place, Tensor]:
        require_shapes(points=(points, "P 3"))
        points = points.to(self.tables.nodes)
        colon = torch.zeros(len(points), dtype=torch.int32, device=points.device)
        point: Triple = (points[:, 0], points[:, 1], points[:, 2])
        places = self.line.nodes[:, :3].to(points)
        chunks = [torch.cdist(each, places).argmin(dim=-1) for each in points.split(8192)]
        arc = torch.cat(chunks).to(points) if chunks else points[:, 0]
        place = locate(point, arc, colon, self.tables)
        for _ in range(_LOCATED):
            place = locate(point, place.arc_mm, colon, self.tables)
        return point, place, colon


def build_colon(
    draw: ColonDraw, *, device: torch.device | str = "cpu", ranges: AnatomyRanges | None = None
) -> Colon:
    """Build a colon from its numbers; the same numbers give the same colon."""
    line = build_line(draw, ranges)
    wall = build_wall(draw, line)
    stalked, numbers = stalked_polyps(draw, line, wall)
    wall = Wall(wall.radius_mm.to(device), wall.label.to(device), wall.fold.to(device))
    tables = wall_tables(line.to(device), wall.radius_mm, stalked)
    return Colon(draw, line.to(device), wall, stalked.to(device), numbers, tables)
