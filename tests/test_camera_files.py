"""Cameras written down and read back, in every form."""

import json
from dataclasses import replace

import pytest
import torch
from scenes import C3VD, CX, CY, FX, FY, H, W, cameras
from torch.testing import assert_close

from colondepth.cameras import Camera, CameraForm, from_file, to_file
from colondepth.errors import DataError, ShapeError

SUFFIX = {
    CameraForm.JSON: ".json",
    CameraForm.OPENCV: ".yaml",
    CameraForm.C3VD: ".txt",
    CameraForm.SIMCOL3D: ".txt",
}
FITS = [
    *((CameraForm.JSON, name) for name in cameras()),
    *((CameraForm.OPENCV, name) for name in ("pinhole", "brown", "fisheye")),
    (CameraForm.C3VD, "omnidirectional"),
    (CameraForm.SIMCOL3D, "pinhole"),
]


def assert_same(ours: Camera, theirs: Camera) -> None:
    assert type(ours.lens) is type(theirs.lens)
    assert (ours.height, ours.width) == (theirs.height, theirs.width)
    assert_close(ours.rays(H, W), theirs.rays(H, W), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("form", "name"), FITS)
def test_a_camera_read_back_has_the_same_rays(tmp_path, form, name):
    camera = cameras()[name]
    path = tmp_path / f"camera{SUFFIX[form]}"
    to_file(camera, path, form=form)
    assert_same(from_file(path, size=(H, W)), camera)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_guess_is_still_a_guess_when_read_back(tmp_path):
    to_file(Camera.assumed(H, W), tmp_path / "camera.json")
    assert not from_file(tmp_path / "camera.json").calibrated


@pytest.mark.parametrize("form", [form for form in CameraForm if form is not CameraForm.JSON])
def test_a_form_that_cannot_say_so_refuses_a_guess(tmp_path, form):
    with pytest.raises(DataError, match="is a guess"):
        to_file(Camera.assumed(H, W), tmp_path / "camera.txt", form=form)


def test_a_simcol3d_file_that_would_be_misread_is_not_written(tmp_path):
    camera = Camera.pinhole(fx=90, fy=100, cx=60, cy=90, height=201, width=201)
    with pytest.raises(DataError, match="nobody could tell"):
        to_file(camera, tmp_path / "cam.txt", form=CameraForm.SIMCOL3D)


@pytest.mark.parametrize("form", [CameraForm.OPENCV, CameraForm.C3VD, CameraForm.SIMCOL3D])
def test_a_form_that_cannot_hold_a_camera_refuses_it_and_writes_nothing(tmp_path, form):
    camera = cameras()["omnidirectional" if form is not CameraForm.C3VD else "brown"]
    with pytest.raises(DataError):
        to_file(camera, tmp_path / f"camera{SUFFIX[form]}", form=form)
    assert not list(tmp_path.iterdir())


def test_a_sheared_camera_survives_our_form_and_no_other(tmp_path):
    shear = torch.tensor([[1, 0.1], [0.05, 1]], dtype=torch.float64)
    camera = cameras()["pinhole"].remapped(shear, torch.zeros(2), height=H, width=W)
    to_file(camera, tmp_path / "camera.json")
    assert_same(from_file(tmp_path / "camera.json"), camera)
    with pytest.raises(DataError, match="shear"):
        to_file(camera, tmp_path / "camera.yaml")
    with pytest.raises(DataError, match="shear"):
        to_file(camera, tmp_path / "camera.txt", form=CameraForm.SIMCOL3D)


def test_a_hand_written_json_is_enough(tmp_path):
    path = tmp_path / "camera.json"
    fields = {"model": "pinhole", "height": H, "width": W, "fx": FX, "fy": FY, "cx": CX, "cy": CY}
    path.write_text(json.dumps(fields))
    assert_same(from_file(path), cameras()["pinhole"])


@pytest.mark.parametrize(
    "text",
    [
        "width = 1350\nheight = 1080\ncx = 678.544839\ncy = 542.975888\na0 = 769.2436\na1 = 0\n"
        "a2 = -8.12770624e-4\na3 = 6.25674244e-7\na4 = -1.19662182e-9\n"
        "c = 0.99998688\nd = 2.88273830e-3\ne = -2.96316513e-3\n",
        "; config\nwidth: 1350\nheight: 1080\ncx: 678.544839\ncy: 542.975888\na0: 769.2436\n"
        "a2: -8.12770624e-4\na3: 6.25674244e-7\na4: -1.19662182e-9\n"
        "e: 0.99998688\nf: 2.88273830e-3\ng: -2.96316513e-3\n",
        "1350, 1080, 678.544839, 542.975888, 769.2436, 0, -8.12770624e-4, 6.25674244e-7,"
        " -1.19662182e-9, 0.99998688, 2.88273830e-3, -2.96316513e-3\n",
    ],
)
def test_c3vds_camera_is_read_from_each_of_its_spellings(tmp_path, text):
    (tmp_path / "params.txt").write_text(text)
    camera = from_file(tmp_path / "params.txt")
    assert_close(camera.linear, C3VD.linear)
    assert_close(camera.centre, C3VD.centre)
    assert_close(camera.lens.parameters(), C3VD.lens.parameters())


@pytest.mark.parametrize(
    "text",
    [
        "227.60416 0 227.60416 0 237.5 237.5 0 0 1",  # as published
        "227.60416 0 237.5 0 227.60416 237.5 0 0 1",  # the matrix that was meant
    ],
)
def test_simcol3ds_scrambled_matrix_is_understood(tmp_path, text):
    (tmp_path / "cam.txt").write_text(text)
    camera = from_file(tmp_path / "cam.txt", size=(475, 475))
    assert camera.linear.tolist() == [[227.60416, 0], [0, 227.60416]]
    assert camera.centre.tolist() == [237.5, 237.5]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("camera.json", "{", "not JSON"),
        ("camera.json", "[1]", "expected one of"),
        ("camera.json", '{"model": "pinhol"}', "'pinhol'"),
        ("camera.json", '{"model": "pinhole", "hieght": 3}', "missing or unknown"),
        (
            "camera.json",
            '{"model":"pinhole","height":3.5,"width":4,"fx":1,"fy":1,"cx":0,"cy":0}',
            "whole numbers",
        ),
        (
            "camera.json",
            '{"model":"pinhole","height":3,"width":4,"fx":NaN,"fy":1,"cx":0,"cy":0}',
            "fx is nan",
        ),
        (
            "camera.json",
            '{"model":"fisheye","height":3,"width":4,"fx":1,"fy":1,"cx":0,"cy":0,"distortion":[1]}',
            "expected 4 numbers",
        ),
        (
            "camera.json",
            '{"model":"pinhole","height":3,"width":4,"fx":1,"fy":1,"cx":0,"cy":0,"calibrated":"no"}',
            "true or false",
        ),
        (
            "camera.json",
            '{"model":"omnidirectional","height":3,"width":4,"fx":1,"fy":1,"cx":0,"cy":0,'
            '"polynomial":[-5,0,0,0,0]}',
            "starts with -5",
        ),
        ("camera.json", '{"model": ["pinhole"]}', "expected one of"),
        (
            "camera.json",
            '{"model":"pinhole","height":3,"width":4,"fx":1' + "0" * 400 + ',"fy":1,"cx":0,"cy":0}',
            "expected a finite number",
        ),
        ("camera.txt", "1 2 3", "3 numbers"),
        ("camera.txt", "1 0 2 0 1 2 0 0 2", "last row"),
        ("camera.txt", "a0 = 5\nwidth = 3\n", "lacks"),
        ("camera.txt", "", "0 numbers"),
        ("camera.yaml", "hello: 1\n", "camera_matrix"),
        ("camera.yaml", "{{{", "camera.yaml"),
    ],
)
def test_a_damaged_camera_file_is_named_with_what_is_wrong(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message) as error:
        from_file(tmp_path / name, size=(H, W))
    assert name in str(error.value)


def test_a_missing_file_a_folder_and_a_video_are_not_cameras(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        from_file(tmp_path / "camera.json")
    with pytest.raises(DataError, match="is a folder"):
        from_file(tmp_path)
    (tmp_path / "video.txt").write_bytes(b"\xff\xfe\x00" * 10)
    with pytest.raises(DataError, match="not text"):
        from_file(tmp_path / "video.txt")
    (tmp_path / "big.txt").write_bytes(b"1 " * (1 << 20))
    with pytest.raises(DataError, match="page of text"):
        from_file(tmp_path / "big.txt")


def test_a_size_that_contradicts_the_file_is_an_error(tmp_path):
    to_file(cameras()["pinhole"], tmp_path / "camera.json")
    with pytest.raises(DataError, match="36x48, expected 72x96"):
        from_file(tmp_path / "camera.json", size=(72, 96))


def test_opencvs_rational_model_is_refused(tmp_path):
    import cv2
    import numpy as np

    storage = cv2.FileStorage(str(tmp_path / "camera.yaml"), cv2.FILE_STORAGE_WRITE)
    storage.write("camera_matrix", np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]]))
    storage.write("distortion_coefficients", np.array([[0.1, 0, 0, 0, 0, 0.2, 0, 0]]))
    storage.release()
    with pytest.raises(DataError, match="CALIB_RATIONAL_MODEL"):
        from_file(tmp_path / "camera.yaml", size=(H, W))
    with pytest.raises(DataError, match="pass size"):
        from_file(tmp_path / "camera.yaml")
    storage = cv2.FileStorage(str(tmp_path / "skewed.yaml"), cv2.FILE_STORAGE_WRITE)
    storage.write("camera_matrix", np.array([[FX, 1.5, CX], [0, FY, CY], [0, 0, 1]]))
    storage.release()
    with pytest.raises(DataError, match=r"skew of 1\.5"):
        from_file(tmp_path / "skewed.yaml", size=(H, W))


def test_a_batch_of_cameras_has_no_file(tmp_path):
    camera = cameras()["pinhole"]
    batch = replace(camera, centre=camera.centre.expand(2, 2))
    with pytest.raises(ShapeError, match="one camera"):
        to_file(batch, tmp_path / "camera.json")
    with pytest.raises(DataError, match="say which form"):
        to_file(camera, tmp_path / "camera.txt")
