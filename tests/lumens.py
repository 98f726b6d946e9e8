"""A colon with polyps on stalks, and its surface as a cloud of points made without its bounds."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from synthetic_colons.anatomy import Folds, PolypDraw, PolypKind
from synthetic_colons.anatomy_draws import draw_colon
from synthetic_colons.colon import Colon, build_colon
from synthetic_colons.field import CAP_BOWL_MM
from synthetic_colons.wall_tables import COLUMNS, ROW_MM

# The cloud has 0.6 mm between two points, and the wall is a spline that smooths its table.
CLOUD_MM = 0.15
FAR_MM = 8.0  # in the middle of a tube all of it is nearest: a tree is slow there


@cache
def lumen() -> Colon:
    """A colon with folds, a polyp whose head hangs over the centre line, and four others."""
    generator = torch.Generator().manual_seed(5)
    draw = draw_colon(
        generator,
        folds=Folds.HAUSTRAL,
        relief=True,
        simple_polyps=False,
        findings=True,
        stool=True,
    )
    polyps = (
        _polyp(PolypKind.STALKED, 0.33 * draw.length_mm, 1.0, 11.0, stalk_mm=12.0),
        _polyp(PolypKind.STALKED, 0.62 * draw.length_mm, -2.0, 14.0, stalk_mm=8.0),
        _polyp(PolypKind.SESSILE, 0.21 * draw.length_mm, 2.0, 12.0),
        _polyp(PolypKind.SESSILE, 0.48 * draw.length_mm, 4.0, 20.0),
        _polyp(PolypKind.FLAT, 0.78 * draw.length_mm, 0.3, 15.0),
    )
    return build_colon(replace(draw, polyps=polyps, collapsed=()))


@cache
def surface() -> cKDTree:
    """Its wall, the bowls at its ends and its polyps on stalks."""
    colon = lumen()
    parts = [_wall(colon), *(_bowl(colon, at_end=end) for end in (False, True))]
    parts += [_stalked(row) for row in colon.stalked.double().numpy()]
    return cKDTree(np.concatenate(parts))


def distance_mm(points: Tensor) -> NDArray[np.float64]:
    """Return the distance of points (P, 3) to the cloud, at most FAR_MM."""
    found = surface().query(points.double().numpy(), distance_upper_bound=FAR_MM)[0]
    return np.minimum(found, FAR_MM)


def ball_is_free(points: Tensor, radius_mm: float) -> Tensor:
    """Return whether the field is positive all over balls around points (P, 3), (P,)."""
    number = torch.arange(400) + 0.5
    z, turn = 1 - number / 200, number * (math.pi * (1 + math.sqrt(5)))  # a sunflower's
    rim = (1 - z.square()).sqrt()
    shell = radius_mm * torch.stack([rim * turn.cos(), rim * turn.sin(), z], dim=-1)
    around = torch.cat([shell, shell / 2, torch.zeros(1, 3)])
    field = lumen().field((points.float()[:, None] + around).reshape(-1, 3))
    return (field.reshape(len(points), -1) > 0).all(dim=1)


def off_lumen_deg(world_from_camera: Tensor, colon: Colon) -> Tensor:
    """Return the angle between the optical axis and the centre line towards the caecum."""
    place = world_from_camera[:, :3, 3].float()
    tangent = colon.line.at(colon.line.nearest(place))[1][..., 2]
    cosine = (world_from_camera[:, :3, 2].float() * tangent).sum(dim=-1)
    return torch.rad2deg(cosine.clamp(-1, 1).acos())


def _polyp(
    kind: PolypKind, arc_mm: float, angle_rad: float, size_mm: float, *, stalk_mm: float = 0.0
) -> PolypDraw:
    return PolypDraw(
        kind=kind,
        arc_mm=arc_mm,
        angle_rad=angle_rad,
        size_mm=size_mm,
        shape=0.8,
        height_mm=2.0 if kind is PolypKind.FLAT else 0.7 * size_mm,
        turn_rad=0.5,
        lobes=0.0,
        phase=0.0,
        stalk_mm=stalk_mm,
        stalk_radius_mm=1.6 if stalk_mm else 0.0,
        lean=(0.2, -0.1),
    )


def _wall(colon: Colon) -> NDArray[np.float64]:
    rows, columns = colon.wall.radius_mm.shape
    arc = (torch.arange(rows) * ROW_MM)[:, None].expand(rows, columns)
    angle = (torch.arange(columns) * (2 * math.pi / COLUMNS)).expand(rows, columns)
    points = colon.line.point(arc, angle, colon.wall.radius_mm)
    return points.reshape(-1, 3).double().numpy()


def _bowl(colon: Colon, *, at_end: bool) -> NDArray[np.float64]:
    away, angle = torch.meshgrid(
        torch.linspace(0, 40, 100), torch.linspace(0, 2 * math.pi, 300), indexing="ij"
    )
    arc = away.square() / (2 * CAP_BOWL_MM)
    points = colon.line.point(colon.length_mm - arc if at_end else arc, angle, away)
    return points.reshape(-1, 3).double().numpy()


def _stalked(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """A tube of the stalk's radius and an ellipsoid around the head."""
    base, head, (stalk, along, across) = row[:3], row[3:6], row[6:9]
    axis = (head - base) / np.linalg.norm(head - base)
    u = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    turn = np.linspace(0, 2 * math.pi, 120)
    ring = np.cos(turn)[:, None] * u + np.sin(turn)[:, None] * v  # (120, 3)
    up = np.linspace(0, 1, 60)[:, None, None]
    tube = base + up * (head - base) + stalk * ring
    high = np.linspace(0, math.pi, 90)[:, None, None]
    round_head = head + along * np.cos(high) * axis + across * np.sin(high) * ring
    return np.concatenate([tube.reshape(-1, 3), round_head.reshape(-1, 3)])
