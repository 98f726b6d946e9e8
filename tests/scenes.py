"""Cameras and places for tests; nothing is symmetric, so that a swap cannot hide."""

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.data.c3vd import CF_HQ190L
from synthetic_colons.analytic import Plane, Tube

H, W, FX, FY, CX, CY = 36, 48, 40.0, 44.0, 23.3, 17.6

C3VD = CF_HQ190L

# A tube that is closed at its far end, both aslant.
BLIND_TUBE = (
    Tube(point_mm=(3, -2, 0), along=(0.1, -0.05, 1), radius_mm=20),
    Plane(point_mm=(0, 0, 140), across=(0.2, 0.1, 1)),
)


def cameras() -> dict[str, Camera]:
    """One camera of every kind, small, each float64 and without batch axes."""
    size = {"height": H, "width": W, "cx": CX, "cy": CY}
    return {
        "pinhole": Camera.pinhole(fx=FX, fy=FY, **size),
        "brown": Camera.pinhole(
            fx=FX, fy=FY, distortion=(-0.31, 0.12, 1.1e-3, -2.3e-3, -0.02), **size
        ),
        "fisheye": Camera.fisheye(fx=26, fy=27, distortion=(0.05, -0.02, 0.01, -0.002), **size),
        "omnidirectional": C3VD.resized(H, W),
    }


def at(x_mm: float, y_mm: float, z_mm: float, *, yaw_rad: float = 0.0) -> Tensor:
    """Return world_from_camera of a camera at a place, turned about its y axis, (4, 4)."""
    angle = torch.tensor(yaw_rad, dtype=torch.float64)
    world_from_camera = torch.eye(4, dtype=torch.float64)
    world_from_camera[0, 0] = world_from_camera[2, 2] = angle.cos()
    world_from_camera[0, 2], world_from_camera[2, 0] = angle.sin(), -angle.sin()
    world_from_camera[:3, 3] = torch.tensor([x_mm, y_mm, z_mm], dtype=torch.float64)
    return world_from_camera


def world_mirror(world_from_camera: Tensor, before: Tensor) -> Tensor:
    """Return the (4, 4) that takes the world of a moved view back to the one before.

    A turn leaves the camera where it was; a mirror moved it to the mirror image of its place, which
    must not lie on a mirror plane for this to tell.
    """
    swap = torch.tensor([[0.0, 1], [1, 0]], dtype=torch.float64)
    for plane in (
        torch.eye(2, dtype=torch.float64),
        torch.diag(torch.tensor([-1.0, 1], dtype=torch.float64)),
        torch.diag(torch.tensor([1.0, -1], dtype=torch.float64)),
        -torch.eye(2, dtype=torch.float64),
        swap,
        -swap,
    ):
        whole = torch.block_diag(plane, torch.eye(2, dtype=torch.float64))
        if torch.allclose((whole @ world_from_camera)[:3, 3], before[:3, 3], atol=1e-9):
            return whole
    raise AssertionError(f"{world_from_camera} is no mirror image of {before}")
