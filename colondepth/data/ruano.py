"""Ruano's synthetic colonoscopies (2023), which SfSNet was trained on.

    VIDEO/img/NNNN.jpg, VIDEO/z/NNNN.jpg, and in the set for polyp sizes VIDEO/mask/NNNN.jpg

Units: z/ holds the DISTANCE along the ray, not z, as an 8-bit JPEG whose first channel is
distance_cm = v / 255 * 25; one step is 0.98 mm and JPEG adds about another. 0 is unknown.
It becomes z-depth through the rays of the camera. The files are linear: the gamma of 1.5 in the
authors' notebook belongs to what their network was taught, not to the files.
There are no poses. The camera is the one that the authors' sizing script uses.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.data import frames
from colondepth.data.folders import File, Folder, natural_key
from colondepth.data.rasters import read_grey
from colondepth.data.reading import Opening
from colondepth.data.segmentation import polyp
from colondepth.errors import DataError
from colondepth.geometry import depth_from_distance
from colondepth.views import Clip

LOOKS_FOR = "folders with img/NNNN.jpg beside z/NNNN.jpg"

MM_PER_COUNT = 250 / 255
# jaruanob/PolypSizeEstimation_SfSNet: images stretched to 1280 wide and 1080 high, focal lengths
# 448.13 px along rows and 378.11 px along columns, the image's centre.
PUBLISHED = Camera.pinhole(fx=378.11, fy=448.13, cx=639.5, cy=539.5, height=1080, width=1280)
_PARTS = {"depth": "z", "mask": "mask"}
_SUFFIXES = (".jpg", ".jpeg")


def sequences(root: Folder) -> Iterator[Folder]:
    """Give every folder that holds one video."""
    for folder in root.below():
        if {"img", "z"} <= folder.folders.keys() and folder.folders["img"].has_any(_SUFFIXES):
            yield folder


def read(root: Folder, opening: Opening) -> list[Clip]:
    """Open every video at or below a folder."""
    return frames.found(_clip(folder, opening) for folder in sequences(root))


def published_camera(height: int, width: int) -> Camera:
    """Return the authors' camera for images of any size; they stretch them all alike."""
    return PUBLISHED.resized(height, width)


def _clip(folder: Folder, opening: Opening) -> Clip | None:
    parts: dict[str, frames.Part] = {"image": _images(folder.folders["img"])}
    for part, name in _PARTS.items():
        if name in folder.folders:
            parts[part] = _images(folder.folders[name])
    return frames.clip_of(
        opening,
        folder.path,
        name=folder.path.name,
        parts=parts,
        decoders={part: _DECODERS[part] for part in parts},
        camera=published_camera,
        frame_id=str,
    )


def _images(folder: Folder) -> dict[str, File]:
    """Return the images by name without suffix, in natural order."""
    found = {
        name.rsplit(".", 1)[0]: file
        for name, file in folder.files.items()
        if name.lower().endswith(_SUFFIXES)
    }
    return {name: found[name] for name in sorted(found, key=natural_key)}


def _depth(path: str | None, camera: Camera) -> dict[str, Tensor]:
    counts = read_grey(str(path), bits=8).astype(np.float32)
    distance_mm = torch.from_numpy(counts * np.float32(MM_PER_COUNT))[None]
    if tuple(distance_mm.shape[-2:]) != (camera.height, camera.width):
        raise DataError(
            f"{path} is {distance_mm.shape[-2]}x{distance_mm.shape[-1]}, but the clip's first"
            f" image and its camera are {camera.height}x{camera.width}"
        )
    return {
        "depth_mm": depth_from_distance(distance_mm, camera),
        "distance_mm": distance_mm,
    }


_DECODERS: dict[str, frames.Decoder] = {"image": frames.image, "depth": _depth, "mask": polyp}
