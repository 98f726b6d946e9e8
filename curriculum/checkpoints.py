"""Checkpoints: one file each, whole or not at all, with everything that training goes on from.

    checkpoints/step-00001200.safetensors       tensors: network., average., optimiser.N.;
                                                metadata: state (JSON), digest of the tensors

No random state is kept: all that is drawn follows from the seed and the step. The last two are
kept, and the best.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from colondepth.atomic import written_whole
from curriculum.errors import CurriculumError, TrainingStoppedError

FORMAT, VERSION = "colondepth-checkpoint", 1
KEPT = 2
_NAME = re.compile(r"step-(\d{8})\.safetensors")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Checkpoint:
    """Where training stands after `step` steps."""

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]  # plain values


def write_checkpoint(folder: Path, checkpoint: Checkpoint, *, best_step: int | None) -> Path:
    """Write a checkpoint and delete those that are no longer needed.

    Args:
        folder: of the checkpoints.
        checkpoint: see `Checkpoint`.
        best_step: the one that is kept however old it gets.
    """
    tensors = {name: _packed(value) for name, value in checkpoint.tensors.items()}
    path = folder / f"step-{checkpoint.step:08d}.safetensors"
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "step": str(checkpoint.step),
        "state": json.dumps(checkpoint.state),
        "digest": _digest(tensors),
    }
    write_tensors(path, tensors, metadata)
    steps = [step for step in checkpoint_steps(folder) if step != checkpoint.step]
    recent = [checkpoint.step, *steps[::-1]][:KEPT]
    for step in steps:
        if step not in (*recent, best_step):
            (folder / f"step-{step:08d}.safetensors").unlink(missing_ok=True)
    return path


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors whole or not at all; a full disk ends training with a word about it."""
    try:
        with written_whole(path) as temporary:
            packed = {name: _packed(value) for name, value in tensors.items()}
            save_file(packed, temporary, metadata=dict(metadata))
            with temporary.open("rb") as file:
                os.fsync(file.fileno())  # the name must not outlive a power cut without content
    except (OSError, SafetensorError) as error:
        raise TrainingStoppedError(
            f"{path} could not be written ({error}); what stood before still stands. Make room, and"
            " the same command with --resume goes on"
        ) from error


def read_checkpoint(folder: Path, step: int) -> Checkpoint:
    """Read one checkpoint and check that it is whole; if not, the one before is offered."""
    path = folder / f"step-{step:08d}.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        if (metadata["format"], metadata["version"]) != (FORMAT, str(VERSION)):
            raise ValueError(f"it is {metadata['format']} version {metadata['version']}")
        if metadata["digest"] != _digest(tensors):
            raise ValueError("its content is not what was written")
        state = json.loads(metadata["state"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        before = [other for other in checkpoint_steps(folder) if other < step]
        cure = (
            f"delete it, and --resume goes on from step {before[-1]}"
            if before
            else "there is none before it: delete it and start anew"
        )
        raise CurriculumError(f"{path} is damaged ({error}); {cure}") from error
    return Checkpoint(step=step, tensors=tensors, state=state)


def checkpoint_steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, in order."""
    if not folder.is_dir():
        return []
    found = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)


def clear_remains(folder: Path) -> None:
    """Delete half-written files that a process that was killed has left."""
    for remains in folder.glob(".step-*-*.safetensors"):
        remains.unlink(missing_ok=True)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the tensors of an optimiser, by the number of their parameter and their name."""
    state = optimiser.state_dict()["state"]
    return {
        f"optimiser.{number}.{name}": value
        for number, parts in state.items()
        for name, value in parts.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` gave, in a new optimiser over the same parameters."""
    parameters = [each for group in optimiser.param_groups for each in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, number, part = name.split(".", maxsplit=2)
            own = parameters[int(number)]
            if value.shape == own.shape:
                # Fused steps walk through memory: what belongs to a parameter has its layout.
                value = torch.empty_like(own).copy_(value)
            state.setdefault(int(number), {})[part] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def _packed(value: Tensor) -> Tensor:
    """Return a tensor as files keep it: on the CPU, in the order of its axes, sharing nothing."""
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return what tells one content from another: names, types, shapes and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}/{value.dtype}/{tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
