"""A still room or tube, a moving camera, and objects that move by themselves: for motion masks.

Networks that explain a video by the camera's motion alone have to leave out what moves by itself
(Zhou's explainability, CoopNet's competition between rigid and free flow). Here both flows are
known: the true one, and the one that the camera's motion alone would make. The world's frame is the
first camera's. Sizes are a colon's, in millimetres; all ranges are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import pi, radians, tan
from typing import TypedDict

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.motion import inverse, rigid_motion, so3_exp
from synthetic_colons.worlds.draws import Draws
from synthetic_colons.worlds.planes import moved
from synthetic_colons.worlds.scenes import Scene
from synthetic_colons.worlds.shapes import Solid, SolidKind, gap_mm
from synthetic_colons.worlds.sights import Correspondence, Sight, follow, see
from synthetic_colons.worlds.textures import draw_texture

_ROOMS = (SolidKind.BOX, SolidKind.CYLINDER)  # one of the two is there
_STILL = (*[SolidKind.ELLIPSOID] * 3, *[SolidKind.BOX] * 2, SolidKind.CYLINDER)
_MOVING = (SolidKind.ELLIPSOID, SolidKind.BOX, SolidKind.CYLINDER)  # the first is always there

_TUBE_SHARE = 0.5
_ROOM_HALF_MM = (25.0, 50.0)
_TUBE_RADIUS_MM, _TUBE_HALF_LENGTH_MM = (18.0, 32.0), (50.0, 150.0)
_ASIDE, _BEHIND = 0.4, (0.5, 0.8)  # where the camera is, shares of the half sides
_LARGEST_TILT_RAD = radians(20)  # of the room against the camera
_STILL_HALF_MM, _MOVING_HALF_MM = (1.5, 7.0), (2.5, 8.0)
_LARGEST_SHARE = 0.3  # of an object's distance that its half size may be: it does not fill the view
_LONGEST_SIDE = 2.0  # longest over shortest half size, at most about its square
_STILL_WAY, _MOVING_WAY = (0.5, 1.0), (0.5, 0.8)  # out on a ray, as shares of the wall's distance
_MOVING_IN_VIEW = 0.7  # of the half field: objects that move are in the picture
_WAVELENGTH = (0.3, 1.5)  # largest blotch of a texture, in half sizes
_ROOM_WAVELENGTH_MM = (4.0, 20.0)
_PRESENT = 0.7
_CLEARANCE_MM = 1.0  # between the camera and all solids, in both frames

_CAMERA_STILL = 0.1  # chance that only the objects move
_CAMERA_SHIFT_MM, _CAMERA_TURN_RAD = 2.0, radians(3)  # largest between the two frames
_OBJECT_SHIFT, _OBJECT_TURN_RAD = (0.02, 0.12), radians(20)  # shares of the distance; largest turn


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingObjectsSettings:
    """What all pairs of a set have in common."""

    height: int
    width: int
    field_of_view_rad: float = pi / 2  # across the width

    def __post_init__(self) -> None:
        """Refuse a camera that nobody can build."""
        if min(self.height, self.width) < 1 or not 0 < self.field_of_view_rad < pi:
            raise DataError(
                f"a field of {self.field_of_view_rad:g} rad on {self.height}x{self.width} pixels;"
                f" expected pixels, and less than {pi:g}"
            )

    def camera(self) -> Camera:
        """Return the camera of both frames: a pinhole without distortion."""
        focal = self.width / (2 * tan(self.field_of_view_rad / 2))
        return Camera.pinhole(
            fx=focal,
            fy=focal,
            cx=(self.width - 1) / 2,
            cy=(self.height - 1) / 2,
            height=self.height,
            width=self.width,
        )


class MotionPair(TypedDict):
    """A batch of image pairs in which the camera and some objects move."""

    image: Tensor  # (B, 3, H, W)
    next: Tensor  # (B, 3, H, W)
    camera: Camera  # of both
    depth_mm: Tensor  # (B, 1, H, W)
    next_depth_mm: Tensor  # (B, 1, H, W)
    next_from_first: Tensor  # (B, 4, 4) the camera's motion
    flow_px: Tensor  # (B, 2, H, W) true flow, of everything
    rigid_flow_px: Tensor  # (B, 2, H, W) what it were if the camera alone had moved
    flow_back_px: Tensor  # (B, 2, H, W) true flow of `next`
    moving: Tensor  # (B, 1, H, W) bool: the pixel's object moves by itself
    next_moving: Tensor  # (B, 1, H, W) bool
    occluded: Tensor  # (B, 1, H, W) bool, of `image`: hidden in `next`, or outside it
    occluded_back: Tensor  # (B, 1, H, W) bool, of `next`


@dataclass(frozen=True, eq=False, kw_only=True)
class MovingObjects:
    """Some scenes before and after a step of time; the last `movers` solids move."""

    before: Scene
    after: Scene
    next_from_first: Tensor  # (B, 4, 4)
    movers: int

    def moves(self, sight: Sight) -> Tensor:
        """Return True where a solid that moves is seen, (B, 1, H, W)."""
        return sight.solid >= len(self.before.kinds) - self.movers


def moving_objects(
    settings: MovingObjectsSettings,
    indices: Sequence[int],
    *,
    seed: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> MotionPair:
    """Make image pairs with all their truth; pair k of a seed is always the same.

    Args:
        settings: of the set.
        indices: which pairs.
        seed: of the set.
        device: where to render.
        dtype: of the numbers.
    """
    world = draw_moving_objects(settings, indices, seed=seed, device=device, dtype=dtype)
    camera = settings.camera()
    first = torch.eye(4).to(world.next_from_first).expand_as(world.next_from_first)
    second = inverse(world.next_from_first)
    sight, later = see(world.before, camera, first), see(world.after, camera, second)

    def track(seen: Sight, *, now: Scene, at: Tensor, then: Scene, to: Tensor) -> Correspondence:
        return follow(
            seen, camera, now=now, world_from_camera_now=at, then=then, world_from_camera_then=to
        )

    forward = track(sight, now=world.before, at=first, then=world.after, to=second)
    rigid = track(sight, now=world.before, at=first, then=world.before, to=second)
    back = track(later, now=world.after, at=second, then=world.before, to=first)
    return MotionPair(
        image=sight.image,
        next=later.image,
        camera=camera.to(sight.image).expanded((len(indices),)),
        depth_mm=sight.depth_mm,
        next_depth_mm=later.depth_mm,
        next_from_first=world.next_from_first,
        flow_px=forward.flow_px,
        rigid_flow_px=rigid.flow_px,
        flow_back_px=back.flow_px,
        moving=world.moves(sight),
        next_moving=world.moves(later),
        occluded=forward.occluded,
        occluded_back=back.occluded,
    )


def draw_moving_objects(
    settings: MovingObjectsSettings,
    indices: Sequence[int],
    *,
    seed: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> MovingObjects:
    """Draw scenes and their motions; scene k of a seed is always the same."""
    draws = Draws(seed=seed, indices=tuple(indices))
    next_from_first = _draw_camera_motion(draws)
    room_half, is_tube = _draw_room(draws)  # (B, 3), (B, 1)
    tilt = draws.direction("tilt axis") * draws.uniform("tilt", 1, high=_LARGEST_TILT_RAD)
    world_from_room = so3_exp(tilt)
    aside = draws.uniform("aside", 2, low=-_ASIDE, high=_ASIDE)
    behind = -draws.uniform("behind", 1, low=_BEHIND[0], high=_BEHIND[1])
    room_centre = -moved(world_from_room, torch.cat([aside, behind], dim=-1) * room_half)

    direction = _draw_directions(draws, settings)  # (B, N, 3)
    reach_mm = [
        Solid(
            kind=kind, centre_mm=room_centre, world_from_solid=world_from_room, half_mm=room_half
        ).distance_mm(torch.zeros(1, 1, 3).to(direction), direction)
        for kind in _ROOMS
    ]
    to_wall_mm = torch.where(is_tube, reach_mm[1], reach_mm[0])  # (B, N)
    way = torch.cat(
        [_within(draws, "way", _STILL, _STILL_WAY), _within(draws, "far", _MOVING, _MOVING_WAY)],
        dim=1,
    )
    away_mm = to_wall_mm * way
    centre = direction * away_mm[..., None]
    half = _draw_sizes(draws, away_mm)
    turn = draws.rotation("turns", len(_STILL) + len(_MOVING))

    two = (1, len(_ROOMS), 1)
    low, high = _ROOM_WAVELENGTH_MM
    count = half.shape[1]
    wavelengths = torch.cat(
        [
            draws.log_uniform("room wavelength", len(_ROOMS), low=low, high=high),
            half.amax(dim=-1)
            * draws.log_uniform("wavelengths", count, low=_WAVELENGTH[0], high=_WAVELENGTH[1]),
        ],
        dim=1,
    )
    before = Scene(
        kinds=_ROOMS + _STILL + _MOVING,
        rooms=len(_ROOMS),
        present=torch.cat([~is_tube, is_tube, torch.ones_like(away_mm, dtype=torch.bool)], dim=1),
        centre_mm=torch.cat([room_centre[:, None].repeat(two), centre], dim=1),
        world_from_solid=torch.cat([world_from_room[:, None].repeat(*two, 1), turn], dim=1),
        half_mm=torch.cat([room_half[:, None].repeat(two), half], dim=1),
        texture=draw_texture(draws, "texture", wavelengths),
        to_light=draws.direction("light"),
    )
    after = before.moved(_draw_object_motions(draws, before, away_mm))
    second_mm = inverse(next_from_first)[:, None, :3, 3]  # (B, 1, 3) the camera's place then
    free = (_gap(before, torch.zeros_like(second_mm)) > _CLEARANCE_MM) & (
        _gap(after, second_mm) > _CLEARANCE_MM
    )
    wanted = draws.chance("present", count, probability=_PRESENT)
    wanted[:, len(_STILL)] = True
    present = torch.cat(
        [before.present[:, : len(_ROOMS)], (wanted & free[:, len(_ROOMS) :])], dim=1
    )
    before, after = (replace(scene, present=present).to(device, dtype) for scene in (before, after))
    return MovingObjects(
        before=before,
        after=after,
        next_from_first=next_from_first.to(device, dtype),
        movers=len(_MOVING),
    )


def _gap(scene: Scene, at_mm: Tensor) -> Tensor:
    """Return how near each solid is to one place per sample, (B, 1, 3) -> (B, N)."""
    return gap_mm(scene.centre_mm, scene.world_from_solid, scene.half_mm, at_mm)[..., 0]


def _within(
    draws: Draws, name: str, kinds: Sequence[SolidKind], ends: tuple[float, float]
) -> Tensor:
    return draws.uniform(name, len(kinds), low=ends[0], high=ends[1])


def _draw_camera_motion(draws: Draws) -> Tensor:
    """Draw next_from_first, (B, 4, 4)."""
    goes = ~draws.chance("camera still", 1, probability=_CAMERA_STILL)
    shift = draws.direction("camera heading") * draws.uniform(
        "camera way", 1, high=_CAMERA_SHIFT_MM
    )
    turn = draws.direction("camera axis") * draws.uniform("camera turn", 1, high=_CAMERA_TURN_RAD)
    return rigid_motion(so3_exp(turn * goes), shift * goes)


def _draw_room(draws: Draws) -> tuple[Tensor, Tensor]:
    """Draw half sides (B, 3) and whether the room is a tube along z (B, 1)."""
    low, high = _ROOM_HALF_MM
    box = draws.uniform("room sides", 3, low=low, high=high)
    low, high = _TUBE_RADIUS_MM
    radii = draws.uniform("tube radii", 2, low=low, high=high)
    low, high = _TUBE_HALF_LENGTH_MM
    tube = torch.cat([radii, draws.uniform("tube length", 1, low=low, high=high)], dim=-1)
    is_tube = draws.chance("tube", 1, probability=_TUBE_SHARE)
    return torch.where(is_tube, tube, box), is_tube


def _draw_directions(draws: Draws, settings: MovingObjectsSettings) -> Tensor:
    """Draw rays of the first image on which solids lie, unit (B, N, 3)."""
    across = tan(settings.field_of_view_rad / 2)
    aside = draws.uniform("places", len(_STILL) + len(_MOVING), 2, low=-across, high=across)
    aside = aside * aside.new_tensor([1, settings.height / settings.width])
    aside = torch.cat([aside[:, : len(_STILL)], _MOVING_IN_VIEW * aside[:, len(_STILL) :]], dim=1)
    ahead = torch.cat([aside, torch.ones_like(aside[..., :1])], dim=-1)
    unit: Tensor = ahead / ahead.norm(dim=-1, keepdim=True)
    return unit


def _draw_sizes(draws: Draws, away_mm: Tensor) -> Tensor:
    """Draw half sizes of solids at distances (B, N), (B, N, 3)."""
    low, high = _STILL_HALF_MM
    still = draws.log_uniform("still sizes", len(_STILL), low=low, high=high)
    low, high = _MOVING_HALF_MM
    size = torch.cat(
        [still, draws.log_uniform("moving sizes", len(_MOVING), low=low, high=high)], dim=1
    )
    size = torch.minimum(size, _LARGEST_SHARE * away_mm)
    ends = (_LONGEST_SIDE**-0.5, _LONGEST_SIDE**0.5)
    return size[..., None] * draws.log_uniform("sides", size.shape[1], 3, low=ends[0], high=ends[1])


def _draw_object_motions(draws: Draws, scene: Scene, away_mm: Tensor) -> Tensor:
    """Draw what every solid does, after_from_before (B, N, 4, 4): most of them nothing."""
    count = len(_MOVING)
    low, high = _OBJECT_SHIFT
    way = away_mm[:, -count:] * draws.uniform("object way", count, low=low, high=high)
    shift = draws.direction("object heading", count) * way[..., None]
    angle = draws.uniform("object turn", count, 1, high=_OBJECT_TURN_RAD)
    turn = so3_exp(draws.direction("object axis", count) * angle)
    centre = scene.centre_mm[:, -count:]
    # Turned about their own centres, then shifted.
    motion = rigid_motion(turn, centre + shift - moved(turn, centre))
    still = torch.eye(4).to(motion).expand(*scene.present.shape, 4, 4)
    return torch.cat([still[:, :-count], motion], dim=1)
