"""Still Box: depth from a known displacement, after Pinard et al. (2017).

A camera flies at constant speed through a closed box full of textured solids and never turns (or
turns steadily, in the rotated version). Solids, textures and the box come in all sizes, and size
has nothing to do with distance: one image alone says nothing about depth, and a network has to use
the displacement.

The camera's frame at time 0 is the world's. Inside, as everywhere, millimetres; the published
files hold metres: see `still_box_files`. Speed, frame rate, field of view and length are those of
the published set; sizes and numbers of solids are not public, and ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, radians, tan
from typing import TypedDict

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.motion import relative, rigid_motion, so3_exp
from synthetic_colons.worlds.draws import Draws
from synthetic_colons.worlds.planes import moved, product
from synthetic_colons.worlds.scenes import Scene
from synthetic_colons.worlds.shapes import Solid, SolidKind, gap_mm
from synthetic_colons.worlds.sights import Sight, follow, see
from synthetic_colons.worlds.textures import draw_texture

# The displacement for which DepthNet's output is the depth: 3 frames of 0.1 m.
NOMINAL_DISPLACEMENT_MM = 300.0

_ROOM = (SolidKind.BOX,)
_SOLIDS = (*[SolidKind.ELLIPSOID] * 6, *[SolidKind.BOX] * 6, *[SolidKind.CYLINDER] * 4)
_WALLS = (SolidKind.BOX,) * 2
_IN_VIEW = 0.7  # chance of each solid to lie before the camera
_WAY_TO_WALL = (0.15, 1.0)  # how far out on its ray, as a share of the wall's distance
_PRESENT = 0.85  # chance of each solid, of those that do not stand in the way
_SMALLEST_SOLID, _LARGEST_SOLID = 0.01, 0.2  # half sizes, shares of the box's
_LONGEST_SIDE = 2.5  # longest over shortest half size, at most about its square
_WALL_SIDE, _WALL_THICKNESS = (0.2, 0.7), (0.005, 0.03)  # shares of the box's half size
_SHORTEST_ROOM_SIDE = 0.5  # share of the box's size that its shortest half side may be
_WAVELENGTH = (0.3, 1.5)  # largest blotch of a texture, in half sizes of its solid
_ROOM_WAVELENGTH = (0.05, 0.3)
_LARGEST_TILT_RAD = radians(20)  # of the box: floors are below, but rarely level


@dataclass(frozen=True, slots=True, kw_only=True)
class StillBoxSettings:
    """What all scenes of a set have in common; the defaults are the published set's, or ours."""

    height: int
    width: int
    field_of_view_rad: float = pi / 2  # across the width
    frames: int = 20
    speed_mm_per_s: float = 1000.0
    time_step_s: float = 0.1
    # Ours: half the box. 3 m leave room for the flight, 60 m reach the 100 m of the published set.
    smallest_half_mm: float = 3_000.0
    largest_half_mm: float = 60_000.0
    clearance_mm: float = 300.0  # ours: nothing is nearer to the flight than this
    fastest_turn_rad_per_s: float = 0.0  # above 0: the rotated version

    def __post_init__(self) -> None:
        """Refuse settings under which no scene can be made."""
        if not 0 < self.field_of_view_rad < pi:
            raise DataError(
                f"field_of_view_rad is {self.field_of_view_rad:g}, expected less than"
                f" {pi:g}; 90 degrees are {pi / 2:.4f}"
            )
        if min(self.frames, self.speed_mm_per_s, self.time_step_s) <= 0:
            raise DataError("frames, speed_mm_per_s and time_step_s must be positive")
        narrow = self.smallest_half_mm * _SHORTEST_ROOM_SIDE
        needed = self.flight_mm() / 2 + self.clearance_mm
        if not needed < narrow <= self.largest_half_mm:
            raise DataError(
                f"a flight of {self.flight_mm():g} mm with {self.clearance_mm:g} mm to spare needs"
                f" smallest_half_mm above {needed / _SHORTEST_ROOM_SIDE:g} and at most"
                f" largest_half_mm {self.largest_half_mm:g}, found {self.smallest_half_mm:g}"
            )

    def flight_mm(self) -> float:
        """Return the length of a scene's flight."""
        return self.speed_mm_per_s * self.time_step_s * (self.frames - 1)

    def camera(self) -> Camera:
        """Return the camera: a pinhole without distortion."""
        focal = self.width / (2 * tan(self.field_of_view_rad / 2))
        return Camera.pinhole(
            fx=focal,
            fy=focal,
            cx=(self.width - 1) / 2,
            cy=(self.height - 1) / 2,
            height=self.height,
            width=self.width,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class StillBoxes:
    """Some scenes, each with its flight."""

    settings: StillBoxSettings
    scene: Scene
    velocity_mm_per_s: Tensor  # (B, 3), world axes
    turn_rad_per_s: Tensor  # (B, 3), 0 unless rotated

    def world_from_camera(self, frame: Tensor) -> Tensor:
        """Return where the camera is at a frame of each scene, (B,) -> (B, 4, 4)."""
        time_s = (frame.to(self.velocity_mm_per_s) * self.settings.time_step_s)[:, None]
        return rigid_motion(so3_exp(self.turn_rad_per_s * time_s), self.velocity_mm_per_s * time_s)

    def see(self, frame: Tensor) -> Sight:
        """Return what the camera sees at a frame (B,) of each scene."""
        return see(self.scene, self.settings.camera(), self.world_from_camera(frame))


class DisplacedPair(TypedDict):
    """A batch of views, each with an older or younger frame of its scene; keys as in `View`."""

    image: Tensor  # (B, 3, H, W) the reference, whose depth is asked for
    previous: Tensor  # (B, 3, H, W)
    camera: Camera
    depth_mm: Tensor  # (B, 1, H, W)
    valid: Tensor  # (B, 1, H, W) bool
    normals: Tensor  # (B, 3, H, W)
    world_from_camera: Tensor  # (B, 4, 4)
    reference_from_previous: Tensor  # (B, 4, 4)
    displacement_mm: Tensor  # (B, 3) where the camera went from `previous`, in its axes then
    shift: Tensor  # (B,) int64 frames from `previous` to the reference; negative: it is younger
    flow_to_previous_px: Tensor  # (B, 2, H, W)
    flow_to_previous_known: Tensor  # (B, 1, H, W) bool: seen there too


def still_box_pairs(
    settings: StillBoxSettings,
    indices: Sequence[int],
    *,
    seed: int,
    largest_shift: int = 6,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> DisplacedPair:
    """Make pairs from scenes of their own, pair k always the same.

    Args:
        settings: of the set.
        indices: which pairs.
        seed: of the set.
        largest_shift: shifts are drawn evenly from 1 to this many frames, half of them backwards.
            DepthNet was trained with 0 to 6, of which 3 is `NOMINAL_DISPLACEMENT_MM`.
        device: where to render.
        dtype: of the numbers.
    """
    if not 1 <= largest_shift < settings.frames:
        raise DataError(
            f"largest_shift is {largest_shift}, expected from 1 to {settings.frames - 1}, one less"
            " than the frames of a scene"
        )
    boxes = draw_still_boxes(settings, indices, seed=seed, device=device, dtype=dtype)
    frame, shift = _draw_frames(settings, indices, seed=seed, largest_shift=largest_shift)
    frame, shift = frame.to(device), shift.to(device)
    before = boxes.world_from_camera(frame - shift)
    now = boxes.world_from_camera(frame)
    camera = settings.camera()
    sight = see(boxes.scene, camera, now)
    track = follow(
        sight,
        camera,
        now=boxes.scene,
        world_from_camera_now=now,
        then=boxes.scene,
        world_from_camera_then=before,
    )
    reference_from_previous = relative(now, before)
    return DisplacedPair(
        image=sight.image,
        previous=see(boxes.scene, camera, before).image,
        camera=camera.to(sight.image).expanded((len(indices),)),
        depth_mm=sight.depth_mm,
        valid=sight.depth_mm > 0,
        normals=sight.normals,
        world_from_camera=now,
        reference_from_previous=reference_from_previous,
        displacement_mm=relative(before, now)[:, :3, 3],
        shift=shift,
        flow_to_previous_px=track.flow_px,
        flow_to_previous_known=~track.occluded,
    )


def draw_still_boxes(
    settings: StillBoxSettings,
    indices: Sequence[int],
    *,
    seed: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> StillBoxes:
    """Draw scenes; scene k of a seed is always the same."""
    draws = Draws(seed=seed, indices=tuple(indices))
    kinds = _ROOM + _SOLIDS + _WALLS
    half_mm = draws.uniform(
        "size", 1, low=settings.smallest_half_mm, high=settings.largest_half_mm
    )  # (B, 1)
    velocity = draws.direction("heading") * settings.speed_mm_per_s  # (B, 3)
    flight_mm = velocity * (settings.time_step_s * (settings.frames - 1))
    world_from_room = _draw_tilt(draws)
    room_half = half_mm * draws.uniform("room sides", 3, low=_SHORTEST_ROOM_SIDE)
    # The middle of the flight, in the room's axes: anywhere that keeps both ends off the walls.
    reach = moved(world_from_room.mT, flight_mm).abs() / 2 + settings.clearance_mm
    middle = (room_half - reach) * draws.uniform("place", 3, low=-1)
    room_centre = flight_mm / 2 - moved(world_from_room, middle)

    count = len(_SOLIDS) + len(_WALLS)
    room = Solid(
        kind=SolidKind.BOX,
        centre_mm=room_centre,
        world_from_solid=world_from_room,
        half_mm=room_half,
    )
    centre = flight_mm[:, None] / 2 + _draw_places(draws, settings, room, flight_mm / 2)
    solid_half = _draw_sizes(draws) * half_mm[..., None]
    turn = draws.rotation("turns", count)
    frames = torch.arange(settings.frames, dtype=torch.float64) * settings.time_step_s
    flight = velocity[:, None] * frames[:, None]  # (B, F, 3)
    free = gap_mm(centre, turn, solid_half, flight).amin(dim=-1) > settings.clearance_mm
    present = draws.chance("present", count, probability=_PRESENT) & free

    low, high = _ROOM_WAVELENGTH
    wavelengths = torch.cat(
        [
            half_mm * draws.log_uniform("room wavelength", 1, low=low, high=high),
            solid_half.amax(dim=-1)
            * draws.log_uniform("wavelengths", count, low=_WAVELENGTH[0], high=_WAVELENGTH[1]),
        ],
        dim=1,
    )
    scene = Scene(
        kinds=kinds,
        rooms=len(_ROOM),
        present=torch.cat([torch.ones_like(present[:, :1]), present], dim=1),
        centre_mm=torch.cat([room_centre[:, None], centre], dim=1),
        world_from_solid=torch.cat([world_from_room[:, None], turn], dim=1),
        half_mm=torch.cat([room_half[:, None], solid_half], dim=1),
        texture=draw_texture(draws, "texture", wavelengths),
        to_light=draws.direction("light"),
    )
    pace = draws.uniform("turning", 1, high=settings.fastest_turn_rad_per_s)
    return StillBoxes(
        settings=settings,
        scene=scene.to(device, dtype),
        velocity_mm_per_s=velocity.to(device, dtype),
        turn_rad_per_s=(draws.direction("turning axis") * pace).to(device, dtype),
    )


def _draw_tilt(draws: Draws) -> Tensor:
    """Draw world_from_room, (B, 3, 3): any heading about the vertical, a little off level."""
    heading = draws.uniform("room heading", 1, low=-pi, high=pi)
    tilt = draws.uniform("room tilt", 2, low=-_LARGEST_TILT_RAD, high=_LARGEST_TILT_RAD)
    still = torch.zeros_like(heading)
    about_y = so3_exp(torch.cat([still, heading, still], dim=-1))
    about_x_and_z = so3_exp(torch.cat([tilt[:, :1], still, tilt[:, 1:]], dim=-1))
    return product(about_x_and_z, about_y)


def _draw_places(draws: Draws, settings: StillBoxSettings, room: Solid, eye_mm: Tensor) -> Tensor:
    """Draw the centres of solids and walls relative to the middle of the flight, (B, N, 3).

    Most lie somewhere on the way from the camera to the room's wall along a ray of the image.
    """
    count = len(_SOLIDS) + len(_WALLS)
    across = tan(settings.field_of_view_rad / 2)
    aside = draws.uniform("places in view", count, 2, low=-across, high=across)
    aside = aside * aside.new_tensor([1, settings.height / settings.width])
    ahead = torch.cat([aside, torch.ones_like(aside[..., :1])], dim=-1)
    ahead = ahead / ahead.norm(dim=-1, keepdim=True)
    seen = draws.chance("placed in view", count, 1, probability=_IN_VIEW)
    direction = torch.where(seen, ahead, draws.direction("places around", count))
    to_wall_mm = room.distance_mm(eye_mm[:, None], direction)  # (B, N)
    low, high = _WAY_TO_WALL
    return direction * (to_wall_mm * draws.uniform("way", count, low=low, high=high))[..., None]


def _draw_sizes(draws: Draws) -> Tensor:
    """Draw half sizes of solids and walls as shares of the room's, (B, N, 3)."""
    count = len(_SOLIDS)
    size = draws.log_uniform("sizes", count, 1, low=_SMALLEST_SOLID, high=_LARGEST_SOLID)
    sides = draws.log_uniform("sides", count, 3, low=_LONGEST_SIDE**-0.5, high=_LONGEST_SIDE**0.5)
    low, high = _WALL_SIDE
    wide = draws.uniform("wall sides", len(_WALLS), 2, low=low, high=high)
    low, high = _WALL_THICKNESS
    thin = draws.uniform("wall thickness", len(_WALLS), 1, low=low, high=high)
    return torch.cat([size * sides, torch.cat([wide, thin], dim=-1)], dim=1)


def _draw_frames(
    settings: StillBoxSettings, indices: Sequence[int], *, seed: int, largest_shift: int
) -> tuple[Tensor, Tensor]:
    """Draw the reference frame and the signed shift of every pair, (B,) int64 each."""
    draws = Draws(seed=seed, indices=tuple(indices))
    shift = draws.whole("shift", low=1, high=largest_shift)
    older = (draws.uniform("frame") * (settings.frames - shift)).floor().long()
    swapped = draws.chance("swapped", probability=0.5)
    return torch.where(swapped, older, older + shift), torch.where(swapped, -shift, shift)
