"""Supervised training: a network climbs the stages of a recipe.

What a step learns from follows from (seed, recipe, step): a run that was killed at any instant and
goes on from its last checkpoint follows the same curve, on the CPU bit for bit.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from colondepth.backbones.contract import Backbone, Needs
from colondepth.console import InterruptedWorkError
from colondepth.losses.ranking import draw_pairs
from curriculum.ahead import Maker, Order, Workshop
from curriculum.cache import BatchCache
from curriculum.checkpoints import (
    Checkpoint,
    checkpoint_steps,
    clear_remains,
    read_checkpoint,
    write_checkpoint,
    write_tensors,
)
from curriculum.errors import CurriculumError, TrainingStoppedError
from curriculum.interruption import Interruption
from curriculum.learner import Learner, StepFigures
from curriculum.objective import FindLoss, Objective, objective
from curriculum.recipe_files import recipe_table
from curriculum.run_folder import CHECKPOINTS, HELD_OUT, WEIGHTS, RunFacts
from curriculum.run_log import RunLog
from curriculum.stages import Recipe, Stage
from curriculum.standing import Standing
from curriculum.stream import Mixture, moved, sources_for
from curriculum.validation import Score, depth_scores, held_out, validate
from synthetic_colons.clips import dice

PAIRS = 3000  # of pixels to rank in each view, where the loss asks for some

Tick = Callable[[Standing, Stage, StepFigures], None]
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a run is carried out; what is learnt depends on nothing here, but for who judges."""

    device: str = "cpu"
    maker: Maker | None = None  # of batches; None: what fits the stage's sources
    tensorboard: bool = False
    score: Score = depth_scores
    judged_by: str | None = None  # a score, lower is better; None: abs_rel, scaled if not metric
    tick: Tick = field(default=lambda standing, stage, figures: None)
    note: Note = field(default=lambda words: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended."""

    standing: Standing
    scores: Mapping[str, Mapping[str, float]]  # level -> name -> value, of the last validation


def train(
    network: Backbone,
    recipe: Recipe,
    folder: Path,
    *,
    facts: RunFacts,
    find_loss: FindLoss,
    ways: Ways,
) -> Outcome:
    """Train a network by a recipe, from where the folder's last checkpoint stands.

    Args:
        network: as it is at the start; see `seeded`.
        recipe: what to learn from, and how.
        folder: of the run, begun with `run_folder.begin`.
        facts: what it was begun with.
        find_loss: gives a loss by its name.
        ways: how to carry it out.
    """
    require_fit(network, recipe, find_loss)
    fabric = _fabric(ways.device)
    fabric.launch()
    torch.set_num_threads(facts.threads)
    with torch.random.fork_rng(devices=_own_gpus(fabric)):
        return _Run(network, recipe, folder, facts, find_loss, ways, fabric).go()


def require_fit(network: Backbone, recipe: Recipe, find_loss: FindLoss) -> None:
    """Refuse a network that the stages of a recipe cannot train, and losses that nobody knows."""
    name = type(network).__name__
    if network.needs is not Needs.IMAGE:
        raise CurriculumError(
            f"{name} needs '{network.needs}'; supervised stages give single images only"
        )
    for stage in recipe.stages:
        objective(stage.losses, find_loss)
        for height, width in stage.sizes:
            network.sizes.require(name, height, width)
            if stage.augmentation.quarter_turns:
                network.sizes.require(name, width, height)


def seeded(make: Callable[[], Backbone], seed: int) -> Backbone:
    """Return a network whose first weights follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_number("weights", seed, 0))
        return make()


def standing_of(folder: Path) -> Standing:
    """Return where the last checkpoint of a run stands."""
    steps = checkpoint_steps(folder / CHECKPOINTS)
    if not steps:
        return Standing(used={})
    checkpoint = read_checkpoint(folder / CHECKPOINTS, steps[-1])
    return Standing.from_table(checkpoint.state["standing"])


class _Run:
    """One call of `train`: what all its stages share."""

    def __init__(
        self,
        network: Backbone,
        recipe: Recipe,
        folder: Path,
        facts: RunFacts,
        find_loss: FindLoss,
        ways: Ways,
        fabric: Fabric,
    ) -> None:
        self.recipe, self.folder, self.facts, self.ways = recipe, folder, facts, ways
        self.fabric = fabric
        self.objectives = [objective(stage.losses, find_loss) for stage in recipe.stages]
        self.judged_by = ways.judged_by or ("abs_rel" if network.metric else "scaled_abs_rel")
        self.learner = Learner(network, fabric)
        self.standing = Standing(used={})
        self.scores: dict[str, dict[str, float]] = {}
        self.saved_step: int | None = None
        self.leads = fabric.global_rank == 0

    def go(self) -> Outcome:
        """Go through the stages that are left."""
        self._restore()
        held = self._held_out()
        makes_log = RunLog(
            self.folder if self.leads else None,
            step=self.standing.step,
            tensorboard=self.ways.tensorboard,
        )
        with makes_log as log, Workshop(self.ways.maker) as workshop, Interruption() as stop:
            try:
                while self.standing.stage < len(self.recipe.stages):
                    self._stage(log, workshop, stop, held)
            except TrainingStoppedError as error:
                raise TrainingStoppedError(f"{error}. {self._last_good()}") from error
        return Outcome(standing=self.standing, scores=self.scores)

    def _stage(
        self,
        log: RunLog,
        workshop: Workshop,
        stop: Interruption,
        held: Mapping[str, BatchCache],
    ) -> None:
        number = self.standing.stage
        stage, terms = self.recipe.stages[number], self.objectives[number]
        mixture = self._mixture(stage, number)
        order = Order(mixture, stage.augmentation, seed=self.facts.seed, stage_number=number)
        ranks, rank = self.fabric.world_size, self.fabric.global_rank
        begun = self.standing.stage_step
        indices = range(begun * ranks + rank, stage.steps * ranks, ranks)
        ended = begun >= stage.steps
        for batch in workshop.batches(order, indices):
            self._step(batch, stage, terms, log)
            ended = self.standing.stage_step >= stage.steps
            improved = False
            if ended or self.standing.step % self.recipe.validate_every == 0:
                improved = self._validate(stage, held, log)
                ended |= 0 < stage.patience <= self.standing.stage_waited
            asked = self._asked(stop)
            if ended:
                used = mixture.used(self.standing.stage_step * ranks)
                self.standing = self.standing.advanced(used)
            due = self.standing.step % self.recipe.checkpoint_every == 0
            if ended or asked or improved or due:
                self._save()
            if asked:
                raise InterruptedWorkError(
                    f"after step {self.standing.step} of {self.recipe.steps}; the same command with"
                    " --resume goes on"
                )
            if ended:
                return

    def _step(self, batch: dict[str, Any], stage: Stage, terms: Objective, log: RunLog) -> None:
        began_s = time.perf_counter()
        at = self.standing
        there = moved(batch, self.fabric.device)
        if "ranking" in stage.losses:
            rank = self.fabric.global_rank
            generator = dice("training", self.facts.seed, at.step, "pairs", rank)
            there["pixel_pairs"] = draw_pairs(
                there["depth_mm"], there["valid"], pairs=PAIRS, generator=generator
            )
        figures = self.learner.step(
            there,
            terms,
            stage,
            stage_step=at.stage_step,
            step=at.step,
            seed=_number(f"rank {self.fabric.global_rank}", self.facts.seed, at.step),
        )
        self.standing = at.stepped()
        row = {
            "step": self.standing.step,
            "stage": stage.name,
            "source": batch["source"],
            "loss": figures.loss,
            "terms": dict(figures.terms),
            "learning_rate": figures.learning_rate,
            "gradient_norm": figures.gradient_norm,
            "step_s": round(time.perf_counter() - began_s, 4),
        }
        log.step(row)
        self.ways.tick(self.standing, stage, figures)

    def _validate(self, stage: Stage, held: Mapping[str, BatchCache], log: RunLog) -> bool:
        """Judge the averaged weights and return whether they are the best so far."""
        if not held:
            return False
        if self.leads:
            self.scores = validate(
                self.learner.average,
                held,
                batches=self.recipe.validation_batches,
                device=self.fabric.device,
                score=self.ways.score,
            )
        self.scores = self.fabric.broadcast(self.scores)
        before = self.standing.best_step
        own = [level for level, share in stage.levels.items() if share]
        self.standing = self.standing.judged(self._mean(own or list(held)))
        step = self.standing.step
        judged = (f"{level}: {scores[self.judged_by]:.4g}" for level, scores in self.scores.items())
        log.validation({"step": step, "stage": stage.name, "scores": self.scores})
        self.ways.note(f"step {step}, {self.judged_by} by level: {', '.join(judged)}")
        improved = self.standing.best_step != before
        if improved and self.leads:
            self._write_weights()
        return improved

    def _mean(self, levels: list[str]) -> float:
        try:
            values = [self.scores[level][self.judged_by] for level in levels]
        except KeyError as error:
            raise CurriculumError(
                f"validation gives no {self.judged_by!r}; it gives {sorted(self.scores[levels[0]])}"
            ) from error
        return sum(values) / len(values)

    def _held_out(self) -> dict[str, BatchCache]:
        """Return the frames for validation; the first process renders what is not there."""
        place = self.folder / HELD_OUT if self.facts.cache is None else Path(self.facts.cache)
        recipe = self.recipe
        for turn in (True, False):
            if self.leads is turn:
                found = held_out(
                    place,
                    recipe.levels,
                    size=recipe.stages[-1].size,
                    batches=recipe.validation_batches,
                    seed=self.facts.seed,
                    device=str(self.fabric.device),
                    made_with=self.facts.made_with,
                    note=self.ways.note,
                )
            self.fabric.barrier()
        return found

    def _mixture(self, stage: Stage, number: int) -> Mixture:
        sources = sources_for(
            stage,
            seed=self.facts.seed,
            device=str(self.fabric.device),
            caches=self.facts.cached_batches,
        )
        told = ", ".join(f"{name} {source.words}" for name, source in sources.items())
        self.ways.note(f"stage {number + 1} {stage.name!r}: batches of {told}")
        seed = self.facts.seed
        return Mixture(stage, number, sources=sources, seed=seed, used=self.standing.used)

    def _asked(self, stop: Interruption) -> bool:
        if self.fabric.world_size == 1:
            return stop.asked
        return bool(self.fabric.broadcast(stop.asked))

    def _restore(self) -> None:
        place = self.folder / CHECKPOINTS
        if self.leads:
            clear_remains(place)
        if not (steps := checkpoint_steps(place)):
            return
        checkpoint = read_checkpoint(place, steps[-1])
        self.learner.restore(checkpoint.tensors)
        self.standing = Standing.from_table(checkpoint.state["standing"])
        self.scores = dict(checkpoint.state["scores"])
        self.saved_step = checkpoint.step

    def _save(self) -> None:
        if self.leads and self.saved_step != self.standing.step:
            state = {"standing": self.standing.table(), "scores": self.scores}
            write_checkpoint(
                self.folder / CHECKPOINTS,
                Checkpoint(
                    step=self.standing.step,
                    tensors=self.learner.tensors(),
                    state=state
                    | {"facts": asdict(self.facts), "recipe": recipe_table(self.recipe)},
                ),
                best_step=self.standing.best_step,
            )
        self.saved_step = self.standing.step
        self.fabric.barrier()

    def _write_weights(self) -> None:
        metadata = {
            "network": self.facts.network,
            "options": json.dumps(dict(self.recipe.network)),
            "seed": str(self.facts.seed),
            "step": str(self.standing.step),
            "scores": json.dumps(self.scores),
            "made_with": json.dumps(dict(self.facts.made_with)),
        }
        write_tensors(self.folder / WEIGHTS, self.learner.average.state_dict(), metadata)

    def _last_good(self) -> str:
        if self.saved_step is None:
            return "There is no checkpoint yet"
        return f"The last good checkpoint is that of step {self.saved_step}"


def _fabric(device: str) -> Fabric:
    """Return the devices of this process; torchrun says so if there are several."""
    chosen = torch.device(device)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // local
    alone = local * nodes == 1
    index = [chosen.index or 0] if alone and chosen.type == "cuda" else local
    strategy = "auto" if alone else "ddp"
    return Fabric(accelerator=chosen.type, devices=index, num_nodes=nodes, strategy=strategy)


def _own_gpus(fabric: Fabric) -> list[torch.device]:
    return [fabric.device] if fabric.device.type == "cuda" else []


def _number(purpose: str, seed: int, step: int) -> int:
    return dice("training", seed, step, purpose).initial_seed()
