"""Seeing one place through another lens: the same optical centre, other pixels.

Images are interpolated. Depth is not: each new pixel takes the surface point seen by the nearest
old pixel, keeps that point's distance, and gets z anew from its own ray.
"""

from math import tan

import torch
from torch import Tensor

from colondepth.cameras import Camera, pixel_grid
from colondepth.errors import DataError
from colondepth.geometry import depth_from_distance, distance_from_depth
from colondepth.shapes import require_broadcast, require_precise, require_shapes
from colondepth.warping import Lookup, sample

# A pinhole image of a wider field is mostly stretched rim: at 150 degrees its corners are
# magnified 15 times against its centre.
WIDEST_PINHOLE_RAD = 2.6


def pinhole_for(camera: Camera, *, field_rad: float, height: int, width: int) -> Camera:
    """Return an ideal pinhole, without batch axes, that looks where `camera` looks.

    Args:
        camera: gives dtype, device and whether the result counts as calibrated.
        field_rad: angle seen across the width.
        height: of the new image, in pixels.
        width: of the new image, in pixels.
    """
    if not 0 < field_rad <= WIDEST_PINHOLE_RAD:
        raise DataError(
            f"a pinhole image of {field_rad:.3g} rad was asked for, expected more than 0 and at"
            f" most {WIDEST_PINHOLE_RAD} rad; keep a fisheye for more"
        )
    focal = width / 2 / tan(field_rad / 2)
    ideal = Camera.pinhole(
        fx=focal,
        fy=focal,
        cx=(width - 1) / 2,
        cy=(height - 1) / 2,
        height=height,
        width=width,
        calibrated=camera.calibrated,
    )
    return ideal.to(camera.centre)


def pixels_through(target_camera: Camera, source_camera: Camera) -> tuple[Tensor, Tensor]:
    """Return which source pixel each target pixel sees, (*B, H, W, 2), and where there is one."""
    batch = require_broadcast(source_camera=source_camera.batch, target_camera=target_camera.batch)
    rays = target_camera.expanded(batch).rays(target_camera.height, target_camera.width)
    pixels, in_front = source_camera.expanded(batch).project(rays)  # (*B, H, W, 2)
    seen = in_front & source_camera.contains(pixels) & (rays.abs().amax(dim=-1) > 0)
    return pixels, seen


def undistort_image(
    image: Tensor, source_camera: Camera, target_camera: Camera
) -> tuple[Tensor, Tensor]:
    """Show an image as another camera at the same place would have taken it, bilinearly.

    Returns:
        The image (*B, C, H2, W2), 0 where the source saw nothing, and `seen` (*B, 1, H2, W2).
    """
    return _look_up(image, source_camera, target_camera, lookup=Lookup.BILINEAR)


def undistort_depth(
    depth_mm: Tensor, source_camera: Camera, target_camera: Camera
) -> tuple[Tensor, Tensor]:
    """Give z-depth for another camera at the same place, by the nearest point, z computed anew.

    Returns:
        Depth (*B, 1, H2, W2), 0 where unknown, and `seen` (*B, 1, H2, W2), which is True also for
        pixels whose source was unknown.
    """
    distance_mm = distance_from_depth(depth_mm, source_camera)
    found, seen = _look_up(distance_mm, source_camera, target_camera, lookup=Lookup.NEAREST)
    return depth_from_distance(found, target_camera), seen


def undistort_normals(
    normals: Tensor, source_camera: Camera, target_camera: Camera
) -> tuple[Tensor, Tensor]:
    """Take each normal from the nearest pixel, (*B, 3, H, W); both cameras share their axes."""
    return _look_up(normals, source_camera, target_camera, lookup=Lookup.NEAREST)


def undistort_mask(
    holds: Tensor, source_camera: Camera, target_camera: Camera
) -> tuple[Tensor, Tensor]:
    """Take each truth value from the nearest pixel, (*B, C, H, W); False where nothing was seen."""
    return _look_up(holds, source_camera, target_camera, lookup=Lookup.NEAREST)


def undistort_flow(
    flow_px: Tensor, source_camera: Camera, target_camera: Camera
) -> tuple[Tensor, Tensor]:
    """Carry both ends of every flow vector into the other camera, (*B, 2, H, W).

    Both frames are undistorted alike. The nearest source pixel's vector is taken, then its end is
    seen through the target camera, so a vector that left its lens's field has `seen` False.
    """
    require_precise(flow_px=flow_px)
    source, target = source_camera.to(flow_px), target_camera.to(flow_px)
    pixels, seen = pixels_through(target, source)
    found, inside = sample(flow_px, pixels, lookup=Lookup.NEAREST)
    # The flow of the neighbour is taken to start where this pixel looks.
    ends = pixels + found.movedim(-3, -1)  # (*B, H, W, 2)
    batch = tuple(ends.shape[:-3])
    source, target = source.expanded(batch), target.expanded(batch)
    rays = source.rays_at(ends)
    arrivals, in_front = target.project(rays)
    seen = (seen & in_front & (rays.abs().amax(dim=-1) > 0))[..., None, :, :] & inside
    starts = pixel_grid(target.height, target.width, like=ends)
    moved = (arrivals - starts).movedim(-1, -3)
    return torch.where(seen, moved, torch.zeros_like(moved)), seen


def _look_up(
    values: Tensor, source_camera: Camera, target_camera: Camera, *, lookup: Lookup
) -> tuple[Tensor, Tensor]:
    require_shapes(values=(values, "*B C H W"))
    if (source_camera.height, source_camera.width) != tuple(values.shape[-2:]):
        source_camera.rays(*values.shape[-2:])  # raises, with the cure
    like = values if values.is_floating_point() else source_camera.centre
    pixels, seen = pixels_through(target_camera.to(like), source_camera.to(like))
    found, inside = sample(values, pixels, lookup=lookup)
    seen = seen[..., None, :, :] & inside
    return torch.where(seen, found, torch.zeros_like(found)), seen
