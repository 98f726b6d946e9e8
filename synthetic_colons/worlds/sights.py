"""What a camera sees of a scene, and where each of its points appears in another view.

World frame and camera frame: x right, y down, z forward, millimetres.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from colondepth.cameras import Camera, pixel_grid
from colondepth.errors import DataError
from colondepth.shapes import require_shapes
from synthetic_colons.worlds.planes import (
    Planes,
    advanced,
    dot,
    flagged,
    product,
    rows,
    times,
    unit,
)
from synthetic_colons.worlds.scenes import Scene, cast, look, picked

# Pixels at edges are the mean of a ray in each quarter; elsewhere textures know the pixel's size.
_QUARTERS_PX = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))
_CREASE = 0.9  # cosine between neighbouring normals below which there is an edge too
# A point is hidden when the ray towards it stops short by this share: float32 rounds at 1e-6.
_HIDDEN_SHARE = 1e-3


@dataclass(frozen=True, eq=False, kw_only=True)
class Sight:
    """What a camera sees of a scene, exactly; 0 where nothing is hit."""

    image: Tensor  # (B, 3, H, W)
    depth_mm: Tensor  # (B, 1, H, W)
    distance_mm: Tensor  # (B, 1, H, W)
    normals: Tensor  # (B, 3, H, W) camera frame, towards the camera
    solid: Tensor  # (B, 1, H, W) int64, number of the solid in the scene, -1 for none


@dataclass(frozen=True, eq=False, kw_only=True)
class Correspondence:
    """Where the points of a view appear in another."""

    flow_px: Tensor  # (B, 2, H, W), 0 where nothing is seen or the point lies behind the camera
    occluded: Tensor  # (B, 1, H, W) bool: hidden there, or off its image, as in `warping`


def see(scene: Scene, camera: Camera, world_from_camera: Tensor) -> Sight:
    """See every scene of a batch through one camera.

    Args:
        scene: decides dtype and device.
        camera: one, without batch axes.
        world_from_camera: where it is in every scene, (B, 4, 4).
    """
    rays = _rays(camera, scene, world_from_camera)  # (H W, 3)
    origin, ray = _from_camera(world_from_camera, _planes(rays))
    hits = look(scene, origin, ray, rays[:, 2] / _focal_px(camera))

    def as_map(flat: Tensor) -> Tensor:
        unflat: Tensor = flat.unflatten(-1, (camera.height, camera.width))
        return unflat

    normal = times(world_from_camera[:, :3, :3].mT, hits.normal)
    sight = Sight(
        image=as_map(hits.colour),
        depth_mm=as_map(hits.distance_mm * rays[:, 2].clamp(min=0))[:, None],
        distance_mm=as_map(hits.distance_mm)[:, None],
        normals=as_map(torch.stack(normal, dim=1)),
        solid=as_map(hits.solid)[:, None],
    )
    return replace(sight, image=_softened(sight, scene, camera, world_from_camera))


def follow(
    sight: Sight,
    camera: Camera,
    *,
    now: Scene,
    world_from_camera_now: Tensor,
    then: Scene,
    world_from_camera_then: Tensor,
) -> Correspondence:
    """Follow every pixel of a view to another, past or future, view of the same solids.

    Whether a point is hidden is asked of the scene, by a ray towards it, and not of a depth map:
    the answer is exact between the other view's pixels too.

    Args:
        sight: what is seen `now`.
        camera: of both views, without batch axes.
        now: the scene that `sight` shows.
        world_from_camera_now: (B, 4, 4).
        then: the same solids, elsewhere.
        world_from_camera_then: (B, 4, 4).
    """
    rays = _rays(camera, now, world_from_camera_now)
    origin, ray = _from_camera(world_from_camera_now, _planes(rays))
    seen_from = world_from_camera_then[:, :3, 3]  # (B, 3)
    solid = sight.solid.flatten(start_dim=1)  # (B, S)
    point = advanced(origin, ray, sight.distance_mm.flatten(start_dim=1))
    turn = product(then.world_from_solid, now.world_from_solid.mT).flatten(start_dim=2)
    table = torch.cat([now.centre_mm, then.centre_mm - seen_from[:, None], turn], dim=-1)
    before, after, turns = picked(table, solid.clamp(min=0)).split((3, 3, 9), dim=1)
    local = rows(turns, (point[0] - before[:, 0], point[1] - before[:, 1], point[2] - before[:, 2]))
    away = (local[0] + after[:, 0], local[1] + after[:, 1], local[2] + after[:, 2])
    length = dot(away, away).sqrt()
    first, _ = cast(then, seen_from, unit(away))
    shape = (camera.height, camera.width)
    hidden = (first < length * (1 - _HIDDEN_SHARE)).unflatten(1, shape)
    in_camera = torch.stack(times(world_from_camera_then[:, :3, :3].mT, away), dim=-1)
    pixels, in_front = camera.to(in_camera).project(in_camera.unflatten(1, shape))
    seen = sight.solid[:, 0] >= 0  # (B, H, W)
    flow = (pixels - pixel_grid(*shape, like=pixels)).movedim(-1, 1)
    known = (seen & in_front)[:, None]
    lost = ~in_front | ~camera.contains(pixels) | hidden
    return Correspondence(
        flow_px=torch.where(known, flow, torch.zeros_like(flow)),
        occluded=(seen & lost)[:, None],
    )


def _softened(sight: Sight, scene: Scene, camera: Camera, world_from_camera: Tensor) -> Tensor:
    """Return the image with the pixels at edges made from four rays each."""
    edges = _edges(sight).flatten(start_dim=1)  # (B, S)
    place, sample = flagged(edges)
    if not len(place):
        return sight.image
    counts = edges.sum(dim=1)  # (B,)
    before = counts.cumsum(dim=0) - counts
    slot = torch.arange(len(place), device=place.device) - before[sample]  # number in its sample
    index = place - sample * edges.shape[1]
    row = torch.div(index, camera.width, rounding_mode="floor")
    pixel = torch.stack([index - row * camera.width, row], dim=-1).to(scene.centre_mm)  # (K, 2)
    quarters = pixel[:, None] + pixel.new_tensor(_QUARTERS_PX)  # (K, 4, 2)
    # A row of rays for every sample, as long as the longest; what is left over has no direction.
    rays = torch.zeros((len(counts), int(counts.max()), 4, 3)).to(scene.centre_mm)
    rays[sample, slot] = camera.to(pixel).rays_at(quarters)
    rays = rays.flatten(start_dim=1, end_dim=2)
    origin, ray = _from_camera(world_from_camera, _planes(rays))
    hits = look(scene, origin, ray, rays[..., 2] / _focal_px(camera))
    one, two, three, four = hits.colour.unflatten(2, (-1, 4)).unbind(dim=-1)  # (B, 3, K') each
    mean = ((one + two + three + four) / len(_QUARTERS_PX)).transpose(1, 2)  # (B, K', 3)
    image = sight.image.clone()
    image.flatten(start_dim=2)[sample, :, index] = mean[sample, slot]
    return image


def _edges(sight: Sight) -> Tensor:
    """Return True at pixels that differ from a neighbour in solid or, by much, in normal."""
    edges = torch.zeros_like(sight.solid[:, 0], dtype=torch.bool)
    x, y, z = sight.normals.unbind(dim=1)
    for axis in (-1, -2):
        count = edges.shape[axis] - 1
        first, second = (
            [p.narrow(axis, k, count) for p in (x, y, z, sight.solid[:, 0])] for k in (0, 1)
        )
        cosine = first[0] * second[0] + first[1] * second[1] + first[2] * second[2]
        differ = (first[3] != second[3]) | (cosine < _CREASE)
        edges.narrow(axis, 0, count).logical_or_(differ)
        edges.narrow(axis, 1, count).logical_or_(differ)
    return edges


def _from_camera(world_from_camera: Tensor, rays: Planes) -> tuple[Tensor, Planes]:
    """Return where rays, (S,) or (B, S), begin and their world directions, (B, 3) and (B, S)."""
    batch = world_from_camera.shape[0]
    x, y, z = (plane.expand(batch, plane.shape[-1]) for plane in rays)
    return world_from_camera[:, :3, 3], times(world_from_camera[:, :3, :3], (x, y, z))


def _planes(vectors: Tensor) -> Planes:
    x, y, z = vectors.movedim(-1, 0).contiguous()
    return x, y, z


def _rays(camera: Camera, scene: Scene, world_from_camera: Tensor) -> Tensor:
    """Return the camera's rays, (H W, 3)."""
    require_shapes(world_from_camera=(world_from_camera, "B 4 4"), to_light=(scene.to_light, "B 3"))
    if camera.batch:
        raise DataError(f"the camera is a batch {camera.batch}; a world is seen through one camera")
    like = scene.centre_mm
    rays: Tensor = camera.to(like).rays(camera.height, camera.width).flatten(end_dim=1)
    return rays


def _focal_px(camera: Camera) -> float:
    """Return the pixels per radian at the centre, the geometric mean of both axes."""
    a, b, c, d = camera.linear.flatten().tolist()
    return float(abs(a * d - b * c) ** 0.5)
