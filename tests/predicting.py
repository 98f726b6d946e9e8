"""What the tests of `colondepth predict` begin with: small weights, images, and a run of it."""

import sys
from pathlib import Path

import pytest
import torch

from colondepth import cli
from colondepth.backbones.registry import create
from colondepth.cameras import Camera, to_file
from colondepth.images import write_image
from colondepth.weights.files import save_weights

H, W, STILLS = 40, 56, 3


def small_weights(path: Path) -> Path:
    """Write weights of a small network that tells images apart; it did not learn to."""
    torch.manual_seed(6)
    made = create("sfsnet_lite", shading=False)
    with torch.no_grad():
        for _ in range(6):
            made({"image": torch.rand(2, 3, 64, 64), "camera": Camera.assumed(64, 64)})
        made.head.weight *= 30
    save_weights(
        *(made.eval(), path),
        backbone="sfsnet_lite",
        options={"shading": False},
        commit="c0ffee",
        seed=1,
        recipe="none at all",
    )
    return path


def write_stills(folder: Path) -> Path:
    """Make a folder of images with their camera."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(2)
    for number in range(STILLS):
        write_image(torch.rand(3, H, W, generator=generator), folder / f"{number:02d}.png")
    to_file(camera(), folder / "camera.json")
    return folder


def camera() -> Camera:
    return Camera.pinhole(fx=50, fy=45, cx=26, cy=21, height=H, width=W)


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: object, weights: Path | None) -> int:
    """Run `predict` in this process, with the small weights if given."""
    small = ["--backbone", "sfsnet_lite", "--weights", str(weights)] if weights else []
    monkeypatch.setattr(
        sys, "argv", ["colondepth", "predict", *map(str, arguments), *small, "--device", "cpu"]
    )
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code)
