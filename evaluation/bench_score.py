"""`colondepth bench score`: how long does scoring take, without reading files or predicting?

What is timed is what `colondepth evaluate` does with frames and depth in memory: alignments, every
error, what the report's figures are counted from, and the scores written to disk. Truth is a bumpy
tube, the prediction is it with noise; numbers take as long whatever they are.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colondepth.commands.sizes import image_size
from colondepth.console import err, out, print_json
from evaluation.protocols.names import named_protocol

if TYPE_CHECKING:
    from colondepth.views import Clip
    from evaluation.depth_sources import DepthSource

DEFAULT = ("scared", "synthetic")  # one alignment, and four
ENOUGH = 1000  # frames from which it is a figure and not a trial
_SEED = 1
_DISTINCT = 8  # frames that differ; they come again and again
_NEAR_MM, _FAR_MM, _NOISE = 5.0, 90.0, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSettings:
    """What is timed, and how."""

    protocols: tuple[str, ...]
    frames: int
    height: int
    width: int
    threads: int


def bench_score(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROTOCOL]...", help=f"If none: {', '.join(DEFAULT)}."),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="1000 or more for a figure.")] = ENOUGH,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the frames.")] = "256x320",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of torch; as many as cores, if absent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Time the scoring of frames in memory by protocols; no file is read, no network asked."""
    height, width = image_size(size, least=8)
    settings = ScoreSettings(
        protocols=tuple(names or DEFAULT),
        frames=frames,
        height=height,
        width=width,
        threads=threads or os.cpu_count() or 1,
    )
    with err.status("Starting") as status:
        report = bench(settings, tick=status.update)
    if as_json:
        print_json(report)
    else:
        print_report(report)


def bench(settings: ScoreSettings, *, tick: Callable[[str], None] = lambda _: None) -> Any:
    """Measure, and return what JSON holds of it."""
    import torch

    from colondepth.machine import load, processor

    for name in settings.protocols:
        named_protocol(name)  # a misspelt one is told before the first is timed
    busy = load()
    torch.set_num_threads(settings.threads)
    rows = []
    for name in settings.protocols:
        tick(f"Timing {name}")
        worked_s = time.process_time()
        spent_s = timed(settings, name)
        worked_s = time.process_time() - worked_s
        rows.append(
            {
                "protocol": name,
                "seconds": spent_s,
                "processor_seconds": worked_s,  # of all threads; what a busy machine cannot stretch
                "ms_a_frame": 1000 * spent_s / settings.frames,
                "alignments": 1 + len(named_protocol(name).beside),
            }
        )
    return {
        "settings": asdict(settings),
        "protocols": rows,
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "load_before": busy,
            "torch": torch.__version__,
            "colondepth": version("colondepth"),
        },
        "enough_frames": settings.frames >= ENOUGH,
    }


def timed(settings: ScoreSettings, name: str) -> float:
    """Return how many seconds the frames take by one protocol."""
    from evaluation.evidence import Gathering
    from evaluation.score_journal import ScoreJournal
    from evaluation.scored_frames import Settings
    from evaluation.scoring import score_clips

    # A picture is changed when a frame is read, and reading is not what is timed.
    protocol = replace(named_protocol(name), picture=None)
    clip, source = _frames(settings)
    gathering = Gathering(
        far_mm=protocol.far_mm, quantity="abs_rel", lower_is_better=True, worst_count=0
    )
    with TemporaryDirectory() as folder, ScoreJournal(Path(folder), {}) as journal:
        begun = time.perf_counter()
        score_clips([clip], protocol, source, journal, gathering=gathering, settings=Settings())
        spent_s = time.perf_counter() - begun
        assert len(journal.frames) == settings.frames
    return spent_s


def print_report(report: Mapping[str, Any]) -> None:
    """Print what `bench` returned."""
    from rich.table import Table

    settings, machine = report["settings"], report["machine"]
    table = Table(
        "protocol", "seconds", "ms a frame", "processor", "alignments", box=None, pad_edge=False
    )
    rows: Sequence[Mapping[str, Any]] = report["protocols"]
    for row in rows:
        table.add_row(
            row["protocol"],
            f"{row['seconds']:.1f}",
            f"{row['ms_a_frame']:.1f}",
            f"{row['processor_seconds']:.1f} s",
            str(row["alignments"]),
        )
    out.print(table)
    _say(
        f"{settings['frames']} frames of {settings['height']}x{settings['width']} (rows x"
        f" columns) in memory, {settings['threads']} threads; no file read, no network asked"
    )
    _say(f"{machine['processor']}; torch {machine['torch']}, colondepth {machine['colondepth']}")
    _say("processor: time of all threads together, with the frames' making")
    busy = machine["load_before"]
    if busy is None:
        _say("nobody counts here how busy the machine was")
    else:
        _say(f"{busy:.1f} programs wanted the machine's {machine['cores']} cores before")
    if not report["enough_frames"]:
        _say(f"a trial: too few frames for a figure, take {ENOUGH} or more")


def _frames(settings: ScoreSettings) -> "tuple[Clip, DepthSource]":
    """Return a clip in memory and what predicts its depth."""
    import torch

    from colondepth.cameras import Camera
    from colondepth.views import Clip, View
    from evaluation.depth_sources import DepthSource, Found

    generator = torch.Generator().manual_seed(_SEED)
    shape = (_DISTINCT, 1, settings.height, settings.width)
    v = torch.linspace(-1, 1, settings.height)[:, None]
    u = torch.linspace(-1, 1, settings.width)
    tube = (_NEAR_MM / torch.hypot(u, v).clamp(min=_NEAR_MM / _FAR_MM)).expand(shape)
    true_mm = tube * (1 + _NOISE * torch.rand(shape, generator=generator))
    found_mm = true_mm * torch.exp(_NOISE * torch.randn(shape, generator=generator))
    std = torch.full(shape, _NOISE)
    camera = Camera.assumed(settings.height, settings.width)
    images = torch.rand(_DISTINCT, 3, settings.height, settings.width, generator=generator)

    def read(number: int) -> View:
        kind = number % _DISTINCT
        return View(image=images[kind], camera=camera, depth_mm=true_mm[kind])

    class Memory(DepthSource):
        """Predictions that are there already."""

        ahead = True

        def lacking(self, clip: Clip) -> Mapping[str, str]:
            """Nothing."""
            del clip
            return {}

        def depth(self, clip: str, own: View, view: View) -> Found:
            """The depth of a frame."""
            del clip, view
            kind = int(own["frame_id"]) % _DISTINCT
            return Found(depth_mm=found_mm[kind], log_depth_std=std[kind])

    names = [str(number) for number in range(settings.frames)]
    return Clip(read, names, camera=camera, name="memory"), Memory()


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
