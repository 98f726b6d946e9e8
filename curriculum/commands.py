"""`train`: a network learns from rendered colons. `cache`: render ahead. `ship`: weights go out."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from colondepth.commands.devices import usable_device
from colondepth.commands.folders import require_folder
from colondepth.commands.sizes import image_size
from colondepth.console import err, out, progress, resumable
from colondepth.errors import DataError

if TYPE_CHECKING:
    from curriculum.learner import StepFigures
    from curriculum.run_folder import RunFacts
    from curriculum.stages import Recipe, Stage
    from curriculum.standing import Standing

LARGEST_SEED = 2**31 - 2  # the one above is kept for validation

Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")]


def train(
    name: Annotated[str, typer.Argument(help="Of the network, as in: sfsnet.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the run.")],
    recipe: Annotated[
        str | None, typer.Option(help="A recipe's name or TOML file; the network's own if absent.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of --out.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the recipe, as in stage.3.steps=2000; repeatable."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of `colondepth cache`; what it lacks is rendered.")
    ] = None,
    device: Device = "cpu",
    seed: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_SEED, help="Of all that is drawn; 1 if absent.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Of the network; if absent, all cores but one that renders."),
    ] = None,
    maker: Annotated[
        Literal["inline", "thread", "process"] | None,
        typer.Option(help="Who makes batches ahead; what fits, if absent."),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard's files too.")
    ] = False,
) -> None:
    """Train a network, stage by stage, on colons rendered as it goes or cached before.

    A run that was stopped in any way goes on with --resume, exactly. Its folder explains itself.
    """
    from colondepth.backbones.registry import create
    from colondepth.losses.names import named_loss
    from curriculum.ahead import Maker
    from curriculum.run_folder import begin
    from curriculum.supervised import Ways, require_fit, seeded
    from curriculum.supervised import train as carry_out

    require_folder(folder, of="new or of the run")
    chosen = usable_device(device)
    given = tuple(changes or ())
    if resume:
        _refuse_with_resume(seed=seed, threads=threads, cache=cache)
        facts, followed = _resumed(folder, name, recipe, given)
    else:
        followed = _recipe(recipe or name, given)
        facts = _facts(name, followed, cache=cache, seed=seed, threads=threads, device=str(chosen))
    options = dict(followed.network)
    try:
        network = seeded(lambda: create(name, **options), facts.seed)
    except TypeError as error:
        if not options:
            raise
        raise DataError(f"{name} does not take the options {sorted(options)}: {error}") from error
    require_fit(network, followed, named_loss)
    leads = os.environ.get("RANK", "0") == "0"  # torchrun's word for the process that writes
    if not resume and leads:
        begin(folder, facts, followed)
    bar = progress()
    bar.disable = not leads
    with bar:
        task = bar.add_task("Preparing", total=followed.steps)
        began: list[int] = []

        def tick(standing: "Standing", stage: "Stage", figures: "StepFigures") -> None:
            if not began:  # what earlier runs did is no measure of this one's speed
                began.append(standing.step)
                bar.reset(task, total=followed.steps, completed=standing.step)
            words = f"{stage.name}, loss {figures.loss:.4g}"
            bar.update(task, completed=standing.step, description=words)

        outcome = carry_out(
            network,
            followed,
            folder,
            facts=facts,
            find_loss=named_loss,
            ways=Ways(
                device=str(chosen),
                maker=None if maker is None else Maker(maker),
                tensorboard=tensorboard,
                tick=tick,
                note=lambda words: _note(words) if leads else None,
            ),
        )
    if not leads:
        return
    standing = outcome.standing
    _say(f"{standing.step} steps, best at {standing.best_step} -> {folder}")
    for level, scores in outcome.scores.items():
        listed = ", ".join(f"{score} {value:.4g}" for score, value in scores.items())
        _say(f"level {level}: {listed} (last validation)")


def cache(
    folder: Annotated[Path, typer.Option("--out", help="Folder of all caches.")],
    level: Annotated[str, typer.Option(help="1 to 6, or randomised; several with commas.")],
    batches: Annotated[int, typer.Option(min=1, help="Of each level, rounded up to whole files.")],
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the images.")] = "128x160",
    batch: Annotated[int, typer.Option(min=1, help="Views in a batch; the recipe's.")] = 8,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of all that is drawn.")] = 1,
    parts: Annotated[
        str, typer.Option(help="Maps to keep beside the image, with commas.")
    ] = "valid,distance_mm",
    device: Device = "cpu",
    threads: Annotated[
        int, typer.Option(min=1, help="That render; a process each is quicker.")
    ] = 1,
) -> None:
    """Render batches to disk for `train --cache`, which may begin before all are there.

    The same command goes on where it was stopped; with more --batches it adds some.
    """
    import torch

    from curriculum.cache import SHARD_BATCHES, CacheKey, write_cache
    from curriculum.stream import RenderedLevel
    from synthetic_colons.levels import level as level_of
    from synthetic_colons.provenance import made_with

    require_folder(folder, of="new or of caches")
    chosen = usable_device(device)
    height, width = image_size(size, such_as="128x160")
    torch.set_num_threads(threads)
    names = [level_of(each.strip()).name for each in level.split(",")]
    whole = -(-batches // SHARD_BATCHES) * SHARD_BATCHES
    kept = ("image", *(part.strip() for part in parts.split(",") if part.strip()))
    with progress() as bar, resumable("whole files are kept; the same command goes on"):
        for each in names:
            task = bar.add_task(f"Level {each}", total=whole)
            key = CacheKey(level=each, seed=seed, size=(height, width), batch=batch)
            made = write_cache(
                folder,
                key,
                RenderedLevel(key=key, device=str(chosen)).open(),
                batches=whole,
                parts=kept,
                made_with=made_with(chosen),
                tick=lambda done, task=task: bar.update(task, completed=done),  # type: ignore[misc]
            )
            _say(f"{whole} batches of level {each} -> {made}")


def ship(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run: the --out of `train`.")],
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of all that is written; package and docs if absent."),
    ] = None,
    simcol3d: Annotated[
        Path | None, typer.Option(help="Folder of SimCol3D, to be measured on as well.")
    ] = None,
    levels: Annotated[
        str, typer.Option(help="To measure on, with commas.")
    ] = "1,2,3,4,5,6,randomised",
    clips: Annotated[int, typer.Option(min=1, help="Of each level.")] = 6,
    frames: Annotated[int, typer.Option(min=1, help="Of each clip, far apart.")] = 6,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the views.")] = "256x320",
) -> None:
    """Turn a run into weights that are shipped: calibrated, measured, with digest and page.

    Everything is measured on held-out views before anything is written.
    """
    from curriculum.shipping import places, read_run
    from curriculum.shipping import ship as carry_out
    from curriculum.shipping_views import Extent
    from synthetic_colons.commands import prepare_kernels
    from synthetic_colons.levels import level as level_of

    if folder is not None:
        require_folder(folder)
    named = tuple(level_of(each.strip()).name for each in levels.split(","))
    extent = Extent(
        levels=named, clips=clips, frames=frames, size=image_size(size, such_as="128x160")
    )
    to = places(folder)
    read_run(run)  # a wrong folder is said before kernels are compiled
    prepare_kernels()
    with progress() as bar:
        task = bar.add_task("Preparing", total=None)

        def begin(words: str, total: int) -> None:
            bar.reset(task, total=total, description=words[:1].upper() + words[1:])

        shipped = carry_out(
            run, to, extent=extent, real=simcol3d, begin=begin, tick=lambda: bar.advance(task)
        )
    for group in shipped.card.groups:
        listed = ", ".join(f"{name} {value:.4g}" for name, value in group.network.items())
        _say(f"{group.name}: {listed} ({group.frames} frames, protocol sfsnet)")
    calibration, change = shipped.card.calibration, shipped.card.change
    _say(
        f"temperature {calibration.temperature:.4f}; float16 changes no figure by over {change:.2g}"
    )
    for file in shipped.files:
        _say(f"-> {file}")


def _recipe(name_or_file: str, changes: tuple[str, ...]) -> "Recipe":
    from curriculum.recipe_files import read_recipe

    return read_recipe(name_or_file, changes=changes)


def _facts(
    name: str,
    recipe: "Recipe",
    *,
    cache: Path | None,
    seed: int | None,
    threads: int | None,
    device: str,
) -> "RunFacts":
    from curriculum.run_folder import RunFacts
    from curriculum.stream import RenderedLevel, cached_batches, sources_for
    from synthetic_colons.provenance import made_with

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    caches = cached_batches(cache)
    renders = device == "cpu" and any(
        isinstance(source, RenderedLevel)
        for stage in recipe.stages
        for source in sources_for(stage, seed=0, device=device, caches=caches).values()
    )
    return RunFacts(
        network=name,
        seed=1 if seed is None else seed,
        threads=threads or max(1, (cores or 1) - renders),
        cache=None if cache is None else str(cache.resolve()),
        cached_batches=caches,
        made_with=made_with(device),
    )


def _resumed(
    folder: Path, name: str, recipe: str | None, changes: tuple[str, ...]
) -> tuple["RunFacts", "Recipe"]:
    """Return what a run was begun with and the recipe that it follows from here on."""
    from curriculum.run_folder import change_config, read_config, read_facts
    from curriculum.supervised import standing_of
    from synthetic_colons.provenance import commit

    facts = read_facts(folder)
    if facts.network != name:
        raise DataError(
            f"{folder} trains {facts.network!r}, not {name!r}; name that, or another --out"
        )
    begun, now = facts.made_with.get("commit"), commit()
    if begun != now:
        _note(f"begun with commit {begun}, goes on with {now}: the curve may be another from here")
    old = read_config(folder)
    new = read_config(folder, changes=changes) if recipe is None else _recipe(recipe, changes)
    if new != old:
        change_config(folder, facts, old, new, at=standing_of(folder))
    return facts, new


def _refuse_with_resume(**given: object) -> None:
    for option, value in given.items():
        if value is not None:
            raise DataError(
                f"--{option} stands beside --resume, but a run keeps what it began with"
            )


def _note(words: str) -> None:
    err.print(words, highlight=False, markup=False, soft_wrap=True)


def _say(words: str) -> None:
    out.print(words, highlight=False, markup=False, soft_wrap=True)
