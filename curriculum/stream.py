"""Where batches come from, and which of them a step sees.

A source gives batch number n, the same whenever it is asked: rendered, read from a cache, or drawn
from a dataset on disk. A stage mixes several: which one a batch is taken from is drawn from (seed,
stage, index), and the source's number n counts how often it was used before. So what a step sees
follows from seed, recipe and step alone, and training goes on exactly from any of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.views import MAP_KINDS, Clip, collate_views
from curriculum.cache import BatchCache, CacheKey, Make, find_caches
from curriculum.errors import CurriculumError
from curriculum.stages import Stage
from synthetic_colons.clips import dice

Batch = dict[str, Any]


class Source(ABC):
    """What it takes to open a source: a few values that can travel to another process."""

    words: ClassVar[str]  # as in "level 3 from a cache"

    @abstractmethod
    def open(self) -> Make:
        """Return what gives a batch by its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedLevel(Source):
    """Batches straight from the renderer."""

    words = "rendered"

    key: CacheKey
    device: str

    def open(self) -> Make:
        """See `Source.open`; colons are built with the first batch."""
        from synthetic_colons.stream import ColonStream

        return ColonStream(
            self.key.level,
            size=self.key.size,
            batch=self.key.batch,
            seed=self.key.seed,
            device=self.device,
        ).make


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedLevel(Source):
    """Batches from a cache: once in order, so that it may still grow, then again in disorder."""

    words = "from a cache"

    folder: Path
    batches: int  # how many of it belong to this run, whatever is added later
    seed: int

    def open(self) -> Make:
        """See `Source.open`."""
        cache = BatchCache(self.folder)
        if len(cache) < self.batches:
            raise DataError(
                f"{self.folder} has {len(cache)} batches, this run began with {self.batches}; make"
                f" it whole: colondepth cache --batches {self.batches}"
            )
        orders: dict[int, list[int]] = {}

        def make(number: int) -> Batch:
            round_number, place = divmod(number, self.batches)
            if round_number == 0:
                return cache[place]
            if round_number not in orders:
                generator = dice("cache", self.seed, round_number, "order")
                orders.clear()  # the one before is over
                orders[round_number] = torch.randperm(self.batches, generator=generator).tolist()
            return cache[orders[round_number][place]]

        return make


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFolder(Source):
    """Views of a dataset on disk, resized; a batch comes from one clip, which has one camera."""

    words = "from disk"

    path: Path
    size: tuple[int, int]
    batch: int
    seed: int

    def open(self) -> Make:
        """See `Source.open`."""
        from colondepth.data import open_clips

        clips = [clip for clip in open_clips(self.path).clips if _with_depth(clip)]
        if not clips:
            raise DataError(f"{self.path} has no clip with depth, from which depth can be learnt")
        ends = np.cumsum([len(clip) for clip in clips])

        def make(number: int) -> Batch:
            generator = dice("dataset", self.seed, number, "frames")
            any_frame = int(torch.randint(int(ends[-1]), (), generator=generator))
            clip = clips[int(np.searchsorted(ends, any_frame, side="right"))]
            frames = torch.randint(len(clip), (self.batch,), generator=generator).tolist()
            return collate_views([_fitted(clip, frame, self.size) for frame in frames])

        return make


class Mixture:
    """What the batches of one stage are, by their index in the stage.

    Args:
        stage: whose shares are followed.
        number: of the stage in the recipe.
        sources: one for each of the stage's draws.
        seed: of the run.
        used: how many batches of each source the stages before have used.
    """

    def __init__(
        self,
        stage: Stage,
        number: int,
        *,
        sources: Mapping[str, Source],
        seed: int,
        used: Mapping[str, int],
    ) -> None:
        shares = {draw.name: draw.share for draw in stage.draws}
        self.sources = {name: sources[name] for name in shares}
        self._names = tuple(shares)
        self._ends = np.cumsum(list(shares.values()))[:-1]
        self._random = np.random.default_rng([seed, number])  # drawn in order, so never redrawn
        self._which: list[int] = []
        self._numbers: list[int] = []
        self._used = {name: used.get(name, 0) for name in shares}

    def place(self, index: int) -> tuple[str, int]:
        """Return which source a batch comes from, and its number there."""
        while len(self._which) <= index:
            which = int(np.searchsorted(self._ends, self._random.random(), side="right"))
            name = self._names[which]
            self._which.append(which)
            self._numbers.append(self._used[name])
            self._used[name] += 1
        return self._names[self._which[index]], self._numbers[index]

    def used(self, batches: int) -> dict[str, int]:
        """Return how often each source has been used after so many batches of this stage."""
        counts = {
            name: self._used[name] - self._which.count(k) for k, name in enumerate(self._names)
        }
        for index in range(batches):
            counts[self.place(index)[0]] += 1
        return counts


def cached_batches(folder: Path | None) -> dict[str, int]:
    """Return how many batches the caches of a folder promise, by cache; see `sources_for`."""
    if folder is None:
        return {}
    return {str(own): len(BatchCache(own)) for own in find_caches(folder.resolve()).values()}


class Kitchen:
    """Sources that are open, each opened once."""

    def __init__(self) -> None:
        self._open: dict[Source, Make] = {}

    def keep(self, sources: Iterable[Source]) -> None:
        """Close all but these: the colons of a level take 0.6 GB."""
        kept = set(sources)
        self._open = {source: make for source, make in self._open.items() if source in kept}

    def make(self, source: Source, number: int) -> Batch:
        """Return a batch of a source."""
        if source not in self._open:
            self._open[source] = source.open()
        return dict(self._open[source](number))


def sources_for(
    stage: Stage,
    *,
    seed: int,
    device: str,
    caches: Mapping[str, int],
) -> dict[str, Source]:
    """Return where each of a stage's draws comes from.

    Args:
        stage: its levels are read from a cache of the right size where there is one.
        seed: of the run; a cache may have another.
        device: where the rest is rendered.
        caches: folders of single caches, and how many batches of each this run uses.
    """
    found: dict[str, Source] = {}
    keys = {BatchCache(Path(folder)).key: folder for folder in caches}
    if twice := sorted(set(stage.levels) & set(stage.folders)):
        raise CurriculumError(f"a folder is called {twice[0]!r} like a level; write ./{twice[0]}")
    for draw in stage.draws:
        if draw.origin in stage.folders:
            path = Path(draw.origin)
            found[draw.name] = DatasetFolder(path=path, size=draw.size, batch=draw.batch, seed=seed)
            continue
        wanted = CacheKey(level=draw.origin, seed=seed, size=draw.size, batch=draw.batch)
        folder = _cache_for(wanted, keys)
        if folder is None:
            found[draw.name] = RenderedLevel(key=wanted, device=device)
        else:
            found[draw.name] = CachedLevel(folder=Path(folder), batches=caches[folder], seed=seed)
    return found


def moved(batch: Mapping[str, Any], device: torch.device) -> Batch:
    """Return a batch on a device."""
    there: Batch = {}
    for name, value in batch.items():
        if isinstance(value, Tensor):
            value = value.to(device, non_blocking=True)
        elif isinstance(value, Camera):
            value = value.to(torch.zeros((), dtype=value.centre.dtype, device=device))
        there[name] = value
    return there


def _cache_for(wanted: CacheKey, caches: Mapping[CacheKey, str]) -> str | None:
    """Return the cache of a level and size; of several, the one of the run's own seed, or first."""
    if wanted in caches:
        return caches[wanted]
    fitting = [
        (key.seed, folder)
        for key, folder in caches.items()
        if (key.level, key.size, key.batch) == (wanted.level, wanted.size, wanted.batch)
    ]
    return min(fitting)[1] if fitting else None


def _with_depth(clip: Clip) -> bool:
    return "depth_mm" in clip[0]


def _fitted(clip: Clip, frame: int, size: tuple[int, int]) -> Batch:
    from colondepth.remapping import resize_view

    view: Batch = dict(clip[frame])
    keys = [name for name in MAP_KINDS if name in view]
    view = resize_view(view, keys, size, kinds={})
    view["camera"] = view["camera"].to(torch.zeros((), dtype=torch.float32))
    if "valid" not in view:
        view["valid"] = view["depth_mm"] > 0
    return view
