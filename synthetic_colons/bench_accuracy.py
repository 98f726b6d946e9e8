"""`colondepth bench accuracy`: the renderer held against Embree, level by level, as a table."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from colondepth.commands.sizes import image_size
from colondepth.console import out, print_json, progress
from colondepth.errors import DataError
from synthetic_colons.commands import SMALLEST_SIDE, AsJson, Seed, prepare_kernels, require_folder

ENOUGH = 24  # frames of a level from which a share is a figure and not a trial
REPORT = "accuracy.json"

Levels = Annotated[
    list[str] | None, typer.Option("--level", help="1 to 6 or randomised; again for more. All.")
]


def bench_accuracy(
    level: Levels = None,
    frames: Annotated[int, typer.Option(min=1, help="A level; 24 or more for a figure.")] = ENOUGH,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the images.")] = "256x320",
    seed: Seed = 1,
    folder: Annotated[Path | None, typer.Option("--out", help=f"Folder for {REPORT}.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hold the renderer's depth and normals against Embree on meshes of the same colons.

    A third of the cameras are frames of clips, a third are drawn anywhere, a third look at folds
    edge-on. Takes some 5 s a frame on one core.
    """
    from synthetic_colons.accuracy import AccuracySettings, measure
    from synthetic_colons.levels import LEVELS
    from synthetic_colons.levels import level as level_of

    height, width = image_size(size, least=SMALLEST_SIDE)
    wanted = tuple(dict.fromkeys(level_of(each).name for each in level or LEVELS))
    if folder is not None:
        require_folder(folder)
    prepare_kernels()
    settings = AccuracySettings(levels=wanted, seed=seed, frames=frames, height=height, width=width)
    with progress() as bar:
        task = bar.add_task("Starting", total=frames * len(wanted))
        report = measure(
            settings,
            tick=lambda name: bar.update(task, advance=1, description=f"Comparing level {name}"),
        )
    path = None if folder is None else write_report(report, folder)
    if as_json:
        print_json(report)
        return
    print_report(report)
    if path is not None:
        _say(f"figures -> {path}")


def write_report(report: Mapping[str, Any], folder: Path) -> Path:
    """Write what `measure` returned into a folder; a file of the same name is replaced whole."""
    path = folder / REPORT
    unfinished = path.with_suffix(".json.unfinished")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(
            json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        unfinished.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}; choose another --out") from error
    return path


def print_report(report: Mapping[str, Any]) -> None:
    """Print what `measure` returned."""
    from rich.table import Table

    asked, settings, made = report["asked"], report["settings"], report["made_with"]
    table = Table(
        "level",
        "pixels",
        f"within {100 * asked['close']:g} %",
        "worst frame",
        "at folds edge-on",
        "median",
        "99 % below",
        "wrong, at silhouettes",
        "normals: median, 95 % below",
        "holds",
    )
    for each in report["levels"]:
        edge_on = each["kinds"].get("fold", {}).get("share_close")
        at_edges = each["silhouettes"]["share_of_wrong"]
        normals = each["normals"]["smooth"]
        table.add_row(
            each["level"],
            f"{each['pixels']}",
            _percent(each["share_close"], 4),
            _percent(each["share_close_of_worst_frame"], 4),
            _percent(edge_on, 4),
            _percent(each["median"], 4),
            _percent(each["percentile_99"], 4),
            f"{each['wrong']}, {_percent(at_edges, 0)}",
            f"{_degrees(normals['median_deg'])}, {_degrees(normals['percentile_95_deg'])}",
            "yes" if each["holds"] else "NO",
        )
    out.print(table)
    _say(
        f"asked: {_percent(asked['share_close'], 1)} of pixels within {100 * asked['close']:g} %,"
        f" median {_percent(asked['median'], 2)} or less, normals"
        f" {asked['normals_median_deg']:g} deg or less in the median"
    )
    whose = [each["against_the_field"] for each in report["levels"]]
    _say(
        f"against the field itself: of {_sum(whose, 'wrong_looked_into')} wrong pixels looked into"
        f" the renderer alone is off in {_sum(whose, 'renderer_alone_is_off')}, the mesh alone in"
        f" {_sum(whose, 'mesh_alone_is_off')}, both in {_sum(whose, 'both_are_off')}"
    )
    given_up, not_met = _sum(report["levels"], "given_up"), _sum(report["levels"], "not_met")
    _say(f"no answer, counted as wrong: {given_up} pixels of the renderer, {not_met} of Embree")
    _say(
        f"seed {settings['seed']}, {settings['frames']} frames a level,"
        f" {settings['height']}x{settings['width']} (rows x columns); mesh of"
        f" {settings['along_mm']:g} mm along and {settings['around']} vertices around"
    )
    kernels = "compiled" if report["compiled"] else "not compiled"
    _say(
        f"{made['processor']}; kernels {kernels}; embreex {made['embreex']}, torch"
        f" {made['torch']}, colondepth {made['colondepth']} {made['commit'] or ''}"
    )
    if settings["frames"] < ENOUGH:
        _say(f"a trial: too few frames for a figure, take {ENOUGH} or more")


def _say(words: str) -> None:
    """Print one line as it is."""
    out.print(words, highlight=False, markup=False, soft_wrap=True)


def _sum(rows: list[Mapping[str, Any]], name: str) -> int:
    return sum(int(each[name]) for each in rows)


def _percent(share: float | None, digits: int) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def _degrees(angle: float | None) -> str:
    return "-" if angle is None else f"{angle:.3f} deg"
