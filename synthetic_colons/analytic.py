"""Scenes whose depth and normals are known in closed form: planes, spheres and tubes.

They are what the rest of the project is tested against, and what the demo shows until it has a
whole colon. World frame and camera frame: x right, y down, z forward, millimetres.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.shapes import require_shapes

Point = tuple[float, float, float]

# Surfaces nearer than this are the camera's own tip.
NEAREST_MM = 1e-3


class Shape(ABC):
    """A surface that says where rays meet it."""

    @abstractmethod
    def distance_mm(self, origin: Tensor, direction: Tensor) -> Tensor:
        """Return the distance (...) to the first hit of rays (..., 3), infinite for a miss."""

    @abstractmethod
    def normal(self, points: Tensor) -> Tensor:
        """Return a unit normal (..., 3) at points of the surface, either side."""


@dataclass(frozen=True, kw_only=True)
class Plane(Shape):
    """The plane through `point_mm`, across `across`."""

    point_mm: Point
    across: Point

    def distance_mm(self, origin: Tensor, direction: Tensor) -> Tensor:
        """See `Shape.distance_mm`."""
        normal = _unit(self.across, origin)
        height = ((origin.new_tensor(self.point_mm) - origin) * normal).sum(dim=-1)
        speed = (direction * normal).sum(dim=-1)
        distance = height / torch.where(speed == 0, torch.ones_like(speed), speed)
        return _first(distance, hit=speed != 0)

    def normal(self, points: Tensor) -> Tensor:
        """See `Shape.normal`."""
        return _unit(self.across, points).expand_as(points)


@dataclass(frozen=True, kw_only=True)
class Sphere(Shape):
    """The sphere around `centre_mm`, seen from inside or outside."""

    centre_mm: Point
    radius_mm: float

    def distance_mm(self, origin: Tensor, direction: Tensor) -> Tensor:
        """See `Shape.distance_mm`."""
        towards = origin.new_tensor(self.centre_mm) - origin
        return _quadratic(
            torch.ones_like(direction[..., 0]),
            (towards * direction).sum(dim=-1),
            towards.square().sum(dim=-1) - self.radius_mm**2,
        )

    def normal(self, points: Tensor) -> Tensor:
        """See `Shape.normal`."""
        return (points - points.new_tensor(self.centre_mm)) / self.radius_mm


@dataclass(frozen=True, kw_only=True)
class Tube(Shape):
    """The endless round tube about the line through `point_mm` along `along`."""

    point_mm: Point
    along: Point
    radius_mm: float

    def distance_mm(self, origin: Tensor, direction: Tensor) -> Tensor:
        """See `Shape.distance_mm`."""
        towards = self._off_axis(origin.new_tensor(self.point_mm) - origin)
        sideways = self._off_axis(direction)
        return _quadratic(
            sideways.square().sum(dim=-1),
            (towards * sideways).sum(dim=-1),
            towards.square().sum(dim=-1) - self.radius_mm**2,
        )

    def normal(self, points: Tensor) -> Tensor:
        """See `Shape.normal`."""
        return self._off_axis(points - points.new_tensor(self.point_mm)) / self.radius_mm

    def _off_axis(self, vectors: Tensor) -> Tensor:
        along = _unit(self.along, vectors)
        return vectors - (vectors * along).sum(dim=-1, keepdim=True) * along


@dataclass(frozen=True, kw_only=True)
class AnalyticView:
    """What a camera sees of a scene, exactly; 0 where nothing is hit."""

    image: Tensor  # (*B, 3, H, W)
    depth_mm: Tensor  # (*B, 1, H, W)
    distance_mm: Tensor  # (*B, 1, H, W)
    normals: Tensor  # (*B, 3, H, W), camera frame, facing the camera


def look(scene: Sequence[Shape], camera: Camera, world_from_camera: Tensor) -> AnalyticView:
    """See a scene through a camera that carries its own lamp.

    Args:
        scene: the surfaces; of several along one ray the nearest is seen.
        camera: its batch axes are *B, or none.
        world_from_camera: where it is, shape (*B, 4, 4).
    """
    require_shapes(world_from_camera=(world_from_camera, "*B 4 4"))
    rays = camera.to(world_from_camera).rays(camera.height, camera.width)  # (*B, H, W, 3)
    rotation = world_from_camera[..., None, None, :3, :3]
    direction = (rotation @ rays[..., None])[..., 0]
    origin = world_from_camera[..., None, None, :3, 3].expand_as(direction)
    each = torch.stack([shape.distance_mm(origin, direction) for shape in scene])  # (S, *B, H, W)
    each = torch.where(direction.abs().amax(dim=-1) > 0, each, torch.inf)
    distance, which = each.min(dim=0)
    hit = distance.isfinite()
    distance = torch.where(hit, distance, 0)
    points = origin + distance[..., None] * direction
    normals = torch.zeros_like(points)
    for number, shape in enumerate(scene):
        normals = torch.where((which == number)[..., None], shape.normal(points), normals)
    facing = (normals * direction).sum(dim=-1, keepdim=True)
    normals = torch.where(hit[..., None], -normals * facing.sign(), 0)
    light = facing[..., 0].abs() / distance.square().clamp(min=NEAREST_MM**2)  # Lambert, 1 / d^2
    image = _albedo(points) * torch.where(hit, light, 0)[..., None]
    exposure = 0.6 / image.flatten(start_dim=-3).quantile(0.9, dim=-1).clamp(min=NEAREST_MM**2)
    image = (image * exposure[..., None, None, None]).clamp(0, 1) ** (1 / 2.2)
    in_camera = (rotation.mT @ normals[..., None])[..., 0]
    return AnalyticView(
        image=image.movedim(-1, -3),
        depth_mm=(distance * rays[..., 2].clamp(min=0))[..., None, :, :],
        distance_mm=distance[..., None, :, :],
        normals=in_camera.movedim(-1, -3),
    )


def _albedo(points_mm: Tensor) -> Tensor:
    """Return a smooth pink texture that depends on the place alone, (..., 3) -> (..., 3)."""
    x, y, z = points_mm.unbind(dim=-1)
    broad = torch.sin(0.31 * x + 0.17 * z) + torch.sin(0.29 * y - 0.23 * z + 1.3)
    fine = torch.sin(0.9 * x - 0.7 * y + 0.8 * z) * torch.sin(0.6 * y + 1.1 * z + 0.4)
    shade = 0.75 + 0.08 * broad + 0.09 * fine
    tint: Tensor = points_mm.new_tensor([0.85, 0.48, 0.42])
    return shade[..., None] * tint


def _quadratic(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return the first root beyond `NEAREST_MM` of a t^2 - 2 b t + c, infinite for none."""
    square = b * b - a * c
    hit = (square >= 0) & (a > 0)
    root = torch.where(hit, square, 0).sqrt()
    a = torch.where(a > 0, a, 1)
    near, far = (b - root) / a, (b + root) / a
    return _first(torch.where(near > NEAREST_MM, near, far), hit=hit)


def _first(distance: Tensor, *, hit: Tensor) -> Tensor:
    return torch.where(hit & (distance > NEAREST_MM), distance, torch.inf)


def _unit(vector: Point, like: Tensor) -> Tensor:
    length: Tensor = like.new_tensor(vector).norm()
    return like.new_tensor(vector) / length
