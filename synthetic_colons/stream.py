"""Batches of rendered views for training, made on the device, without end and without a dataset.

A pool of colons stands ready; one of them is replaced every few batches. Batch number k is the same
batch whenever and wherever (on one kind of device) it is made, from (level, seed, k), so that
training can go on from any batch.
"""

from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor

from colondepth.cameras import Camera, stack
from colondepth.errors import DataError
from synthetic_colons.camera_views import draw_views, partner
from synthetic_colons.clinic import add_clinic
from synthetic_colons.clinic_draws import draw_clinic
from synthetic_colons.clinic_settings import ClinicDraw
from synthetic_colons.clips import dice, draw_level_colon
from synthetic_colons.colon import Colon
from synthetic_colons.exposure import automatic_exposure, develop
from synthetic_colons.ground_truth import flow
from synthetic_colons.levels import level
from synthetic_colons.light import Lamps, draw_lamps
from synthetic_colons.looks import bake_looks
from synthetic_colons.optics import draw_camera
from synthetic_colons.renderer import Rendering, Scene, joined, render, scene_of
from synthetic_colons.sensor import apply_sensor
from synthetic_colons.sensor_draws import SensorDraw, SensorSettings, draw_sensor, join
from synthetic_colons.shading import Looks
from synthetic_colons.sight import Sight, sight

POOL = 4  # colons at a time: 0.15 GB each
BATCHES_A_COLON = 64  # a colon stays for so many batches times the pool


class ColonStream:
    """An endless iterator of batches; a batch is a `View` with a leading B, and more.

    Beside what a view has: `albedo` (B, 3, H, W), `shading`, `specular`, `label`, `arc_mm`,
    `angle_rad` (B, 1, H, W), and with `pairs` the same again under `partner`, seen a short motion
    away, with `flow_px`, `flow_known` and `occluded` from the view to its partner.
    """

    def __init__(
        self,
        level_name: str | int,
        *,
        size: tuple[int, int],
        batch: int,
        seed: int,
        device: torch.device | str = "cpu",
        pairs: bool = False,
        any_lens: bool | None = None,
        start: int = 0,
        pool: int = POOL,
        batches_a_colon: int = BATCHES_A_COLON,
    ) -> None:
        """Prepare nothing yet; the first batch builds the pool.

        Args:
            level_name: see `levels.LEVELS`.
            size: (height, width) of the images.
            batch: views in a batch.
            seed: of the stream.
            device: where everything is rendered and stays.
            pairs: whether each view has a partner.
            any_lens: lenses from 60 to 170 degrees; the level's own habit by default.
            start: number of the first batch.
            pool: colons at a time.
            batches_a_colon: each colon stays for `pool` times as many batches.
        """
        if min(*size, batch, pool, batches_a_colon) < 1:
            raise DataError(
                f"size {size}, batch {batch}, pool {pool}, batches_a_colon {batches_a_colon}:"
                " all must be 1 or more"
            )
        self.level = level(level_name)
        self.size, self.batch, self.seed = size, batch, seed
        self.device = torch.device(device)
        self.pairs, self.next = pairs, start
        self._any_lens = self.level.any_lens if any_lens is None else any_lens
        self._pool, self._stay = pool, batches_a_colon
        self._built: dict[int, tuple[Colon, Looks]] = {}
        self._clinics: dict[int, ClinicDraw] = {}
        self._scene: tuple[tuple[int, ...], Scene] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give the stream itself: it has one place in the sequence."""
        return self

    def __next__(self) -> dict[str, Any]:
        """Return the next batch."""
        self.next += 1
        return self.make(self.next - 1)

    def at(self, number: int) -> Self:
        """Go to a batch; the next one has this number."""
        self.next = number
        return self

    def make(self, number: int) -> dict[str, Any]:
        """Return a batch by its number."""
        generator = dice(self.level.name, self.seed, number, "frame")
        scene = self._scene_at(number)
        which = torch.randint(len(scene.colons), (self.batch,), generator=generator)
        poses = torch.zeros(self.batch, 4, 4)
        for k, colon in enumerate(scene.colons):
            own = (which == k).nonzero()[:, 0]
            if len(own):
                poses[own] = draw_views(generator, colon, len(own)).float().cpu()
        height, width = self.size
        fisheye = bool(torch.rand((), generator=generator) < 0.6)
        cameras = [
            draw_camera(
                generator,
                height=height,
                width=width,
                any_lens=self._any_lens,
                fisheye=fisheye,
            )
            for _ in range(self.batch)
        ]
        camera = stack(cameras).to(torch.zeros((), device=self.device))
        lamps = Lamps(
            torch.cat(
                [
                    draw_lamps(generator, 1, at_lens=self.level.lamps_at_lens).numbers
                    for _ in range(self.batch)
                ]
            )
        )
        sensor = self._sensor(generator)
        made = self._render(scene, camera, poses, which, lamps, sensor)
        view, rendering = made
        if self.pairs:
            others = torch.zeros_like(poses)
            for k, colon in enumerate(scene.colons):
                own = (which == k).nonzero()[:, 0]
                if len(own):
                    there = partner(generator, poses[own].to(colon.device), colon)
                    others[own] = there.float().cpu()
            other, seen = self._render(scene, camera, others, which, lamps, sensor)
            found = flow(rendering, seen, camera, camera.rays(*self.size), poses, others)
            view["flow_px"], view["flow_known"], view["occluded"] = found
            view["partner"] = other
        return view

    def _render(
        self,
        scene: Scene,
        camera: Camera,
        poses: Tensor,
        which: Tensor,
        lamps: Lamps,
        sensor: SensorDraw | None,
    ) -> tuple[dict[str, Any], Rendering]:
        inside = None if sensor is None else sensor.clip.picture_share > 0.5
        rays = sight(camera, frames=self.batch, inside=inside)
        own = render(scene, rays, poses, which=which, lamps=lamps)
        if self.level.clinic:
            own = self._with_clinic(own, rays, poses, which, lamps)
        if sensor is None:
            image = develop(own.light, automatic_exposure(own.light, inside=own.valid))
        else:
            image = apply_sensor(
                own.light,
                sensor,
                depth_mm=own.depth_mm,
                camera_rays=camera.rays(*self.size),
            ).image
        polyps = torch.tensor([len(colon.draw.polyps) for colon in scene.colons])[which]
        most = polyps.to(self.device)[:, None, None, None]
        view = {
            "image": image,
            "camera": camera,
            "world_from_camera": poses.to(self.device),
            "valid": own.valid,
            "depth_mm": own.depth_mm,
            "distance_mm": own.distance_mm,
            "normals": own.normals,
            "polyp": (own.label > 0) & (own.label <= most),
            "specular": own.specular,
            "albedo": own.albedo,
            "shading": own.shading,
            "label": own.label,
            "arc_mm": own.arc_mm,
            "angle_rad": own.angle_rad,
        }
        return view, own

    def _with_clinic(
        self, own: Rendering, rays: Sight, poses: Tensor, which: Tensor, lamps: Lamps
    ) -> Rendering:
        """Return frames with what each colon of the pool has in its lumen; nothing contracts."""
        assert self._scene is not None
        frames = []
        for k, member in enumerate(which.tolist()):
            one = slice(k, k + 1)
            draw = self._clinics[self._scene[0][member]]
            alone = Lamps(lamps.numbers[one])
            still = torch.zeros(1)
            frames.append(add_clinic(own[one], rays.of(k), poses[one], alone, draw, still))
        return joined(frames)

    def _sensor(self, generator: torch.Generator) -> SensorDraw | None:
        if not self.level.clinic:
            return None
        settings = SensorSettings()
        draws = [draw_sensor(generator, 1, *self.size, settings) for _ in range(self.batch)]
        return join(draws).to(self.device)

    def _scene_at(self, number: int) -> Scene:
        """Return the pool as it stands at a batch."""
        turn, slot = divmod(number // self._stay, self._pool)
        # Slots before the current one have been renewed once more.
        members = tuple(
            (turn + (k <= slot)) * self._pool + k if turn or k <= slot else k
            for k in range(self._pool)
        )
        if self._scene is None or self._scene[0] != members:
            for member in set(members) - self._built.keys():
                colon = draw_level_colon(self.level, self.seed, member, self.device)
                looks = bake_looks(
                    colon, self.level, dice(self.level.name, self.seed, member, "looks")
                )
                self._built[member] = (colon, looks)
                if self.level.clinic:
                    self._clinics[member] = draw_clinic(
                        dice(self.level.name, self.seed, member, "clinic"),
                        colon,
                        clip_frames=1,
                        frames_per_s=1.0,
                    )
            self._built = {member: self._built[member] for member in members}
            own = [self._built[member] for member in members]
            scene = scene_of([colon for colon, _ in own], [looks for _, looks in own])
            self._scene = (members, scene)
        return self._scene[1]
