"""The rays of a batch of frames as one list, and the bundles that go ahead of them."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.shapes import require_bool, require_shapes
from synthetic_colons.marching import BUNDLE_PX


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """Which rays are followed; directions are in the camera's frame."""

    frames: int
    height: int
    width: int
    inside: Tensor  # (B, 1, H, W) bool, where the lens sees and the border does not cover
    pixel: Tensor  # (R,) int64, place of each ray in the flat (B, H, W)
    frame: Tensor  # (R,) int32
    ray: Tensor  # (3, R) unit
    bundle: Tensor  # (R,) int64, place of its bundle in the list of bundles
    bundle_frame: Tensor  # (Q,) int32
    bundle_ray: Tensor  # (3, Q) unit
    spread: Tensor  # (Q,) longest chord from the bundle's ray to one of its own

    def of(self, frame: int) -> Self:
        """Return the rays of one frame alone."""
        kept, bundles = (self.frame == frame), (self.bundle_frame == frame)
        before = int((self.bundle_frame < frame).sum())
        return type(self)(
            frames=1,
            height=self.height,
            width=self.width,
            inside=self.inside[frame : frame + 1],
            pixel=self.pixel[kept] - frame * self.height * self.width,
            frame=torch.zeros_like(self.frame[kept]),
            ray=self.ray[:, kept],
            bundle=self.bundle[kept] - before,
            bundle_frame=torch.zeros_like(self.bundle_frame[bundles]),
            bundle_ray=self.bundle_ray[:, bundles],
            spread=self.spread[bundles],
        )

    def spread_out(self, values: Tensor) -> Tensor:
        """Put values of rays (*C, R) into maps (B, *C, H, W), 0 where no ray went."""
        size = self.frames * self.height * self.width
        if len(self.pixel) == size:
            flat = values
        else:
            flat = values.new_zeros(*values.shape[:-1], size)
            flat[..., self.pixel] = values
        maps: Tensor = flat.unflatten(-1, (self.frames, self.height, self.width))
        return maps.movedim(-3, 0)


def sight(camera: Camera, *, frames: int, inside: Tensor | None = None) -> Sight:
    """List the rays of frames through a camera; the same camera for all, or a batch of as many.

    Args:
        camera: float32 or float64, batch () or (frames,).
        frames: B.
        inside: what the scope's border leaves, (1, H, W) or (B, 1, H, W) bool; all by default.
    """
    if camera.batch not in ((), (frames,)):
        raise DataError(f"the camera is a batch {camera.batch}, expected () or ({frames},)")
    rays = camera.rays(camera.height, camera.width).float()
    rays = rays.expand(frames, -1, -1, -1).movedim(-1, 1)  # (B, 3, H, W)
    seen = (rays != 0).any(dim=1, keepdim=True)  # (B, 1, H, W)
    if inside is not None:
        require_shapes(inside=(inside, "*B 1 H W"), rays=(rays, "*B 3 H W"))
        require_bool(inside=inside)
        seen = seen & inside.to(seen.device)
    bundle_ray, spread, taken = _bundles(rays, seen)
    flat = seen.flatten()
    pixel = flat.nonzero()[:, 0]
    per_frame = camera.height * camera.width
    frame = pixel // per_frame
    rows = torch.arange(camera.height, device=rays.device)[:, None] // BUNDLE_PX
    columns = torch.arange(camera.width, device=rays.device)[None] // BUNDLE_PX
    tall, wide = bundle_ray.shape[-2:]
    own = (rows * wide + columns).flatten()[pixel % per_frame] + frame * (tall * wide)
    number = taken.flatten().long().cumsum(0) - 1
    kept = taken.flatten().nonzero()[:, 0]
    return Sight(
        frames=frames,
        height=camera.height,
        width=camera.width,
        inside=seen,
        pixel=pixel,
        frame=frame.int(),
        ray=rays.transpose(0, 1).flatten(start_dim=1)[:, pixel].contiguous(),
        bundle=number[own],
        bundle_frame=(kept // (tall * wide)).int(),
        bundle_ray=bundle_ray.transpose(0, 1).flatten(start_dim=1)[:, kept].contiguous(),
        spread=spread.flatten()[kept],
    )


def _bundles(rays: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the middle ray (B, 3, h, w), widest chord (B, h, w) and if any ray is seen."""
    spare_rows, spare_columns = -rays.shape[-2] % BUNDLE_PX, -rays.shape[-1] % BUNDLE_PX
    shown = pad(rays * seen, (0, spare_columns, 0, spare_rows))
    known = pad(seen, (0, spare_columns, 0, spare_rows))
    middle = torch.nn.functional.avg_pool2d(shown, BUNDLE_PX)
    middle = torch.nn.functional.normalize(middle, dim=1)
    each = middle.repeat_interleave(BUNDLE_PX, -1).repeat_interleave(BUNDLE_PX, -2)
    chord = ((shown - each) * known).norm(dim=1, keepdim=True)
    widest = max_pool2d(chord, BUNDLE_PX)[:, 0]
    return middle, widest, max_pool2d(known.float(), BUNDLE_PX)[:, 0] > 0
