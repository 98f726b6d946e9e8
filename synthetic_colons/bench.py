"""How fast the renderer is, frame by frame with all ground truth, beside Embree and VTK.

The renderer is timed in processes of its own: the first begins with an empty cache of kernels, the
second with what the first left there, and the peak of its memory is nobody else's.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from colondepth.errors import DataError
from colondepth.machine import load, peak_memory_mb
from colondepth.reconstruction.visibility import SEEN_MM
from synthetic_colons.bench_rivals import embree_ms, vtk_ms
from synthetic_colons.clips import SyntheticClip
from synthetic_colons.colon_mesh import colon_mesh
from synthetic_colons.ground_truth import Coverage, facing
from synthetic_colons.kernels import can_compile
from synthetic_colons.provenance import made_with

WARM_UP = 4  # frames that are not counted: kernels, caches, allocators
ENOUGH = 30  # frames from which a median is a figure and not a trial
_SPARE_MM = 2.0  # of mesh beyond what was seen: rays at its cut ends


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """What is rendered, and where."""

    level: str = "5"
    seed: int = 1
    frames: int = 60
    height: int = 256
    width: int = 320
    device: str = "cpu"


def bench(settings: BenchSettings, *, tick: Callable[[str], None] = lambda _: None) -> Any:
    """Measure, and return what JSON holds of it.

    Args:
        settings: see there.
        tick: told what is going on.
    """
    if settings.frames < 1:
        raise DataError(f"{settings.frames} frames to measure; expected 1 or more")
    compiles, busy = can_compile(), load()
    cold = None
    with tempfile.TemporaryDirectory(prefix="colondepth-bench-") as cache:
        if compiles:
            tick("Compiling kernels into an empty cache")
            cold = _in_a_process(settings, 0, cache)
        tick(f"Rendering {settings.frames} frames")
        warm = _in_a_process(settings, settings.frames, cache)
    tick("Meshing the stretch that was seen")
    clip = _clip(settings)
    mesh = colon_mesh(clip.colon, stretch=_stretch(warm.pop("seen_mm"), clip.colon.length_mm))
    poses = clip.path.world_from_camera[WARM_UP : WARM_UP + settings.frames]
    tick("Embree")
    embree = embree_ms(mesh, clip.camera, poses)
    tick("VTK")
    vtk = vtk_ms(mesh, clip.camera, poses)
    for rival in (embree, vtk):
        if "times_ms" in rival:
            rival["frame"] = spread(rival.pop("times_ms"))
            ours = warm["frame"]["median_ms"]
            rival["ours_to_this"] = ours / rival["frame"]["median_ms"]
    return {
        "settings": asdict(settings),
        "made_with": made_with(settings.device),
        "machine": {"cores": os.cpu_count(), "load_before": busy},
        "enough_frames": settings.frames >= ENOUGH,
        "renderer": {
            "compiled": compiles,
            "first_frame_cold_s": None if cold is None else cold["first_frame_s"],
            "first_frame_cached_s": warm.pop("first_frame_s"),
            **warm,
        },
        "mesh": {"vertices": len(mesh.vertices), "triangles": len(mesh.faces)},
        "embree": embree,
        "vtk": vtk,
    }


def rendered(settings: BenchSettings, frames: int) -> dict[str, Any]:
    """Time the renderer in this process; with 0 frames nothing but the first frame of all."""
    device = torch.device(settings.device)
    begun = time.perf_counter()
    clip = _clip(settings)
    built_s = time.perf_counter() - begun
    begun = time.perf_counter()
    clip[0]
    _finish(device)
    found: dict[str, Any] = {"first_frame_s": time.perf_counter() - begun, "clip_s": built_s}
    if not frames:
        return found
    tip = clip.path.arc_mm(clip.path.times_s)
    coverage = Coverage(clip.colon, (float(tip.min()), float(tip.max()) + SEEN_MM))
    rays = clip.camera.rays(settings.height, settings.width)
    for number in range(1, WARM_UP):
        coverage.add(clip[number].rendering, facing(clip[number].rendering, rays))
    stages: dict[str, list[float]] = {"rendering": [], "flow and picture": [], "coverage": []}
    low, high = clip.colon.length_mm, 0.0
    for number in range(WARM_UP, WARM_UP + frames):
        times = [time.perf_counter()]
        clip.rendering(number + 1)  # flow needs the next frame; this one was rendered before
        times.append(_finish(device))
        frame = clip[number]
        times.append(_finish(device))
        coverage.add(frame.rendering, facing(frame.rendering, rays))
        times.append(_finish(device))
        for own, start, end in zip(stages.values(), times, times[1:], strict=False):
            own.append(1000 * (end - start))
        arc = frame.rendering.arc_mm[frame.rendering.valid]
        low, high = min(low, float(arc.min())), max(high, float(arc.max()))
    whole = [sum(each) for each in zip(*stages.values(), strict=True)]
    found |= {
        "frame": spread(whole),
        "stages": {name: spread(each) for name, each in stages.items()},
        "frames_per_s": 1000 / spread(whole)["median_ms"],
        "threads": torch.get_num_threads(),
        "peak_memory_mb": peak_memory_mb(),
        "peak_device_memory_mb": None,
        "seen_mm": (low, high),
    }
    if device.type == "cuda":
        found["peak_device_memory_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
    return found


def spread(times_ms: Sequence[float]) -> dict[str, float]:
    """Return the median and the quartiles of times."""
    times = torch.tensor(times_ms, dtype=torch.float64)
    shares = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    low, middle, high = times.quantile(shares).tolist()
    return {"median_ms": middle, "quartile_ms": low, "third_quartile_ms": high}


def _clip(settings: BenchSettings) -> SyntheticClip:
    return SyntheticClip(
        settings.level,
        seed=settings.seed,
        frames=WARM_UP + settings.frames + 1,
        height=settings.height,
        width=settings.width,
        device=settings.device,
    )


def _in_a_process(settings: BenchSettings, frames: int, cache: str) -> dict[str, Any]:
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=_use_cache, initargs=(cache,)
    ) as pool:
        return pool.submit(rendered, settings, frames).result()


def _use_cache(folder: str) -> None:
    """Have kernels kept in a folder; runs in a new process, before any is compiled."""
    os.environ["COLONDEPTH_CACHE"] = folder
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "inductor")
    os.environ["TRITON_CACHE_DIR"] = str(Path(folder) / "triton")


def _finish(device: torch.device) -> float:
    """Wait until the device has nothing left to do; return the time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _stretch(seen_mm: tuple[float, float], length_mm: float) -> tuple[float, float]:
    low, high = seen_mm
    return max(0.0, low - _SPARE_MM), min(length_mm, high + _SPARE_MM)
