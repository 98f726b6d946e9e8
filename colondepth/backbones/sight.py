"""What a network is told about its camera: where each pixel looks, and how finely.

A camera is its rays, so one description serves every lens and every field of view. It is worked out
once for a camera that comes again and again, as the one of a video does: a fisheye's rays take as
long as a small network.
"""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.shapes import require_float, require_shapes

REFERENCE_FOCAL_PX = 150.0  # what `log_focal` calls 0: a colonoscope's image of 320x256 pixels
FOCAL_LIMITS_PX = (1.0, 1e5)  # pixels per radian; beyond lies no camera, only rays that are unknown
REMEMBERED_CAMERAS = 8  # 1.3 MiB each at 320x256


@dataclass(frozen=True, eq=False, slots=True)
class Sight:
    """The rays of a batch of images; b is B, or 1 where all images have one camera."""

    rays: Tensor  # (b, 3, H, W), unit, 0 where no light comes
    log_focal: Tensor  # (b, 1, H, W), log(pixels per radian / REFERENCE_FOCAL_PX), 0 if unknown

    @property
    def ahead(self) -> Tensor:
        """True where the ray looks forward, so that there is a depth, shape (b, 1, H, W)."""
        return self.rays[:, 2:] > 0


def sight(camera: Camera, height: int, width: int, *, like: Tensor) -> Sight:
    """Return what a camera of batch (B,) or () sees, in the dtype and on the device of `like`."""
    require_float(like=like)
    # Training brings a new camera every time, and may want the gradient towards it.
    if torch.is_grad_enabled() or camera.linear.numel() > 4:
        return _looked_up(camera, height, width, like)
    lens = camera.lens
    key = (
        *(type(lens), tuple(lens.parameters().flatten().tolist()), camera.batch, camera.height),
        *(camera.width, tuple(camera.linear.flatten().tolist()), height, width),
        *(tuple(camera.centre.flatten().tolist()), camera.centre.dtype, like.dtype, like.device),
    )
    with _lock:
        known = _remembered.get(key)
    if known is None:
        known = _looked_up(camera, height, width, like)
        with _lock:
            _remembered[key] = known
            while len(_remembered) > REMEMBERED_CAMERAS:
                _remembered.popitem(last=False)
    return known


def log_focal(rays: Tensor) -> Tensor:
    """Return log(pixels per radian / REFERENCE_FOCAL_PX) for unit rays (B, 3, H, W), (B, 1, H, W).

    One pixel covers the solid angle |dr/du x dr/dv|, and the focal length is one over its root; 0
    where that is unknown.
    """
    require_shapes(rays=(rays, "B 3 H W"))
    down, right = torch.gradient(rays, dim=(-2, -1))  # (B, 3, H, W) each
    solid_angle = torch.linalg.cross(right, down, dim=1).norm(dim=1, keepdim=True)  # (B, 1, H, W)
    most, least = (focal**-2 for focal in FOCAL_LIMITS_PX)
    known = (solid_angle >= least) & (solid_angle <= most) & (rays.abs().amax(1, keepdim=True) > 0)
    safe = torch.where(known, solid_angle, torch.full_like(solid_angle, REFERENCE_FOCAL_PX**-2))
    return -0.5 * (safe * REFERENCE_FOCAL_PX**2).log()


_remembered: OrderedDict[Any, Sight] = OrderedDict()
_lock = Lock()


def _looked_up(camera: Camera, height: int, width: int, like: Tensor) -> Sight:
    rays = camera.rays(height, width).movedim(-1, -3)  # (*b, 3, H, W)
    rays = rays if camera.batch else rays[None]  # (b, 3, H, W)
    return Sight(rays.to(like).contiguous(), log_focal(rays).to(like).contiguous())
