"""`colondepth bench infer`: how many frames a second do the networks answer for here?"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from colondepth.commands.devices import usable_device
from colondepth.commands.sizes import image_size
from colondepth.console import err, out, print_json

DEFAULT = ("sfsnet", "sfsnet_lite", "monodepth2")
IDLE_LOAD = 0.5  # programs that want a core; more of them take it from what is measured


def bench_infer(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BACKBONE]...", help=f"If none: {', '.join(DEFAULT)}."),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Measured; 30 or more for a figure.")] = 60,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the images.")] = "256x320",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of each network; as many as cores, if absent.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Time networks one image at a time, each in a process of its own, beside monodepth2.

    Weights are untrained, which takes as long. Reading and writing files is not in it.
    """
    import os

    from colondepth.bench_inference import InferenceSettings, bench

    height, width = image_size(size)
    settings = InferenceSettings(
        backbones=tuple(names or DEFAULT),
        frames=frames,
        height=height,
        width=width,
        threads=threads or os.cpu_count() or 1,
        device=str(usable_device(device)),
    )
    with err.status("Starting") as status:
        report = bench(settings, tick=status.update)
    if as_json:
        print_json(report)
    else:
        print_report(report)


def print_report(report: Mapping[str, Any]) -> None:
    """Print what `bench` returned."""
    from rich.table import Table

    settings, machine = report["settings"], report["machine"]
    table = Table(
        "network",
        "frames/s",
        "ms, median",
        "half of them",
        "ratio",
        "parameters",
        "memory",
        box=None,
        pad_edge=False,
    )
    for row in report["backbones"]:
        memory = row["peak_memory_mb"]
        table.add_row(
            row["backbone"],
            f"{row['frames_per_s']:.1f}",
            f"{row['median_ms']:.1f}",
            f"{row['quartile_ms']:.1f} to {row['third_quartile_ms']:.1f}",
            f"{row['times_reference']:.2f}",
            f"{row['parameters']:,}",
            "unknown" if memory is None else f"{memory:.0f} MB",
        )
    out.print(table)
    _say(
        f"{settings['height']}x{settings['width']} (rows x columns), one image at a time,"
        f" {settings['frames']} frames, {settings['threads']} threads, {settings['device']};"
        " untrained weights"
    )
    _say(f"ratio: frames/s over those of {report['reference']} in this run")
    _say(
        f"{machine['processor']}; torch {machine['torch']}, colondepth {machine['colondepth']};"
        " memory is the peak of the whole process"
    )
    busy = machine["load_before"]
    if busy is None:
        _say("nobody counts here how busy the machine was")
    else:
        words = f"{busy:.1f} programs wanted the machine's {machine['cores']} cores before"
        _say(f"{words}, so the times are too long" if busy > IDLE_LOAD else words)
    if not report["enough_frames"]:
        _say("a trial: too few frames for a figure, take 30 or more")


def _say(words: str) -> None:
    """Print one line as it is."""
    out.print(words, highlight=False, markup=False, soft_wrap=True)
