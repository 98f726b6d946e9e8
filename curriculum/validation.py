"""How good a network is on frames that training never sees: fixed ones, a few batches a level."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from colondepth.errors import DataError
from colondepth.views import Prediction
from curriculum.cache import HELD_OUT_SEED, BatchCache, CacheKey, write_cache
from curriculum.stream import RenderedLevel, moved

HELD_OUT_BATCH = 8
_FAR_FACTOR = 1.25  # Eigen, Puhrsch and Fergus (2014)
_LEAST_MM = 1e-3  # below it a prediction is "does not know"

Scores = Mapping[str, Tensor]  # name -> (B,), nan for a frame that has no ground truth
Score = Callable[[Prediction, Mapping[str, Any]], Scores]


def depth_scores(prediction: Prediction, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the usual measures of depth for each frame, as they stand and after one scale.

    `delta_1`: share of pixels within a factor of 1.25; `abs_rel`: mean |error| / depth; `rmse_mm`.
    The same with `scaled_` before: the frame's prediction multiplied by median true depth over
    median predicted depth first. Over the valid pixels with depth; nan for a frame without.
    """
    known = (batch["depth_mm"] > 0) & batch.get("valid", torch.tensor(True))
    rows: dict[str, list[Tensor]] = {}
    for frame in range(len(known)):
        inside = known[frame, 0]
        true_mm = batch["depth_mm"][frame, 0][inside].float()
        found_mm = prediction.depth_mm[frame, 0][inside].float().clamp(min=_LEAST_MM)
        scores = _scores(found_mm, true_mm)
        scale = true_mm.median() / found_mm.median() if len(true_mm) else 1.0
        scaled = _scores(found_mm * scale, true_mm)
        scores |= {f"scaled_{name}": value for name, value in scaled.items()}
        for name, value in scores.items():
            rows.setdefault(name, []).append(value)
    return {name: torch.stack(values) for name, values in rows.items()}


def held_out(
    folder: Path,
    levels: Iterable[str],
    *,
    size: tuple[int, int],
    batches: int,
    seed: int,
    device: str,
    made_with: Mapping[str, Any],
    note: Callable[[str], None] = lambda words: None,
) -> dict[str, BatchCache]:
    """Return the fixed batches of each level, rendered now if the folder lacks them.

    Args:
        folder: where they are kept from run to run.
        levels: names.
        size: (height, width).
        batches: of each level, of `HELD_OUT_BATCH` frames.
        seed: the one that training draws from.
        device: where to render.
        made_with: noted beside them.
        note: told what is being rendered.
    """
    if seed == HELD_OUT_SEED:
        raise DataError(f"seed {seed} is kept for validation; train with another")
    found = {}
    for level in levels:
        key = CacheKey(level=level, seed=HELD_OUT_SEED, size=size, batch=HELD_OUT_BATCH)
        if not (folder / key.folder / f"{batches - 1:08d}.safetensors").exists():
            note(f"rendering {batches * HELD_OUT_BATCH} frames of level {level} for validation")
        own = write_cache(
            folder,
            key,
            RenderedLevel(key=key, device=device).open(),
            batches=batches,
            shard_batches=1,
            made_with=made_with,
        )
        found[level] = BatchCache(own)
    return found


@torch.no_grad()
def validate(
    network: nn.Module,
    caches: Mapping[str, BatchCache],
    *,
    batches: int,
    device: torch.device,
    score: Score = depth_scores,
) -> dict[str, dict[str, float]]:
    """Return the mean scores of each level; a frame without ground truth does not count."""
    before = network.training
    network.eval()
    answer = {}
    for level, cache in caches.items():
        rows: dict[str, list[Tensor]] = {}
        for number in range(batches):
            batch = moved(cache[number], device)
            for name, values in score(network(batch), batch).items():
                rows.setdefault(name, []).append(values)
        answer[level] = {name: torch.cat(parts).nanmean().item() for name, parts in rows.items()}
    network.train(before)
    return answer


def _scores(found_mm: Tensor, true_mm: Tensor) -> dict[str, Tensor]:
    error_mm = found_mm - true_mm
    ratio = torch.maximum(found_mm / true_mm, true_mm / found_mm)
    return {
        "delta_1": (ratio < _FAR_FACTOR).float().mean(),
        "abs_rel": (error_mm.abs() / true_mm).mean(),
        "rmse_mm": error_mm.square().mean().sqrt(),
    }
