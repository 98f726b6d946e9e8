"""What is true between two frames, and of a clip: flow, occlusion, how much wall was seen.

Flow follows the tissue: the place on the wall that a pixel shows, in the other frame's camera. It
is known wherever that place lands on the other image, hidden or not; `occluded` says which are.
"""

import math

import torch
from torch import Tensor

from colondepth.cameras import Camera, pixel_grid
from colondepth.motion import relative
from colondepth.shapes import require_shapes
from synthetic_colons.colon import Colon
from synthetic_colons.renderer import Rendering

# Depth against depth in a pixel beside: a wall that slopes away gains this much within a pixel.
OCCLUSION_TOLERANCE = 0.04
COVERAGE_MM = 1.0  # rows of the map of what was seen
COVERAGE_COLUMNS = 128
# Seen from flatter than this, or farther off, a wall has not been looked at (Leifman 2023 asks
# experts; this is a light's cosine and the depth of field that scopes are sold with).
SEEN_COSINE, SEEN_MM = 0.1, 100.0


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
    if there_mm is None:
        between = relative(world_from_target.double(), world_from_source.double())
        between = between.to(source.depth_mm)[:, None, None]  # (B, 1, 1, 4, 4)
        points = rays.to(source.depth_mm) * source.distance_mm[:, 0, :, :, None]  # (B, H, W, 3)
        x, y, z = (points[..., k : k + 1] for k in range(3))
        there = between[..., :3, 0] * x + between[..., :3, 1] * y + between[..., :3, 2] * z
        there = there + between[..., :3, 3]
    else:
        there = there_mm.movedim(1, -1)
    pixels, in_front = camera.to(source.depth_mm).project(there)
    known = source.valid[:, 0] & in_front & camera.contains(pixels)
    height, width = known.shape[-2:]
    grid = pixel_grid(height, width, like=pixels)
    flow_px = torch.where(known[..., None], pixels - grid, 0).movedim(-1, 1)
    # Hidden: the farthest of the four pixels around is still nearer than the place itself. On a
    # slope the nearest pixel alone would hide its own wall.
    u, v = pixels.nan_to_num(0).floor().unbind(dim=-1)
    left, top = u.clamp(0, width - 1).long(), v.clamp(0, height - 1).long()
    right, low = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    flat = target.depth_mm.flatten(start_dim=1)
    corners = [(row * width + column) for row in (top, low) for column in (left, right)]
    seen = [flat.gather(1, each.flatten(start_dim=1)) for each in corners]
    farthest = torch.stack(seen).amax(dim=0).unflatten(1, (height, width))
    hidden = (farthest <= 0) | (farthest < there[..., 2] * (1 - OCCLUSION_TOLERANCE))
    occluded = source.valid[:, 0] & (~known | hidden)
    return flow_px, known[:, None], occluded[:, None]


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
