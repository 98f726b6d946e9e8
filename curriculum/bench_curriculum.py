"""`colondepth bench curriculum`: does climbing the levels pay, and do the network's inputs?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from colondepth.console import err, out, progress, resumable

if TYPE_CHECKING:
    from curriculum.comparison import Run

SCORES = {
    "scaled_abs_rel": "AbsRel after one scale a frame",
    "abs_rel": "AbsRel, metric",
    "scaled_delta_1": "share within 1.25 after one scale a frame",
}
SHOWN_LEVELS = ("3", "5", "6", "randomised")
CURVES = "curves.png"


def bench_curriculum(
    folder: Annotated[Path, typer.Option("--out", help="Folder of all runs and of the curves.")],
    network: Annotated[str, typer.Option(help="That is trained.")] = "sfsnet_lite",
    ways: Annotated[
        str | None, typer.Option(help="Names with semicolons; all of them if absent.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each way.")] = 3,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of `colondepth cache`; what it lacks is rendered.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of the network.")] = 1,
) -> None:
    """Train in several ways with one budget and print how good each became, over the seeds.

    The same command goes on where it was stopped. Minutes a run on two CPU cores.
    """
    from curriculum.comparison import WAYS, compare
    from curriculum.errors import CurriculumError, unknown

    names = [each.strip() for each in ways.split(";")] if ways else list(WAYS)
    for name in names:
        if name not in WAYS:
            raise CurriculumError(unknown(name, WAYS, what="way"))
    with progress() as bar, resumable("the same command goes on"):
        task = bar.add_task("Preparing", total=len(names) * seeds)
        done: dict[str, float] = {}

        def tick(words: str, step: int, steps: int) -> None:
            done[words] = step / steps
            bar.update(task, description=words, completed=sum(done.values()))

        runs = compare(
            network,
            folder,
            ways=names,
            seeds=range(1, seeds + 1),
            cache=cache,
            threads=threads,
            tick=tick,
        )
    write_curves(runs, folder / CURVES)
    print_table(runs)
    err.print(f"-> {folder / CURVES}")


def print_table(runs: Sequence["Run"]) -> None:
    """Print mean and standard deviation over the seeds, as a Markdown table."""
    from curriculum.comparison import Spread

    names = list(dict.fromkeys(run.way for run in runs))
    steps, seeds = runs[0].curve[-1][0], len({run.seed for run in runs})
    for score, words in SCORES.items():
        shown = [level for level in SHOWN_LEVELS if level in runs[0].curve[-1][1]]
        columns = [*(f"level {level}" for level in shown), "all levels"]
        out.print(f"{words}: {seeds} seeds, {steps} steps, mean and deviation over the seeds")
        out.print(f"| way | {' | '.join(columns)} |", markup=False)
        out.print("|---" * (len(columns) + 1) + "|", markup=False)
        for name in names:
            own = [run for run in runs if run.way == name]
            cells = []
            for levels in (*((level,) for level in shown), ()):
                spread = Spread.of([run.last(score, levels) for run in own])
                cells.append(f"{spread.mean:.4f} ± {spread.deviation:.4f}")
            out.print(f"| {name} | {' | '.join(cells)} |", markup=False, soft_wrap=True)


def write_curves(runs: Sequence["Run"], path: Path) -> None:
    """Draw the score of every run against its steps, in the mean over all levels."""
    from statistics import fmean

    import matplotlib as mpl
    from matplotlib.figure import Figure

    from colondepth.atomic import written_whole

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    colours = mpl.colormaps["tab10"]
    for number, name in enumerate(dict.fromkeys(run.way for run in runs)):
        for run in (each for each in runs if each.way == name):
            steps = [step for step, _ in run.curve]
            values = [
                fmean(scores["scaled_abs_rel"] for scores in levels.values())
                for _, levels in run.curve
            ]
            label = name if run.seed == min(each.seed for each in runs) else None
            axes.plot(steps, values, color=colours(number), label=label, linewidth=1.2)
    axes.set(
        xlabel="step", ylabel="AbsRel after one scale a frame, mean of all levels", yscale="log"
    )
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(title="a line a seed")
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
