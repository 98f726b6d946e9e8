"""`colondepth bench reconstruct`: walls of rendered clips against their mesh, in four ways."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from colondepth.console import err, out, print_json, progress, resumable


def bench_reconstruct(
    levels: Annotated[str, typer.Option(help="With commas.")] = "3,5,6",
    clips: Annotated[int, typer.Option(min=1, help="Of each level.")] = 1,
    frames: Annotated[int, typer.Option(min=20, help="Of each clip.")] = 80,
    fps: Annotated[
        float, typer.Option(help="Frames a second; 8 are what reconstruct takes of a video.")
    ] = 8.0,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH.")] = "144x180",
    seed: Annotated[int, typer.Option(help="Of the clips.")] = 77,
    backbone: Annotated[str, typer.Option(help="Of `colondepth backbones`.")] = "sfsnet",
    weights: Annotated[Path | None, typer.Option(help="The package's if absent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Measure fused walls and coverage on rendered clips whose mesh is known."""
    from colondepth import inference
    from colondepth.commands.sizes import image_size
    from evaluation.reconstructed_clips import measured
    from synthetic_colons.clips import SyntheticClip
    from synthetic_colons.commands import prepare_kernels

    height, width = image_size(size, such_as="192x240")
    prepare_kernels()
    predictor = inference.load(backbone, weights=weights)
    rows = []
    with progress() as bar, resumable("nothing is kept; run it again"):
        for level in (each.strip() for each in levels.split(",")):
            for number in range(clips):
                clip = SyntheticClip(
                    level,
                    seed=seed,
                    number=number,
                    frames=frames,
                    height=height,
                    width=width,
                    frames_per_s=fps,
                )
                task = bar.add_task(f"Level {level}, clip {number}", total=frames)
                rows += measured(clip, predictor, partial(bar.advance, task))
    if as_json:
        print_json(rows)
        return
    shown = (
        "clip", "way", "placed", "chamfer_mm", "completeness_mm", "recall", "precision",
        "ate_mm", "drift_mm_per_m", "scale", "motion_s", "coverage_mae_points", "gap_auc",
        "ms_a_frame",
    )  # fmt: skip
    _say(f"| {' | '.join(shown)} |")
    _say("|" + " --- |" * len(shown))
    for row in rows:
        _say("| " + " | ".join(_cell(row.get(name)) for name in shown) + " |")
    err.print(
        f"{frames} frames of {size}, {fps:g} a second, seed {seed}, {backbone}", highlight=False
    )


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _say(words: str) -> None:
    out.print(words, highlight=False, markup=False, soft_wrap=True)
