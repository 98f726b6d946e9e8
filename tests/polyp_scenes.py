"""A polyp whose height is known: a spherical cap on a plane or on the wall of a tube."""

from dataclasses import dataclass

import torch
from scenes import at
from torch import Tensor

from colondepth.cameras import Camera
from synthetic_colons.analytic import Plane, Shape, Sphere, Tube, look

HEIGHT_MM, RADIUS_MM, AWAY_MM, TUBE_MM = 3.0, 5.0, 30.0, 28.0
# Nothing is symmetric, so that a swap cannot hide.
CAMERA = Camera.pinhole(fx=110.0, fy=118.0, cx=62.3, cy=45.8, height=96, width=120)


@dataclass(frozen=True, eq=False, kw_only=True)
class PolypScene:
    """What is seen of a polyp."""

    depth_mm: Tensor  # (1, H, W) float64
    wall_mm: Tensor  # (1, H, W), without the polyp
    polyp: Tensor  # (1, H, W) bool
    image: Tensor  # (3, H, W) float64
    camera: Camera = CAMERA

    @property
    def everywhere(self) -> Tensor:
        return torch.ones_like(self.polyp)


def on_a_plane(*, yaw_rad: float = 0.3, lifted_mm: float = 0.0) -> PolypScene:
    """A cap on a plane that is seen aslant; lifted, it floats before the wall."""
    z = AWAY_MM + RADIUS_MM - HEIGHT_MM - lifted_mm
    ball = Sphere(centre_mm=(1.0, 0.5, z), radius_mm=RADIUS_MM)
    wall = Plane(point_mm=(0.0, 0.0, AWAY_MM), across=(0.0, 0.0, -1.0))
    return _seen(wall, ball, at(-8.0 * yaw_rad / 0.3, 0.4, 0.0, yaw_rad=yaw_rad))


def on_a_tube() -> PolypScene:
    """A cap on the wall of a tube, seen from its axis."""
    z = TUBE_MM + RADIUS_MM - HEIGHT_MM
    ball = Sphere(centre_mm=(0.0, 0.5, z), radius_mm=RADIUS_MM)
    tube = Tube(point_mm=(0.0, 0.0, 0.0), along=(0.0, 1.0, 0.0), radius_mm=TUBE_MM)
    return _seen(tube, ball, at(0.0, 0.0, 0.0))


def _seen(wall: Shape, ball: Shape, world_from_camera: Tensor) -> PolypScene:
    both, alone = (look(scene, CAMERA, world_from_camera) for scene in ([wall, ball], [wall]))
    return PolypScene(
        depth_mm=both.depth_mm,
        wall_mm=alone.depth_mm,
        polyp=both.depth_mm < alone.depth_mm - 1e-6,
        image=both.image,
    )
