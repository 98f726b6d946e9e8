"""A withdrawal through a drawn colon, frame by frame, with all that is true of it.

A frame is the same pixels however it is asked for, alone or in a row, from (level, seed, clip
number, frame number) alone. Levels 1 to 5 need nothing but the frame; level 6 has a sensor that
remembers, whose memory is worked out anew from a few small pictures of the moments before.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.views import Clip, View
from synthetic_colons.anatomy_draws import draw_colon
from synthetic_colons.camera_path import CameraPath, draw_path
from synthetic_colons.clinic import Moment, add_clinic, moved_points
from synthetic_colons.clinic_draws import draw_clinic
from synthetic_colons.clinic_settings import ClinicDraw
from synthetic_colons.colon import Colon, build_colon
from synthetic_colons.electronics import ExposureState, settle
from synthetic_colons.exposure import automatic_exposure, develop
from synthetic_colons.ground_truth import flow
from synthetic_colons.lens_blur import continued
from synthetic_colons.levels import Level, level
from synthetic_colons.light import Lamps, draw_lamps
from synthetic_colons.looks import bake_looks
from synthetic_colons.optics import draw_camera
from synthetic_colons.peristalsis import contracted
from synthetic_colons.renderer import Rendering, Scene, render, scene_of
from synthetic_colons.sensor import apply_sensor
from synthetic_colons.sensor_draws import SensorDraw, SensorSettings, draw_frames, draw_sensor
from synthetic_colons.sight import Sight, sight

SCOPE_FRAMES_PER_S = 30.0  # at which the sensor takes frames, however few of them a clip has
_KEPT = 4  # renderings: a frame, the one before, the one after, and one to spare
_REMEMBERED = 8  # frames that the exposure control looks back; its slowest swing is 10
_SMALL = 8  # how much smaller the pictures of its memory are


def dice(level_name: str, seed: int, number: int, purpose: str, frame: int = 0) -> torch.Generator:
    """Return the source of all randomness for one purpose of one clip, on the CPU."""
    address = f"{level_name}/{seed}/{number}/{purpose}/{frame}"
    # A digest, because the CPU's generator keeps 32 bits of its seed: all of them must count.
    digest = hashlib.blake2b(address.encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


def draw_level_colon(wanted: Level, seed: int, number: int, device: torch.device | str) -> Colon:
    """Build the colon of a level that a seed and a number stand for."""
    draw = draw_colon(
        dice(wanted.name, seed, number, "anatomy"),
        folds=wanted.folds,
        relief=wanted.relief,
        simple_polyps=wanted.simple_polyps,
        findings=wanted.findings,
        stool=wanted.clinic,
    )
    return build_colon(draw, device=device)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame as a file would hold it, and what is true of it."""

    view: View  # image, camera, valid, depth, distance, normals, polyp, pose, time
    rendering: Rendering  # B = 1: light, albedo, shading, specular, wall coordinates, labels
    flow_px: Tensor | None  # (2, H, W) to the next frame; none in the last
    flow_known: Tensor | None
    occluded: Tensor | None  # (1, H, W), not to be seen in the next frame
    flow_to_previous_px: Tensor | None
    flow_to_previous_known: Tensor | None
    segment: str  # where the camera is


class SyntheticClip(Sequence[Frame]):
    """Frames of one withdrawal, rendered when asked for."""

    def __init__(
        self,
        level_name: str | int,
        *,
        seed: int,
        number: int = 0,
        frames: int = 200,
        height: int = 256,
        width: int = 320,
        frames_per_s: float = 30.0,
        device: torch.device | str = "cpu",
    ) -> None:
        """Draw everything that stays; nothing is rendered yet.

        Args:
            level_name: see `levels.LEVELS`.
            seed: of a set of clips.
            number: of the clip in the set.
            frames: of the clip.
            height: of the images.
            width: of the images.
            frames_per_s: endoscopes have 25 to 60. With fewer, frames are left out; those that stay
                are exposed no longer.
            device: where frames are rendered.
        """
        if frames < 1:
            raise DataError(f"a clip of {frames} frames; expected 1 or more")
        self.level = level(level_name)
        self.seed, self.number, self.frames_per_s = seed, number, frames_per_s
        self.device = torch.device(device)
        self.colon = draw_level_colon(self.level, seed, number, self.device)
        looks = bake_looks(self.colon, self.level, self._dice("looks"))
        self.scene: Scene = scene_of([self.colon], [looks])
        self.path: CameraPath = draw_path(
            self._dice("path"), self.colon, frames=frames, frames_per_s=frames_per_s
        )
        self.camera: Camera = draw_camera(
            self._dice("lens"), height=height, width=width, any_lens=self.level.any_lens
        )
        self.lamps: Lamps = draw_lamps(self._dice("lamps"), 1, at_lens=self.level.lamps_at_lens)
        self._arcs: Tensor = self.path.arc_mm(self.path.times_s).float()
        self.clinic: ClinicDraw | None = None
        self._sensor: SensorDraw | None = None
        self._settings = SensorSettings()
        inside = None
        if self.level.clinic:
            generator = self._dice("sensor")
            self._sensor = draw_sensor(generator, 1, height, width, self._settings)
            inside = self._sensor.clip.picture_share[0] > 0.5
            self.clinic = draw_clinic(
                self._dice("clinic"),
                self.colon,
                clip_frames=frames,
                frames_per_s=frames_per_s,
                stretch_mm=(float(self._arcs.min()), float(self._arcs.max())),
            )
        self.sight: Sight = sight(self.camera, frames=1, inside=inside)
        self._rays = self.camera.rays(height, width)[None]
        small = self.camera.resized(max(2, height // _SMALL), max(2, width // _SMALL))
        self._small_sight = sight(small, frames=1)
        self._rendered: OrderedDict[int, Rendering] = OrderedDict()
        self._metered: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.path.times_s)

    @property
    def name(self) -> str:
        """Such as "level5_seed1_clip0"."""
        return f"level{self.level.name}_seed{self.seed}_clip{self.number}"

    def __getitem__(self, index: Any) -> Any:
        """Return one frame, or the list of a slice."""
        if isinstance(index, slice):
            return [self[k] for k in range(len(self))[index]]
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of a clip of {len(self)}")
        return self._frame(index % len(self))

    def rendering(self, index: int) -> Rendering:
        """Return the light of a frame and its geometry, before the sensor."""
        if index not in self._rendered:
            self._rendered[index] = self._render(index)
            while len(self._rendered) > _KEPT:
                self._rendered.popitem(last=False)
        return self._rendered[index]

    def _render(self, index: int) -> Rendering:
        scene, moment = self.scene, self._moment(index)
        if self.clinic is not None:
            arc = float(self._arcs[index])
            colon = contracted(self.colon, self.clinic, float(moment.time_s), scope_mm=arc)
            if colon is not self.colon:
                scene = scene_of([colon], self.scene.each_looks)
        own = render(
            scene,
            self.sight,
            moment.world_from_camera,
            which=torch.zeros(1, dtype=torch.long),
            lamps=self.lamps,
        )
        if self.clinic is None:
            return own
        return add_clinic(
            own, self.sight, moment.world_from_camera, self.lamps, self.clinic, moment.time_s
        )

    def _moment(self, index: int) -> Moment:
        frame = slice(index, index + 1)
        times = self.path.times_s[frame].float()
        return Moment(self._pose(index), times, self._arcs[frame])

    def as_clip(self) -> Clip:
        """Return the frames as a `Clip` of views, for writers and networks."""
        ids = [f"{k:05d}" for k in range(len(self))]
        return Clip(self._view_of, ids, camera=self.camera, name=self.name)

    def _view_of(self, index: int) -> View:
        frame: Frame = self[index]
        view = frame.view
        if frame.flow_to_previous_px is not None and frame.flow_to_previous_known is not None:
            view["flow_to_previous_px"] = frame.flow_to_previous_px
            view["flow_to_previous_known"] = frame.flow_to_previous_known
        else:
            nothing = torch.zeros_like(view["image"][:2])
            view["flow_to_previous_px"] = nothing
            view["flow_to_previous_known"] = nothing[:1] > 0
        return view

    def _frame(self, index: int) -> Frame:
        own = self.rendering(index)
        forward = self._flow(index, index + 1) if index + 1 < len(self) else (None,) * 3
        back = self._flow(index, index - 1) if index > 0 else (None,) * 3
        image = self._image(index, own, forward[0], forward[1])
        pose = self._pose(index)[0]
        polyp = (own.label[0] > 0) & (own.label[0] <= len(self.colon.draw.polyps))
        view = View(
            image=image[0],
            camera=self.camera,
            frame_id=f"{index:05d}",
            time_s=float(self.path.times_s[index]),
            valid=own.valid[0],
            depth_mm=own.depth_mm[0],
            distance_mm=own.distance_mm[0],
            normals=own.normals[0],
            polyp=polyp,
            world_from_camera=pose,
        )
        return Frame(
            view=view,
            rendering=own,
            flow_px=forward[0],
            flow_known=forward[1],
            occluded=forward[2],
            flow_to_previous_px=back[0],
            flow_to_previous_known=back[1],
            segment=self.colon.segment_name(float(self._arcs[index])),
        )

    def _flow(self, index: int, other: int) -> tuple[Tensor, Tensor, Tensor]:
        there = None
        if self.clinic is not None:
            there = moved_points(
                self.rendering(index),
                self.sight,
                self.colon,
                self.clinic,
                here=self._moment(index),
                there=self._moment(other),
            )
        found = flow(
            self.rendering(index),
            self.rendering(other),
            self.camera.to(self.rendering(index).depth_mm),
            self._rays,
            self._pose(index),
            self._pose(other),
            there_mm=there,
        )
        return found[0][0], found[1][0], found[2][0]

    def _image(
        self, index: int, own: Rendering, forward: Tensor | None, known: Tensor | None
    ) -> Tensor:
        if self._sensor is None:
            exposure = automatic_exposure(own.light, inside=own.valid)
            return develop(own.light, exposure)
        seeds = dice(self.level.name, self.seed, self.number, "frame", index)
        draw = self._sensor.with_frame(draw_frames(seeds, 1, self._settings)).to(self.device)
        # What leaves the picture moves like what is beside it.
        moving = None
        if forward is not None and known is not None:
            share = min(1.0, self.frames_per_s / SCOPE_FRAMES_PER_S)
            moving = share * continued(forward[None], known[None])
        result = apply_sensor(
            own.light,
            draw,
            depth_mm=own.depth_mm,
            flow_px=moving,
            camera_rays=self._rays.to(own.light),
            exposure=self._exposure(index).log_exposure.exp().to(self.device),
        )
        return result.image

    def _exposure(self, index: int) -> ExposureState:
        """Return where the exposure control stands, from the few frames before alone."""
        assert self._sensor is not None
        state: ExposureState | None = None
        clip = self._sensor.clip
        for number in range(max(0, index - _REMEMBERED), index + 1):
            if number not in self._metered:
                small = render(
                    self.scene,
                    self._small_sight,
                    self._pose(number),
                    which=torch.zeros(1, dtype=torch.long),
                    lamps=self.lamps,
                )
                self._metered[number] = automatic_exposure(
                    small.light, inside=small.valid, target=clip.target_luminance
                ).cpu()
            state = settle(
                self._metered[number],
                state,
                rate=clip.exposure_rate,
                damping=clip.exposure_damping,
            )
        assert state is not None
        return state

    def _pose(self, index: int) -> Tensor:
        return self.path.world_from_camera[index : index + 1]

    def _dice(self, purpose: str) -> torch.Generator:
        return dice(self.level.name, self.seed, self.number, purpose)
