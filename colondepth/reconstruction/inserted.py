"""A ball of known size laid on the wall of a view at its depth, for the eye to measure by."""

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.geometry import distance_from_depth, normals_from_depth, unproject
from colondepth.shapes import require_shapes

BALL_MM = 5.0  # the size at which a polyp stops to be diminutive
_COLOUR = (0.35, 0.75, 0.95)  # nothing in a colon is of that
_AMBIENT = 0.25


def insert_ball(
    image: Tensor,
    depth_mm: Tensor,
    camera: Camera,
    *,
    pixel: tuple[int, int],
    diameter_mm: float = BALL_MM,
) -> Tensor:
    """Return the image (3, H, W) with a ball that touches the wall at a pixel.

    It hides what is behind it and is hidden by what is nearer, and is lit from the camera.

    Args:
        image: (3, H, W) in [0, 1].
        depth_mm: z-depth, 0 where unknown, shape (1, H, W).
        camera: of the view, without batch axes.
        pixel: (u, v), column and row, where the ball touches the wall.
        diameter_mm: of the ball.
    """
    size = require_shapes(image=(image, "3 H W"), depth_mm=(depth_mm, "1 H W"))
    (u, v), (height, width) = pixel, (size["H"], image.shape[-1])
    if not (0 <= u < width and 0 <= v < height) or float(depth_mm[0, v, u]) <= 0:
        raise DataError(f"pixel {pixel} has no depth; expected one on the wall, as (column, row)")
    exact = depth_mm.double()
    points = unproject(exact, camera)  # (H, W, 3)
    normal = normals_from_depth(exact, camera)[:, v, u]
    foot = points[v, u]
    if not bool(normal.any()):  # a pixel without neighbours: the ball stands towards the camera
        normal = -foot / foot.norm()
    radius = diameter_mm / 2
    middle = foot + radius * normal
    rays = camera.to(exact).rays(height, width)  # (H, W, 3)
    # |t ray - middle| = radius, the nearer of both.
    along = (rays * middle).sum(dim=-1)
    inside = radius**2 - (middle.square().sum() - along.square())
    hit = (inside > 0) & (along > 0)
    reach = along - inside.clamp(min=0).sqrt()
    wall = distance_from_depth(exact, camera)[0]
    shown = hit & ((reach < wall) | (wall <= 0))
    facing = -(rays * ((rays * reach[..., None] - middle) / radius)).sum(dim=-1)
    # As bright as the wall beside it would be if it faced the camera.
    near = (points - foot).norm(dim=-1) < 2 * diameter_mm
    bright = float(image[:, near].mean()) if bool(near.any()) else 0.5
    light = (_AMBIENT + (1 - _AMBIENT) * facing.clamp(0, 1)) * max(0.35, min(1.0, 1.6 * bright))
    colour = light * image.new_tensor(_COLOUR)[:, None, None]
    return torch.where(shown[None], colour.clamp(0, 1), image).to(image)
