"""The fisheye of Kannala and Brandt (2006), four terms, as in `cv2.fisheye`.

Plane: the direction of (x, y), at radius t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8), where t is the
angle between the ray and the optical axis. All zeros is the equidistant fisheye.
"""

from dataclasses import dataclass
from math import pi
from typing import Self

import torch
from torch import Tensor

from colondepth.cameras.lens import Lens, lift, points_or_forward, safe_norm
from colondepth.cameras.solve import increasing_until, solve_increasing


@dataclass(frozen=True, eq=False)
class Fisheye(Lens):
    """A Kannala-Brandt lens; sees behind the camera where its polynomial still grows."""

    distortion: Tensor  # (*B, 4): k1, k2, k3, k4

    def bend(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """See `Lens.bend`."""
        points, has_direction = points_or_forward(points)
        floor = torch.finfo(points.dtype).eps * points.detach().norm(dim=-1)
        across = safe_norm(points[..., :2], floor)
        angle = torch.atan2(across, points[..., 2])
        limit = self._limit_like(angle)
        seen = has_direction & (angle <= limit)
        radius = self._radius(torch.where(seen, angle, torch.zeros_like(angle)))[0]
        return points[..., :2] * (radius / across)[..., None], seen

    def unbend(self, plane: Tensor) -> tuple[Tensor, Tensor]:
        """See `Lens.unbend`."""
        radius = safe_norm(plane, torch.finfo(plane.dtype).eps ** 2)
        limit = self._limit_like(radius)
        seen = radius <= self._radius(limit)[0]
        radius = torch.where(seen, radius, torch.full_like(radius, torch.finfo(plane.dtype).eps))
        angle = solve_increasing(self._radius, radius, radius, limit)
        sideways = torch.where(seen[..., None], plane, torch.zeros_like(plane))
        return torch.cat(
            [sideways * (angle.sin() / radius)[..., None], angle.cos()[..., None]], dim=-1
        ), seen

    def parameters(self) -> Tensor:
        """See `Lens.parameters`."""
        return self.distortion

    def with_parameters(self, parameters: Tensor) -> Self:
        """See `Lens.with_parameters`."""
        return type(self)(parameters)

    def turned(self, turn: Tensor) -> Self:
        """See `Lens.turned`: the lens is the same all around."""
        del turn
        return self

    def _radius(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Kannala and Brandt (2006), eq. 6, and its slope."""
        k1, k2, k3, k4 = lift(self.distortion, angle.ndim - self.distortion.ndim + 1).unbind(-1)
        s = angle * angle
        value = angle * (1 + s * (k1 + s * (k2 + s * (k3 + s * k4))))
        return value, 1 + s * (3 * k1 + s * (5 * k2 + s * (7 * k3 + s * 9 * k4)))

    def _limit_like(self, angle: Tensor) -> Tensor:
        widest = torch.full_like(self.distortion[..., 0], pi).detach()
        limit = increasing_until(lambda places: self._radius(places)[1], widest)  # (*B,)
        return lift(limit[..., None], angle.ndim - limit.ndim)[..., 0].expand_as(angle)
