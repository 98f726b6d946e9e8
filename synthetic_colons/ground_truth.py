"""What is true between two frames, and of a clip: flow, occlusion, how much wall was seen.

Flow follows the tissue: the place on the wall that a pixel shows, in the other frame's camera. It
is known wherever that place lands on the other image, hidden or not; `occluded` says which are.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.cameras.fisheye import Fisheye
from colondepth.cameras.lens import Lens
from colondepth.cameras.pinhole import Pinhole
from colondepth.motion import relative
from colondepth.reconstruction.visibility import SEEN_COSINE, SEEN_MM
from colondepth.shapes import require_shapes
from synthetic_colons.colon import Colon
from synthetic_colons.field import take
from synthetic_colons.kernels import compiled
from synthetic_colons.renderer import Rendering

# Depth against depth in a pixel beside: a wall that slopes away gains this much within a pixel.
OCCLUSION_TOLERANCE = 0.04
COVERAGE_MM = 1.0  # rows of the map of what was seen
COVERAGE_COLUMNS = 128


def flow(
    source: Rendering,
    target: Rendering,
    camera: Camera,
    rays: Tensor,
    world_from_source: Tensor,
    world_from_target: Tensor,
    *,
    there_mm: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return flow from B source frames to B target frames, where it is known, and what is hidden.

    Args:
        source: rendered.
        target: rendered.
        camera: of both, batch () or (B,).
        rays: the camera's, (H, W, 3) or (B, H, W, 3).
        world_from_source: (B, 4, 4).
        world_from_target: (B, 4, 4).
        there_mm: where what each pixel shows is at the target's moment, in the target's camera
            frame, (B, 3, H, W); none where nothing moves but the camera.

    Returns:
        `flow_px` (B, 2, H, W), `known` and `occluded` (B, 1, H, W) bool. Occluded pixels are those
        whose place the target does not show, because it is hidden or outside the image.
    """
    pattern = "B 4 4"
    require_shapes(
        world_from_source=(world_from_source, pattern),
        world_from_target=(world_from_target, pattern),
    )
    frames, (height, width) = len(world_from_source), source.depth_mm.shape[-2:]
    depth = source.depth_mm
    between = relative(world_from_target.double(), world_from_source.double()).to(depth)
    rays = rays.to(depth).expand(frames, -1, -1, -1).movedim(-1, 1)  # (B, 3, H, W)
    camera = camera.to(depth).expanded((frames,))
    through = _KERNELS.get(type(camera.lens))
    step = compiled(through) if through else partial(_flow_through, type(camera.lens))
    size = depth.new_tensor([height, width])
    found = []
    for k in range(frames):
        if there_mm is None:
            at, length, motion = rays[k], source.distance_mm[k], between[k, :3]
        else:
            at, length, motion = there_mm[k], torch.ones_like(depth[k]), torch.eye(4).to(depth)[:3]
        moved = Moved(
            at=at.flatten(start_dim=1),
            length=length.flatten(),
            valid=source.valid[k].flatten(),
            motion=motion.flatten(),
            lens=camera.lens.parameters()[k],
            linear=camera.linear[k].flatten(),
            centre=camera.centre[k],
            size=size,
            target_depth=target.depth_mm[k].flatten(),
        )
        found.append(step(moved))
    u, v, known, occluded = (torch.stack(each) for each in zip(*found, strict=True))
    flow_px = torch.stack([u, v], dim=1).unflatten(-1, (height, width))
    shape = (frames, 1, height, width)
    return flow_px, known.view(shape), occluded.view(shape)


class Flow(NamedTuple):
    """Where the pixels of one frame go, (R,) each, row by row."""

    u: Tensor
    v: Tensor
    known: Tensor
    occluded: Tensor


class Moved(NamedTuple):
    """What the flow of one frame follows from."""

    at: Tensor  # (3, R), directions in the source's camera frame
    length: Tensor  # (R,), how far along them the points are
    valid: Tensor  # (R,) bool
    motion: Tensor  # (12,), the upper rows of target from source
    lens: Tensor  # its parameters
    linear: Tensor  # (4,), of the camera
    centre: Tensor  # (2,)
    size: Tensor  # (2,), height and width
    target_depth: Tensor  # (R,)


def flow_through_pinhole(moved: Moved) -> Flow:
    """Return the flow of one frame through a pinhole lens."""
    return _flow_through(Pinhole, moved)


def flow_through_fisheye(moved: Moved) -> Flow:
    """Return the flow of one frame through a fisheye lens."""
    return _flow_through(Fisheye, moved)


_KERNELS = {Pinhole: flow_through_pinhole, Fisheye: flow_through_fisheye}


def _flow_through(kind: Callable[[Tensor], Lens], moved: Moved) -> Flow:
    at, length, valid, motion, lens, linear, centre, size, target_depth = moved
    x, y, z = (at[k] * length for k in range(3))
    there = [
        motion[k] * x + motion[k + 1] * y + motion[k + 2] * z + motion[k + 3] for k in (0, 4, 8)
    ]
    plane, in_front = kind(lens).bend(torch.stack(there, dim=-1))  # as `Camera.project` does
    p, q = plane[:, 0], plane[:, 1]
    u = linear[0] * p + linear[1] * q + centre[0]
    v = linear[2] * p + linear[3] * q + centre[1]
    height, width = size[0], size[1]
    inside = (u >= -0.5) & (u <= width - 0.5) & (v >= -0.5) & (v <= height - 0.5)
    known = valid & in_front & inside
    pixel = torch.arange(length.shape[0], device=length.device).to(length)
    row = (pixel / width).floor()
    u_here, v_here = pixel - row * width, row
    # Hidden: the farthest of the four pixels around is still nearer than the place itself. On a
    # slope the nearest pixel alone would hide its own wall.
    u_there = torch.where(known, u, 0.0).floor()
    v_there = torch.where(known, v, 0.0).floor()
    left, top = u_there.clamp(min=0), v_there.clamp(min=0)
    right, low = torch.minimum(u_there + 1, width - 1), torch.minimum(v_there + 1, height - 1)
    farthest = torch.zeros_like(length)
    for row, column in ((top, left), (top, right), (low, left), (low, right)):
        place = row.long() * width.long() + column.long()
        farthest = torch.maximum(farthest, take(target_depth, place))
    hidden = (farthest <= 0) | (farthest < there[2] * (1 - OCCLUSION_TOLERANCE))
    return Flow(
        torch.where(known, u - u_here, 0.0),
        torch.where(known, v - v_here, 0.0),
        known,
        valid & (~known | hidden),
    )


class Coverage:
    """Which part of the wall a clip has shown so far."""

    def __init__(self, colon: Colon, stretch_mm: tuple[float, float]) -> None:
        """Begin with nothing seen.

        Args:
            colon: whose wall it is.
            stretch_mm: arc lengths between which the wall counts, such as the path's ends.
        """
        self._first = max(0, math.floor(stretch_mm[0] / COVERAGE_MM))
        last = min(int(colon.length_mm / COVERAGE_MM), math.ceil(stretch_mm[1] / COVERAGE_MM))
        rows = torch.arange(self._first, max(last, self._first + 1), device=colon.device)
        table = colon.wall.radius_mm
        scale = COVERAGE_MM * (len(table) - 1) / colon.length_mm
        own = table[(rows * scale).round().long().clamp(max=len(table) - 1)]
        self.area_mm2 = own[:, :: table.shape[1] // COVERAGE_COLUMNS] * (
            2 * math.pi / COVERAGE_COLUMNS * COVERAGE_MM
        )  # of every cell, without the slopes of folds
        self.seen = torch.zeros_like(self.area_mm2, dtype=torch.bool)

    def add(self, rendering: Rendering, facing: Tensor) -> float:
        """Count what frames show; return the share of the stretch's wall seen so far, in [0, 1].

        Args:
            rendering: B frames.
            facing: cosine between ray and normal, (B, 1, H, W).
        """
        looked = rendering.valid & (facing > SEEN_COSINE) & (rendering.distance_mm < SEEN_MM)
        looked &= rendering.axis_mm > 0  # fluid and instruments hide the wall: no coordinates there
        row = (rendering.arc_mm / COVERAGE_MM).round().long() - self._first
        column = (rendering.angle_rad * (COVERAGE_COLUMNS / (2 * math.pi))).round().long()
        kept = looked & (row >= 0) & (row < len(self.seen))
        self.seen[row[kept], column[kept] % COVERAGE_COLUMNS] = True
        return float((self.seen * self.area_mm2).sum() / self.area_mm2.sum())


def facing(rendering: Rendering, rays: Tensor) -> Tensor:
    """Return the cosine between rays (*B, H, W, 3) and the normals they meet, (B, 1, H, W)."""
    towards = -rays.movedim(-1, -3).to(rendering.normals)
    return (rendering.normals * towards).sum(dim=1, keepdim=True)
