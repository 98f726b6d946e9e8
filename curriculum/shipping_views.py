"""Held-out views for what is shipped: of no seed that training, validation or a user can draw.

Frames of a clip stand far apart, so that each shows another piece of the wall.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from colondepth.data import open_clips
from colondepth.errors import DataError
from colondepth.views import View
from curriculum.cache import HELD_OUT_SEED
from synthetic_colons.clips import SyntheticClip
from synthetic_colons.levels import level as level_of

# Training takes seeds below HELD_OUT_SEED, validation that one.
FIGURES_SEED, TEMPERATURE_SEED = HELD_OUT_SEED + 1, HELD_OUT_SEED + 2
CLIP_S = 30.0  # that a clip lasts
CLIP_FRAMES = 900  # of a clip with the clinic's sensor, of which a few are taken
MOST_FRAMES = 300  # of a dataset on disk: what their depths take stays below 0.5 GB
SIMCOL3D = "SimCol3D"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample:
    """A view and what it is averaged with."""

    group: str  # a level, or a dataset
    clip: str
    view: View


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How many synthetic views are rendered."""

    levels: tuple[str, ...]
    clips: int  # of each level
    frames: int  # of each clip
    size: tuple[int, int]  # (height, width)

    def __post_init__(self) -> None:
        """Refuse what holds nothing."""
        if not self.levels or self.clips < 1 or not 1 <= self.frames <= CLIP_FRAMES:
            raise DataError(
                f"{len(self.levels)} levels, {self.clips} clips of {self.frames} frames; expected"
                f" 1 or more of each, and at most {CLIP_FRAMES} frames"
            )

    @property
    def total(self) -> int:
        """How many views that is."""
        return len(self.levels) * self.clips * self.frames


def rendered(extent: Extent, level: str, *, seed: int) -> Iterator[Sample]:
    """Give the held-out views of one level."""
    for number in range(extent.clips):
        clip, indices = _clip(extent, level, seed=seed, number=number)
        for index in indices:
            yield Sample(group=level, clip=clip.name, view=clip[index].view)


def simcol3d(folder: Path) -> list[tuple[str, int]]:
    """Return which frames of SimCol3D are read: (clip, frame), spread over all trajectories."""
    clips = open_clips(folder, dataset="simcol3d").clips
    places = [(clip.name, index) for clip in clips for index in range(len(clip))]
    if not places:
        raise DataError(f"{folder} has no frame of SimCol3D; expected SyntheticColon_I and so on")
    return [places[place] for place in spread(len(places), min(len(places), MOST_FRAMES))]


def read_simcol3d(folder: Path, places: Sequence[tuple[str, int]]) -> Iterator[Sample]:
    """Give the views of `simcol3d`, through the dataset's own camera."""
    clips = {clip.name: clip for clip in open_clips(folder, dataset="simcol3d").clips}
    for name, index in places:
        view = clips[name][index]
        if "valid" not in view:
            view["valid"] = view["depth_mm"] > 0
        view["camera"] = view["camera"].to(torch.zeros((), dtype=torch.float32))
        yield Sample(group=SIMCOL3D, clip=name, view=view)


def spread(length: int, count: int) -> list[int]:
    """Return `count` of the numbers below `length`, evenly, each in the middle of its part."""
    return [(2 * part + 1) * length // (2 * count) for part in range(count)]


def _clip(
    extent: Extent, level: str, *, seed: int, number: int
) -> tuple[SyntheticClip, Sequence[int]]:
    """Return a clip and which of its frames are taken.

    A sensor that remembers needs the frames between; without one the clip has none, since each
    frame is rendered with its neighbours.
    """
    frames, indices = extent.frames, list(range(extent.frames))
    if level_of(level).clinic:
        frames, indices = CLIP_FRAMES, spread(CLIP_FRAMES, extent.frames)
    height, width = extent.size
    clip = SyntheticClip(
        level,
        seed=seed,
        number=number,
        frames=frames,
        height=height,
        width=width,
        frames_per_s=frames / CLIP_S,
    )
    return clip, indices
