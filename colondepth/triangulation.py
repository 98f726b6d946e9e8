"""Depth from flow and motion: where two rays of one point meet.

Works for every camera, because it asks for nothing but rays.
"""

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.geometry import depth_from_distance, pixels_from_flow
from colondepth.motion import inverse, require_rigid
from colondepth.shapes import require_float, require_shapes


def triangulate(
    flow_px: Tensor,
    camera: Camera,
    target_from_source: Tensor,
    *,
    target_camera: Camera | None = None,
) -> tuple[Tensor, Tensor]:
    """Return depth and a confidence from where each pixel went and how the camera moved.

    The distance d along the source ray minimises the miss between the two rays. Its relative
    error for a flow that is wrong by one pixel is about e = pixel angle / parallax, where the
    parallax is the angle at which the rays meet, and the confidence is 1 / (1 + e^2): half where
    one pixel of error costs all of the depth, and exactly 0 at the epipole, for a camera that
    does not move, and where the rays meet behind the camera or not at all.

    Args:
        flow_px: flow from source to target, shape (*B, 2, H, W).
        camera: the source view's camera, and the target's unless `target_camera` is given.
        target_from_source: rigid motion, shape (*B, 4, 4); its length gives the depth its scale.
        target_camera: the target view's camera.

    Returns:
        z-depth of the source view in millimetres (*B, 1, H, W), 0 where the confidence is 0, and
        the confidence (*B, 1, H, W) in [0, 1).
    """
    size = require_shapes(
        flow_px=(flow_px, "*B 2 H W"), target_from_source=(target_from_source, "*B 4 4")
    )
    require_float(flow_px=flow_px)
    require_rigid(target_from_source=target_from_source)
    camera = camera.to(flow_px)
    target_camera = (target_camera or camera).to(flow_px)
    source_from_target = inverse(target_from_source.to(flow_px))
    pixels = pixels_from_flow(flow_px)  # (*B, H, W, 2)
    batch = torch.broadcast_shapes(pixels.shape[:-3], source_from_target.shape[:-2], camera.batch)
    pixels = pixels.expand(*batch, *pixels.shape[-3:])
    ray = camera.rays(size["H"], size["W"]).expand(*batch, size["H"], size["W"], 3)
    rotation = source_from_target[..., None, None, :3, :3]
    other = (rotation @ target_camera.rays_at(pixels)[..., None])[..., 0]  # (*B, H, W, 3)
    lands = target_camera.contains(pixels) & (other.abs().amax(dim=-1) > 0)
    base = source_from_target[..., None, None, :3, 3].expand_as(ray)
    # d ray - t other = base, least squares in (d, t): cross with `other` to be rid of t.
    parallax = torch.linalg.cross(ray, other)
    reach = torch.linalg.cross(base, other)
    square = parallax.square().sum(dim=-1)  # sin^2 of the angle between the rays
    smallest = torch.finfo(flow_px.dtype).eps ** 2
    apart = lands & (square > smallest)
    safe = torch.where(apart, square, torch.ones_like(square))
    distance = (reach * parallax).sum(dim=-1) / safe
    # The same for the target: a point behind it was not seen there.
    other_distance = (torch.linalg.cross(base, ray) * parallax).sum(dim=-1) / safe
    meets = apart & (distance > 0) & (other_distance > 0)
    pixel_rad = _pixel_angle_rad(ray)
    confidence = torch.where(meets, square / (square + pixel_rad.square()), 0)[..., None, :, :]
    distance_mm = torch.where(meets, distance, 0)[..., None, :, :]
    depth_mm = depth_from_distance(distance_mm, camera)
    return depth_mm, torch.where(depth_mm > 0, confidence, 0)


def _pixel_angle_rad(rays: Tensor) -> Tensor:
    """Return the angle between the rays of neighbouring columns, (*B, H, W, 3) -> (*B, H, W)."""
    if rays.shape[-2] < 2:
        return torch.ones_like(rays[..., 0])  # one column: a pixel may be anything up to a radian
    step = (rays[..., 1:, :] - rays[..., :-1, :]).norm(dim=-1)  # (*B, H, W - 1)
    return torch.cat([step, step[..., -1:]], dim=-1)
