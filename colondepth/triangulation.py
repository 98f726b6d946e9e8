"""Depth from flow and motion: where two rays of one point meet.

Works for every camera, because it asks for nothing but rays.
"""

import torch
from torch import Tensor

from colondepth.cameras import Camera, safe_norm
from colondepth.geometry import cross, depth_from_distance, pixels_from_flow
from colondepth.motion import inverse, require_rigid, rigid_motion, transform
from colondepth.shapes import require_broadcast, require_finite, require_precise, require_shapes


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
    parallax is the angle between the rays within the epipolar plane. Flow that points out of that
    plane cannot come from this motion, and counts like an error of its own: with p the parallax,
    o the angle out of the plane and a the angle of a pixel, the confidence is
    p^2 / (p^2 + o^2 + a^2). It is half where one pixel of error costs all of the depth, and 0 at
    the epipole, for a translation of 0, for flow that leaves the target's image, and where the
    rays meet behind a camera or not at all. A translation that is not 0 is believed, however small.

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
    require_precise(flow_px=flow_px)
    require_finite(flow_px=flow_px)
    require_rigid(target_from_source=target_from_source)
    camera = camera.to(flow_px)
    target_camera = (target_camera or camera).to(flow_px)
    batch = require_broadcast(
        flow_px=tuple(flow_px.shape[:-3]),
        target_from_source=tuple(target_from_source.shape[:-2]),
        camera=camera.batch,
        target_camera=target_camera.batch,
    )
    source_from_target = inverse(target_from_source.to(flow_px)).expand(*batch, 4, 4)
    pixels = pixels_from_flow(flow_px).expand(*batch, size["H"], size["W"], 2)
    seen_rays = target_camera.expanded(batch).rays_at(pixels)  # (*B, H, W, 3), target frame
    turn = rigid_motion(
        source_from_target[..., :3, :3], torch.zeros_like(source_from_target[..., :3, 3])
    )
    # Planes first, (3, *B, H, W), as in `geometry.normals_from_depth`.
    other = transform(turn, seen_rays).movedim(-1, 0).contiguous()
    rays = camera.expanded(batch).rays(size["H"], size["W"])
    ray = rays.movedim(-1, 0).contiguous()
    base = source_from_target[..., None, None, :3, 3].movedim(-1, 0).expand_as(ray)
    lands = target_camera.contains(pixels) & (seen_rays.abs().amax(dim=-1) > 0)
    # d ray - t other = base, least squares in (d, t): cross with `other` to be rid of t.
    across = cross(ray, other)
    square = across.square().sum(dim=0)  # sin^2 of the angle between the rays
    apart = lands & (square > torch.finfo(flow_px.dtype).eps ** 2)
    safe = torch.where(apart, square, torch.ones_like(square))
    distance = (cross(base, other) * across).sum(dim=0) / safe
    # The same for the target: a point behind it was not seen there.
    other_distance = (cross(base, ray) * across).sum(dim=0) / safe
    meets = apart & (distance > 0) & (other_distance > 0)
    epipolar = cross(ray, base)
    length = safe_norm(epipolar, torch.finfo(flow_px.dtype).tiny ** 0.5, dim=0)
    normal = epipolar / length  # of the epipolar plane; 0 at the epipole
    parallax = (across * normal).sum(dim=0).square()
    out_of_plane = (other * normal).sum(dim=0).square()
    share = parallax / (parallax + out_of_plane + _pixel_angle_rad(rays).square())
    confidence = torch.where(meets, share, 0)[..., None, :, :]
    depth_mm = depth_from_distance(torch.where(meets, distance, 0)[..., None, :, :], camera)
    return depth_mm, torch.where(depth_mm > 0, confidence, 0)


def _pixel_angle_rad(rays: Tensor) -> Tensor:
    """Return the angle between the rays of neighbouring columns, (*B, H, W, 3) -> (*B, H, W)."""
    if rays.shape[-2] < 2:
        return torch.ones_like(rays[..., 0])  # one column: a pixel may be anything up to a radian
    step = (rays[..., 1:, :] - rays[..., :-1, :]).norm(dim=-1)  # (*B, H, W - 1)
    return torch.cat([step, step[..., -1:]], dim=-1)
