"""From colons and cameras to pictures with everything that is true of them.

The same code runs on a CPU and on a GPU; every ray is worked out for itself, so a frame is the same
whatever batch it is in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.shapes import require_shapes
from synthetic_colons.colon import Colon
from synthetic_colons.field import take
from synthetic_colons.kernels import compiled
from synthetic_colons.light import LAMPS_EACH, Lamps
from synthetic_colons.looks import join_looks
from synthetic_colons.marching import BUNDLE_STEPS, cast, stride
from synthetic_colons.shading import Looks, Shade, Surface, dark, shade, surface
from synthetic_colons.sight import Sight
from synthetic_colons.wall_tables import WallTables, join_tables

# A pixel is called a highlight where the film sends back more than this share of the rest.
HIGHLIGHT_SHARE = 0.6


@dataclass(frozen=True, eq=False)
class Scene:
    """The colons that a batch may look at, and what each of them looks like."""

    colons: tuple[Colon, ...]
    each_looks: tuple[Looks, ...]

    @cached_property
    def tables(self) -> WallTables:
        """All walls behind each other."""
        return join_tables([colon.tables for colon in self.colons])

    @cached_property
    def looks(self) -> Looks:
        """All looks behind each other."""
        return join_looks(self.each_looks)

    @cached_property
    def alone(self) -> tuple[Self, ...]:
        """Each colon as a scene of its own."""
        if len(self.colons) == 1:
            return (self,)
        pairs = zip(self.colons, self.each_looks, strict=True)
        return tuple(type(self)((colon,), (looks,)) for colon, looks in pairs)


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
    return Scene(tuple(colons), tuple(looks))


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
    device = scene.colons[0].device
    if device.type == "cpu" and view.frames + len(scene.colons) > 2:
        # One by one: a frame's lists then stay in the processor's cache, and its last bits do not
        # depend on where in a list its rays stand.
        return joined(
            [
                render(
                    scene.alone[int(which[k])],
                    view.of(k),
                    world_from_camera[k : k + 1],
                    which=torch.zeros_like(which[:1]),
                    lamps=Lamps(lamps.numbers[k : k + 1]),
                )
                for k in range(view.frames)
            ]
        )
    return render_at_once(scene, view, world_from_camera, which=which, lamps=lamps)


def render_at_once(
    scene: Scene, view: Sight, world_from_camera: Tensor, *, which: Tensor, lamps: Lamps
) -> Rendering:
    """Render frames of any of the colons in one list of rays; see `render`."""
    device = scene.colons[0].device
    pose = world_from_camera.to(device, torch.float32)
    start = _arc_of(scene, pose, which)
    colon_of = which.to(device, torch.int32)
    # Bundles first: how far is everything free?
    frame, colon = view.bundle_frame, colon_of[view.bundle_frame]
    origin, direction = _in_world(pose, view.bundle_frame, view.bundle_ray)
    distance, arc = torch.zeros_like(view.spread), start[frame]
    step = compiled(stride)
    for _ in range(BUNDLE_STEPS):
        distance, arc = step(origin, direction, distance, arc, colon, view.spread, scene.tables)
    frame, colon = view.frame, colon_of[view.frame]
    origin, direction = _in_world(pose, view.frame, view.ray)
    hits = cast(origin, direction, distance[view.bundle], arc[view.bundle], colon, scene.tables)
    rays = (origin, direction, hits.distance_mm)
    end = compiled(surface)(*rays, hits.arc_mm, colon, scene.tables, scene.looks)
    numbers = lamps.in_world(world_from_camera).to(device, torch.float32)
    seen = dark(hits.distance_mm)
    for lamp in range(LAMPS_EACH):
        if bool((numbers[:, lamp, 6:9] > 0).any()):
            own = numbers[:, lamp].flatten()
            seen = compiled(shade)(*rays, frame, end, own, seen)
    turn = pose[:, :3, :3].mT.flatten().contiguous()  # camera from world, for the normals
    numbers = compiled(collect)(hits.distance_mm, hits.arrived, view.ray, frame, turn, end, seen)
    return _maps(view, numbers, hits.arrived, _labels(scene, colon, end))


def joined(frames: Sequence[Rendering]) -> Rendering:
    """Put frames one after the other."""
    names = [field.name for field in fields(Rendering)]
    return Rendering(
        **{name: torch.cat([getattr(each, name) for each in frames]) for name in names}
    )


def collect(
    distance: Tensor,
    arrived: Tensor,
    ray: Tensor,
    frame: Tensor,
    turn: Tensor,
    end: Surface,
    seen: Shade,
) -> Tensor:
    """Put what is known of rays into one table (18, R), 0 where a ray did not arrive."""
    m = [take(turn, frame * 9 + k) for k in range(9)]
    x, y, z = end.normal
    table = [a + b for a, b in zip(seen.diffuse, seen.film, strict=True)]
    table += [*seen.film, *end.albedo]
    table += [m[k] * x + m[k + 1] * y + m[k + 2] * z for k in (0, 3, 6)]
    table += [distance, distance * ray[2].clamp(min=0), seen.irradiance]
    table += [end.arc_mm, end.angle_rad, end.axis_mm]
    return torch.stack([torch.where(arrived, each, 0.0) for each in table])


def _maps(view: Sight, numbers: Tensor, arrived: Tensor, label: Tensor) -> Rendering:
    """Put rays where their pixels are."""
    light, film, albedo, normals, rest = view.spread_out(numbers).split((3, 3, 3, 3, 6), dim=1)
    distance, depth, shading, arc, angle, axis = rest.split(1, dim=1)
    valid = view.spread_out(arrived[None])
    bright = film.sum(dim=1, keepdim=True)
    total = light.sum(dim=1, keepdim=True)
    return Rendering(
        light=light,
        film=film,
        albedo=albedo,
        shading=shading,
        depth_mm=depth,
        distance_mm=distance,
        normals=normals,
        valid=valid,
        specular=valid & (bright > HIGHLIGHT_SHARE * (total - bright)),
        arc_mm=arc,
        angle_rad=angle,
        axis_mm=axis,
        label=view.spread_out((label * arrived)[None]),
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
