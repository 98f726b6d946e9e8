"""What is true between two frames, and of a clip: flow, occlusion, how much wall was seen.

Flow follows the tissue: the place on the wall that a pixel shows, in the other frame's camera. It
is known wherever that place lands on the other image, hidden or not; `occluded` says which are.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.geometry import rigid_flow
from colondepth.motion import relative
from colondepth.shapes import require_shapes
from colondepth.warping import occlusion_by_depth
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
    world_from_source: Tensor,
    world_from_target: Tensor,
    *,
    moved: Callable[[Rendering], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return flow from B source frames to B target frames, where it is known, and what is hidden.

    Args:
        source: rendered.
        target: rendered.
        camera: of both, batch () or (B,).
        world_from_source: (B, 4, 4).
        world_from_target: (B, 4, 4).
        moved: gives the z-depth (B, 1, H, W) that the source's tissue would have if it already
            stood where it stands in the target's moment; none where the wall keeps still.

    Returns:
        `flow_px` (B, 2, H, W), `known` and `occluded` (B, 1, H, W) bool. Occluded pixels are those
        whose place the target does not show, because it is hidden or outside the image.
    """
    pattern = "B 4 4"
    require_shapes(
        world_from_source=(world_from_source, pattern),
        world_from_target=(world_from_target, pattern),
    )
    between = relative(world_from_target.double(), world_from_source.double()).float()
    between = between.to(source.depth_mm.device)
    depth = source.depth_mm if moved is None else moved(source)
    flow_px, known = rigid_flow(depth, camera, between)
    hidden = occlusion_by_depth(
        depth, target.depth_mm, camera, between, tolerance=OCCLUSION_TOLERANCE
    )
    return flow_px, known & source.valid, hidden & source.valid


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
        row = (rendering.arc_mm / COVERAGE_MM).round().long() - self._first
        column = (rendering.angle_rad * (COVERAGE_COLUMNS / (2 * math.pi))).round().long()
        kept = looked & (row >= 0) & (row < len(self.seen))
        self.seen[row[kept], column[kept] % COVERAGE_COLUMNS] = True
        return float((self.seen * self.area_mm2).sum() / self.area_mm2.sum())


def facing(rendering: Rendering, rays: Tensor) -> Tensor:
    """Return the cosine between rays (*B, H, W, 3) and the normals they meet, (B, 1, H, W)."""
    towards = -rays.movedim(-1, -3).to(rendering.normals)
    return (rendering.normals * towards).sum(dim=1, keepdim=True)
