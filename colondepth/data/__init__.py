"""Data at the door: every dataset becomes clips of views in right-handed millimetres and z-depth.

    reading = open_clips("C3VD/cecum_t1_a")
    view = reading.clips[0][17]

Importing this package needs no video, no OpenCV and no screen; a reader imports what it needs when
it runs.
"""

import os
from glob import has_magic
from pathlib import Path

from colondepth.cameras import Camera
from colondepth.data.dataset import LoadView, ViewDataset, as_dictionaries
from colondepth.data.folders import exists, list_folder
from colondepth.data.rasters import IMAGE_SUFFIXES
from colondepth.data.reading import Opening, Reading, Skipped
from colondepth.data.recognition import (
    FILE_READERS,
    names,
    reader,
    recognise,
    require_name,
    require_sequences,
)
from colondepth.data.splits import SPLITS, split
from colondepth.errors import DataError
from colondepth.views import Clip

__all__ = [
    "SPLITS",
    "LoadView",
    "Reading",
    "Skipped",
    "ViewDataset",
    "as_dictionaries",
    "names",
    "open_clips",
    "split",
]

# Written here and not in `video`, which imports PyAV.
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".vob", ".ts", ".m2ts"),
    *(".mts", ".m2v", ".h264", ".264", ".hevc", ".265", ".wmv", ".asf", ".flv", ".3gp", ".mxf"),
    *(".dv", ".ogv"),
)
DICOM_SUFFIXES = (".dcm", ".dicom")


def open_clips(
    path: Path | str,
    *,
    dataset: str | None = None,
    camera: Camera | None = None,
    skip_bad: bool = False,
) -> Reading:
    """Open a dataset's folder, a glob of images, a video or a DICOM file; frames are read later.

    Args:
        path: a folder (one sequence, or all of a dataset), a pattern such as "frames/*.png", or a
            file.
        dataset: one of `names()`; told from the files if absent.
        camera: takes the place of the dataset's own; its size must be the images'.
        skip_bad: leave bad files and frames out and list them in `Reading.skipped`. They are
            errors otherwise.
    """
    if dataset is not None:
        require_name(dataset)
    opening = Opening(camera=camera, skip_bad=skip_bad)
    text = os.fspath(path)
    # A folder may be called "a[1]": what exists is taken by its name.
    if has_magic(text) and not exists(Path(text)):
        if dataset not in (None, "plain"):
            raise DataError(f"{text} is a pattern of images, which is read as plain, not {dataset}")
        return _plain_files(text, opening)
    path = Path(text).expanduser().absolute()
    if exists(path) and path.is_file():
        return _open_file(path, dataset, opening)
    if dataset in FILE_READERS:
        raise DataError(f"{path} is not a file; expected a {dataset} file")
    root = list_folder(path, opening)
    name = dataset or recognise(root)
    require_sequences(name, root)
    return _reading(name, reader(name).read(root, opening), path, opening)


def is_dicom(path: Path) -> bool:
    """Return whether a file says of itself that it is DICOM, whatever its name."""
    try:
        with path.open("rb") as handle:
            return handle.read(132)[128:] == b"DICM"
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _open_file(path: Path, dataset: str | None, opening: Opening) -> Reading:
    suffix = path.suffix.lower()
    if dataset == "dicom" or (dataset is None and (suffix in DICOM_SUFFIXES or is_dicom(path))):
        from colondepth.data import dicom

        return _reading("dicom", [dicom.read_dicom(path, opening)], path, opening)
    if dataset == "video" or (dataset is None and suffix in VIDEO_SUFFIXES):
        from colondepth.data.video import open_video

        return _reading("video", [open_video(path, opening)], path, opening)
    if suffix in IMAGE_SUFFIXES and dataset in (None, "plain"):
        return _plain_files(str(path), opening)
    expected = f"the folder of a {dataset} dataset" if dataset else "a folder, an image or a video"
    raise DataError(f"{path} is a file; expected {expected}")


def _plain_files(pattern: str, opening: Opening) -> Reading:
    from colondepth.data.plain import read_glob

    return _reading("plain", read_glob(pattern, opening), Path(pattern), opening)


def _reading(name: str, clips: list[Clip], path: Path, opening: Opening) -> Reading:
    if not clips:
        reasons = "; ".join(f"{each.path.name} {each.reason}" for each in opening.skipped[:3])
        raise DataError(f"{path}: nothing is left of this {name} dataset: {reasons}")
    return Reading(name, tuple(clips), tuple(opening.skipped), tuple(opening.warnings))
