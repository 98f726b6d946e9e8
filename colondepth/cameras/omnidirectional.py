"""The omnidirectional lens of Scaramuzza, Martinelli and Siegwart (2006), which C3VD uses.

Plane: pixels of the sensor before the stretch; a plane point at radius r from the centre looks
along (p, q, a0 + a1 r + a2 r^2 + a3 r^3 + a4 r^4). The stretch [[c, d], [e, 1]] that follows is the
camera's linear map. The way back solves this same polynomial; there is no second one to disagree.
"""

from dataclasses import dataclass
from math import pi
from typing import Self

import torch
from torch import Tensor

from colondepth.cameras.lens import Lens, lift, points_or_forward, safe_norm
from colondepth.cameras.solve import increasing_until, solve_increasing

# How far out the polynomial is followed, in units of a0; an equidistant lens ends there.
FARTHEST = pi


@dataclass(frozen=True, eq=False)
class Omnidirectional(Lens):
    """A Scaramuzza lens; its angle to the axis must grow with the radius."""

    polynomial: Tensor  # (*B, 5): a0 to a4, with a0 > 0 (the z axis looks forward)

    def bend(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """See `Lens.bend`."""
        points, has_direction = points_or_forward(points)
        floor = torch.finfo(points.dtype).eps * points.detach().norm(dim=-1)
        across = safe_norm(points[..., :2], floor)
        angle = torch.atan2(across, points[..., 2])
        limit = self._limit_like(angle)
        seen = has_direction & (angle <= self._angle(limit)[0])
        angle = torch.where(seen, angle, torch.full_like(angle, torch.finfo(angle.dtype).eps))
        focal = lift(self.polynomial[..., :1], angle.ndim - self.polynomial.ndim + 1)[..., 0]
        radius = solve_increasing(self._angle, angle, angle * focal, limit)
        return points[..., :2] * (radius / across)[..., None], seen

    def unbend(self, plane: Tensor) -> tuple[Tensor, Tensor]:
        """See `Lens.unbend`."""
        radius = safe_norm(plane, torch.finfo(plane.dtype).eps)
        seen = radius <= self._limit_like(radius)
        radius = torch.where(seen, radius, torch.zeros_like(radius))
        sideways = torch.where(seen[..., None], plane, torch.zeros_like(plane))
        ray = torch.cat([sideways, self._height(radius)[0][..., None]], dim=-1)
        return ray / ray.norm(dim=-1, keepdim=True), seen

    def parameters(self) -> Tensor:
        """See `Lens.parameters`."""
        return self.polynomial

    def with_parameters(self, parameters: Tensor) -> Self:
        """See `Lens.with_parameters`."""
        return type(self)(parameters)

    def turned(self, turn: Tensor) -> Self:
        """See `Lens.turned`: the lens is the same all around."""
        del turn
        return self

    def _height(self, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Scaramuzza et al. (2006), eq. 6, and its slope."""
        a0, a1, a2, a3, a4 = lift(self.polynomial, radius.ndim - self.polynomial.ndim + 1).unbind(
            -1
        )
        value = a0 + radius * (a1 + radius * (a2 + radius * (a3 + radius * a4)))
        return value, a1 + radius * (2 * a2 + radius * (3 * a3 + radius * 4 * a4))

    def _angle(self, radius: Tensor) -> tuple[Tensor, Tensor]:
        height, slope = self._height(radius)
        square = height * height + radius * radius
        return torch.atan2(radius, height), (height - radius * slope) / square

    def _limit_like(self, radius: Tensor) -> Tensor:
        farthest = (self.polynomial[..., 0] * FARTHEST).detach()
        limit = increasing_until(lambda places: self._angle(places)[1], farthest)  # (*B,)
        return lift(limit[..., None], radius.ndim - limit.ndim)[..., 0].expand_as(radius)
