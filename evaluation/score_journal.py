"""Scores on disk as frames are done, a JSON line each, so that a run can be taken up again.

    {"format": ..., "run": {...}}                     the first line: what is scored, and how
    {"clip": C, "frame": F, "scores": {...}}          null where a score is not defined
    {"clip": C, "frame": F, "why": W}                 a frame that was left out
    {"clip": C, "scale": S, "shift_mm": T}            one fit of a whole clip

Only the last line can be cut short, by a run that was killed; its frame is scored anew.
"""

import json
from collections.abc import Iterable, Mapping
from math import isnan, nan
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from colondepth.errors import DataError
from evaluation.summary import Exclusion, FrameScore

NAME = "scores.jsonl"
_FORMAT = "colondepth scores 1"


class ScoreJournal:
    """What is done of one run; a context manager, as the file stays open.

    Args:
        folder: of the evaluation; a journal of another run in it is an error.
        run: what is scored and how; two runs that differ here do not mix.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any]) -> None:
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{folder} is a file; expected a folder, new or of this evaluation")
        self.path = folder / NAME
        self.frames: dict[tuple[str, str], FrameScore] = {}
        self.exclusions: dict[tuple[str, str], Exclusion] = {}
        self.fits: dict[str, tuple[float, float]] = {}
        self._run = json.loads(json.dumps(run))
        self._whole = self._read() if self.path.is_file() else 0  # bytes of whole lines
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a", encoding="utf-8")
            self._file.truncate(self._whole)
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}") from error
        if not self._whole:
            self._write([{"format": _FORMAT, "run": self._run}])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def has(self, clip: str, frame: str) -> bool:
        """Return whether a frame is done, scored or left out."""
        return (clip, frame) in self.frames or (clip, frame) in self.exclusions

    def add(self, done: Iterable[FrameScore | Exclusion]) -> None:
        """Keep frames that are done; they are on disk when this returns."""
        lines: list[dict[str, Any]] = []
        for each in done:
            line: dict[str, Any] = {"clip": each.clip, "frame": each.frame}
            if isinstance(each, Exclusion):
                self.exclusions[each.clip, each.frame] = each
                line["why"] = each.why
            else:
                self.frames[each.clip, each.frame] = each
                line["scores"] = {
                    name: None if isnan(score) else score for name, score in each.scores.items()
                }
            lines.append(line)
        self._write(lines)

    def add_fit(self, clip: str, scale: float, shift_mm: float) -> None:
        """Keep the one fit of a clip."""
        self.fits[clip] = (scale, shift_mm)
        numbers = {"scale": scale, "shift_mm": shift_mm}
        self._write([{"clip": clip} | {k: None if isnan(v) else v for k, v in numbers.items()}])

    def _write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        assert self._file is not None, "the journal is a context manager"
        try:
            for line in lines:
                self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise DataError(
                f"cannot write {self.path}: {error.strerror}; what is done stays, and the same"
                " command goes on"
            ) from error

    def _read(self) -> int:
        """Take in what was done before; return how many bytes of the file are whole lines."""
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        lines = data[:whole].decode("utf-8", errors="replace").splitlines()
        if not lines:
            return 0
        rows = [self._row(line, number) for number, line in enumerate(lines, start=1)]
        if rows[0].get("format") != _FORMAT:
            raise DataError(f"{self.path} does not begin with {_FORMAT!r}; take another --out")
        before = rows[0].get("run", {})
        keys = sorted({*before, *self._run})
        odd = [key for key in keys if _of(before, key) != _of(self._run, key)]
        if odd and len(rows) == 1:
            return 0  # a run that ended before its first score is no run; this one takes its place
        if odd:
            raise DataError(
                f"{self.path.parent} holds scores of another run: {odd[0]} was"
                f" {_of(before, odd[0])!r} and is {_of(self._run, odd[0])!r}; take another --out,"
                " or delete that folder"
            )
        for number, row in enumerate(rows[1:], start=2):
            try:
                self._take(row)
            except (KeyError, TypeError, AttributeError) as error:
                raise DataError(self._broken(number)) from error
        return whole

    def _take(self, row: Mapping[str, Any]) -> None:
        clip = row["clip"]
        if "scale" in row:
            self.fits[clip] = (_number(row["scale"]), _number(row["shift_mm"]))
        elif "why" in row:
            self.exclusions[clip, row["frame"]] = Exclusion(clip, row["frame"], row["why"])
        else:
            scores = {name: _number(score) for name, score in row["scores"].items()}
            self.frames[clip, row["frame"]] = FrameScore(clip, row["frame"], scores)

    def _row(self, line: str, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(self._broken(number)) from error
        if not isinstance(row, dict):
            raise DataError(self._broken(number))
        return row

    def _broken(self, number: int) -> str:
        return f"{self.path}, line {number} is damaged; delete the lines from there on"


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


def _of(run: Mapping[str, Any], key: str) -> Any:
    return run.get(key, "not stated")
