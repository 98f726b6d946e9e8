"""`colondepth evaluate PROTOCOL`: a command for every protocol, made from their names."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from colondepth.commands.devices import usable_device
from colondepth.commands.sizes import image_size
from colondepth.console import err, out, print_json, progress, resumable
from colondepth.errors import DataError
from evaluation.protocols.names import PURPOSES, named_protocol

if TYPE_CHECKING:
    from evaluation.evaluating import Evaluated, Frames, Judged

RENDERED = "synthetic"  # the one protocol without a folder of data
LengthName = Literal["depth", "distance"]  # Length would import torch

Out = Annotated[Path, typer.Option("--out", help="Folder for the report; goes on in its own.")]
Backbone = Annotated[str | None, typer.Option(help="Network to judge, by name.")]
Weights = Annotated[Path | None, typer.Option(help="Its weights; the package's if absent.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; a GPU if there is one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def mount_protocols(app: typer.Typer) -> None:
    """Mount a command for every protocol that scores depth."""
    for name, purpose in PURPOSES.items():
        command = rendered_command() if name == RENDERED else dataset_command(name)
        command.__doc__ = f"{purpose}\n\n    {_MORE}"
        app.command(name)(command)


_MORE = "Writes report.html, summary.json, scores.csv. Stopped, the same command goes on."


def dataset_command(name: str) -> Callable[..., None]:
    """Return the command of a protocol whose frames are on disk."""

    def command(
        folder: Out,
        data: Annotated[Path, typer.Option(help="Folder of the dataset.")],
        backbone: Backbone = None,
        weights: Weights = None,
        predictions: Annotated[
            Path | None, typer.Option(help="Depth maps of another program, DIR/CLIP/FRAME.png.")
        ] = None,
        mm_per_unit: Annotated[
            float | None, typer.Option(help="Millimetres in a 1 of the maps (cm: 10, m: 1000).")
        ] = None,
        maps_hold: Annotated[
            LengthName, typer.Option(help="z along the axis, or distance along the ray.")
        ] = "depth",
        split: Annotated[
            str | None, typer.Option(help="Another split, or all; the name then says so.")
        ] = None,
        every: Annotated[
            int, typer.Option(min=1, help="Each so many-th frame; the name then says so.")
        ] = 1,
        camera: Annotated[
            Path | None, typer.Option(help="Calibration in place of the dataset's own.")
        ] = None,
        device: Device = None,
        skip_bad: Annotated[
            bool, typer.Option("--skip-bad", help="List bad files and missing maps as excluded.")
        ] = False,
        trust_unit: Annotated[
            bool, typer.Option("--trust-unit", help="Score maps whose unit looks wrong.")
        ] = False,
        as_json: AsJson = False,
    ) -> None:
        _require_one(backbone, weights, predictions, mm_per_unit)
        from evaluation.evaluating import network, open_frames
        from evaluation.evaluating import predictions as judged_maps
        from evaluation.protocols.protocol import Length

        frames = open_frames(
            named_protocol(name),
            data,
            split_name=split,
            every=every,
            camera=camera,
            skip_bad=skip_bad,
        )
        if predictions is not None and mm_per_unit is not None:
            judged = judged_maps(
                predictions,
                frames,
                mm_per_unit=mm_per_unit,
                length=Length(maps_hold),
                skip_bad=skip_bad,
                trust_unit=trust_unit,
            )
        else:
            chosen = None if device is None else usable_device(device)
            judged = network(str(backbone), frames.protocol, weights=weights, device=chosen)
        _evaluate(frames, judged, folder, skip_bad=skip_bad, as_json=as_json)

    return command


def rendered_command() -> Callable[..., None]:
    """Return the command of the protocol whose frames are rendered."""

    def command(
        folder: Out,
        backbone: Annotated[str, typer.Option(help="Network to judge, by name.")],
        weights: Weights = None,
        levels: Annotated[
            list[str] | None, typer.Option("--level", help="1 to 6, again for more; all if absent.")
        ] = None,
        clips: Annotated[
            int | None, typer.Option(min=1, help="Of each level; 6 are the protocol.")
        ] = None,
        frames: Annotated[
            int | None, typer.Option(min=1, help="Of each clip; 20 are the protocol.")
        ] = None,
        size: Annotated[str, typer.Option(help="HEIGHTxWIDTH; 256x320 is the protocol.")] = (
            "256x320"
        ),
        device: Device = None,
        as_json: AsJson = False,
    ) -> None:
        from evaluation.evaluating import network
        from evaluation.protocols.synthetic import PROTOCOL, Extent
        from evaluation.synthetic_frames import synthetic_frames

        usual = Extent()
        chosen = None if device is None else usable_device(device)
        judged = network(backbone, PROTOCOL, weights=weights, device=chosen)
        extent = Extent(
            levels=tuple(levels) if levels else usual.levels,
            clips=clips or usual.clips,
            frames=frames or usual.frames,
            size=image_size(size, least=8),
        )
        with err.status("Drawing colons"):
            drawn = synthetic_frames(extent)
        _evaluate(drawn, judged, folder, skip_bad=False, as_json=as_json)

    return command


def _require_one(
    backbone: str | None, weights: Path | None, predictions: Path | None, mm_per_unit: float | None
) -> None:
    """Check that one kind of depth is judged, and that it has all it needs."""
    if (backbone is None) == (predictions is None):
        found = "neither" if backbone is None else "both"
        raise DataError(
            f"{found} of --backbone NAME and --predictions DIR; expected one of them: a network of"
            " ours to ask, or depth maps that another program made"
        )
    if predictions is not None and mm_per_unit is None:
        raise DataError(
            "--predictions needs --mm-per-unit: how many millimetres a 1 in the maps stands for (1"
            " for mm, 10 for cm, 1000 for m; any under a protocol that fits the scale)"
        )
    if predictions is None and mm_per_unit is not None:
        raise DataError("--mm-per-unit is the unit of --predictions; a backbone knows its own")
    if predictions is not None and weights is not None:
        raise DataError("--weights are those of a --backbone; --predictions come from files")


def _evaluate(
    frames: "Frames", judged: "Judged", folder: Path, *, skip_bad: bool, as_json: bool
) -> None:
    from evaluation.evaluating import evaluate

    for warning in frames.warnings:
        err.print("[yellow]note[/yellow] ", end="", highlight=False)
        err.print(warning, markup=False, highlight=False, soft_wrap=True)
    stopped = f"scores so far are in {folder}; the same command goes on from there"
    bar = progress()
    bar.disable = not err.is_interactive  # in a log it would leave an empty line, and no bar
    with bar, resumable(stopped):
        task = bar.add_task(f"Scoring by {frames.protocol.name}", total=frames.total)
        done = evaluate(
            frames,
            judged,
            folder,
            skip_bad=skip_bad,
            tick=lambda frames: bar.advance(task, frames),
            writing=lambda: bar.update(task, description="Writing the report"),
        )
    _tell(done, frames, as_json=as_json)


def _tell(done: "Evaluated", frames: "Frames", *, as_json: bool) -> None:
    summary, protocol = done.summary, frames.protocol
    figures = {name: summary.figures[name] for name in protocol.reported}
    if as_json:
        print_json(
            {
                "protocol": summary.made.protocol,
                "backbone": summary.made.backbone,
                "frames": summary.frames,
                "there_before": done.before,
                "excluded": dict(summary.excluded),
                "average": str(summary.made.average),
                "alignment": summary.made.alignment,
                "figures": {
                    name: {
                        "mean": _or_none(each.mean),
                        "low": _or_none(each.low),
                        "high": _or_none(each.high),
                    }
                    for name, each in figures.items()
                },
                "report": str(done.page),
            }
        )
        return
    for name, each in figures.items():
        unit = summary.quantities[name].unit
        span = "" if each.low != each.low else f"  [{each.low:.4g}, {each.high:.4g}]"
        _say(f"{name:14} {each.mean:.4g}{f' {unit}' if unit else ''}{span}")
    clips = sum(row.frames > 0 for row in summary.clips)
    known = all(each.low == each.low for each in figures.values())
    interval = "[95 % interval from drawing clips]" if known else "too few clips for an interval"
    _say(f"{summary.made.backbone} by {summary.made.protocol}; {interval}")
    _say(
        f"frames {summary.frames}, clips {clips}, {summary.made.average} average, alignment"
        f" {summary.made.alignment}"
    )
    if done.before:
        _say(f"{done.before} of the frames were there before")
    for why, count in summary.excluded.items():
        _say(f"excluded: {count} frames, {why}")
    _say(f"-> {done.page}")


def _or_none(value: float) -> float | None:
    return None if value != value else value


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
