"""What a run's folder holds beside its logs and checkpoints, and what it says about itself."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from colondepth.atomic import written_whole
from curriculum.errors import CurriculumError
from curriculum.recipe_files import parse_recipe, recipe_text
from curriculum.stages import Recipe, Stage
from curriculum.standing import Standing

RUN, CONFIG, README = "run.json", "config.toml", "README.txt"
WEIGHTS, CHECKPOINTS, HELD_OUT = "weights.safetensors", "checkpoints", "validation"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run was begun with and keeps for good."""

    network: str
    seed: int
    threads: int
    cache: str | None  # folder of caches
    cached_batches: Mapping[str, int]  # how many batches of each cache belong to the run
    made_with: Mapping[str, Any]


def begin(folder: Path, facts: RunFacts, recipe: Recipe) -> None:
    """Write down what a new run is; a folder that holds one is not taken."""
    if (folder / RUN).exists():
        raise CurriculumError(
            f"{folder} holds a run; --resume goes on with it, another --out begins a new one"
        )
    _write(folder / CONFIG, _config(facts, recipe))
    _write(folder / README, _readme(facts, recipe))
    _write(folder / RUN, json.dumps(asdict(facts), indent=2) + "\n")


def read_facts(folder: Path) -> RunFacts:
    """Return what a run was begun with."""
    path = folder / RUN
    if not path.exists():
        raise CurriculumError(f"{folder} holds no run; without --resume the command begins one")
    try:
        return RunFacts(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CurriculumError(f"{path} is not what a run writes: {error}") from error


def read_config(folder: Path, *, changes: tuple[str, ...] = ()) -> Recipe:
    """Return the recipe that a run follows."""
    text = (folder / CONFIG).read_text(encoding="utf-8")
    return parse_recipe(text, where=str(folder / CONFIG), changes=changes)


def change_config(folder: Path, facts: RunFacts, old: Recipe, new: Recipe, *, at: Standing) -> None:
    """Let a run follow another recipe from here on; what it has been through cannot change."""
    begun = old.stages[: at.stage + 1] if at.step else ()
    for number, stage in enumerate(begun):
        if number >= len(new.stages):
            raise CurriculumError(f"stage {stage.name!r} has begun and is not in the new recipe")
        own = _different(stage, new.stages[number])
        allowed = {"steps", "patience"} if number == at.stage else set()
        if wrong := sorted(own - allowed):
            raise CurriculumError(
                f"stage {number + 1} {stage.name!r} has begun (step {at.step} is done), its"
                f" {', '.join(wrong)} cannot change; later stages can, and steps and patience of"
                " the one that goes on. Another --out begins a new run"
            )
    if at.step and old.network != new.network:
        raise CurriculumError("the network of a run that has begun cannot change")
    if at.stage < len(new.stages) and new.stages[at.stage].steps < at.stage_step:
        raise CurriculumError(
            f"stage {at.stage + 1} has taken {at.stage_step} steps, more than the"
            f" {new.stages[at.stage].steps} it should have"
        )
    _write(folder / CONFIG, _config(facts, new))
    _write(folder / README, _readme(facts, new))


def _different(one: Stage, other: Stage) -> set[str]:
    return {
        field.name
        for field in fields(Stage)
        if getattr(one, field.name) != getattr(other, field.name)
    }


def _write(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _config(facts: RunFacts, recipe: Recipe) -> str:
    lines = [
        f"# What {facts.network} is trained with here (seed {facts.seed}).",
        "# A recipe like any other: colondepth train NAME --recipe FILE takes it.",
        "",
        recipe_text(recipe),
    ]
    return "\n".join(lines)


def _readme(facts: RunFacts, recipe: Recipe) -> str:
    stages = "\n".join(
        f"  {number}. {stage.name}: {_mixture(stage)}; {stage.steps} steps of {stage.shapes_text},"
        f" loss {' + '.join(stage.losses)}"
        for number, stage in enumerate(recipe.stages, start=1)
    )
    made = "\n".join(f"  {name}: {value}" for name, value in facts.made_with.items())
    return f"""The training of the network {facts.network}, seed {facts.seed}.

{stages}

Files
  config.toml             the recipe, complete
  run.json                network, seed, threads, caches, versions
  train.jsonl             a line a step: stage, source of the batch, loss and its terms, learning
                          rate, norm of the gradient, seconds
  validation.jsonl        a line a validation: scores of each level on frames never trained on.
                          delta_1: share of pixels within a factor of 1.25; abs_rel; rmse_mm;
                          scaled_*: after one median scale a frame. Of the averaged weights.
  weights.safetensors     the averaged weights of the last stage that was judged, from where they
                          were best on its own levels; its metadata say which network, which step
                          and which scores
  checkpoints/            the last two and the best: all that training needs to go on

  colondepth train {facts.network} --out THIS_FOLDER --resume
goes on from the last checkpoint. On the CPU, with as many threads, the curve is bit for bit that of
a run that was never stopped.

Made with
{made}
"""


def _mixture(stage: Stage) -> str:
    shares = {**stage.levels, **stage.folders}
    named = {name: f"level {name}" if name in stage.levels else name for name in shares}
    return ", ".join(f"{share:.0%} {named[name]}" for name, share in shares.items())
