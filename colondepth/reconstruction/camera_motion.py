"""Where the camera of every frame was, from whatever can be had: a file, the data, the depth, SfM.

Frames that could not be placed have no pose. Pieces that stand in no known place to each other have
numbers of their own; the largest is the one that coverage and sizes are about. `factor` is what
a frame's depth is multiplied by to fit the motion.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.reconstruction.motion_scale import MotionScale
from colondepth.reconstruction.odometry import Odometry
from colondepth.trajectories import (
    STATED_MM_PER_UNIT,
    TrajectoryForm,
    guess_form,
    read_trajectory,
)

LEAP_MM = 30.0  # between two frames; no hand moves a scope so far in a 25th of a second
_LEAPS = 10.0  # times the median step


class MotionFrom(StrEnum):
    """Where poses come from."""

    FILE = "file"
    DATA = "data"
    ODOMETRY = "odometry"
    SFM = "sfm"
    NONE = "none"  # a single view


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DepthFrame:
    """One frame as motion and fusion need it."""

    name: str
    time_s: float
    image: Tensor  # (3, H, W)
    depth_mm: Tensor  # (1, H, W), 0 where unknown
    log_depth_std: Tensor | None  # (1, H, W)
    valid: Tensor | None  # (1, H, W), False on glare and text; all of it if None
    polyp: Tensor | None = None  # (1, H, W) bool
    world_from_camera: Tensor | None = None  # that came with the data

    @property
    def usable_mm(self) -> Tensor:
        """Depth without glare and text."""
        return self.depth_mm if self.valid is None else self.depth_mm * self.valid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraMotion:
    """Poses of all frames of a clip."""

    how: MotionFrom
    world_from_camera: tuple[Tensor | None, ...]  # (4, 4) float64 each; None: not placed
    factor: tuple[float, ...]  # of each frame's depth
    piece: tuple[int, ...]  # which frames stand in a known place to each other
    notes: tuple[str, ...] = ()

    @property
    def largest(self) -> int:
        """The piece with the most frames."""
        placed = [
            piece
            for piece, pose in zip(self.piece, self.world_from_camera, strict=True)
            if pose is not None
        ]
        return Counter(placed).most_common(1)[0][0] if placed else 0

    def of_piece(self, piece: int) -> list[int]:
        """Return the numbers of its placed frames."""
        return [
            number
            for number, pose in enumerate(self.world_from_camera)
            if pose is not None and self.piece[number] == piece
        ]


def motion_from_file(
    path: Path, *, frames: int, form: str | None = None, mm_per_unit: float | None = None
) -> list[Tensor]:
    """Read one pose for each of so many frames.

    Args:
        path: of a trajectory.
        frames: of the clip.
        form: tum, kitti, c3vd or simcol3d; told from the file if absent.
        mm_per_unit: needed for tum and kitti.
    """
    told = TrajectoryForm(form) if form else guess_form(path)
    if told is None:
        raise DataError(
            f"{path} looks like none of {', '.join(TrajectoryForm)}; name it with --form"
        )
    if told not in STATED_MM_PER_UNIT and mm_per_unit is None:
        raise DataError(
            f"{path} is a {told} file, which does not say its unit; add --mm-per-unit (1 for mm,"
            " 10 for cm, 1000 for m)"
        )
    read = read_trajectory(path, form=told, mm_per_unit=mm_per_unit)
    if len(read) != frames:
        raise DataError(
            f"{path} has {len(read)} poses and the input {frames} frames; expected one each: is it"
            " the trajectory of this clip, and of every frame that is taken?"
        )
    return list(read.world_from_camera)


def given_motion(
    how: MotionFrom,
    poses: Sequence[Tensor],
    frames: Iterable[DepthFrame],
    camera: Camera,
    *,
    fit_scale: bool,
    tick: Callable[[], None] = lambda: None,
) -> CameraMotion:
    """Take poses as they are and, if wanted, find the factor of each frame's depth that fits them.

    Args:
        how: where they are from.
        poses: one a frame, in millimetres.
        frames: looked at once, in order, if `fit_scale`.
        camera: of the frames.
        fit_scale: depth is a network's, and right up to a factor only.
        tick: called for every frame.
    """
    factors = [1.0] * len(poses)
    notes = _leaps(poses)
    if fit_scale:
        scale = MotionScale(camera)
        for frame, pose in zip(frames, poses, strict=True):
            scale.add(frame.image, frame.usable_mm, pose)
            tick()
        factors = scale.factors()
        if not scale.shown:
            notes.append(
                "the motion does not show the scale of the depth, which is the network's own,"
                " evened out over the clip"
            )
        if scale.foreign:
            notes.append(
                "the poses explain the pictures worse than no motion at all would: are they of this"
                " clip, in this order, and camera to world?"
            )
    return CameraMotion(
        how=how,
        world_from_camera=tuple(pose.double() for pose in poses),
        factor=tuple(factors),
        piece=(0,) * len(poses),
        notes=tuple(notes),
    )


def odometry_motion(
    frames: Iterable[DepthFrame], camera: Camera, *, tick: Callable[[], None] = lambda: None
) -> CameraMotion:
    """Follow the camera by depth and texture; see `odometry`."""
    follower = Odometry(camera)
    poses: list[Tensor | None] = []
    factors: list[float] = []
    pieces: list[int] = []
    for frame in frames:
        placed = follower.follow(frame.image, frame.usable_mm, log_depth_std=frame.log_depth_std)
        poses.append(placed.world_from_camera)
        factors.append(placed.scale)
        pieces.append(placed.submap)
        tick()
    found = CameraMotion(
        how=MotionFrom.ODOMETRY,
        world_from_camera=tuple(poses),
        factor=tuple(factors),
        piece=tuple(pieces),
    )
    lost = sum(pose is None for pose in poses)
    count = len(set(pieces))
    if not lost and count == 1:
        return found
    kept = found.of_piece(found.largest)
    if kept:
        note = (
            f"the camera was lost: {lost} of {len(poses)} frames could not be placed, the others"
            f" make {count} piece{'' if count == 1 else 's'} that stand in no known place to each"
            f" other; the largest has {len(kept)} frames ({kept[0]} to {kept[-1]})"
        )
    else:
        note = f"none of {len(poses)} frames could be placed: nothing in them to go by"
    return CameraMotion(
        how=found.how,
        world_from_camera=found.world_from_camera,
        factor=found.factor,
        piece=found.piece,
        notes=(note,),
    )


def _leaps(poses: Sequence[Tensor]) -> list[str]:
    if len(poses) < 3:
        return []
    places = torch.stack([pose[:3, 3].double() for pose in poses])
    steps = places.diff(dim=0).norm(dim=-1)
    limit = max(LEAP_MM, _LEAPS * float(steps.median()))
    leaps = (steps > limit).nonzero()[:, 0].tolist()
    if not leaps:
        return []
    first = leaps[0]
    return [
        f"the poses leap {len(leaps)} time{'s' if len(leaps) > 1 else ''}, first by"
        f" {float(steps[first]):.0f} mm from frame {first} to {first + 1}: a cut, or poses of"
        " another clip; walls that do not meet are the result"
    ]
