"""Ways to train, held against each other: short runs of one budget, some seeds each.

Each run is an ordinary one, in a folder of its own, so that all of them can be looked into, and a
comparison that was stopped goes on. Judged on the same held-out frames by their averaged weights.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from colondepth.backbones import registry
from colondepth.losses.names import named_loss
from curriculum.recipe_files import read_recipe
from curriculum.run_folder import RUN, RunFacts, begin, read_facts
from curriculum.run_log import VALIDATION, read_rows
from curriculum.stream import cached_batches
from curriculum.supervised import Outcome, Ways, seeded, train
from synthetic_colons.provenance import made_with


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to train: a recipe and what is changed in it."""

    recipe: str
    changes: tuple[str, ...] = ()


WAYS: Mapping[str, Way] = {
    "climbing": Way(recipe="short_climb"),
    "all at once": Way(recipe="short_at_once"),
    "climbing, without rays": Way(recipe="short_climb", changes=("network.rays=false",)),
    "climbing, without log luminance": Way(
        recipe="short_climb", changes=("network.shading=false",)
    ),
    "climbing, shape not asked for": Way(
        recipe="short_climb",
        changes=("every_stage.losses.shape=0", "every_stage.losses.gradients=0.5"),
    ),
    "climbing, with edges and curvature": Way(
        recipe="short_climb", changes=("every_stage.losses.edges_and_curvature=0.1",)
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run came to."""

    way: str
    seed: int
    curve: tuple[tuple[int, Mapping[str, Mapping[str, float]]], ...]  # step, level -> score

    def last(self, score: str, levels: Sequence[str] = ()) -> float:
        """Return a score of the last validation, in the mean over some levels, or all."""
        by_level = self.curve[-1][1]
        return fmean(by_level[level][score] for level in levels or by_level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A score over the seeds."""

    mean: float
    deviation: float  # of one run, from the sample; nan for a single seed

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """Return mean and standard deviation."""
        return Spread(
            mean=fmean(values), deviation=stdev(values) if len(values) > 1 else float("nan")
        )


def compare(
    network: str,
    folder: Path,
    *,
    ways: Sequence[str],
    seeds: Sequence[int],
    cache: Path | None,
    threads: int,
    tick: Callable[[str, int, int], None] = lambda words, step, steps: None,
) -> list[Run]:
    """Train a network in each of these ways from each of these seeds.

    Args:
        network: its name.
        folder: of all runs; those that are finished are read, others are gone on with.
        ways: names of `WAYS`.
        seeds: of weights and batches; the same for every way.
        cache: of batches; what it lacks is rendered.
        threads: of the network.
        tick: called with what runs, its step and its number of steps.
    """
    return [
        _run(network, folder, name, seed=seed, cache=cache, threads=threads, tick=tick)
        for seed in seeds
        for name in ways
    ]


def _run(
    network: str,
    folder: Path,
    name: str,
    *,
    seed: int,
    cache: Path | None,
    threads: int,
    tick: Callable[[str, int, int], None],
) -> Run:
    way = WAYS[name]
    own = folder / f"{name.replace(', ', '_').replace(' ', '-')}_seed-{seed}"
    recipe = read_recipe(way.recipe, changes=way.changes)
    words = f"{name}, seed {seed}"
    if (own / RUN).is_file():
        facts = read_facts(own)
    else:
        facts = RunFacts(
            network=network,
            seed=seed,
            threads=threads,
            cache=None if cache is None else str(cache.resolve()),
            cached_batches=cached_batches(cache),
            made_with=made_with("cpu"),
        )
        begin(own, facts, recipe)
    options: dict[str, Any] = dict(recipe.network)
    outcome: Outcome = train(
        seeded(lambda: registry.create(network, **options), seed),
        recipe,
        own,
        facts=facts,
        find_loss=named_loss,
        ways=Ways(tick=lambda standing, stage, figures: tick(words, standing.step, recipe.steps)),
    )
    tick(words, outcome.standing.step, recipe.steps)
    rows = read_rows(own / VALIDATION)
    return Run(way=name, seed=seed, curve=tuple((row["step"], row["scores"]) for row in rows))
