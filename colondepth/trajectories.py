"""Camera trajectories: one world_from_camera a frame, and the four text forms they come in.

Inside: float64 millimetres, right-handed, camera x right, y down, z forward.

    tum       t tx ty tz qx qy qz qw, comments after #          unit not stated in the file
    kitti     the upper 3x4 of the matrix, row after row        unit not stated in the file
    c3vd      16 numbers with commas; documented row-major,     mm
              published column-major: the 0 0 0 1 tells
    simcol3d  SavedPosition_X.txt (tx ty tz) beside             cm, and left-handed (Unity):
              SavedRotationQuaternion_X.txt (qx qy qz qw)       right-handed is D M D

with D = diag(1, -1, 1, 1). All four hold camera-to-world, one line a frame; only tum holds times.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.errors import DataError
from colondepth.motion import (
    LAST_ROW_TOLERANCE,
    quaternion_from_rotation,
    relative,
    require_rigid,
    rigid_motion,
    rotation_from_quaternion,
    so3_log,
)
from colondepth.shapes import require_finite, require_shapes


class TrajectoryForm(StrEnum):
    """How a trajectory is written; the module says what each holds."""

    TUM = "tum"
    KITTI = "kitti"
    C3VD = "c3vd"
    SIMCOL3D = "simcol3d"


STATED_MM_PER_UNIT = {TrajectoryForm.C3VD: 1.0, TrajectoryForm.SIMCOL3D: 10.0}
QUATERNION_TOLERANCE = 1e-2  # of its length: four digits pass, columns in a wrong order do not
_POSITION, _ROTATION = "SavedPosition_", "SavedRotationQuaternion_"
_MIRROR = torch.diag(torch.tensor([1, -1, 1, 1], dtype=torch.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """Where a camera was, frame by frame.

    Attributes:
        world_from_camera: rigid, millimetres, float64, shape (N, 4, 4), N at least 1.
        time_s: increasing, float64, shape (N,); None where nobody wrote the times down.
    """

    world_from_camera: Tensor
    time_s: Tensor | None = None

    def __post_init__(self) -> None:
        size = require_shapes(world_from_camera=(self.world_from_camera, "N 4 4"))
        if size["N"] == 0:
            raise DataError("a trajectory without frames; expected at least 1")
        require_rigid(world_from_camera=self.world_from_camera)
        self._require_double("world_from_camera", self.world_from_camera)
        if self.time_s is not None:
            require_shapes(
                world_from_camera=(self.world_from_camera, "N 4 4"), time_s=(self.time_s, "N")
            )
            self._require_double("time_s", self.time_s)
            require_finite(time_s=self.time_s)
            late = (self.time_s.diff() <= 0).nonzero()
            if len(late):
                frame = int(late[0]) + 1
                before, after = self.time_s[frame - 1 : frame + 1].tolist()
                raise DataError(
                    f"time_s[{frame}] is {after!r}, expected more than the {before!r} before it"
                )

    def __len__(self) -> int:
        return len(self.world_from_camera)

    def step_mm(self) -> Tensor:
        """Return how far the camera moved from each frame to the next, shape (N - 1,)."""
        steps = self.world_from_camera[:, :3, 3].diff(dim=0)  # (N - 1, 3)
        length: Tensor = torch.linalg.vector_norm(steps, dim=-1)
        return length

    def turn_rad(self) -> Tensor:
        """Return by what angle the camera turned from each frame to the next, shape (N - 1,)."""
        turn = relative(self.world_from_camera[:-1], self.world_from_camera[1:])
        angle: Tensor = torch.linalg.vector_norm(so3_log(turn[:, :3, :3]), dim=-1)
        return angle

    @staticmethod
    def _require_double(name: str, tensor: Tensor) -> None:
        if tensor.dtype != torch.float64:
            found = str(tensor.dtype).removeprefix("torch.")
            raise DataError(f"{name} holds {found}, expected float64: call .double() on it")


def read_trajectory(
    path: Path | str, *, form: TrajectoryForm, mm_per_unit: float | None = None
) -> Trajectory:
    """Read a trajectory and turn it into right-handed millimetres.

    Args:
        path: the file; of simcol3d either one of the pair.
        form: how it is written; see the module.
        mm_per_unit: millimetres in the file's unit of length, 1000 for metres. Needed for tum and
            kitti, whose files do not say; c3vd and simcol3d have theirs and accept no other.
    """
    path = Path(path)
    unit_mm = _unit_mm(path, form, mm_per_unit)
    world_from_camera, time_s = _READERS[form](path)
    world_from_camera[:, :3, 3] *= unit_mm
    try:
        return Trajectory(world_from_camera, time_s)
    except DataError as error:
        raise DataError(f"{path}, frames counted from 0: {error}") from error


def write_trajectory(
    trajectory: Trajectory,
    path: Path | str,
    *,
    form: TrajectoryForm,
    mm_per_unit: float | None = None,
) -> None:
    """Write a trajectory with as many digits as it has; see `read_trajectory` for the arguments.

    Only tum holds times: the other forms are written without them, and tum needs them.
    """
    path = Path(path)
    unit_mm = _unit_mm(path, form, mm_per_unit)
    matrices = trajectory.world_from_camera.detach().cpu().clone()
    matrices[:, :3, 3] /= unit_mm
    tables: list[tuple[Path, Tensor]]
    if form is TrajectoryForm.SIMCOL3D:
        position, rotation = _simcol3d_pair(path)
        matrices = _MIRROR @ matrices @ _MIRROR
        quaternion = quaternion_from_rotation(matrices[:, :3, :3])
        tables = [(position, matrices[:, :3, 3]), (rotation, quaternion)]
    elif form is TrajectoryForm.TUM:
        if trajectory.time_s is None:
            raise DataError(f"{path}: tum needs a time for every frame, and there are none")
        time_s = trajectory.time_s.detach().cpu()[:, None]  # (N, 1)
        quaternion = quaternion_from_rotation(matrices[:, :3, :3])
        tables = [(path, torch.cat([time_s, matrices[:, :3, 3], quaternion], dim=-1))]
    elif form is TrajectoryForm.KITTI:
        tables = [(path, matrices[:, :3].flatten(1))]
    else:
        tables = [(path, matrices.mT.flatten(1))]  # column-major, as published
    separator = "," if form is TrajectoryForm.C3VD else " "
    with ExitStack() as stack:
        for target, rows in tables:
            lines = [separator.join(map(repr, row)) + "\n" for row in rows.tolist()]
            file = stack.enter_context(written_whole(target))
            file.write_text("".join(lines), encoding="utf-8")


def guess_form(path: Path | str) -> TrajectoryForm | None:
    """Tell the form from the first line and, for simcol3d, the name; None where nothing fits."""
    path = Path(path)
    lines = [line for _, line in _lines(path, comments=True)]
    if not lines:
        raise DataError(f"{path} holds no frames; expected one line a frame")
    if "," in lines[0]:
        return TrajectoryForm.C3VD if lines[0].count(",") == 15 else None
    count = len(lines[0].split())
    for prefix, width in ((_POSITION, 3), (_ROTATION, 4)):
        if path.name.startswith(prefix):
            return TrajectoryForm.SIMCOL3D if count == width else None
    return {8: TrajectoryForm.TUM, 12: TrajectoryForm.KITTI}.get(count)


def _unit_mm(path: Path, form: TrajectoryForm, mm_per_unit: float | None) -> float:
    stated = STATED_MM_PER_UNIT.get(form)
    if mm_per_unit is None:
        if stated is None:
            raise DataError(
                f"{path}: {form} states no unit of length; give mm_per_unit"
                " (1000 for metres, 10 for centimetres, 1 for millimetres)"
            )
        return stated
    if not (isfinite(mm_per_unit) and mm_per_unit > 0):
        raise DataError(f"{path}: mm_per_unit is {mm_per_unit:g}, expected a positive number")
    if stated not in (None, mm_per_unit):
        raise DataError(
            f"{path}: mm_per_unit is {mm_per_unit:g}, but {form} has {stated:g}; leave it out"
        )
    return mm_per_unit


def _read_tum(path: Path) -> tuple[Tensor, Tensor | None]:
    numbers, rows = _table(path, "t tx ty tz qx qy qz qw", comments=True)
    return rigid_motion(_rotations(path, numbers, rows[:, 4:]), rows[:, 1:4]), rows[:, 0].clone()


def _read_kitti(path: Path) -> tuple[Tensor, Tensor | None]:
    _, rows = _table(path, "r11 r12 r13 tx r21 r22 r23 ty r31 r32 r33 tz")
    matrices = rows.reshape(-1, 3, 4)
    return rigid_motion(matrices[:, :, :3], matrices[:, :, 3]), None


def _read_c3vd(path: Path) -> tuple[Tensor, Tensor | None]:
    entries = ",".join(f"m{i}{j}" for j in range(1, 5) for i in range(1, 5))
    numbers, rows = _table(path, entries, separator=",")
    raw = rows.reshape(-1, 4, 4)
    last = torch.tensor([0, 0, 0, 1], dtype=raw.dtype)
    by_rows = (raw[:, 3] - last).abs().amax(dim=-1) <= LAST_ROW_TOLERANCE  # (N,)
    by_columns = (raw[:, :, 3] - last).abs().amax(dim=-1) <= LAST_ROW_TOLERANCE  # (N,)
    # Both fit where no frame is off the origin, and then agree only where nothing turns.
    if bool((by_rows & by_columns).all()) and not torch.equal(raw, raw.mT):
        raise DataError(
            f"{path}: every translation is 0, so nothing tells whether the numbers are"
            " row-major or column-major"
        )
    for fits, matrices in ((by_columns, raw.mT.contiguous()), (by_rows, raw)):
        if bool(fits.all()):
            return matrices, None
    usual = by_columns if by_columns.sum() >= by_rows.sum() else by_rows
    raise DataError(
        f"{path}, line {numbers[int((~usual).nonzero()[0])]}: expected 0,0,0,1 as every fourth"
        " number (column-major) or as the last four (row-major), the same in all lines"
    )


def _read_simcol3d(path: Path) -> tuple[Tensor, Tensor | None]:
    position, rotation = _simcol3d_pair(path)
    for own, partner in ((position, rotation), (rotation, position)):
        if own.is_file() and not partner.is_file():
            raise DataError(f"{own} has no partner: looked for {partner}")
    _, places = _table(position, "tx ty tz")
    numbers, turns = _table(rotation, "qx qy qz qw")
    if len(places) != len(turns):
        raise DataError(f"{position} has {len(places)} frames, {rotation.name} has {len(turns)}")
    return _MIRROR @ rigid_motion(_rotations(rotation, numbers, turns), places) @ _MIRROR, None


_READERS: dict[TrajectoryForm, Callable[[Path], tuple[Tensor, Tensor | None]]] = {
    TrajectoryForm.TUM: _read_tum,
    TrajectoryForm.KITTI: _read_kitti,
    TrajectoryForm.C3VD: _read_c3vd,
    TrajectoryForm.SIMCOL3D: _read_simcol3d,
}


def _simcol3d_pair(path: Path) -> tuple[Path, Path]:
    for prefix in (_POSITION, _ROTATION):
        if path.name.startswith(prefix):
            scene = path.name.removeprefix(prefix)
            return path.with_name(_POSITION + scene), path.with_name(_ROTATION + scene)
    raise DataError(
        f"{path}: simcol3d is a pair of files, expected a name like {_POSITION}S1.txt"
        f" or {_ROTATION}S1.txt"
    )


def _rotations(path: Path, numbers: Sequence[int], quaternion: Tensor) -> Tensor:
    length = quaternion.norm(dim=-1)  # (N,)
    wrong = (length - 1).abs() > QUATERNION_TOLERANCE
    if bool(wrong.any()):
        frame = int(wrong.nonzero()[0])
        raise DataError(
            f"{path}, line {numbers[frame]}: the quaternion qx qy qz qw has length"
            f" {length[frame]:.4g}, expected 1"
        )
    return rotation_from_quaternion(quaternion)


def _table(
    path: Path, columns: str, *, separator: str | None = None, comments: bool = False
) -> tuple[list[int], Tensor]:
    """Return the line numbers (N) and the values (N, columns) of a text table."""
    width = len(columns.split(separator))
    numbers: list[int] = []
    rows: list[list[float]] = []
    for number, line in _lines(path, comments=comments):
        words = line.split(separator)
        if len(words) != width:
            raise DataError(
                f"{path}, line {number} has {len(words)} values, expected {width}: {columns}"
            )
        numbers.append(number)
        rows.append([_number(word, path, number) for word in words])
    if not rows:
        raise DataError(f"{path} holds no frames; expected one line a frame: {columns}")
    return numbers, torch.tensor(rows, dtype=torch.float64)


def _number(word: str, path: Path, line: int) -> float:
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or "_" in word:
        raise DataError(f"{path}, line {line}: {word.strip()!r} is not a finite number")
    return value


def _lines(path: Path, *, comments: bool) -> list[tuple[int, str]]:
    """Return the lines with their numbers; only a form with comments may have blank ones."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason} at {error.start}") from error
    lines = list(enumerate(text.rstrip().splitlines(), start=1))
    if comments:
        lines = [(n, line) for n, line in lines if line.strip() and line.lstrip()[0] != "#"]
    return lines
