"""Colons through a stereo endoscope: rectified pairs with exact disparity and occlusion.

Both lenses are one pinhole, the right one a baseline along the left one's x axis; rows match. The
lamps belong to the scope and light both pictures. Disparity is how many pixels farther left a place
appears in the right image, f b / z; it is positive everywhere.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.geometry import disparity_from_depth
from colondepth.warping import occlusion_by_depth
from synthetic_colons.camera_views import draw_views
from synthetic_colons.clips import dice, draw_level_colon
from synthetic_colons.exposure import automatic_exposure, develop
from synthetic_colons.ground_truth import OCCLUSION_TOLERANCE
from synthetic_colons.levels import level
from synthetic_colons.light import Lamps, draw_lamps
from synthetic_colons.looks import bake_looks
from synthetic_colons.renderer import Rendering, render, scene_of
from synthetic_colons.sight import sight

BASELINE_MM = 4.0  # between the lenses of stereo endoscopes: 3.8 to 5.5 mm (da Vinci, Olympus)
FIELD_DEG = (60.0, 90.0)  # across the width; rectified pairs are no fisheyes
TRIES = 16  # views drawn for each that is kept: the right lens must be inside as well
CLEARANCE_MM = 1.5  # of both lenses


@dataclass(frozen=True, slots=True, eq=False)
class StereoBatch:
    """Rectified pairs; truth is the left view's."""

    left: Tensor  # (B, 3, H, W)
    right: Tensor  # (B, 3, H, W)
    disparity_px: Tensor  # (B, 1, H, W), 0 where unknown
    right_disparity_px: Tensor  # (B, 1, H, W), of the right image's own pixels
    depth_mm: Tensor  # (B, 1, H, W), z
    valid: Tensor  # (B, 1, H, W) bool
    occluded: Tensor  # (B, 1, H, W) bool, what the right image does not show
    camera: Camera  # of both
    baseline_mm: float
    world_from_camera: Tensor  # (B, 4, 4), of the left


class StereoColons:
    """Batches of pairs in one colon; batch number k is always the same."""

    def __init__(
        self,
        level_name: str | int,
        *,
        size: tuple[int, int],
        batch: int,
        seed: int,
        baseline_mm: float = BASELINE_MM,
        device: torch.device | str = "cpu",
    ) -> None:
        """Build the colon.

        Args:
            level_name: see `levels.LEVELS`; the sensor is the plain one on every level.
            size: (height, width).
            batch: pairs in a batch.
            seed: of colon and views.
            baseline_mm: between the lenses.
            device: where everything is rendered.
        """
        if batch < 1 or min(size) < 1 or not baseline_mm > 0:
            raise DataError(
                f"batch {batch}, size {size}, baseline {baseline_mm} mm; expected more than 0"
            )
        self.level, self.size, self.batch, self.seed = level(level_name), size, batch, seed
        self.baseline_mm = baseline_mm
        self.device = torch.device(device)
        self.colon = draw_level_colon(self.level, seed, 0, self.device)
        looks = bake_looks(self.colon, self.level, dice(self.level.name, seed, 0, "looks"))
        self.scene = scene_of([self.colon], [looks])

    def make(self, number: int) -> StereoBatch:
        """Return a batch by its number."""
        generator = dice(self.level.name, self.seed, number, "frame")
        low, high = FIELD_DEG
        field = torch.deg2rad(low + (high - low) * torch.rand((), generator=generator))
        height, width = self.size
        focal = float(width / 2 / torch.tan(field / 2))
        camera = Camera.pinhole(
            fx=focal,
            fy=focal,
            cx=(width - 1) / 2,
            cy=(height - 1) / 2,
            height=height,
            width=width,
        ).to(torch.zeros((), device=self.device))
        left = self._poses(generator)
        right = self._beside(left)
        lamps = draw_lamps(generator, self.batch, at_lens=self.level.lamps_at_lens)
        moved = lamps.numbers.clone()
        moved[..., 0] -= self.baseline_mm  # the same lamps, from the right lens
        rays = sight(camera, frames=self.batch)
        which = torch.zeros(self.batch, dtype=torch.long)
        seen_left = render(self.scene, rays, left, which=which, lamps=lamps)
        seen_right = render(self.scene, rays, right, which=which, lamps=Lamps(moved))
        shift = torch.eye(4, device=self.device)
        shift[0, 3] = -self.baseline_mm  # right from left
        hidden = occlusion_by_depth(
            seen_left.depth_mm,
            seen_right.depth_mm,
            camera,
            shift.expand(self.batch, 4, 4),
            tolerance=OCCLUSION_TOLERANCE,
        )
        exposure = automatic_exposure(seen_left.light, inside=seen_left.valid)
        return StereoBatch(
            left=develop(seen_left.light, exposure),
            right=develop(seen_right.light, exposure),
            disparity_px=self._disparity(seen_left, camera),
            right_disparity_px=self._disparity(seen_right, camera),
            depth_mm=seen_left.depth_mm,
            valid=seen_left.valid,
            occluded=hidden & seen_left.valid,
            camera=camera,
            baseline_mm=self.baseline_mm,
            world_from_camera=left,
        )

    def _disparity(self, seen: Rendering, camera: Camera) -> Tensor:
        return disparity_from_depth(seen.depth_mm, camera, baseline_mm=self.baseline_mm)

    def _poses(self, generator: torch.Generator) -> Tensor:
        """Return left poses whose right lens is in the lumen too, (B, 4, 4)."""
        kept: list[Tensor] = []
        for _ in range(TRIES):
            drawn = draw_views(generator, self.colon, 2 * self.batch).float()
            clear = self.colon.clearance_mm(self._beside(drawn)[:, :3, 3]) >= CLEARANCE_MM
            kept.append(drawn[clear])
            if sum(len(each) for each in kept) >= self.batch:
                return torch.cat(kept)[: self.batch]
        raise DataError(f"no {self.batch} places with room for both lenses in {TRIES} tries")

    def _beside(self, left: Tensor) -> Tensor:
        right = left.clone()
        right[:, :3, 3] = left[:, :3, 3] + self.baseline_mm * left[:, :3, 0]
        return right
