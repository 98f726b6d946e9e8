"""Geometry between maps, rays and points, the same code for every camera.

Camera frame: x right, y down, z forward, millimetres.
Maps are channels-first like images: depth_mm (*B, 1, H, W), flow_px (*B, 2, H, W), normals
(*B, 3, H, W). Rays, points and pixels keep their coordinates last: (*B, H, W, 3) and (*B, H, W, 2).
Pixels: (u, v) = (column, row); whole numbers are pixel centres.
Depth: z along the optical axis; distance: length of the ray. 0 means "unknown" in both, and stays
0. A ray at a right angle to the axis or beyond has a distance and no depth.
Results take dtype and device from the map; cameras and motions follow it.
"""

import torch
from torch import Tensor

from colondepth.cameras import Camera, Pinhole, pixel_grid, safe_norm
from colondepth.errors import DataError
from colondepth.motion import require_rigid, transform
from colondepth.shapes import (
    require_broadcast,
    require_finite,
    require_float,
    require_precise,
    require_shapes,
)

# Two rays nearer than this are one ray; a pixel of a 4K endoscope sees 4e-4.
_SMALLEST_ANGLE_RAD = 1e-7
# A depth edge: 1 / distance bends by more than this share of itself within a pixel, and one side
# is this much smoother than the other. A tube's far end bends as much only 3 pixels from its axis.
_EDGE_JUMP, _EDGE_CONTRAST = 0.15, 0.3


def depth_from_distance(distance_mm: Tensor, camera: Camera) -> Tensor:
    """Turn the length of every ray into z-depth, (*B, 1, H, W) -> (*B, 1, H, W)."""
    rays = _rays(camera, distance_mm=distance_mm)
    return distance_mm * rays[..., 2].clamp(min=0)[..., None, :, :]


def distance_from_depth(depth_mm: Tensor, camera: Camera) -> Tensor:
    """Turn z-depth into the length of every ray, (*B, 1, H, W) -> (*B, 1, H, W)."""
    rays = _rays(camera, depth_mm=depth_mm)
    return depth_mm * _per_depth(rays[..., 2])[..., None, :, :]


def unproject(depth_mm: Tensor, camera: Camera) -> Tensor:
    """Lift every pixel of a depth map to a point in the camera frame.

    Args:
        depth_mm: z-depth, shape (*B, 1, H, W); an unknown pixel (0) lands on the camera centre.
        camera: its batch axes are *B, or none.

    Returns:
        Points in millimetres, shape (*B, H, W, 3). `camera.project` is the way back.
    """
    rays = _rays(camera, depth_mm=depth_mm)
    return rays * (depth_mm[..., 0, :, :] * _per_depth(rays[..., 2]))[..., None]


def reproject(
    depth_mm: Tensor,
    camera: Camera,
    target_from_source: Tensor,
    *,
    target_camera: Camera | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Find where every pixel of a source view appears in a target view.

    Args:
        depth_mm: z-depth of the source view, shape (*B, 1, H, W).
        camera: the source view's camera.
        target_from_source: rigid motion, shape (*B, 4, 4).
        target_camera: the target view's camera; the source's by default.

    Returns:
        Pixels in the target (*B, H, W, 2), z-depth in the target frame (*B, 1, H, W), and `lands`
        (*B, 1, H, W): True where the depth is known and the point falls on the target's image.
        What hides behind something nearer still lands: see `occlusion_by_depth`.
    """
    target_camera = target_camera or camera
    require_shapes(
        depth_mm=(depth_mm, "*B 1 H W"), target_from_source=(target_from_source, "*B 4 4")
    )
    require_rigid(target_from_source=target_from_source)
    points = unproject(depth_mm, camera)
    batch = require_broadcast(
        depth_and_camera=tuple(points.shape[:-3]),
        target_from_source=tuple(target_from_source.shape[:-2]),
        target_camera=target_camera.batch,
    )
    motion = target_from_source.to(points).expand(*batch, 4, 4)
    points = transform(motion, points.expand(*batch, *points.shape[-3:]))
    pixels, in_front = target_camera.to(depth_mm).expanded(batch).project(points)
    lands = in_front & target_camera.contains(pixels) & (depth_mm[..., 0, :, :] > 0)
    return pixels, points[..., None, :, :, 2], lands[..., None, :, :]


def rigid_flow(
    depth_mm: Tensor,
    camera: Camera,
    target_from_source: Tensor,
    *,
    target_camera: Camera | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the optical flow that a motion of the camera makes, and where it is known.

    Returns:
        Flow in pixels from source to target (*B, 2, H, W), 0 where it is not known, and `lands`
        (*B, 1, H, W) as in `reproject`.
    """
    pixels, _, lands = reproject(depth_mm, camera, target_from_source, target_camera=target_camera)
    height, width = depth_mm.shape[-2:]
    flow = (pixels - pixel_grid(height, width, like=pixels)).movedim(-1, -3)  # (*B, 2, H, W)
    return torch.where(lands, flow, torch.zeros_like(flow)), lands


def pixels_from_flow(flow_px: Tensor) -> Tensor:
    """Return where each pixel goes, (*B, 2, H, W) -> (*B, H, W, 2)."""
    height, width = require_shapes(flow_px=(flow_px, "*B 2 H W"))["H"], flow_px.shape[-1]
    return pixel_grid(height, width, like=flow_px) + flow_px.movedim(-3, -1)


def normals_from_depth(depth_mm: Tensor, camera: Camera) -> Tensor:
    """Return unit normals that face the camera, (*B, 1, H, W) -> (*B, 3, H, W).

    On a plane, a tube seen from its axis and a sphere seen from its centre, the inverse square of
    the distance is a quadratic form of the ray, F(r) = r' Q r, and the normal is along Q r. Central
    differences of a quadratic form are exact, so these normals are exact through a pinhole; on
    other surfaces and through other lenses the error falls with the square of the pixel. Where a
    neighbour is unknown or lies across a depth edge the difference is one-sided, exact on planes.

    A pixel without depth, or without a known neighbour in one of the directions, has the normal 0.
    """
    # Planes first, (3, *B, H, W): cross products along the last axis took 13 times as long.
    rays = _rays(camera, depth_mm=depth_mm)
    depth = depth_mm[..., 0, :, :]
    batch = torch.broadcast_shapes(rays.shape[:-1], depth.shape)  # (*B, H, W)
    rays = rays.expand(*batch, 3).movedim(-1, 0).contiguous()
    depth = depth.expand(batch)
    nearness = _inverse(depth) * rays[2].clamp(min=0)  # 1 / distance, 0 where unknown
    across, across_slope, across_known = _difference(rays, nearness, axis=-1)
    down, down_slope, down_known = _difference(rays, nearness, axis=-2)
    known = (nearness > 0) & across_known & down_known
    # Cramer's rule for n . across = across_slope, n . down = down_slope, n . ray = nearness.
    between = cross(across, down)
    determinant = (between * rays).sum(dim=0)
    normal = -determinant.sign() * (
        across_slope * cross(down, rays) + down_slope * cross(rays, across) + nearness * between
    )
    normal = torch.where(known, normal, torch.ones_like(normal))  # swap before the root
    normal = normal / normal.square().sum(dim=0).sqrt()
    return torch.where(known, normal, torch.zeros_like(normal)).movedim(0, -3)


def disparity_from_depth(depth_mm: Tensor, camera: Camera, *, baseline_mm: float) -> Tensor:
    """Return f * b / z in pixels, 0 where the depth is unknown; for rectified pinholes."""
    return _focal_times_baseline(camera, baseline_mm, depth_mm=depth_mm) * _inverse(depth_mm)


def depth_from_disparity(disparity_px: Tensor, camera: Camera, *, baseline_mm: float) -> Tensor:
    """Return f * b / d in millimetres, 0 where the disparity is 0; for rectified pinholes."""
    product = _focal_times_baseline(camera, baseline_mm, disparity_px=disparity_px)
    return product * _inverse(disparity_px)


def cross(left: Tensor, right: Tensor) -> Tensor:
    """Return the cross product of vectors along the first axis, (3, ...).

    By planes, because torch.linalg.cross goes vector by vector and takes five times as long.
    """
    ax, ay, az = left
    bx, by, bz = right
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def _rays(camera: Camera, **maps: Tensor) -> Tensor:
    ((name, values),) = maps.items()
    size = require_shapes(**{name: (values, "*B 1 H W")})
    require_precise(**maps)
    require_finite(**maps)
    require_broadcast(camera=camera.batch, **{name: tuple(values.shape[:-3])})
    return camera.to(values).rays(size["H"], size["W"])


def _difference(rays: Tensor, nearness: Tensor, *, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return a step between rays, what n . step must be for n . ray = nearness, and where known.

    Args:
        rays: unit rays (3, *B, H, W).
        nearness: 1 / distance (*B, H, W), 0 where unknown.
        axis: -1 for steps across columns, -2 for steps down rows.
    """
    ahead_ray, ahead, ahead_known = _neighbour(rays, nearness, by=-1, axis=axis)
    behind_ray, behind, behind_known = _neighbour(rays, nearness, by=1, axis=axis)
    # Scale both neighbours so that the pixel's own ray is their midpoint; nearness scales along.
    spread = _sine(ahead_ray, behind_ray)
    scale = 2 * _sine(rays, behind_ray) / spread
    behind_scale = 2 * _sine(ahead_ray, rays) / spread
    central = scale * ahead_ray - behind_scale * behind_ray
    squares = (scale * ahead).square() - (behind_scale * behind).square()
    central_slope = squares * _inverse(2 * nearness)
    rise, fall = ahead - nearness, nearness - behind
    smaller, larger = torch.minimum(rise.abs(), fall.abs()), torch.maximum(rise.abs(), fall.abs())
    jump = (rise - fall).abs() > _EDGE_JUMP * nearness
    edge = jump & (smaller < _EDGE_CONTRAST * larger)
    both = ahead_known & behind_known & ~edge
    forward = ahead_known & (~behind_known | (rise.abs() <= fall.abs()))
    one_sided = torch.where(forward, ahead_ray - rays, rays - behind_ray)
    step = torch.where(both, central, one_sided)
    slope = torch.where(both, central_slope, torch.where(forward, rise, fall))
    return step, slope, ahead_known | behind_known


def _neighbour(
    rays: Tensor, nearness: Tensor, *, by: int, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ray and nearness of the next pixel, and where there is one that is known."""
    place = torch.arange(rays.shape[axis], device=rays.device)
    exists = (place < rays.shape[axis] - 1) if by < 0 else (place > 0)
    if axis == -2:
        exists = exists[:, None]  # (H, 1), else (W,)
    next_nearness = nearness.roll(by, dims=axis)
    return rays.roll(by, dims=axis), next_nearness, exists & (next_nearness > 0)


def _sine(left: Tensor, right: Tensor) -> Tensor:
    """Return the sine of the angle between unit rays (3, ...), never 0."""
    return safe_norm(cross(left, right), _SMALLEST_ANGLE_RAD, dim=0)


def _focal_times_baseline(camera: Camera, baseline_mm: float, **maps: Tensor) -> Tensor:
    ((name, values),) = maps.items()
    require_shapes(**{name: (values, "*B 1 H W")})
    require_float(**maps)
    lens = camera.lens
    if not isinstance(lens, Pinhole) or bool(lens.distortion.any()):
        raise DataError(
            f"disparity belongs to rectified pinhole pairs, found a {type(lens).__name__}"
            " with distortion; undistort both images first"
        )
    if not baseline_mm > 0:
        raise DataError(f"the baseline is {baseline_mm} mm, expected more than 0")
    return (camera.linear[..., 0, 0] * baseline_mm).to(values)[..., None, None, None]


def _per_depth(ray_z: Tensor) -> Tensor:
    """Return distance per depth, 1 / z of the unit ray, 0 where a ray never gets ahead."""
    return _inverse(ray_z)


def _inverse(values: Tensor) -> Tensor:
    """Return 1 / values where they are positive, else 0, with a finite gradient in both cases."""
    positive = values > torch.finfo(values.dtype).tiny
    return torch.where(positive, 1 / torch.where(positive, values, torch.ones_like(values)), 0)
