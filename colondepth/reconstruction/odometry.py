"""Where the camera went, from predicted depth alone: each frame against a keyframe, kept in scale.

A keyframe is a view with its depth. Frames are registered to it, starting from how the camera moved
last; those that fit improve its depth, so that it becomes a model and not one guess. When too
little of it is seen, the frame before becomes the next keyframe, in the scale that it was
registered in: the scale of the first frame goes through the whole submap. A frame that cannot be
placed is lost, said to be lost and left out; from the next that is seen a new submap begins, which
stands in no known place to those before.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.geometry import depth_from_distance, distance_from_depth, unproject
from colondepth.motion import inverse, nearest_rigid, relative, so3_log, transform
from colondepth.reconstruction.registration import (
    LONGEST_PX,
    PREDICTED,
    Noise,
    Registration,
    Sight,
    register,
    sights,
)
from colondepth.shapes import require_finite, require_shapes
from colondepth.warping import Lookup, sample

# A frame is placed where it sees enough of the keyframe, and there sees the same.
OVERLAP_LEAST = 0.35
AGREEMENT_LEAST = 0.6
CORRELATION_LEAST = 0.35
TURN_MOST_RAD = 0.7  # from frame to frame: 40 degrees in a 15th of a second is no endoscope
# A new keyframe is taken long before the old one is lost.
KEYFRAME_OVERLAP = 0.7
KEYFRAME_TURN_RAD = 0.35
KEYFRAME_SHARE = 0.2  # of the median distance that the camera has moved
BLENDED = 0.1  # of log distance: nearer than that to the keyframe's, a frame's depth is averaged in
PATIENCE = 3  # frames that may be lost in a row before a new submap begins


class Track(StrEnum):
    """What became of a frame."""

    PLACED = "placed"
    LOST = "lost"
    BEGAN = "began"  # a submap


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Placed:
    """A frame of a clip, placed or lost."""

    number: int
    track: Track
    submap: int
    world_from_camera: Tensor | None  # (4, 4) float64, within its submap; None if lost
    scale: float  # that the frame's depth is multiplied by, to be in the scale of its submap
    keyframe: bool  # whether it became one
    registration: Registration | None  # None where a submap began


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Keyframe:
    image: Tensor  # (3, H, W)
    log_distance: Tensor  # (1, H, W), in the submap's scale
    known: Tensor  # (1, H, W)
    frames: Tensor  # (1, H, W): how many of them are in it
    world_from_camera: Tensor
    sights: tuple[Sight, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Frame:
    image: Tensor  # (3, H, W)
    distance_mm: Tensor  # (1, H, W), as predicted; 0 where unknown
    sights: tuple[Sight, ...]


class Odometry:
    """Follows a camera, frame by frame.

    Args:
        camera: of the frames.
        noise: of their depth.
    """

    def __init__(self, camera: Camera, *, noise: Noise = PREDICTED) -> None:
        self._noise = noise
        share = min(1.0, LONGEST_PX / max(camera.height, camera.width))
        self._given = (camera.height, camera.width)
        self._camera = camera.resized(*(max(8, round(share * side)) for side in self._given))
        self._number = self._submap = -1
        self._missed = 0
        self._keyframe: _Keyframe | None = None
        self._last = torch.eye(4, dtype=torch.float64)  # world_from_camera of the last one placed
        self._onward = torch.eye(4, dtype=torch.float64)  # how the camera moved to there
        self._log_scale = 0.0

    def follow(
        self, image: Tensor, depth_mm: Tensor, *, log_depth_std: Tensor | None = None
    ) -> Placed:
        """Place the next frame.

        Args:
            image: (3, H, W) in [0, 1].
            depth_mm: (1, H, W), 0 where it is unknown or not to be used.
            log_depth_std: (1, H, W).
        """
        self._require(image, depth_mm)
        self._number += 1
        frame = self._made_ready(image, depth_mm, log_depth_std)
        if self._keyframe is None:
            return self._begin(frame)
        found = self._registered(frame, self._keyframe)
        if found is None:
            self._missed += 1
            if self._missed > PATIENCE:
                return self._begin(frame)
            return self._answer(Track.LOST)
        self._missed = 0
        world_from_camera = nearest_rigid(
            self._keyframe.world_from_camera @ inverse(found.target_from_source)
        )
        self._onward = nearest_rigid(relative(self._last, world_from_camera))
        self._last, self._log_scale = world_from_camera, found.log_scale
        keyframe = _far_enough(found, self._keyframe)
        if keyframe:
            self._keyframe = self._as_keyframe(frame)
        else:
            self._keyframe = self._improved(self._keyframe, frame, found)
        return self._answer(Track.PLACED, found, keyframe=keyframe)

    def _require(self, image: Tensor, depth_mm: Tensor) -> None:
        require_shapes(image=(image, "3 H W"), depth_mm=(depth_mm, "1 H W"))
        require_finite(image=image, depth_mm=depth_mm)
        if tuple(depth_mm.shape[-2:]) != self._given:
            height, width = depth_mm.shape[-2:]
            raise DataError(
                f"a frame of {height}x{width} for a camera of {self._given[0]}x{self._given[1]};"
                " camera.resized follows an image"
            )

    def _made_ready(self, image: Tensor, depth_mm: Tensor, std: Tensor | None) -> _Frame:
        size = (self._camera.height, self._camera.width)
        small = F.adaptive_avg_pool2d(image, size)
        # One pixel of each cell, not a mean: depth at a fold's edge is of one side or the other.
        depth = F.interpolate(depth_mm[None], size, mode="nearest-exact")[0]
        spread = None if std is None else F.adaptive_avg_pool2d(std, size)
        return _Frame(
            image=small,
            distance_mm=distance_from_depth(depth, self._camera),
            sights=sights(small, depth, self._camera, log_depth_std=spread),
        )

    def _begin(self, frame: _Frame) -> Placed:
        self._submap += 1
        self._missed, self._log_scale = 0, 0.0
        self._last = self._onward = torch.eye(4, dtype=torch.float64)
        if not (frame.sights[-1].wall[6] > 0).any():
            self._submap -= 1
            self._keyframe = None
            return self._answer(Track.LOST)
        self._keyframe = self._as_keyframe(frame)
        return self._answer(Track.BEGAN, keyframe=True)

    def _registered(self, frame: _Frame, keyframe: _Keyframe) -> Registration | None:
        """Return how the frame stands to the keyframe; None if it cannot be placed."""
        onward = (self._last @ self._onward, self._last, keyframe.world_from_camera)
        found = register(
            keyframe.sights,
            frame.sights,
            noise=self._noise,
            guesses=[relative(guess, keyframe.world_from_camera) for guess in onward],
            log_scale=self._log_scale,
        )
        world_from_camera = keyframe.world_from_camera @ inverse(found.target_from_source)
        turn = so3_log(relative(self._last, world_from_camera)[:3, :3]).norm().item()
        return found if _fits(found) and turn < TURN_MOST_RAD * (1 + self._missed) else None

    def _as_keyframe(self, frame: _Frame) -> _Keyframe:
        known = frame.distance_mm > 0
        return self._remade(
            _Keyframe(
                image=frame.image,
                log_distance=torch.where(known, frame.distance_mm, 1.0).log() + self._log_scale,
                known=known,
                frames=known.float(),
                world_from_camera=self._last,
                sights=(),
            )
        )

    def _improved(self, keyframe: _Keyframe, frame: _Frame, found: Registration) -> _Keyframe:
        """Average the frame's depth into the keyframe's, where both see one wall."""
        points = unproject(self._depth(keyframe), self._camera)  # (H, W, 3)
        moved = transform(found.target_from_source.to(points), points)
        pixels, in_front = self._camera.project(moved)
        there, inside = sample(frame.distance_mm, pixels, lookup=Lookup.NEAREST)  # (1, H, W)
        both = keyframe.known & inside & in_front & (there > 0)
        expected = moved.norm(dim=-1)[None]
        off = torch.where(both, there / expected, 1.0).log() + found.log_scale
        near = both & (off.abs() < BLENDED)
        frames = keyframe.frames + near
        step = torch.where(near, off / frames.clamp(min=1), 0.0)
        return self._remade(
            replace(keyframe, log_distance=keyframe.log_distance + step, frames=frames)
        )

    def _depth(self, keyframe: _Keyframe) -> Tensor:
        distance_mm = torch.where(keyframe.known, keyframe.log_distance.exp(), 0.0)
        return depth_from_distance(distance_mm, self._camera)

    def _remade(self, keyframe: _Keyframe) -> _Keyframe:
        made = sights(keyframe.image, self._depth(keyframe), self._camera)
        return replace(keyframe, sights=made)

    def _answer(
        self, track: Track, found: Registration | None = None, *, keyframe: bool = False
    ) -> Placed:
        lost = track is Track.LOST
        return Placed(
            number=self._number,
            track=track,
            submap=max(self._submap, 0),
            world_from_camera=None if lost else self._last,
            scale=math.exp(self._log_scale),
            keyframe=keyframe,
            registration=found,
        )


def _fits(found: Registration) -> bool:
    return (
        found.overlap > OVERLAP_LEAST
        and found.agreement > AGREEMENT_LEAST
        and found.correlation > CORRELATION_LEAST
    )


def _far_enough(found: Registration, keyframe: _Keyframe) -> bool:
    """Return whether the frame should be the next keyframe."""
    motion = found.target_from_source
    points = keyframe.sights[-1].points[0]
    moved = motion[:3, 3].norm().item() / points.norm(dim=-1).median().item()
    turned = so3_log(motion[:3, :3]).norm().item()
    return found.overlap < KEYFRAME_OVERLAP or turned > KEYFRAME_TURN_RAD or moved > KEYFRAME_SHARE
