"""What a run writes about itself, step by step: JSON lines, and TensorBoard where it is wanted.

    train.jsonl         a line a step: step, stage, source, loss, terms, learning_rate, ...
    validation.jsonl    a line a validation: step, stage, scores by level

Going on from a checkpoint first takes back the lines after it, so that the files are those of a run
that was never stopped.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TextIO

from colondepth.atomic import written_whole
from colondepth.errors import MissingExtraError
from curriculum.errors import CurriculumError, TrainingStoppedError

TRAIN, VALIDATION = "train.jsonl", "validation.jsonl"


class RunLog:
    """Writes the lines of a run; leave it with `with`."""

    def __init__(self, folder: Path | None, *, step: int, tensorboard: bool) -> None:
        """Open the files and take back what was written after `step` steps.

        Args:
            folder: of the run; None for a process that writes nothing.
            step: the last one that counts.
            tensorboard: whether TensorBoard's files are written as well.
        """
        self._files: dict[str, TextIO] = {}
        self._board: Any = None
        if folder is None:
            return
        self._board = _board(folder, step) if tensorboard else None
        for name in (TRAIN, VALIDATION):
            _cut(folder / name, step)
            self._files[name] = (folder / name).open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *reason: object) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        if self._board is not None:
            self._board.close()

    def step(self, row: Mapping[str, Any]) -> None:
        """Write the line of a training step."""
        self._write(TRAIN, row)
        if self._board is not None:
            for name in ("loss", "learning_rate", "gradient_norm"):
                self._board.add_scalar(f"train/{name}", row[name], row["step"])
            for name, value in row["terms"].items():
                self._board.add_scalar(f"terms/{name}", value, row["step"])

    def validation(self, row: Mapping[str, Any]) -> None:
        """Write the line of a validation."""
        self._write(VALIDATION, row)
        if self._board is not None:
            for level, scores in row["scores"].items():
                for name, value in scores.items():
                    self._board.add_scalar(f"{name}/{level}", value, row["step"])

    def _write(self, name: str, row: Mapping[str, Any]) -> None:
        if name not in self._files:
            return
        try:
            self._files[name].write(json.dumps(row) + "\n")
            self._files[name].flush()
        except OSError as error:
            raise TrainingStoppedError(
                f"{name} could not be written at step {row['step']} ({error.strerror}). Make room,"
                " and the same command with --resume goes on from the last checkpoint"
            ) from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a log; a last one that was cut short does not count."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        raise CurriculumError(
            f"{path} has a line that is no JSON ({error}); delete that line, or the file: training"
            " goes on without"
        ) from error


def _cut(path: Path, step: int) -> None:
    kept = [row for row in read_rows(path) if row["step"] <= step]
    with written_whole(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError(
            "--tensorboard needs the package tensorboard: pip install tensorboard"
        ) from error
    return SummaryWriter(folder / "tensorboard", purge_step=step + 1)
