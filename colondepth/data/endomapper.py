"""EndoMapper's simulated sequences (Azagra 2023): Unity colons with depth as OpenEXR.

    Seq_N/**/image_NNNN.png, Seq_N/**/aov_image_NNNN.exr, Seq_N/trajectory.csv

trajectory.csv has the columns tX;tY;tZ;rX;rY;rZ;rW;time(s), camera-to-world and left-handed
(Unity); right-handed is D M D with D = diag(1, -1, 1, 1). Depth is z.
Its info.txt says decimetres, and users found metres: nobody knows, so the unit has to be stated in
a dataset.json in the sequence's folder: {"mm_per_unit": 100}. Without calibration the camera is a
guess; camera.json beside dataset.json, or `camera`, holds one.
"""

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from colondepth.cameras import Camera, from_file
from colondepth.data import frames
from colondepth.data.folders import File, Folder
from colondepth.data.plain import settings
from colondepth.data.reading import Opening
from colondepth.errors import DataError, MissingExtraError
from colondepth.motion import rigid_motion, rotation_from_quaternion
from colondepth.trajectories import Trajectory
from colondepth.views import Clip

LOOKS_FOR = "folders with trajectory.csv above image_NNNN.png and aov_image_NNNN.exr"

_COLUMNS = "tX;tY;tZ;rX;rY;rZ;rW;time(s)"
_MIRROR = torch.diag(torch.tensor([1, -1, 1, 1], dtype=torch.float64))


def sequences(root: Folder) -> Iterator[Folder]:
    """Give every folder that has a trajectory.csv, and depth in OpenEXR at or below it."""
    for folder in root.below():
        if "trajectory.csv" in folder.files and any(
            shape.endswith(".exr") for below in folder.below() for shape in below.shapes
        ):
            yield folder


def read(root: Folder, opening: Opening) -> list[Clip]:
    """Open every simulated sequence at or below a folder."""
    return frames.found(_clip(folder, opening) for folder in sequences(root))


def _clip(folder: Folder, opening: Opening) -> Clip | None:
    stated = settings(folder.path, {"mm_per_unit"})
    if "mm_per_unit" not in stated:
        raise DataError(
            f"{folder.path}: the unit of EndoMapper's depth is doubtful; state it in a dataset.json"
            ' there: {"mm_per_unit": 100} for decimetres as info.txt says, 1000 for metres'
        )
    mm_per_unit = float(stated["mm_per_unit"])
    camera = folder.path / "camera.json"
    return frames.clip_of(
        opening,
        folder.path,
        name=folder.path.name,
        parts={
            "image": _numbered(folder, r"image_(\d+)\.(?:png|jpg)"),
            "depth": _numbered(folder, r"(?:aov_)?(?:image|depth)_(\d+)\.exr"),
        },
        decoders={"image": frames.image, "depth": partial(_depth, mm_per_unit)},
        camera=from_file(camera) if camera.is_file() else None,
        trajectory=_trajectory(folder.path / "trajectory.csv", mm_per_unit),
    )


def _numbered(folder: Folder, pattern: str) -> dict[int, File]:
    found: dict[int, File] = {}
    for below in folder.below():
        for number, file in below.numbered(pattern).items():
            if number in found:
                raise DataError(f"{found[number].path} and {file.path} are both frame {number}")
            found[number] = file
    return {number: found[number] for number in sorted(found)}


def _trajectory(path: Path, mm_per_unit: float) -> Trajectory:
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        words = line.strip().rstrip(";").split(";")
        if not line.strip() or (number == 1 and words[0].strip().lower() == "tx"):
            continue
        try:
            row = [float(word.replace(",", ".")) for word in words]
        except ValueError:
            row = []
        if len(row) != 8:
            raise DataError(f"{path}, line {number} is {line!r}, expected the numbers {_COLUMNS}")
        rows.append(row)
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 8)
    left = rigid_motion(rotation_from_quaternion(table[:, 3:7]), table[:, :3] * mm_per_unit)
    try:
        return Trajectory(_MIRROR @ left @ _MIRROR, table[:, 7].clone())
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _depth(mm_per_unit: float, path: str | None, camera: Camera) -> dict[str, Tensor]:
    del camera
    values = _read_exr(str(path)).astype(np.float64) * mm_per_unit
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise DataError(f"{path} has values that are negative, NaN or infinite; unknown is 0")
    return {"depth_mm": torch.from_numpy(values.astype(np.float32))[None]}


def _read_exr(path: str) -> Any:
    """Read the one channel of an OpenEXR file, or its red one, as (H, W)."""
    try:
        openexr = import_module("OpenEXR")
    except ImportError as error:
        # OpenCV's own reader is off by default, and version 5 from PyPI has none.
        raise MissingExtraError(f"{path}: OpenEXR depth needs: pip install OpenEXR") from error
    try:
        with openexr.File(path, separate_channels=True) as file:
            channels = {name: channel.pixels for name, channel in file.channels().items()}
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read as OpenEXR: {error}") from error
    name = next((name for name in ("Z", "Y", "R") if name in channels), None)
    if name is None:
        raise DataError(f"{path} has channels {sorted(channels)}, expected Z, Y or R")
    return channels[name]
