"""From colons and cameras to pictures with everything that is true of them.

The same code runs on a CPU and on a GPU; every ray is worked out for itself, so a frame is the same
whatever batch it is in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.shapes import require_shapes
from synthetic_colons.colon import Colon
from synthetic_colons.light import LAMPS_EACH, Lamps
from synthetic_colons.looks import join_looks
from synthetic_colons.marching import BUNDLE_STEPS, Hits, any_length, cast, compiled, stride
from synthetic_colons.shading import Looks, Shade, Surface, dark, shade, surface
from synthetic_colons.sight import Sight
from synthetic_colons.wall_tables import WallTables, join_tables

# A pixel is called a highlight where the film sends back more than this share of the rest.
HIGHLIGHT_SHARE = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The colons that a batch may look at, in tables behind each other."""

    colons: tuple[Colon, ...]
    tables: WallTables
    looks: Looks


@dataclass(frozen=True, slots=True, eq=False)
class Rendering:
    """What B frames show, before the sensor; 0 where no ray went or none arrived."""

    light: Tensor  # (B, 3, H, W) linear, in the lamps' unit
    film: Tensor  # (B, 3, H, W), the part of `light` that highlights are made of
    albedo: Tensor  # (B, 3, H, W)
    shading: Tensor  # (B, 1, H, W), irradiance of the lamps
    depth_mm: Tensor  # (B, 1, H, W), z
    distance_mm: Tensor  # (B, 1, H, W), along the ray
    normals: Tensor  # (B, 3, H, W), camera frame, towards the camera
    valid: Tensor  # (B, 1, H, W) bool
    specular: Tensor  # (B, 1, H, W) bool
    arc_mm: Tensor  # (B, 1, H, W)
    angle_rad: Tensor  # (B, 1, H, W)
    axis_mm: Tensor  # (B, 1, H, W), distance from the centre line
    label: Tensor  # (B, 1, H, W) int16, see `wall.LABELS`

    def __getitem__(self, frames: slice) -> Self:
        """Return some of the frames."""
        return type(self)(*(getattr(self, field.name)[frames] for field in fields(self)))


def scene_of(colons: Sequence[Colon], looks: Sequence[Looks]) -> Scene:
    """Put colons and their looks together."""
    if not colons or len(colons) != len(looks):
        raise DataError(
            f"{len(colons)} colons and {len(looks)} looks; expected as many, and one or more"
        )
    tables = join_tables([colon.tables for colon in colons])
    return Scene(tuple(colons), tables, join_looks(looks))


def render(
    scene: Scene, view: Sight, world_from_camera: Tensor, *, which: Tensor, lamps: Lamps
) -> Rendering:
    """Render frames.

    Args:
        scene: the colons.
        view: the rays of B frames.
        world_from_camera: (B, 4, 4); inside the lumen.
        which: (B,) int64, each frame's colon.
        lamps: of B frames.
    """
    require_shapes(world_from_camera=(world_from_camera, "B 4 4"), which=(which, "B"))
    device = scene.tables.radius_mm.device
    if device.type == "cpu" and view.frames > 1:
        # One by one: a frame's lists then stay in the processor's cache, and its last bits do not
        # depend on where in a list its rays stand.
        return _joined(
            [
                render(
                    scene,
                    view.of(k),
                    world_from_camera[k : k + 1],
                    which=which[k : k + 1],
                    lamps=Lamps(lamps.numbers[k : k + 1]),
                )
                for k in range(view.frames)
            ]
        )
    pose = world_from_camera.to(device, torch.float32)
    start = _arc_of(scene, pose, which)
    colon_of = which.to(device, torch.int32)
    # Bundles first: how far is everything free?
    frame, colon = view.bundle_frame, colon_of[view.bundle_frame]
    origin, direction = _in_world(pose, view.bundle_frame, view.bundle_ray)
    distance, arc = torch.zeros_like(view.spread), start[frame]
    step = compiled(stride)
    for _ in range(BUNDLE_STEPS):
        lists = any_length(origin, direction, distance, arc, colon, view.spread)
        distance, arc = step(*lists, scene.tables)
    frame, colon = view.frame, colon_of[view.frame]
    origin, direction = _in_world(pose, view.frame, view.ray)
    hits = cast(origin, direction, distance[view.bundle], arc[view.bundle], colon, scene.tables)
    rays = any_length(origin, direction, hits.distance_mm)
    lists = any_length(hits.arc_mm, colon)
    end = compiled(surface)(*rays, *lists, scene.tables, scene.looks)
    numbers = lamps.in_world(world_from_camera).to(device, torch.float32)
    seen = dark(hits.distance_mm)
    for lamp in range(LAMPS_EACH):
        if bool((numbers[:, lamp, 6:9] > 0).any()):
            light = compiled(shade)
            seen = light(*rays, *any_length(frame), end, numbers[:, lamp].flatten(), seen)
    return _maps(scene, view, pose, hits, colon, end, seen)


def _joined(frames: Sequence[Rendering]) -> Rendering:
    names = [field.name for field in fields(Rendering)]
    return Rendering(
        **{name: torch.cat([getattr(each, name) for each in frames]) for name in names}
    )


def _maps(
    scene: Scene,
    view: Sight,
    pose: Tensor,
    hits: Hits,
    colon: Tensor,
    end: Surface,
    seen: Shade,
) -> Rendering:
    """Gather what is known of rays into maps."""
    film, diffuse, albedo = (torch.stack(each) for each in (seen.film, seen.diffuse, end.albedo))
    turn = pose[:, :3, :3]  # world from camera: its transpose brings normals home
    normals = _turned(_of_rays(turn.mT, view.frame), torch.stack(end.normal))
    distance = hits.distance_mm
    one = torch.stack(
        [
            distance,
            distance * view.ray[2].clamp(min=0),
            seen.irradiance,
            end.arc_mm,
            end.angle_rad,
            end.axis_mm,
        ]
    )
    everything = torch.cat([diffuse + film, film, albedo, normals, one]) * hits.arrived
    light, film_map, albedo_map, normal_map, rest = view.spread_out(everything).split(
        (3, 3, 3, 3, len(one)), dim=1
    )
    distance_map, depth_map, shading, arc, angle, axis = rest.split(1, dim=1)
    valid = view.spread_out(hits.arrived[None])
    total = light.sum(dim=1, keepdim=True)
    bright = film_map.sum(dim=1, keepdim=True)
    return Rendering(
        light=light,
        film=film_map,
        albedo=albedo_map,
        shading=shading,
        depth_mm=depth_map,
        distance_mm=distance_map,
        normals=normal_map,
        valid=valid,
        specular=valid & (bright > HIGHLIGHT_SHARE * (total - bright)),
        arc_mm=arc,
        angle_rad=angle,
        axis_mm=axis,
        label=view.spread_out((_labels(scene, colon, end) * hits.arrived)[None]),
    )


def _labels(scene: Scene, colon: Tensor, end: Surface) -> Tensor:
    """Return the label of each ray's end, (R,) int16."""
    found = torch.zeros_like(colon, dtype=torch.int16)
    first = 0
    several = len(scene.colons) > 1
    for number, each in enumerate(scene.colons):
        label = each.label_at(end.arc_mm, end.angle_rad)
        if each.stalked_numbers:
            own = torch.tensor(each.stalked_numbers, dtype=torch.int16, device=label.device)
            place = (end.stalked - first).clamp(0, len(own) - 1)
            label = torch.where(end.stalked >= 0, own[place.long()], label)
        first += max(1, len(each.stalked_numbers))
        found = torch.where(colon == number, label, found) if several else label
    return found


def _in_world(pose: Tensor, frame: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
    """Return origins and directions (3, R) of rays given in their cameras' frames."""
    own = _of_rays(pose[:, :3], frame)  # (3, 4, R) or (3, 4, 1)
    direction = _turned(own[:, :3], ray)
    return own[:, 3].expand(-1, ray.shape[1]).contiguous(), direction


def _of_rays(matrices: Tensor, frame: Tensor) -> Tensor:
    """Return each ray's matrix, (B, M, N) -> (M, N, R); of one frame, one for all its rays."""
    last = matrices.movedim(0, -1)
    return last if last.shape[-1] == 1 else last.index_select(-1, frame)


def _turned(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return the product (3, 3, R) (3, R), summed in one order whatever R is."""
    x, y, z = vector
    product: Tensor = matrix[:, 0] * x + matrix[:, 1] * y + matrix[:, 2] * z
    return product


def _arc_of(scene: Scene, pose: Tensor, which: Tensor) -> Tensor:
    """Return the arc length of each camera, (B,)."""
    arc = torch.zeros(len(pose), device=pose.device)
    for number, colon in enumerate(scene.colons):
        own = (which.to(pose.device) == number).nonzero()[:, 0]
        if len(own):
            arc[own] = colon.coordinates(pose[own, :3, 3])[0]
    return arc
