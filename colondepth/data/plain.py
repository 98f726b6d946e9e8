"""Our own form: a folder of images, or a glob of them, and whatever is known about them.

    0001.png, 0002.png, ...      in natural order; 8 or 16 bit PNG, TIFF; JPEG, BMP, WebP
    camera.json                  see `cameras.files`; without it a guess, and a warning
    depth/0001.png               8 or 16 bits (png, tif, tiff), or float (npy), one for every image
    trajectory.txt               tum, or another form of `trajectories`; one line for every image
    dataset.json                 what the files cannot say:
                                 {"mm_per_count": 0.1, "depth_kind": "z" or "distance",
                                  "depth_bits": 16, "trajectory_mm_per_unit": 1000}

mm_per_count is millimetres in one count of a depth map; it is needed where there is a depth map,
like depth_kind (z along the axis or distance along the ray). depth_bits is needed for 8 bits only.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from glob import glob, has_magic
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from colondepth.cameras import Camera, from_file
from colondepth.data import frames
from colondepth.data.folders import File, Folder, natural_key
from colondepth.data.rasters import IMAGE_SUFFIXES, read_grey
from colondepth.data.reading import Opening
from colondepth.errors import DataError
from colondepth.geometry import depth_from_distance
from colondepth.trajectories import Trajectory, guess_form, read_trajectory
from colondepth.views import Clip

LOOKS_FOR = "any image files (" + " ".join(IMAGE_SUFFIXES) + ")"

_KEYS = {"mm_per_count", "depth_kind", "depth_bits", "trajectory_mm_per_unit"}
_DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".npy")


def sequences(root: Folder) -> Iterator[Folder]:
    """Give every folder that holds images and is not a folder of depth maps."""
    for folder in root.below():
        if folder.path.name != "depth" and folder.has_any(IMAGE_SUFFIXES):
            yield folder


def read(root: Folder, opening: Opening) -> list[Clip]:
    """Open every folder of images as one clip."""
    return frames.found(_clip(folder, opening) for folder in sequences(root))


def read_glob(pattern: str, opening: Opening) -> list[Clip]:
    """Open the images that a pattern such as "frames/*.png", or one file's name, stands for."""
    names = glob(pattern) if has_magic(pattern) else [pattern]  # noqa: PTH207 - from any root
    paths = [path for path in map(Path, names) if path.is_file()]
    if not paths:
        raise DataError(f"{pattern} fits no file; put it in quotes so that the shell leaves it")
    where = Path(pattern).parent
    while has_magic(str(where)):
        where = where.parent
    files = {str(path.relative_to(where)): File(str(path), path.stat().st_size) for path in paths}
    in_order = {name: files[name] for name in sorted(files, key=natural_key)}
    images = _by_stem(in_order, IMAGE_SUFFIXES)
    if not images:
        raise DataError(f"{pattern} fits no image; expected files ending in {IMAGE_SUFFIXES}")
    clip = frames.clip_of(
        opening,
        where,
        name=where.name or str(where),
        parts={"image": images},
        decoders={"image": frames.image},
        camera=partial(_camera, where, opening),
        frame_id=str,
    )
    return frames.found([clip])


def settings(folder: Path, known: set[str] = _KEYS) -> dict[str, Any]:
    """Read a folder's dataset.json, {} where there is none; an unknown key is an error."""
    path = folder / "dataset.json"
    if not path.is_file():
        return {}
    try:
        fields = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise DataError(f"{path} holds a {type(fields).__name__}, expected an object of {known}")
    if wrong := sorted(fields.keys() - known):
        raise DataError(f"{path}: keys {wrong} are unknown; it may have {sorted(known)}")
    for name, value in fields.items():
        if name != "depth_kind" and not (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and isfinite(value)
            and value > 0
        ):
            raise DataError(f"{path}: {name} is {value!r}, expected a positive number")
    return fields


def _clip(folder: Folder, opening: Opening) -> Clip | None:
    stated = settings(folder.path)
    parts: dict[str, frames.Part] = {"image": _by_stem(folder.files, IMAGE_SUFFIXES)}
    decoders: dict[str, frames.Decoder] = {"image": frames.image}
    if "depth" in folder.folders:
        parts["depth"] = _by_stem(folder.folders["depth"].files, _DEPTH_SUFFIXES)
        decoders["depth"] = _depth_decoder(folder.path, stated)
    return frames.clip_of(
        opening,
        folder.path,
        name=folder.path.name,
        parts=parts,
        decoders=decoders,
        camera=partial(_camera, folder.path, opening),
        frame_id=str,
        trajectory=_trajectory(folder, stated),
    )


def _camera(where: Path, opening: Opening, height: int, width: int) -> Camera:
    path = where / "camera.json"
    own = from_file(path) if path.is_file() else None
    return opening.camera_for(where, height, width, own)


def _depth_decoder(where: Path, stated: dict[str, Any]) -> frames.Decoder:
    if lacking := [name for name in ("mm_per_count", "depth_kind") if name not in stated]:
        raise DataError(
            f"{where} has depth maps, but no dataset.json that states {lacking}; for maps in"
            ' tenths of a millimetre: {"mm_per_count": 0.1, "depth_kind": "z"}'
        )
    kind, bits = stated["depth_kind"], stated.get("depth_bits", 16)
    if kind not in ("z", "distance") or bits not in (8, 16):
        raise DataError(
            f"{where / 'dataset.json'}: depth_kind is {kind!r} and depth_bits {bits!r}, expected"
            ' "z" or "distance" and 8 or 16'
        )
    return partial(_depth, float(stated["mm_per_count"]), kind == "distance", int(bits))


def _depth(
    mm_per_count: float, along_ray: bool, bits: int, path: str | None, camera: Camera
) -> dict[str, Tensor]:
    if str(path).lower().endswith(".npy"):
        counts = _array(str(path))
    else:
        counts = read_grey(str(path), bits=8 if bits == 8 else 16)
    length_mm = torch.from_numpy((counts.astype(np.float64) * mm_per_count).astype(np.float32))
    if tuple(length_mm.shape) != (camera.height, camera.width):
        raise DataError(
            f"{path} is {tuple(length_mm.shape)}, but the clip's first image and its camera are"
            f" {camera.height}x{camera.width}"
        )
    if not bool((length_mm.isfinite() & (length_mm >= 0)).all()):
        raise DataError(f"{path} has values that are negative, NaN or infinite; unknown is 0")
    if not along_ray:
        return {"depth_mm": length_mm[None]}
    return {
        "depth_mm": depth_from_distance(length_mm[None], camera),
        "distance_mm": length_mm[None],
    }


def _array(path: str) -> Any:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a numpy array: {error}") from error
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array.squeeze(0 if array.shape[0] == 1 else -1)
    if array.ndim != 2 or array.dtype.kind not in "fui":
        raise DataError(f"{path} holds {array.dtype} {array.shape}, expected numbers (H, W)")
    return array


def _trajectory(folder: Folder, stated: dict[str, Any]) -> Trajectory | None:
    if "trajectory.txt" not in folder.files:
        return None
    path = folder.path / "trajectory.txt"
    form = guess_form(path)
    if form is None:
        raise DataError(f"{path} is in no form that is known; tum is: t tx ty tz qx qy qz qw")
    try:
        return read_trajectory(path, form=form, mm_per_unit=stated.get("trajectory_mm_per_unit"))
    except DataError as error:
        cure = re.sub("give mm_per_unit", "give trajectory_mm_per_unit in dataset.json", str(error))
        raise DataError(cure) from error


def _by_stem(files: Any, suffixes: tuple[str, ...]) -> dict[str, File]:
    found: dict[str, File] = {}
    for name, file in files.items():
        if not name.lower().endswith(suffixes):
            continue
        stem = name.rpartition(".")[0]
        if stem in found:
            raise DataError(f"{found[stem].path} and {name} have one name; keep one of them")
        found[stem] = file
    return found
