"""De-identified copies of DICOM files, single and multi-frame.

DICOM stays DICOM: who has such files has an archive and a viewer that ask for them. The copy is a
new Secondary Capture object, not the old one with tags taken out: whatever is not needed to show
the pixels is not there, private tags and nested sequences included, and all UIDs are fresh. Pixels
are stored uncompressed, which every viewer reads and which loses nothing of what was decoded.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.data.dicom import frame_times_s, read_dicom
from colondepth.data.reading import Opening
from colondepth.deidentification import SAMPLE_FRAMES, Removed, blank_frames, find_blanking
from colondepth.deidentified_log import require_other, write_log
from colondepth.errors import DataError
from colondepth.views import Clip

LARGEST_BYTES = 2**32 - 2  # of uncompressed pixels: DICOM counts them in 32 bits
SINGLE_CLASS = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture Image Storage
MULTI_CLASS = "1.2.840.10008.5.1.4.1.1.7.4"  # Multi-frame True Color Secondary Capture
_MS_PER_S = 1000
# Named in every file; what the standard wants to be there, though it may be empty.
_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName", "StudyID", "SeriesNumber", "InstanceNumber"),
)


def deidentify_dicom(
    source: Path, target: Path, *, seen: Callable[[int], None] | None = None
) -> Removed:
    """Write a de-identified copy of a DICOM file and its log.

    Args:
        source: a file whose frames pydicom decodes.
        target: a .dcm file; never the source itself.
        seen: called with the number of all frames, once for each that is done.
    """
    require_other(source, target)
    if target.suffix.lower() != ".dcm":
        raise DataError(f"{target}: a de-identified DICOM file is written as .dcm")
    clip = read_dicom(source, Opening())
    from pydicom import dcmread

    tags: Any = dcmread(source, stop_before_pixels=True)
    removed = Removed(metadata_keys=_names(tags))
    numbers = range(0, len(clip), max(1, len(clip) // SAMPLE_FRAMES))
    blanking = find_blanking([clip[number]["image"] for number in numbers])
    header = _header(tags, clip)
    size = len(clip) * clip.camera.height * clip.camera.width * 3 * header.BitsAllocated // 8
    if size > LARGEST_BYTES:
        raise DataError(
            f"{source}: its {len(clip)} frames are {size} bytes uncompressed, and a DICOM file"
            f" holds {LARGEST_BYTES}; cut it in parts, or export the video as .mp4"
        )
    images = (view["image"] for view in clip)
    with written_whole(target) as temporary:
        header.save_as(temporary, enforce_file_format=True)
        with temporary.open("ab") as file:
            kind = b"OB" if header.BitsAllocated == 8 else b"OW"
            file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, kind, 0, size + size % 2))
            for frame in blank_frames(images, blanking, removed):
                file.write(_stored(frame, header.BitsStored))
                if seen is not None:
                    seen(len(clip))
            file.write(b"\0" * (size % 2))
    write_log(source, target, removed)
    return removed


def _header(tags: Any, clip: Clip) -> Any:
    """Return all of the copy but its pixels."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    header: Any = Dataset()
    meta: Any = FileMetaDataset()
    header.file_meta = meta
    header.SOPClassUID = meta.MediaStorageSOPClassUID = (
        SINGLE_CLASS if len(clip) == 1 else MULTI_CLASS
    )
    # Without `entropy_srcs` they are drawn at random: nothing leads back to the original.
    header.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    header.StudyInstanceUID, header.SeriesInstanceUID = generate_uid(), generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name in _EMPTY:
        setattr(header, name, None)
    header.Modality, header.ConversionType = "ES", "WSD"  # endoscopy, made on a workstation
    header.PatientIdentityRemoved = "YES"
    header.DeidentificationMethod = "colondepth: pixels blanked, all other data left out"
    header.Rows, header.Columns = clip.camera.height, clip.camera.width
    header.SamplesPerPixel, header.PlanarConfiguration = 3, 0
    header.PhotometricInterpretation, header.PixelRepresentation = "RGB", 0
    header.BitsStored = int(tags.BitsStored)
    header.BitsAllocated = 8 if header.BitsStored <= 8 else 16
    header.HighBit = header.BitsStored - 1
    if "LossyImageCompression" in tags:
        header.LossyImageCompression = tags.LossyImageCompression
    if len(clip) > 1:
        header.NumberOfFrames = len(clip)
        _add_times(header, frame_times_s(tags, len(clip)))
    return header


def _add_times(header: Any, times_s: tuple[float, ...] | None) -> None:
    if times_s is None:
        header.FrameIncrementPointer = 0x00200013  # InstanceNumber: in order, at no known times
        return
    steps_ms = [0.0, *(np.diff(times_s) * _MS_PER_S).tolist()]
    if max(steps_ms[1:]) - min(steps_ms[1:]) < 1e-6 * max(steps_ms):
        header.FrameTime, header.FrameIncrementPointer = f"{steps_ms[1]:.10g}", 0x00181063
    else:
        header.FrameTimeVector = [f"{step:.10g}" for step in steps_ms]
        header.FrameIncrementPointer = 0x00181065


def _stored(frame: Tensor, bits: int) -> bytes:
    """Return a frame (3, H, W) as DICOM stores it, colours of a pixel together."""
    counts = (frame * (2**bits - 1)).round().movedim(0, -1).contiguous().numpy()
    return bytes(counts.astype("<u2" if bits > 8 else np.uint8).tobytes())


def _names(tags: Any) -> list[str]:
    """Return the names of all elements, also of nested ones, never what they hold."""
    elements = [*tags.iterall(), *getattr(tags, "file_meta", ())]
    return sorted({each.keyword or f"private {each.tag}" for each in elements})
