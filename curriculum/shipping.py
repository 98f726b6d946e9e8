"""From a run to weights that are shipped: calibrated, halved, measured, and with a page about them.

Nothing is written before everything is measured: a run that will not do leaves the old files.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.backbones import registry
from colondepth.backbones.contract import Backbone
from colondepth.errors import DataError
from colondepth.weights import FOLDER, shipped
from colondepth.weights.files import load_weights, save_weights
from curriculum.model_card import Card, written
from curriculum.model_pictures import chosen, write_pictures
from curriculum.run_folder import CONFIG, RUN, WEIGHTS, RunFacts, read_config, read_facts
from curriculum.run_log import TRAIN, read_rows
from curriculum.shipping_figures import Calibration, Group, Judged, calibrated, measured
from curriculum.shipping_views import (
    FIGURES_SEED,
    TEMPERATURE_SEED,
    Extent,
    Sample,
    read_simcol3d,
    rendered,
    simcol3d,
)
from curriculum.stages import Recipe
from synthetic_colons.provenance import made_with

SUMS = "SHA256SUMS"
# Of AbsRel, delta and shares as they are, of RMSE relative: below the third digit of the page.
MOST_CHANGE = 0.005
PICTURED = 2  # levels, the last of those that are measured; `randomised` looks like no colon
_DOCUMENTS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the files go."""

    weights: Path  # the folder; SHA256SUMS lies beside
    card: Path  # the folders of pages and of their pictures
    pictures: Path


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Run:
    """What `train` left."""

    facts: RunFacts
    recipe: Recipe
    network: Backbone
    step: int  # of the weights
    steps: int  # taken in all
    hours: float

    @property
    def views(self) -> int:
        """How many views the weights have learnt from."""
        left, views = self.step, 0
        for stage in self.recipe.stages:
            views += round(min(left, stage.steps) * stage.views_a_step)
            left -= min(left, stage.steps)
        return views


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Shipped:
    """What was written and measured."""

    card: Card
    files: tuple[Path, ...]


def places(out: Path | None) -> Places:
    """Return one folder for everything, or the package's and the documents' own."""
    if out is not None:
        return Places(weights=out, card=out, pictures=out)
    if not _DOCUMENTS.is_dir():
        raise DataError("this colondepth is not a checkout with docs/; say where with --out")
    pictures = _DOCUMENTS / "images" / "models"
    return Places(weights=FOLDER, card=_DOCUMENTS / "models", pictures=pictures)


def ship(
    folder: Path,
    to: Places,
    *,
    extent: Extent,
    real: Path | None,
    begin: Callable[[str, int], None] = lambda words, total: None,
    tick: Callable[[], None] = lambda: None,
) -> Shipped:
    """Write the weights of a run with their digest, page and pictures.

    Args:
        folder: of the run.
        to: where the files go.
        extent: the synthetic views that are measured; half as many clips find the temperature.
        real: folder of SimCol3D, measured too; none of its frames is written anywhere.
        begin: told what is done next, and of how many views that is.
        tick: called after every view.
    """
    run = read_run(folder)
    name, network = run.facts.network, run.network
    on = _calibrated_on(run.recipe, extent)

    def counted(samples: Iterable[Sample]) -> Iterator[Sample]:
        for sample in samples:
            yield sample
            tick()

    begin("temperature", on.total)
    views = (each for level in on.levels for each in rendered(on, level, seed=TEMPERATURE_SEED))
    calibration = calibrate(network, counted(views))
    with tempfile.TemporaryDirectory() as kept:
        file = Path(kept) / f"{name}.safetensors"
        save_weights(
            network,
            file,
            backbone=name,
            options=run.recipe.network,
            commit=str(run.facts.made_with.get("commit")),
            seed=run.facts.seed,
            recipe=_recipe_words(run),
        )
        rounded = registry.create(name, **run.recipe.network).eval()
        load_weights(rounded, file)
        groups, pictured = [], []
        for level in extent.levels:
            judged: list[Judged] = []
            keep = judged.append if level in _pictured(extent) else lambda each: None
            begin(f"level {level}", extent.clips * extent.frames)
            samples = counted(rendered(extent, level, seed=FIGURES_SEED))
            groups.append(measured(rounded, network, samples, keep=keep))
            pictured += chosen(judged) if judged else []
        if real is not None:
            frames = simcol3d(real)
            begin("SimCol3D", len(frames))
            groups.append(measured(rounded, network, counted(read_simcol3d(real, frames))))
        change = require_little_change(groups)
        data = file.read_bytes()
    card = Card(
        facts=run.facts,
        recipe=run.recipe,
        step=run.step,
        steps=run.steps,
        hours=run.hours,
        views=run.views,
        parameters=sum(each.numel() for each in network.parameters()),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        calibration=calibration,
        extent=extent,
        calibrated_on=on,
        groups=tuple(groups),
        change=change,
        made_with=made_with("cpu"),
        picture=None,
    )
    return _write(card, data, pictured, to)


def read_run(folder: Path) -> Run:
    """Return what `train` left in a folder, with the best averaged weights in the network."""
    for name in (RUN, CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            hint = ": they come with the first validation" if (folder / RUN).is_file() else ""
            raise DataError(
                f"{folder} has no {name}{hint}; expected the --out folder of `colondepth train`"
            )
    facts, recipe = read_facts(folder), read_config(folder)
    network = registry.create(facts.network, **recipe.network).eval().requires_grad_(False)
    state, words = _read_weights(folder / WEIGHTS)
    try:
        network.load_state_dict(state)
        step = int(words["step"])
    except (RuntimeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{folder / WEIGHTS} is not what a run of {facts.network} writes: {reason}"
        ) from error
    if not isinstance(getattr(network, "temperature", None), Tensor):
        raise DataError(
            f"{facts.network} has no temperature for its standard deviation; `ship` is for networks"
            " such as sfsnet, and colondepth.weights.files.save_weights keeps the others"
        )
    rows = read_rows(folder / TRAIN)
    return Run(
        facts=facts,
        recipe=recipe,
        network=network,
        step=step,
        steps=max([step, *(row["step"] for row in rows)]),
        hours=sum(row["step_s"] for row in rows) / 3600,
    )


def calibrate(network: Backbone, samples: Iterable[Sample]) -> Calibration:
    """Find the factor on the standard deviation and put it into the network."""
    found = calibrated(network, samples)
    temperature = network.temperature
    assert isinstance(temperature, Tensor)  # `read_run` has seen to it
    temperature.mul_(found.temperature)
    return replace(found, temperature=float(temperature))


def require_little_change(groups: Iterable[Group]) -> float:
    """Return the largest change of a figure by rounding the weights; too large a one is refused."""
    largest, where = 0.0, ""
    for group in groups:
        for name, before in group.unrounded.items():
            change = abs(group.network[name] - before)
            if name.endswith("rmse_mm") and before:
                change /= before
            if change > largest:
                largest, where = change, f"{name} of level {group.name}"
    if largest > MOST_CHANGE:
        raise DataError(
            f"float16 changes {where} by {largest:.2g}, expected at most {MOST_CHANGE:g}; the"
            " weights of this run need float32, so nothing was written"
        )
    return largest


def add_sum(folder: Path, name: str, digest: str) -> Path:
    """Put a file's digest into SHA256SUMS, in the place of an older one; return the list."""
    lines = {weights.path.name: weights.sha256 for weights in shipped(folder)} | {name: digest}
    with written_whole(folder / SUMS) as temporary:
        text = "".join(f"{lines[each]}  {each}\n" for each in sorted(lines))
        temporary.write_text(text, encoding="utf-8")
    return folder / SUMS


def _write(card: Card, data: bytes, pictured: list[tuple[str, Judged]], to: Places) -> Shipped:
    name = card.facts.network
    page, picture = to.card / f"{name}.md", to.pictures / f"{name}.png"
    beside = os.path.relpath(picture.resolve(), page.parent.resolve())
    card = replace(card, picture=Path(beside).as_posix() if pictured else None)
    old = page.read_text(encoding="utf-8") if page.is_file() else None
    text = written(card, old)  # may refuse the old page, so before anything is written
    files = [to.weights / f"{name}.safetensors"]
    with written_whole(files[0]) as temporary:
        temporary.write_bytes(data)
    files.append(add_sum(to.weights, files[0].name, card.sha256))
    if pictured:
        write_pictures(pictured, picture)
        files.append(picture)
    with written_whole(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Shipped(card=card, files=(*files, page))


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as safetensors: {error}") from error


def _calibrated_on(recipe: Recipe, extent: Extent) -> Extent:
    """Return the views that find the temperature: the levels that the last stage is about."""
    last = tuple(level for level, share in recipe.stages[-1].levels.items() if share)
    return replace(extent, levels=last or extent.levels, clips=-(-extent.clips // 2))


def _pictured(extent: Extent) -> tuple[str, ...]:
    return tuple(level for level in extent.levels if level != "randomised")[-PICTURED:]


def _recipe_words(run: Run) -> str:
    made = run.facts.made_with
    stages = ", ".join(stage.name for stage in run.recipe.stages)
    return (
        f"{run.facts.network}: {stages}; step {run.step} of {run.recipe.steps}, {run.views} views,"
        f" {made.get('device')}, {made.get('processor')}"
    )
