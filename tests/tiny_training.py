"""A training small enough for tests: a network of a few hundred weights and a recipe of two stages.

As a program it begins or goes on with a run: python tiny_training.py FOLDER CACHE.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, softplus

from colondepth.backbones.contract import Backbone, SizeRule
from colondepth.cameras import Camera
from colondepth.views import Prediction
from curriculum.cache import HELD_OUT_SEED, CacheKey, write_cache
from curriculum.objective import LossFunction
from curriculum.recipe_files import parse_recipe
from curriculum.run_folder import RUN, RunFacts, begin, read_facts
from curriculum.stages import Recipe
from curriculum.stream import cached_batches
from curriculum.supervised import Outcome, Ways, seeded, train
from curriculum.validation import HELD_OUT_BATCH

SIZE, BATCH, CACHED, SEED = (32, 48), 2, 8, 3

RECIPE = """
validate_every = 5
validation_batches = 1
checkpoint_every = 4

[every_stage]
patience = 0
size = [32, 48]
batch = 2
learning_rate = 0.01
schedule = "cosine"
final_share = 0.1
warm_up_steps = 2
weight_decay = 0.01
clip_norm = 1.0
ema_decay = 0.9
precision = "float32"
losses = { log_depth = 1.0, magnitude = { weight = 0.01, power = 2.0 } }
augmentation = { gain = 0.3, noise = 0.02, flip_across = true, flip_down = true }

[[stage]]
name = "tubes"
levels = { 1 = 1.0 }
steps = 14

[[stage]]
name = "again"
levels = { 1 = 1.0 }
steps = 12
schedule = "constant"
"""


class TinyDepth(Backbone):
    """Two convolutions with a norm and dropout between: all that a checkpoint must keep."""

    sizes = SizeRule(multiple=4)

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, kernel_size=3, stride=4, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Conv2d(width, 1, kernel_size=3, padding=1)
        self.to(memory_format=torch.channels_last)  # a layout that no file keeps

    def forward(self, batch: Mapping[str, Any]) -> Prediction:
        image = batch["image"]
        x = self.drop(self.norm(self.first(image)).relu())  # (B, width, H/4, W/4)
        x = softplus(self.last(x)) * 30  # (B, 1, H/4, W/4)
        depth_mm = interpolate(x, image.shape[-2:], mode="bilinear", align_corners=False)
        return Prediction(depth_mm=depth_mm)


def log_depth(prediction: Prediction, batch: Mapping[str, Any]) -> Tensor:
    known = batch["valid"] & (batch["depth_mm"] > 0)
    one = torch.ones_like(prediction.depth_mm)
    found = torch.where(known, prediction.depth_mm, one).log()
    true = torch.where(known, batch["depth_mm"], one).log()
    return (found - true).abs().mean()


def magnitude(prediction: Prediction, batch: Mapping[str, Any], *, power: float = 1.0) -> Tensor:
    return (prediction.depth_mm / 100).pow(power).mean()


LOSSES = {"log_depth": log_depth, "magnitude": magnitude}


def tubes(number: int) -> dict[str, Any]:
    """Return a batch of views along tubes of several radii, darker with distance."""
    generator = torch.Generator().manual_seed(number)
    focal_px = 25 + 10 * torch.rand(BATCH, generator=generator)
    height, width = SIZE
    camera = Camera.pinhole(
        fx=focal_px, fy=focal_px * 1.1, cx=width / 2.1, cy=height / 1.9, height=height, width=width
    )
    rays = camera.rays(height, width)  # (B, H, W, 3)
    radius_mm = 15 + 20 * torch.rand(BATCH, 1, 1, generator=generator)
    distance_mm = (radius_mm / rays[..., :2].norm(dim=-1).clamp(min=0.1))[:, None]  # (B, 1, H, W)
    grain = torch.rand(BATCH, 3, height, width, generator=generator)
    return {
        "image": ((10 / distance_mm) * (0.5 + 0.5 * grain)).clamp(0, 1),
        "camera": camera,
        "valid": distance_mm < 150,
        "distance_mm": distance_mm,
    }


def make_cache(folder: Path) -> Path:
    """Write what the recipe trains on and is judged by, which need not be rendered then."""
    trained = CacheKey(level="1", seed=SEED, size=SIZE, batch=BATCH)
    write_cache(folder, trained, tubes, batches=CACHED, shard_batches=4, made_with={})
    judged = CacheKey(level="1", seed=HELD_OUT_SEED, size=SIZE, batch=HELD_OUT_BATCH)
    write_cache(folder, judged, tubes, batches=1, shard_batches=1, made_with={})
    return folder


def recipe(*changes: str) -> Recipe:
    return parse_recipe(RECIPE, where="tiny", changes=changes)


def facts(cache: Path | None) -> RunFacts:
    return RunFacts(
        network="tiny",
        seed=SEED,
        threads=1,
        cache=None if cache is None else str(cache),
        cached_batches=cached_batches(cache),
        made_with={"torch": torch.__version__},
    )


def go(
    folder: Path,
    cache: Path | None,
    *,
    follow: Recipe | None = None,
    ways: Ways | None = None,
    losses: Mapping[str, LossFunction] = LOSSES,
) -> Outcome:
    """Begin a run, or go on with it."""
    follow = follow or recipe()
    if not (folder / RUN).exists():
        begin(folder, facts(cache), follow)
    return train(
        seeded(TinyDepth, SEED),
        follow,
        folder,
        facts=read_facts(folder),
        find_loss=losses.__getitem__,
        ways=ways or Ways(),
    )


if __name__ == "__main__":
    go(Path(sys.argv[1]), Path(sys.argv[2]))
