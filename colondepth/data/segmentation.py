"""Images with polyp masks: ETIS-Larib, CVC-ClinicDB and CVC-ColonDB, Kvasir-SEG.

    images/NAME.png  beside  masks/NAME.png             as PraNet and Kvasir-SEG have them
    Original/N.tif   beside  Ground Truth/N.tif         CVC-ClinicDB
    N.tif            beside  Ground Truth/pN.tif        ETIS-Larib as published

The mask may be colour, and JPEG rings around its edges: True is above 127 (`polyp`).
No depth and no calibration. Kvasir-SEG mixes sizes: there is one clip for each.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from colondepth.cameras import Camera
from colondepth.data import frames
from colondepth.data.folders import File, Folder, natural_key
from colondepth.data.rasters import IMAGE_SUFFIXES, fault, image_size
from colondepth.data.reading import Opening
from colondepth.errors import DataError
from colondepth.images import read_image
from colondepth.views import Clip

LOOKS_FOR = (
    "images/ beside masks/, Original/ beside Ground Truth/, or N.tif beside Ground Truth/pN.tif"
)

_MASKS = ("masks", "Ground Truth", "GroundTruth")
_IMAGES = ("images", "Original")


class _Set(NamedTuple):
    folder: Folder
    images: Folder
    masks: Folder


def sequences(root: Folder) -> Iterator[_Set]:
    """Give every pair of an image folder and its mask folder."""
    for folder in root.below():
        masks = next((folder.folders[name] for name in _MASKS if name in folder.folders), None)
        if masks is None or not masks.has_any(IMAGE_SUFFIXES):
            continue
        images = next((folder.folders[name] for name in _IMAGES if name in folder.folders), folder)
        if images.has_any(IMAGE_SUFFIXES):
            yield _Set(folder, images, masks)


def read(root: Folder, opening: Opening) -> list[Clip]:
    """Open every set of images with masks at or below a folder."""
    return [clip for each in sequences(root) for clip in _clips(each, opening)]


def polyp(path: str | None, camera: Camera) -> dict[str, Tensor]:
    """Decode a mask: True is brighter than the middle."""
    del camera
    grey = (read_image(str(path)).amax(dim=0, keepdim=True) * 255).round()
    highest = int(grey.max())
    if highest == 1 and not str(path).lower().endswith((".jpg", ".jpeg")):
        raise DataError(
            f"{path} holds 0 and 1, expected 0 and 255; it is a label map: times 255 makes a mask"
        )
    return {"polyp": grey > 127}


def _clips(each: _Set, opening: Opening) -> list[Clip]:
    images, masks = _by_stem(each.images), _by_stem(each.masks)
    if not images.keys() & masks.keys():  # ETIS-Larib's masks are called p1, p2, ...
        masks = {re.sub(r"^p(?=\d)", "", name): file for name, file in masks.items()}
    sizes: dict[tuple[int, int], dict[str, File]] = defaultdict(dict)
    for name, file in images.items():
        if reason := fault(file):
            opening.bad(file.path, reason)
            masks.pop(name, None)
            continue
        sizes[image_size(file.path)][name] = file
    clips = []
    for (height, width), members in sizes.items():
        name = each.folder.path.name + (f"/{height}x{width}" if len(sizes) > 1 else "")
        clips.append(
            frames.clip_of(
                opening,
                each.folder.path,
                name=name,
                parts={"image": members, "mask": _own(masks, members, images)},
                decoders={"image": frames.image, "mask": polyp},
                camera=None,
                frame_id=str,
            )
        )
    return frames.found(clips)


def _own(
    masks: dict[str, File], members: dict[str, File], images: dict[str, File]
) -> dict[str, File]:
    """Return the masks of these images, and those of no image at all, which are to be reported."""
    first = next(iter(members)) == next(iter(images))
    return {n: file for n, file in masks.items() if n in members or (first and n not in images)}


def _by_stem(folder: Folder) -> dict[str, File]:
    found: dict[str, File] = {}
    for name, file in folder.files.items():
        stem, _, suffix = name.rpartition(".")
        if f".{suffix.lower()}" not in IMAGE_SUFFIXES:
            continue
        if stem in found:
            raise DataError(f"{folder.path}: {found[stem].name} and {name} have one name; keep one")
        found[stem] = file
    return {name: found[name] for name in sorted(found, key=natural_key)}
