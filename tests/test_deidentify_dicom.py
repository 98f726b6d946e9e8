"""Copies of DICOM files hold pixels, what is needed to show them, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from test_deidentify import NAME, scope
from tissue import write

from colondepth.data import open_clips
from colondepth.deidentified_dicom import deidentify_dicom
from colondepth.errors import DataError

pydicom = pytest.importorskip("pydicom", reason="pydicom is an extra")

WALL = (slice(190, 250), slice(150, 250))
UID = "1.2.276.0.7230010.3.1.4.1234"


def counts(number: int, *, bits: int = 8) -> np.ndarray:
    image, _ = write(scope(number), (90, 130, NAME), size=20, colour="white")
    kind = np.uint8 if bits == 8 else np.uint16
    return (image.clip(0, 1).transpose(1, 2, 0) * (2**bits - 1)).round().astype(kind)


def dicom_file(path: Path, frames: int, *, bits: int = 8, colours: str = "RGB", **more) -> Path:
    """Write a file that says whose it is in every way that DICOM knows."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    pixels = np.stack([counts(number, bits=bits) for number in range(frames)])
    tags = Dataset()
    tags.file_meta = FileMetaDataset()
    tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags.SOPClassUID = tags.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
    tags.SOPInstanceUID = tags.file_meta.MediaStorageSOPInstanceUID = UID + ".1"
    tags.StudyInstanceUID, tags.SeriesInstanceUID = UID + ".2", UID + ".3"
    tags.PatientName, tags.PatientID, tags.PatientBirthDate = NAME, NAME, "19640203"
    tags.StudyDate, tags.InstitutionName, tags.DeviceSerialNumber = "20240131", NAME, "SN-4711"
    nested = Dataset()
    nested.ReferringPhysicianName = nested.PersonName = NAME
    tags.RequestAttributesSequence = [nested]
    tags.private_block(0x0009, "ACME", create=True).add_new(0x10, "LO", NAME)
    tags.add_new(0x60003000, "OW", NAME.encode() + b"\0" * (len(NAME) % 2))  # an overlay plane
    tags.Rows, tags.Columns, tags.NumberOfFrames = *pixels.shape[1:3], frames
    tags.SamplesPerPixel, tags.PhotometricInterpretation, tags.PlanarConfiguration = 3, colours, 0
    tags.BitsAllocated = tags.BitsStored = bits
    tags.HighBit, tags.PixelRepresentation = bits - 1, 0
    for name, value in more.items():
        setattr(tags, name, value)
    tags.PixelData = pixels.tobytes()
    tags.preamble = b"Patient " + NAME.encode().ljust(120, b"\0")  # free bytes before the header
    tags.save_as(path, enforce_file_format=True)
    assert path.read_bytes().count(NAME.encode()) >= 8
    return path


@pytest.mark.parametrize(("frames", "bits"), [(1, 8), (3, 8), (1, 16), (3, 16)])
def test_nothing_of_the_patient_is_left_and_the_wall_is_bit_true(tmp_path, frames, bits):
    source = dicom_file(tmp_path / "a.dcm", frames, bits=bits)
    removed = deidentify_dicom(source, tmp_path / "copy.dcm")
    copy = (tmp_path / "copy.dcm").read_bytes()
    for secret in (NAME, "19640203", "20240131", "SN-4711", "ACME", UID):
        assert secret.encode() not in copy, secret
    tags = pydicom.dcmread(tmp_path / "copy.dcm")
    assert tags.pixel_array.reshape(frames, *counts(0).shape)[(frames - 1, *WALL)].tolist() == (
        counts(frames - 1, bits=bits)[WALL].tolist()
    )
    assert not any(element.tag.is_private for element in tags.iterall())
    assert tags.PatientName == ""
    assert tags.PatientIdentityRemoved == "YES"
    letters = tags.pixel_array.reshape(frames, *counts(0).shape)[:, 128:152, 92:300]
    assert (letters.min(axis=-1) > 0.6 * (2**bits - 1)).mean() == 0
    assert {"PatientName", "PersonName", "DeviceSerialNumber", "SOPInstanceUID"} <= set(
        removed.metadata_keys
    )
    log = (tmp_path / "copy.dcm.removed.json").read_text()
    assert NAME not in log


def test_the_copy_is_read_as_the_same_clip(tmp_path):
    source = dicom_file(tmp_path / "a.dcm", 3, FrameTimeVector=["0", "40", "70"])
    deidentify_dicom(source, tmp_path / "copy.dcm")
    (ours,) = open_clips(tmp_path / "copy.dcm").clips
    (theirs,) = open_clips(source).clips
    assert len(ours) == 3
    assert [view["time_s"] for view in ours] == pytest.approx([view["time_s"] for view in theirs])
    assert (
        ours[2]["image"][(slice(None), *WALL)] == theirs[2]["image"][(slice(None), *WALL)]
    ).all()


def test_steady_times_stay_steady(tmp_path):
    deidentify_dicom(dicom_file(tmp_path / "a.dcm", 3, FrameTime="40"), tmp_path / "copy.dcm")
    assert float(pydicom.dcmread(tmp_path / "copy.dcm").FrameTime) == 40


def test_two_copies_share_no_uid(tmp_path):
    source = dicom_file(tmp_path / "a.dcm", 1)
    uids = []
    for name in ("b.dcm", "c.dcm"):
        deidentify_dicom(source, tmp_path / name)
        tags = pydicom.dcmread(tmp_path / name)
        uids += [tags.SOPInstanceUID, tags.StudyInstanceUID, tags.SeriesInstanceUID]
    assert len(set(uids)) == 6


@pytest.mark.parametrize("colours", ["MONOCHROME1", "PALETTE COLOR"])
def test_numbers_that_are_no_brightness_are_refused(tmp_path, colours):
    source = dicom_file(tmp_path / "a.dcm", 1, colours=colours)
    with pytest.raises(DataError, match=f"stores its pixels as {colours}"):
        deidentify_dicom(source, tmp_path / "copy.dcm")
    assert not (tmp_path / "copy.dcm").exists()


def test_a_copy_that_dicom_cannot_hold_is_refused_before_it_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr("colondepth.deidentified_dicom.LARGEST_BYTES", 1000)
    with pytest.raises(DataError, match="bytes uncompressed"):
        deidentify_dicom(dicom_file(tmp_path / "a.dcm", 1), tmp_path / "copy.dcm")
    assert [path.name for path in tmp_path.iterdir()] == ["a.dcm"]
