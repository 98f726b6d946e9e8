"""Readers of images: masks of polyps, our own form, and DICOM."""

from pathlib import Path

import numpy as np
import pytest
import tiny_datasets as tiny
import torch
from scenes import H, W
from tiny_datasets import PINHOLE, on_the_wall, seen
from torch.testing import assert_close

from colondepth.data import open_clips
from colondepth.errors import DataError, MissingExtraError
from colondepth.views import require_view

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.parametrize(
    ("images", "masks", "image", "mask"),
    [
        ("images", "masks", "7.png", "7.png"),
        (".", "Ground Truth", "7.tif", "p7.tif"),
        ("Original", "Ground Truth", "7.tif", "7.tif"),
        ("images", "masks", "cju7.jpg", "cju7.jpg"),
    ],
    ids=["PraNet", "ETIS-Larib", "CVC", "Kvasir-SEG"],
)
def test_masks_of_polyps_are_found_and_true_where_they_are_bright(
    tmp_path, images, masks, image, mask
):
    pixels = np.full((H, W, 3), 40, np.uint8)  # as bright as a JPEG rings
    pixels[8:24, 16:32] = 255
    tiny.save(colour_of(0), tmp_path / "Set" / images / image)
    tiny.save(pixels, tmp_path / "Set" / masks / mask)
    reading = open_clips(tmp_path)
    (clip,) = reading.clips
    view = clip[0]
    require_view(view)
    assert (reading.dataset, clip.name) == ("segmentation", "Set")
    assert not clip.camera.calibrated
    inside = torch.zeros(1, H, W, dtype=torch.bool)
    inside[:, 8:24, 16:32] = True
    assert torch.equal(view["polyp"], inside)


def test_images_of_two_sizes_are_two_clips_and_a_mask_without_image_is_named(tmp_path):
    for name, size in (("a", (30, 40)), ("b", (30, 44)), ("c", (30, 40))):
        tiny.save(np.zeros((*size, 3), np.uint8), tmp_path / "images" / f"{name}.png")
        tiny.save(np.zeros(size, np.uint8), tmp_path / "masks" / f"{name}.png")
    assert [clip.frame_ids for clip in open_clips(tmp_path).clips] == [("a", "c"), ("b",)]
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(DataError, match=r"no image: b.png"):
        open_clips(tmp_path)


def test_a_mask_of_ones_is_refused_as_a_label_map(tmp_path):
    tiny.save(np.zeros((H, W, 3), np.uint8), tmp_path / "images" / "a.png")
    tiny.save(np.eye(H, W, dtype=np.uint8), tmp_path / "masks" / "a.png")
    with pytest.raises(DataError, match="0 and 1, expected 0 and 255"):
        open_clips(tmp_path).clips[0][0]


def test_the_real_etis_larib_sample_shows_polyps():
    if not (SHARED / "etis_larib").is_dir():
        pytest.skip("../shared/data/etis_larib is not here")
    (clip,) = open_clips(SHARED / "etis_larib").clips
    assert clip.frame_ids == ("1", "2", "7", "8", "13", "14")
    view = clip[2]
    require_view(view)
    assert 0.001 < view["polyp"].float().mean() < 0.2


@pytest.mark.parametrize(("kind", "suffix"), [("z", "png"), ("distance", "tiff"), ("z", "npy")])
def test_frames_of_our_own_form_land_on_the_wall_in_natural_order(tmp_path, kind, suffix):
    reading = open_clips(tiny.plain(tmp_path, kind=kind, suffix=suffix))
    (clip,) = reading.clips
    assert (reading.dataset, clip.frame_ids) == ("plain", ("frame_9", "frame_10"))
    assert (reading.warnings, clip[1]["time_s"]) == ((), 1 / 25)
    on_the_wall(clip, within_mm=0.02)


def test_depth_of_our_own_form_without_a_unit_is_refused(tmp_path):
    (tiny.plain(tmp_path) / "dataset.json").write_text('{"mm_per_count": 0.01}')
    with pytest.raises(DataError, match=r"states \['depth_kind'\]"):
        open_clips(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp"])
def test_a_glob_of_images_is_a_clip(tmp_path, suffix):
    for number in (10, 9):
        tiny.save(colour_of(number % 2), tmp_path / f"{number}.{suffix}")
    tiny.save(colour_of(0), tmp_path / "other.png")
    (clip,) = open_clips(f"{tmp_path}/[0-9]*.{suffix}").clips
    assert clip.frame_ids == ("9", "10")
    assert (clip[0]["image"] - seen(PINHOLE, 1).image).abs().mean() < 0.02


def test_images_of_16_bits_keep_them_all(tmp_path):
    grey = np.arange(H * W, dtype=np.uint16).reshape(H, W) * 37
    tiny.save(grey, tmp_path / "grey.png")
    rgb = np.stack([grey, grey // 2, grey // 3], axis=-1)
    tiny.save_16(rgb, tmp_path / "rgb.tiff")
    tiny.save_16(rgb, tmp_path / "rgb_2.png")
    (clip,) = open_clips(tmp_path).clips
    assert_close(clip[0]["image"][1], torch.from_numpy(grey / 65535).float(), atol=1e-7, rtol=0)
    for number in (1, 2):
        wanted = torch.from_numpy(rgb / 65535).float().movedim(-1, 0)
        assert_close(clip[number]["image"], wanted, atol=1e-7, rtol=0)


def test_dicom_frames_are_decoded_one_by_one(tmp_path):
    pydicom = pytest.importorskip("pydicom", reason="pydicom is an extra")
    pixels = np.stack([colour_of(number) for number in range(2)])
    (clip,) = open_clips(dicom_file(pydicom, tmp_path / "endoscopy", pixels)).clips
    view = clip[1]
    require_view(view)
    assert_close(view["image"], torch.from_numpy(pixels[1] / 255).float().movedim(-1, 0))
    assert (len(clip), view["time_s"], clip.camera.calibrated) == (2, 0.04, False)


def test_dicom_without_pydicom_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    (tmp_path / "x.dcm").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(MissingExtraError, match=r"pip install colondepth\[dicom\]"):
        open_clips(tmp_path / "x.dcm")


def test_a_file_that_only_claims_to_be_dicom_is_told(tmp_path):
    pytest.importorskip("pydicom", reason="pydicom is an extra")
    (tmp_path / "x.dcm").write_bytes(b"nothing of the kind" * 20)
    with pytest.raises(DataError, match="cannot be read as DICOM"):
        open_clips(tmp_path / "x.dcm")


def colour_of(number: int):
    return tiny.colour(seen(PINHOLE, number))


def dicom_file(pydicom, path: Path, pixels) -> Path:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    tags = pydicom.Dataset()
    tags.file_meta = FileMetaDataset()
    tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags.SOPClassUID = tags.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
    tags.SOPInstanceUID = tags.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    tags.Rows, tags.Columns, tags.NumberOfFrames = *pixels.shape[1:3], len(pixels)
    tags.SamplesPerPixel, tags.PhotometricInterpretation, tags.PlanarConfiguration = 3, "RGB", 0
    tags.BitsAllocated = tags.BitsStored = 8
    tags.HighBit, tags.PixelRepresentation, tags.FrameTime = 7, 0, "40"
    tags.PixelData = pixels.tobytes()
    tags.save_as(path, enforce_file_format=True)
    return path
