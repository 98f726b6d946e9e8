"""The renderer's benchmark as a table for people."""

from collections.abc import Mapping
from typing import Any

from colondepth.console import out

IDLE_LOAD = 0.5  # programs that want a core; more of them take it from what is measured


def print_report(report: Mapping[str, Any]) -> None:
    """Print what `bench` returned."""
    from rich.table import Table

    settings, made, ours = report["settings"], report["made_with"], report["renderer"]
    table = Table("median of frames", "ms", "half of them", "ours takes")
    table.add_row("renderer, everything", *_times(ours["frame"]), "")
    for name, times in ours["stages"].items():
        table.add_row(f"  {name}", *_times(times), "")
    for title, rival in (
        ("Embree, rays only", report["embree"]),
        ("VTK, picture only", report["vtk"]),
    ):
        if "missing" in rival:
            table.add_row(title, "-", rival["missing"], "")
        else:
            ratio = f"{rival['ours_to_this']:.2f} times as long"
            table.add_row(title, *_times(rival["frame"]), ratio)
    out.print(table)
    _say(f"{ours['frames_per_s']:.1f} frames/s, {ours['threads']} threads, {_memory(ours)}")
    if ours["compiled"]:
        cold, cached = ours["first_frame_cold_s"], ours["first_frame_cached_s"]
        _say(f"first frame {cold:.1f} s with an empty cache of kernels, {cached:.1f} s with a full")
    else:
        _say(f"kernels were not compiled; first frame {ours['first_frame_cached_s']:.1f} s")
    size = f"{settings['height']}x{settings['width']}"
    _say(
        f"level {settings['level']}, seed {settings['seed']}, {size} (rows x columns),"
        f" {settings['frames']} frames; mesh of {report['mesh']['triangles']} triangles"
    )
    _say(
        f"{made['device']}, {made['processor']}; torch {made['torch']}, colondepth"
        f" {made['colondepth']} {made['commit'] or ''}"
    )
    if "graphics" in report["vtk"]:
        _say(f"VTK {report['vtk']['version']} drew with {report['vtk']['graphics']}")
    machine = report["machine"]
    if (machine["load_before"] or 0) > IDLE_LOAD:
        _say(
            f"a busy machine: {machine['load_before']:.1f} programs wanted its"
            f" {machine['cores']} cores before the start, so the times are too long"
        )
    if not report["enough_frames"]:
        _say("a trial: too few frames for a figure, take 30 or more")


def _say(words: str) -> None:
    """Print one line as it is."""
    out.print(words, highlight=False, markup=False, soft_wrap=True)


def _times(times: Mapping[str, float]) -> tuple[str, str]:
    between = f"{times['quartile_ms']:.1f} to {times['third_quartile_ms']:.1f}"
    return f"{times['median_ms']:.1f}", between


def _memory(ours: Mapping[str, Any]) -> str:
    own, device = ours["peak_memory_mb"], ours["peak_device_memory_mb"]
    words = "memory unknown" if own is None else f"peak memory {own:.0f} MB"
    return words if device is None else f"{words}, on the device {device:.0f} MB"
