"""`colondepth evaluate etis`: what can be known about depth on images with a polyp's mask."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colondepth.commands.devices import usable_device
from colondepth.commands.notes import tell_skipped
from colondepth.console import err, out, print_json, progress
from colondepth.errors import DataError

if TYPE_CHECKING:
    from evaluation.etis import EtisRun
    from evaluation.summary import Summary


def etis(
    data: Annotated[Path, typer.Option(help="ETIS-Larib, CVC-ClinicDB, CVC-ColonDB, Kvasir-SEG.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of scores and pictures.")],
    backbone: Annotated[str, typer.Option(help="Of `colondepth backbones`.")] = "sfsnet_lite",
    weights: Annotated[
        Path | None, typer.Option(help="File of weights; those of the package if absent.")
    ] = None,
    camera: Annotated[
        Path | None, typer.Option(help="Calibration; else the data's own, else a guess.")
    ] = None,
    point_pairs: Annotated[
        Path | None,
        typer.Option(help="CSV of frame,first_u,first_v,second_u,second_v,nearer."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(help="CSV of frame,group: its patient or video; intervals draw these."),
    ] = None,
    stability: Annotated[
        bool, typer.Option(help="Ask the network eight more times for every image.")
    ] = True,
    pictures: Annotated[int, typer.Option(min=0, help="Images to draw, evenly spaced.")] = 12,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; a GPU if there is one, if absent.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad files out, and list them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Score depth where there is no depth: relief, borders, shading, stability, pairs, order.

    None of the scores is accuracy; docs/concepts/etis.md says what each is worth.
    """
    from colondepth import inference
    from colondepth.cameras import from_file
    from colondepth.data import open_clips
    from colondepth.reconstruction.polyps import PolypSize
    from evaluation.bench_etis_scores import depth_of
    from evaluation.etis import EtisRun, measure_clips
    from evaluation.etis_files import (
        etis_summary,
        exclusions_of,
        read_groups,
        write_agreements,
        write_sizes,
        write_stability,
    )
    from evaluation.etis_meanings import meanings_table
    from evaluation.etis_ordinal import read_pairs, require_frames
    from evaluation.etis_pictures import write_picture
    from evaluation.etis_stability import Stability
    from evaluation.report import write_report
    from evaluation.summary import FrameScore

    if folder.exists() and not folder.is_dir():
        raise DataError(f"--out {folder} is a file; expected a folder")
    lens = None if camera is None else from_file(camera)
    reading = open_clips(data, camera=lens, skip_bad=skip_bad)
    names = [name for clip in reading.clips for name in clip.frame_ids]
    pairs = {} if point_pairs is None else read_pairs(point_pairs)
    require_frames(pairs, names)
    group_of = {} if groups is None else read_groups(groups, names)
    predictor = inference.load(
        backbone, weights=weights, device=device if device is None else usable_device(device)
    )
    for warning in reading.warnings:
        _note(warning)
    run, calibrated = EtisRun(), True
    frames: list[FrameScore] = []
    moved: list[tuple[str, Stability]] = []
    sizes: list[tuple[str, PolypSize]] = []
    drawn: dict[str, Path] = {}
    every = max(1, -(-len(names) // pictures)) if pictures else 0
    with progress() as bar:
        task = bar.add_task("Measuring", total=len(names))
        for measured in measure_clips(
            reading.clips,
            depth_of(predictor),
            run,
            point_pairs=pairs,
            with_stability=stability,
        ):
            clip = group_of.get(measured.frame, measured.clip)
            calibrated &= measured.view["camera"].calibrated
            if every and len(frames) % every == 0:
                place = folder / "pictures" / measured.clip.replace("/", "_")
                drawn[f"{measured.clip}, {measured.frame}"] = place / f"{measured.frame}.png"
                write_picture(measured, place / f"{measured.frame}.png")
            frames.append(FrameScore(clip, measured.frame, measured.scores))
            sizes.append((measured.frame, measured.size))
            if measured.stability is not None:
                moved.append((measured.frame, measured.stability))
            bar.advance(task)
    tell_skipped(reading.skipped)
    exclusions = exclusions_of(run, group_of)
    summary = etis_summary(
        frames,
        exclusions,
        dataset=reading.dataset,
        predictor=predictor,
        weights=weights or backbone,
        calibrated=calibrated,
        groups=groups,
    )
    meanings = meanings_table()
    write_report(folder, summary, frames, exclusions, (), pictures=drawn, meanings=meanings)
    write_agreements(folder, run)
    write_stability(folder, moved)
    write_sizes(folder, sizes)
    if as_json:
        print_json(_answer(summary, run, folder))
    else:
        _print(summary, run, folder)


def _answer(summary: "Summary", run: "EtisRun", folder: Path) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "frames": summary.frames,
        "excluded": dict(summary.excluded),
        "scores": {
            name: None if figure.mean != figure.mean else figure.mean
            for name, figure in summary.figures.items()
        },
        "pairs": len(run.agreements),
        "pairs_moved": _median([pair.moved for pair in run.agreements]),
    }


def _print(summary: "Summary", run: "EtisRun", folder: Path) -> None:
    from rich.table import Table

    table = Table("score", "mean", "95 %", "images", "what", box=None, pad_edge=False)
    for name, figure in summary.figures.items():
        quantity = summary.quantities[name]
        sure = f"{figure.low:.3g} to {figure.high:.3g}" if figure.low == figure.low else "unknown"
        unit = f" ({quantity.unit})" if quantity.unit else ""
        mean = f"{figure.mean:.3g}" if figure.values else "-"
        table.add_row(name, mean, sure, str(figure.values), f"{quantity.words}{unit}")
    out.print(table)
    middle = _median([pair.moved for pair in run.agreements])
    told = "" if middle is None else f", depth differs by {middle:.3g} (median |log ratio|)"
    _say(f"{len(run.agreements)} near-duplicate pairs{told}")
    for why, count in summary.excluded.items():
        _say(f"{count} images left out: {why}")
    if any(figure.low != figure.low for figure in summary.figures.values() if figure.values):
        _say("intervals draw clips and need six: --groups says which video an image is from")
    _say(f"{summary.frames} images -> {folder}; none of these scores is accuracy")


def _median(values: list[float]) -> float | None:
    from statistics import median

    known = [value for value in values if value == value]
    return median(known) if known else None


def _note(words: str) -> None:
    err.print("[yellow]note[/yellow] ", end="", highlight=False)
    err.print(words, markup=False, highlight=False, soft_wrap=True)


def _say(words: str) -> None:
    out.print(words, markup=False, highlight=False, soft_wrap=True)
