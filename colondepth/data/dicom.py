"""DICOM endoscopy: multi-frame files (and single ones) through pydicom, frame by frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from colondepth.cameras import Camera
from colondepth.data.reading import Opening
from colondepth.errors import DataError, MissingExtraError
from colondepth.views import Clip, View

_MS_PER_S = 1000
_COLOURS = ("RGB", "MONOCHROME2")  # MONOCHROME1 is inverted, a palette holds numbers of colours


@dataclass(frozen=True, eq=False)
class _Frames:
    """Decodes frame k of the file; the others stay on the disk."""

    path: Path
    camera: Camera
    highest: int  # the largest value that the stored bits can hold
    time_s: tuple[float, ...] | None

    def __call__(self, number: int) -> View:
        from pydicom.pixels.utils import pixel_array

        try:
            pixels: Any = pixel_array(self.path, index=number)
        except (ValueError, RuntimeError, OSError, AttributeError) as error:
            raise DataError(f"{self.path}, frame {number} cannot be decoded: {error}") from error
        pixels = np.asarray(pixels, dtype=np.float32) / np.float32(self.highest)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=-1)  # (H, W, 3)
        image = torch.from_numpy(pixels).movedim(-1, 0).contiguous()
        view = View(image=image, camera=self.camera)
        if self.time_s is not None:
            view["time_s"] = self.time_s[number]
        return view


def read_dicom(path: Path, opening: Opening) -> Clip:
    """Open a DICOM file as a clip; nothing of the patient leaves the file.

    Raises:
        MissingExtraError: pydicom is not installed.
    """
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: DICOM needs pydicom: pip install colondepth[dicom]"
        ) from error
    try:
        tags: Any = dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as DICOM: {error}") from error
    syntax = getattr(getattr(tags, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is not None and any(word in syntax.name for word in ("MPEG", "HEVC")):
        raise DataError(
            f"{path} holds a video ({syntax.name}), which pydicom does not decode; export the"
            " video stream as .mp4 and open that"
        )
    needed = ("Rows", "Columns", "BitsStored", "PhotometricInterpretation")
    if lacking := [name for name in needed if name not in tags]:
        raise DataError(f"{path} has no image: the tags {lacking} are missing")
    if tags.get("PixelRepresentation", 0):
        raise DataError(f"{path} has signed pixels, such as CT; expected an endoscope's colours")
    if (colours := str(tags.PhotometricInterpretation)) not in _COLOURS and colours[:3] != "YBR":
        raise DataError(
            f"{path} stores its pixels as {colours}, expected {', '.join(_COLOURS)}, YBR"
        )
    count = int(tags.get("NumberOfFrames", None) or 1)
    camera = opening.camera_for(path, int(tags.Rows), int(tags.Columns), None)
    reads = _Frames(path, camera, 2 ** int(tags.BitsStored) - 1, frame_times_s(tags, count))
    return Clip(reads, [f"{number:04d}" for number in range(count)], camera=camera, name=path.stem)


def frame_times_s(tags: Any, count: int) -> tuple[float, ...] | None:
    """Return when each frame was taken, from the first on; None where the file does not say."""
    if "FrameTimeVector" in tags:
        steps = [float(step) / _MS_PER_S for step in tags.FrameTimeVector]
        if len(steps) == count:
            return tuple(float(time) for time in np.cumsum([0.0, *steps[1:]]))
    if "FrameTime" in tags and count > 1:
        return tuple(number * float(tags.FrameTime) / _MS_PER_S for number in range(count))
    if "CineRate" in tags and count > 1:
        return tuple(number / float(tags.CineRate) for number in range(count))
    return None
