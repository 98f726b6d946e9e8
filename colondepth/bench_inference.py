"""How many frames a second networks answer for, one image at a time.

Each network is timed in a process of its own, one after the other, so that the peak of memory is
its own and no other's cache is warm. Weights are untrained: they take as long as trained ones. What
is timed is what `predict` does with a frame in memory, without reading and writing files.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing import get_context
from typing import Any

import torch

from colondepth.backbones.contract import Needs
from colondepth.backbones.fitting import LEAST_SIDE
from colondepth.backbones.registry import create
from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.inference import Predictor
from colondepth.machine import load, peak_memory_mb, processor

REFERENCE = "monodepth2"  # what the others are compared with
WARM_UP = 5  # frames that are not counted: caches, allocators, the camera's rays
ENOUGH = 30  # frames from which a median is a figure and not a trial
_SEED = 1  # of weights and images


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceSettings:
    """What is timed, and how."""

    backbones: tuple[str, ...]
    frames: int = 60
    height: int = 256
    width: int = 320
    threads: int = 1
    device: str = "cpu"


def bench(settings: InferenceSettings, *, tick: Callable[[str], None] = lambda _: None) -> Any:
    """Measure, and return what JSON holds of it; `REFERENCE` is measured in any case.

    Args:
        settings: see there.
        tick: told what is going on.
    """
    require_settings(settings)
    busy = load()
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys([*settings.backbones, REFERENCE]):
        tick(f"Timing {name}")
        rows.append(_in_a_process(settings, name))
    reference = next(row["frames_per_s"] for row in rows if row["backbone"] == REFERENCE)
    for row in rows:
        row["times_reference"] = row["frames_per_s"] / reference
    return {
        "settings": asdict(settings),
        "reference": REFERENCE,
        "weights": "untrained",
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "load_before": busy,
            "torch": torch.__version__,
            "colondepth": version("colondepth"),
        },
        "enough_frames": settings.frames >= ENOUGH,
        "backbones": rows,
    }


def require_settings(settings: InferenceSettings) -> None:
    """Check everything that can be checked before the first network is timed."""
    if settings.frames < 1 or settings.threads < 1:
        raise DataError(
            f"{settings.frames} frames on {settings.threads} threads; expected 1 or more of both"
        )
    if min(settings.height, settings.width) < LEAST_SIDE:
        raise DataError(
            f"images of {settings.height}x{settings.width}; expected {LEAST_SIDE}x{LEAST_SIDE} or"
            " more"
        )
    for name in settings.backbones:
        with torch.device("meta"):  # shapes without numbers
            needs = create(name).needs
        if needs is not Needs.IMAGE:
            raise DataError(f"{name} needs {needs}; this times networks that need an image only")


def timed(settings: InferenceSettings, name: str) -> dict[str, Any]:
    """Time one network in this process."""
    torch.set_num_threads(settings.threads)
    device = torch.device(settings.device)
    generator = torch.Generator().manual_seed(_SEED)
    torch.manual_seed(_SEED)
    predictor = Predictor(create(name), device=device)
    images = torch.rand(2, 3, settings.height, settings.width, generator=generator)
    camera = Camera.assumed(settings.height, settings.width)
    times_ms: list[float] = []
    for number in range(WARM_UP + settings.frames):
        begun = time.perf_counter()
        predictor.predict(images[number % 2], camera)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times_ms.append(1000 * (time.perf_counter() - begun))
    spread = quartiles(times_ms[WARM_UP:])
    peak = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
    return {
        "backbone": name,
        "frames_per_s": 1000 / spread["median_ms"],
        **spread,
        "parameters": sum(each.numel() for each in create(name).parameters()),
        "network_size": list(predictor.backbone.sizes.nearest(settings.height, settings.width)),
        "peak_memory_mb": peak_memory_mb(),
        "peak_device_memory_mb": peak,
        "threads": torch.get_num_threads(),
    }


def quartiles(times_ms: Sequence[float]) -> dict[str, float]:
    """Return the median of times and their quartiles."""
    if len(times_ms) == 1:
        return dict.fromkeys(("median_ms", "quartile_ms", "third_quartile_ms"), times_ms[0])
    low, _, high = statistics.quantiles(times_ms, n=4, method="inclusive")
    return {
        "median_ms": statistics.median(times_ms),
        "quartile_ms": low,
        "third_quartile_ms": high,
    }


def _in_a_process(settings: InferenceSettings, name: str) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(timed, settings, name).result()
