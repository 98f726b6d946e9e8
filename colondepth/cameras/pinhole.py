"""The pinhole with Brown's distortion, in OpenCV's order: k1, k2, p1, p2, k3.

Plane: (x / z, y / z), distorted. A strong barrel distortion folds back on itself far off the axis;
a direction beyond the fold is not seen.
"""

from dataclasses import dataclass
from math import pi, tan
from typing import Self

import torch
from torch import Tensor

from colondepth.cameras.lens import Lens, lift, safe_norm
from colondepth.cameras.solve import (
    Jacobian,
    increasing_until,
    solve_increasing,
    solve_on_plane,
)

# Rays within a degree of the image plane would need images 57 focal lengths wide.
WIDEST_RAD = 89 * pi / 180


@dataclass(frozen=True, eq=False)
class Pinhole(Lens):
    """A pinhole lens; all zeros is the ideal one."""

    distortion: Tensor  # (*B, 5): k1, k2, p1, p2, k3

    def bend(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """See `Lens.bend`."""
        z = points[..., 2]
        ahead = z > z.new_tensor(torch.finfo(z.dtype).tiny)
        ideal = points[..., :2] / torch.where(ahead, z, torch.ones_like(z))[..., None]
        limit = lift(self._limit()[..., None], points.ndim - self.distortion.ndim)[..., 0]
        inside = ahead & (ideal.square().sum(dim=-1) <= limit.square())
        ideal = torch.where(inside[..., None], ideal, torch.zeros_like(ideal))
        bent, (a, b, c, d) = self._distort(ideal)
        return bent, inside & (a * d - b * c > 0)  # strong tangential terms fold on their own

    def unbend(self, plane: Tensor) -> tuple[Tensor, Tensor]:
        """See `Lens.unbend`."""
        if not bool(self.distortion.any()) and not self.distortion.requires_grad:
            widest = tan(WIDEST_RAD)
            return _unit(plane), plane.square().sum(dim=-1) <= widest * widest
        axes = plane.ndim - self.distortion.ndim
        limit = lift(self._limit()[..., None], axes)[..., 0]
        radius = safe_norm(plane, torch.finfo(plane.dtype).tiny ** 0.5)
        # With tangential terms the edge of the field is not quite a circle: the last word is
        # whether the undistorted point lies inside and comes back to where it started.
        reach = self._radial(limit.expand_as(radius))[0] * 1.05
        near = radius <= reach
        plane = torch.where(near[..., None], plane, torch.zeros_like(plane))
        ratio = solve_increasing(self._radial, radius * near, radius * near, limit) / radius
        ideal = plane * ratio[..., None]
        if bool(self.distortion[..., 2:4].any()) or self.distortion.requires_grad:
            ideal = solve_on_plane(self._distort, plane, ideal)
        bent, (a, b, c, d) = self._distort(ideal)
        returns = (bent - plane).abs().amax(dim=-1) < 16 * torch.finfo(plane.dtype).eps
        unfolded = (a * d - b * c > 0) & (ideal.square().sum(dim=-1) <= limit.square())
        seen = near & unfolded & returns
        ideal = torch.where(seen[..., None], ideal, torch.zeros_like(ideal))
        return _unit(ideal), seen

    def parameters(self) -> Tensor:
        """See `Lens.parameters`."""
        return self.distortion

    def with_parameters(self, parameters: Tensor) -> Self:
        """See `Lens.with_parameters`."""
        return type(self)(parameters)

    def turned(self, turn: Tensor) -> Self:
        """See `Lens.turned`: (p2, p1) is a vector in the plane and turns with it."""
        k1, k2, p1, p2, k3 = self.distortion.unbind(dim=-1)
        p2, p1 = (torch.stack([p2, p1], dim=-1) @ turn.to(self.distortion).mT).unbind(dim=-1)
        return type(self)(torch.stack([k1, k2, p1, p2, k3], dim=-1))

    def _distort(self, ideal: Tensor) -> tuple[Tensor, Jacobian]:
        """Return the distorted point and its Jacobian (Brown 1971, as in OpenCV)."""
        k1, k2, p1, p2, k3 = self._lifted(ideal.ndim - 1)
        x, y = ideal.unbind(dim=-1)
        s = x * x + y * y
        radial = 1 + s * (k1 + s * (k2 + s * k3))
        slope = 2 * (k1 + s * (2 * k2 + s * 3 * k3))  # d radial / d s, times 2
        bent = torch.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (s + 2 * x * x),
                y * radial + p1 * (s + 2 * y * y) + 2 * p2 * x * y,
            ],
            dim=-1,
        )
        across = x * y * slope + 2 * p1 * x + 2 * p2 * y
        xx = radial + x * x * slope + 2 * p1 * y + 6 * p2 * x
        yy = radial + y * y * slope + 6 * p1 * y + 2 * p2 * x
        return bent, (xx, across, across, yy)

    def _radial(self, radius: Tensor) -> tuple[Tensor, Tensor]:
        k1, k2, _, _, k3 = self._lifted(radius.ndim)
        s = radius * radius
        value = radius * (1 + s * (k1 + s * (k2 + s * k3)))
        return value, 1 + s * (3 * k1 + s * (5 * k2 + s * 7 * k3))

    def _lifted(self, ndim: int) -> tuple[Tensor, ...]:
        return lift(self.distortion, ndim - self.distortion.ndim + 1).unbind(dim=-1)

    def _limit(self) -> Tensor:
        """Return the largest x / z at which the radial distortion still grows, shape (*B,)."""
        widest = torch.full_like(self.distortion[..., 0], WIDEST_RAD).detach()
        angle = increasing_until(lambda angle: self._radial(angle.tan())[1], widest)
        return angle.tan()


def _unit(ideal: Tensor) -> Tensor:
    ray = torch.cat([ideal, torch.ones_like(ideal[..., :1])], dim=-1)
    length: Tensor = ray.norm(dim=-1, keepdim=True)
    return ray / length
