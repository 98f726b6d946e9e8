"""Which reading of depth and poses is the true one? The data itself knows.

A pixel's depth lifts it to a point, the motion carries the point into another frame, and there it
must lie where that frame's own depth says. If the file was read with one of the usual mistakes it
does not, and with that mistake undone it does. Every combination of the usual mistakes is tried on
pairs of frames, and the one under which the frames agree best is named.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product

import torch
from torch import Tensor

from colondepth.cameras import Camera, pixel_grid
from colondepth.errors import DataError
from colondepth.motion import inverse, relative, transform
from colondepth.shapes import require_finite, require_shapes
from colondepth.warping import Lookup, sample


class PoseReading(StrEnum):
    """What was done to the poses, if anything."""

    AS_READ = "as read"
    TRANSPOSED = "rotations transposed"
    INVERSE = "poses inverted"
    MIRRORED = "left-handed (y mirrored)"


class DepthReading(StrEnum):
    """What the numbers of the depth maps are."""

    Z = "z-depth"
    RANGE = "distance along the ray"


_POSE_CURES = {
    PoseReading.TRANSPOSED: "transpose the rotations: they were written column by column",
    PoseReading.INVERSE: "invert the poses: they are camera_from_world",
    PoseReading.MIRRORED: "mirror y on both sides, D M D with D = diag(1, -1, 1, 1)",
}
# Millimetres taken for centimetres, for metres, and the other way round.
UNIT_SLIPS = (1.0, 10.0, 0.1, 100.0, 0.01, 1000.0, 0.001)
MOST_PAIRS = 6  # each costs 56 readings of some three thousand pixels: 6 take a second or two
PIXELS_ACROSS = 64  # the lattice of tested pixels is this wide
# A reading is preferred to the one as read only if it halves the error: closer ones are noise.
CLEARLY_BETTER = 0.5
# Below this the reading that fits best still does not fit: relative to depth, of the median pixel.
FITS = 0.05
LANDING_MIN = 0.25  # of the pixels; with less in both views a median says little
_GRAZING = 1e-6  # rays and depths below this are divided by this
_WORST = 1.0  # what a pixel costs that lands nowhere or is off by all of its depth


@dataclass(frozen=True, slots=True)
class Trial:
    """One reading, and how well the frames agree under it."""

    pose: PoseReading
    depth: DepthReading
    unit: float  # what lengths of the poses are multiplied by to meet the depth's
    error: float  # relative to depth, median over pixels, mean over pairs; at most 1

    @property
    def words(self) -> str:
        """Say what the reading is in words; "as read" if nothing was changed."""
        parts = [] if self.pose is PoseReading.AS_READ else [str(self.pose)]
        parts += [] if self.depth is DepthReading.Z else ["depth is distance along the ray, not z"]
        parts += [] if self.unit == 1 else [f"lengths of the poses times {self.unit:g}"]
        return ", ".join(parts) or "as read"

    @property
    def cure(self) -> str:
        """Say what to do to files that want this reading."""
        cures = [] if self.pose is PoseReading.AS_READ else [_POSE_CURES[self.pose]]
        cures += [] if self.depth is DepthReading.Z else ["multiply each depth by its unit ray's z"]
        if self.unit > 1:
            cures.append(f"the poses are {self.unit:g} times too short, or depth as much too long")
        elif self.unit < 1:
            cures.append(f"the poses are {1 / self.unit:g} times too long, or depth too short")
        return "; ".join(cures)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the frames say about how their files should be read."""

    best: Trial
    as_read: Trial
    trials: tuple[Trial, ...]  # best first
    pairs: tuple[tuple[int, int], ...]
    moved_mm: float  # the largest step of the tested pairs, in the units as read

    @property
    def runner_up(self) -> Trial:
        """The best of the other readings."""
        return next(trial for trial in self.trials if trial != self.best)

    @property
    def clearness(self) -> float:
        """How many times worse the next best reading is."""
        return self.runner_up.error / max(self.best.error, 1e-9)

    @property
    def decided(self) -> bool:
        """Whether any reading fits at all."""
        return self.best.error <= FITS

    @property
    def sound(self) -> bool:
        """Whether the files were read as they should be."""
        return self.decided and self.best == self.as_read


def find_conventions(
    depth_mm: Tensor, camera: Camera, world_from_camera: Tensor, *, frames: Sequence[int]
) -> Verdict:
    """Try every usual mistake on pairs of frames and return what fits.

    Args:
        depth_mm: maps of some frames of a clip, as read, shape (N, 1, H, W), 0 where unknown.
        camera: the clip's camera, without batch axes.
        world_from_camera: poses of the same frames, as read, shape (N, 4, 4).
        frames: their numbers in the clip, for the report.
    """
    size = require_shapes(
        depth_mm=(depth_mm, "N 1 H W"), world_from_camera=(world_from_camera, "N 4 4")
    )
    require_finite(depth_mm=depth_mm, world_from_camera=world_from_camera)
    pairs = _pairs(depth_mm, world_from_camera)
    both = torch.tensor(pairs)  # (Q, 2)
    step = max(1, size["W"] // PIXELS_ACROSS)
    lattice = pixel_grid(size["H"], size["W"], like=depth_mm.double())
    pixels = lattice[step // 2 :: step, step // 2 :: step].reshape(-1, 2)  # (P, 2)
    rays = camera.to(pixels).rays_at(pixels)
    maps = depth_mm.double()[both]  # (Q, 2, 1, H, W)
    found = _look_up(maps[:, 0], pixels.expand(len(pairs), -1, -1))  # (Q, P)
    trials = []
    for pose in PoseReading:
        poses = _read_poses(world_from_camera.double(), pose)[both]  # (Q, 2, 4, 4)
        for depth, unit in product(DepthReading, UNIT_SLIPS):
            trial = Trial(pose, depth, unit, _WORST)
            off, lands = _disagreement(found, rays, maps[:, 1], camera, poses, trial)
            errors = [_median_error(*pair) for pair in zip(off, lands, strict=True)]
            trials.append(replace(trial, error=sum(errors) / len(errors)))
    as_read = next(trial for trial in trials if trial.words == "as read")
    ranked = sorted(trials, key=lambda trial: trial.error)
    clearly = ranked[0].error < CLEARLY_BETTER * as_read.error
    best = ranked[0] if clearly else as_read
    steps = [float((world_from_camera[b] - world_from_camera[a])[:3, 3].norm()) for a, b in pairs]
    named = tuple((frames[a], frames[b]) for a, b in pairs)
    return Verdict(best, as_read, tuple(ranked), named, max(steps))


def disagreement_map(
    depth_mm: Tensor, camera: Camera, world_from_camera: Tensor, trial: Trial
) -> tuple[Tensor, Tensor]:
    """Return the relative disagreement of two views under one reading, and where both see.

    Args:
        depth_mm: of the source and the target, as read, shape (2, 1, H, W).
        camera: of both.
        world_from_camera: of both, as read, shape (2, 4, 4).
        trial: the reading.
    """
    height, width = depth_mm.shape[-2:]
    poses = _read_poses(world_from_camera.double(), trial.pose)[None]
    pixels = pixel_grid(height, width, like=depth_mm.double()).reshape(-1, 2)
    maps = depth_mm.double()
    found = _look_up(maps[:1], pixels[None])
    rays = camera.to(pixels).rays_at(pixels)
    off, lands = _disagreement(found, rays, maps[1:], camera, poses, trial)
    return off.reshape(1, height, width), lands.reshape(1, height, width)


def _read_poses(world_from_camera: Tensor, reading: PoseReading) -> Tensor:
    """Undo a mistake: each of these is its own inverse."""
    if reading is PoseReading.TRANSPOSED:
        undone = world_from_camera.clone()
        undone[:, :3, :3] = world_from_camera[:, :3, :3].mT
        return undone
    if reading is PoseReading.INVERSE:
        return inverse(world_from_camera)
    if reading is PoseReading.MIRRORED:
        mirror = torch.diag(torch.tensor([1.0, -1, 1, 1])).to(world_from_camera)
        return mirror @ world_from_camera @ mirror
    return world_from_camera


def _pairs(depth_mm: Tensor, world_from_camera: Tensor) -> list[tuple[int, int]]:
    """Return pairs of frames that see much of each other and differ as much as may be."""
    known = [n for n in range(len(depth_mm)) if bool((depth_mm[n] > 0).any())]
    if len(known) < 2:
        raise DataError(f"{len(known)} of {len(depth_mm)} frames have depth, expected 2 or more")
    near = [(a, b) for i, a in enumerate(known) for b in known[i + 1 :]]
    place = world_from_camera[:, :3, 3]
    near.sort(key=lambda pair: -float((place[pair[1]] - place[pair[0]]).norm()))
    spread = near[:: max(1, len(near) // MOST_PAIRS)][:MOST_PAIRS]
    # Both ways round: an inverse is easier to tell going back.
    return [pair if number % 2 else pair[::-1] for number, pair in enumerate(spread)]


def _median_error(off: Tensor, lands: Tensor) -> float:
    """Return one number for a pair; a reading under which hardly anything lands is no reading."""
    return float(off[lands].median()) if float(lands.double().mean()) > LANDING_MIN else _WORST


def _disagreement(
    found: Tensor,
    rays: Tensor,
    target_mm: Tensor,
    camera: Camera,
    world_from_camera: Tensor,
    trial: Trial,
) -> tuple[Tensor, Tensor]:
    """Return by how much of itself depth differs between two views, and where both see it.

    Args:
        found: what the source's map holds at P pixels, for Q pairs of views, shape (Q, P).
        rays: of those pixels, shape (P, 3).
        target_mm: the targets' maps, shape (Q, 1, H, W).
        camera: of all views.
        world_from_camera: of sources and targets, shape (Q, 2, 4, 4).
        trial: the reading.
    """
    is_range = trial.depth is DepthReading.RANGE
    known = (found > 0) & (rays[:, 2] > 0)  # (Q, P)
    along = found if is_range else found / rays[:, 2].clamp(min=_GRAZING)
    motion = relative(world_from_camera[:, 1], world_from_camera[:, 0]).clone()  # (Q, 4, 4)
    motion[:, :3, 3] *= trial.unit
    points = transform(motion, rays * along[..., None])  # (Q, P, 3)
    expected = points.norm(dim=-1) if is_range else points[..., 2]
    places, in_front = camera.to(points).project(points)
    there = _look_up(target_mm, places)
    lands = known & in_front & camera.contains(places) & (there > 0)
    off = (there - expected).abs() / expected.abs().clamp(min=_GRAZING)
    return torch.where(lands, off.clamp(max=_WORST), _WORST), lands


def _look_up(depth_mm: Tensor, pixels: Tensor) -> Tensor:
    """Return the maps (Q, 1, H, W) at pixels (Q, P, 2), shape (Q, P)."""
    values, _ = sample(depth_mm, pixels[:, None], lookup=Lookup.NEAREST)
    return values[:, 0, 0]
