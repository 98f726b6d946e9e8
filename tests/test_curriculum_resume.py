"""A run that was stopped in any way goes on as if it had not been."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_training
import torch

from curriculum.checkpoints import read_checkpoint
from curriculum.run_log import read_rows
from curriculum.supervised import Ways

STEPS = 26
KILLS = 2
NOT_OF_THE_CURVE = {"step_s"}


def curve(folder: Path) -> list[dict[str, object]]:
    rows = read_rows(folder / "train.jsonl") + read_rows(folder / "validation.jsonl")
    return [
        {name: value for name, value in row.items() if name not in NOT_OF_THE_CURVE} for row in rows
    ]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    tiny_training.make_cache(folder)
    return folder


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    tiny_training.go(folder, cache)
    return folder


class StopAt:
    """Ends the run after a step, as a power cut between two lines of code would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, standing, stage, figures) -> None:
        if standing.step == self.step:
            raise RuntimeError("power cut")


@pytest.mark.parametrize("step", [2, 9, 14, 15, 25])
def test_a_run_cut_at_a_step_goes_on_bit_for_bit(step, whole, cache, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        tiny_training.go(tmp_path, cache, ways=Ways(tick=StopAt(step)))
    tiny_training.go(tmp_path, cache)
    assert curve(tmp_path) == curve(whole)
    ends = [read_checkpoint(folder / "checkpoints", STEPS) for folder in (tmp_path, whole)]
    for name, value in ends[1].tensors.items():
        assert torch.equal(ends[0].tensors[name], value), name


@pytest.mark.slow
def test_a_run_killed_at_random_instants_goes_on_bit_for_bit(whole, cache, tmp_path):
    instants = random.Random(5)  # any will do
    command = [sys.executable, tiny_training.__file__, str(tmp_path), str(cache)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    kills = 0
    while True:
        run = subprocess.Popen(command, env=environment)
        reached = len(read_rows(tmp_path / "train.jsonl"))
        goal = reached + instants.randrange(5, 12)
        # Up to some line of the log, and then a moment more: anywhere in a step or a checkpoint.
        while (
            run.poll() is None and len(read_rows(tmp_path / "train.jsonl")) < goal and kills < KILLS
        ):
            time.sleep(0.001)
        if kills == KILLS:
            assert run.wait() == 0
            break
        time.sleep(instants.random() * 0.02)
        run.send_signal(signal.SIGKILL)
        run.wait()
        kills += 1
    assert curve(tmp_path) == curve(whole)
