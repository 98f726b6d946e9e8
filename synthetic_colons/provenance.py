"""What a file or a figure was made with: version, commit, torch, device."""

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from colondepth.machine import processor

_PATIENCE_S = 5  # a git that hangs, as on a network disk, is no reason to wait


def made_with(device: torch.device | str) -> dict[str, Any]:
    """Return the versions and the device behind a result."""
    device = torch.device(device)
    on_gpu = device.type == "cuda"
    return {
        "colondepth": version("colondepth"),
        "commit": commit(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if on_gpu else str(device),
        "processor": processor(),
    }


def commit() -> str | None:
    """Return the commit of the checkout that runs, "-dirty" if changed; None if installed."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():  # else a repository around an environment would answer
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
