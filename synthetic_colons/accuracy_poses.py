"""Cameras for the renderer to be checked from: of clips, drawn anywhere, and at folds edge-on.

Camera frame: x right, y down, z forward; world_from_camera in float64, translation in mm.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.motion import rigid_motion
from synthetic_colons.camera_views import draw_views
from synthetic_colons.clips import SyntheticClip, dice
from synthetic_colons.colon import Colon
from synthetic_colons.wall_tables import COLUMNS, ROW_MM

POSES_A_CLIP = 6  # two of each kind, then the next clip with another colon
CLIP_FRAMES = 1800  # a minute of withdrawal, of which frames are drawn
CLEARANCE_MM = 1.5  # of a lens from the surface, as in `ViewSettings`
_CREST_REACH = 2.0  # of a fold's thickness: how far from its middle its crest is looked for
_MOST_OFF_CENTRE = 0.6  # share of the room on the far side of the lumen, for a camera at a fold
_EDGE_ON_STD = 0.08  # of the axis out of the fold's plane, as a tangent
_TRIES = 200


class PoseKind(StrEnum):
    """Where a camera stands."""

    CLIP = "clip"  # a frame of a withdrawal
    VIEW = "view"  # any view of `camera_views`: along the lumen, oblique, en face, retroflexed ...
    FOLD = "fold"  # in the plane of a fold, looking at its crest edge-on


@dataclass(frozen=True, slots=True, eq=False)
class CheckPose:
    """A camera in the colon of a clip."""

    kind: PoseKind
    clip: SyntheticClip
    world_from_camera: Tensor  # (4, 4) float64


def check_poses(
    level_name: str, *, seed: int, frames: int, height: int, width: int
) -> Iterator[CheckPose]:
    """Draw cameras of a level, `POSES_A_CLIP` a clip, the kinds by turns.

    A level without folds has views in their place.
    """
    for number in range(math.ceil(frames / POSES_A_CLIP)):
        clip = SyntheticClip(
            level_name, seed=seed, number=number, frames=CLIP_FRAMES, height=height, width=width
        )
        generator = dice(level_name, seed, number, "accuracy")
        for place in range(min(POSES_A_CLIP, frames - number * POSES_A_CLIP)):
            kind = tuple(PoseKind)[place % len(PoseKind)]
            if kind is PoseKind.FOLD and not clip.colon.draw.folds:
                kind = PoseKind.VIEW
            yield CheckPose(kind, clip, _pose(kind, clip, generator).double())


def edge_on(generator: torch.Generator, colon: Colon) -> Tensor:
    """Draw a camera (4, 4) in the plane of a fold, looking at its crest.

    The fold is any of the colon's that leaves the lens its room.
    """
    if not colon.draw.folds:
        raise DataError("this colon has no folds; expected a level from 2 on")
    for _ in range(_TRIES):
        which = int(torch.randint(len(colon.draw.folds), (), generator=generator))
        out, roll, tilt = torch.rand(3, generator=generator).tolist()
        fold = colon.draw.folds[which]
        arc = _crest_mm(colon, fold.arc_mm, fold.angle_rad, fold.thickness_mm)
        here, frame = colon.line.at(torch.tensor(arc))
        towards = math.cos(fold.angle_rad) * frame[:, 0] + math.sin(fold.angle_rad) * frame[:, 1]
        room = colon.wall.radius_mm[round(arc / ROW_MM)].min() - CLEARANCE_MM
        place = here - out * _MOST_OFF_CENTRE * room.clamp(min=0) * towards
        if float(colon.clearance_mm(place[None])) < CLEARANCE_MM:
            continue
        aside = _EDGE_ON_STD * (2 * tilt - 1) * math.sqrt(3)  # uniform, of that deviation
        forward = torch.nn.functional.normalize(towards + aside * frame[:, 2], dim=0)
        x = torch.nn.functional.normalize(frame[:, 2] - (frame[:, 2] @ forward) * forward, dim=0)
        y = torch.linalg.cross(forward, x)
        c, s = math.cos(math.tau * roll), math.sin(math.tau * roll)
        rotation = torch.stack([c * x + s * y, c * y - s * x, forward], dim=-1)
        return rigid_motion(rotation, place)
    raise DataError(
        f"{_TRIES} folds leave no lens {CLEARANCE_MM} mm of room; ask for another --seed"
    )


def _pose(kind: PoseKind, clip: SyntheticClip, generator: torch.Generator) -> Tensor:
    if kind is PoseKind.CLIP:
        frame = int(torch.randint(len(clip), (), generator=generator))
        return clip.path.world_from_camera[frame]
    if kind is PoseKind.VIEW:
        return draw_views(generator, clip.colon, 1)[0]
    return edge_on(generator, clip.colon)


def _crest_mm(colon: Colon, arc_mm: float, angle_rad: float, thickness_mm: float) -> float:
    """Return the arc length of a fold's crest, where the wall is nearest to the line."""
    radius = colon.wall.radius_mm[:, round(angle_rad / math.tau * COLUMNS) % COLUMNS]
    first = max(0, round((arc_mm - _CREST_REACH * thickness_mm) / ROW_MM))
    last = min(len(radius), round((arc_mm + _CREST_REACH * thickness_mm) / ROW_MM) + 1)
    return (first + int(radius[first:last].argmin())) * ROW_MM
