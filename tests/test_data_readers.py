"""Every reader proves itself: back-projected frames land on the wall that was rendered."""

from pathlib import Path

import numpy as np
import pytest
import tiny_datasets as tiny
import torch
from scenes import C3VD, H, W, cameras
from tiny_datasets import PINHOLE, POSES, on_the_wall, seen
from torch.testing import assert_close

from colondepth.cameras import CameraForm, to_file
from colondepth.data import open_clips
from colondepth.data.c3vd import CF_HQ190L
from colondepth.data.ruano import published_camera
from colondepth.errors import DataError, MissingExtraError
from colondepth.geometry import reproject, rigid_flow, unproject
from colondepth.motion import inverse, relative
from colondepth.views import require_view

SHARED = Path(__file__).parents[2] / "shared" / "data"
RENDERED = {"height": 64, "width": 80}


def exr_writer():
    openexr = pytest.importorskip("OpenEXR", reason="OpenEXR is an extra")

    def write(path, values):
        header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
        with openexr.File(header, {"R": values.float().numpy()}) as file:
            file.write(str(path))

    return write


@pytest.mark.parametrize("layout", ["v1", "v1 unpadded", "v2"])
def test_c3vd_frames_land_on_the_wall_and_meet_their_neighbours(tmp_path, layout):
    camera = cameras()["omnidirectional"]
    folder = tiny.c3vd(tmp_path, camera, second=layout == "v2", padded=layout == "v1")
    to_file(camera, folder / "camera.json")
    reading = open_clips(tmp_path)
    (clip,) = reading.clips
    assert (reading.dataset, reading.warnings, clip.frame_ids) == ("c3vd", (), ("0000", "0001"))
    assert clip.name == ("c1_cecum_t1_v1" if layout == "v2" else "cecum_t1_a")
    on_the_wall(clip, within_mm=0.01)
    view = clip[1]
    assert not view["depth_mm"][0, 0, :5].any()  # unknown
    assert not view["depth_mm"][0, 1, :7].any()  # saturated
    facing = (view["normals"].movedim(0, -1) * unproject(view["depth_mm"], camera).float()).sum(-1)
    assert (facing[view["depth_mm"][0] > 0] < 0).all()
    assert_close(view["normals"], seen(camera, 1).normals.float(), atol=1e-4, rtol=0)
    flow, lands = rigid_flow(seen(camera, 1).depth_mm, camera, relative(POSES[0], POSES[1]))
    known = view["flow_to_previous_known"]
    assert torch.equal(known, lands)
    assert 0.3 < known.float().mean() < 1
    wrong = (view["flow_to_previous_px"] - flow) * known
    assert wrong.abs().max() < 40 / 65535 * 2
    assert not clip[0]["flow_to_previous_known"].any()  # no frame before it
    assert view["occluding"].sum() == 3 * 8
    assert set(clip[0]) == set(view)


def test_c3vd_has_the_published_camera_where_no_file_says_another(tmp_path):
    folder = tmp_path / "trans_t1_a"
    tiny.save(np.zeros((1080, 1350, 3), np.uint8), folder / "0_color.png")
    tiny.save(np.full((1080, 1350), 9, np.uint16), folder / "0000_depth.tiff")
    camera = open_clips(folder).clips[0].camera
    points = torch.tensor([[9.0, -3, 14], [-20, 8, 11]], dtype=torch.float64)
    assert_close(camera.project(points)[0], C3VD.project(points)[0], atol=1e-3, rtol=0)


def test_a_c3vd_copy_of_another_size_is_told_to_bring_its_camera(tmp_path):
    tiny.c3vd(tmp_path, cameras()["omnidirectional"])
    with pytest.raises(DataError, match=r"36x48, but its camera is for 1080x1350.*resized\(36, 48"):
        open_clips(tmp_path)
    clip = open_clips(tmp_path, camera=CF_HQ190L.resized(H, W)).clips[0]
    on_the_wall(clip, within_mm=0.05)


def test_a_c3vd_camera_file_above_the_sequence_is_found(tmp_path):
    camera = cameras()["omnidirectional"]
    tiny.c3vd(tmp_path, camera)
    to_file(camera, tmp_path / "camera_intrinsics.txt", form=CameraForm.C3VD)
    on_the_wall(open_clips(tmp_path).clips[0], within_mm=0.01)


def test_c3vd_depth_of_8_bits_is_refused(tmp_path):
    folder = tiny.c3vd(tmp_path, cameras()["omnidirectional"])
    tiny.save(np.full((H, W), 77, np.uint8), folder / "0001_depth.tiff")
    clip = open_clips(tmp_path, camera=cameras()["omnidirectional"]).clips[0]
    with pytest.raises(DataError, match=r"0001_depth.tiff has 8 bits a value, expected 16"):
        clip[1]


@pytest.mark.parametrize("inside", [".", "SyntheticColon_I", "SyntheticColon_I/Frames_S5"])
def test_simcol3d_frames_land_on_the_wall(tmp_path, inside):
    reading = open_clips(tiny.simcol3d(tmp_path) / inside)
    (clip,) = reading.clips
    assert (reading.dataset, clip.name, reading.warnings) == ("simcol3d", "S5", ())
    on_the_wall(clip, within_mm=0.01)


def test_simcol3d_poses_without_a_frame_are_an_error(tmp_path):
    tiny.simcol3d(tmp_path)
    for file in tmp_path.rglob("*_0001.png"):
        file.unlink()
    with pytest.raises(DataError, match="1 images and 2 poses"):
        open_clips(tmp_path)
    left = open_clips(tmp_path, skip_bad=True)
    assert [skipped.reason for skipped in left.skipped] == [
        "no image for 1 of 2 poses, from frame 1"
    ]
    assert_close(left.clips[0][0]["world_from_camera"], POSES[0])


def test_the_real_simcol3d_sample_agrees_with_itself_in_the_right_hand_only():
    if not (SHARED / "simcol3d").is_dir():
        pytest.skip("../shared/data/simcol3d is not here")
    (clip,) = open_clips(SHARED / "simcol3d").clips
    first, last = clip[0], clip[9]
    require_view(first)
    motion = relative(last["world_from_camera"], first["world_from_camera"])
    mirror = torch.diag(torch.tensor([1.0, -1, 1, 1], dtype=torch.float64))
    right, left, back = (
        _disagreement_mm(first["depth_mm"], last["depth_mm"], clip.camera, each)
        for each in (motion, mirror @ motion @ mirror, inverse(motion))
    )
    assert right < 0.8  # the sample's own step is 0.78 mm
    assert min(left, back) > 5 * right


def _disagreement_mm(depth_mm, other_mm, camera, motion) -> float:
    pixels, there_mm, lands = reproject(depth_mm.double(), camera, motion)
    u, v = pixels[lands[0]].round().long().clamp(0, 474).unbind(-1)
    assert lands.float().mean() > 0.1
    return float((other_mm[0][v, u] - there_mm[lands]).abs().median())


def test_ruano_distances_become_depths_on_the_wall(tmp_path):
    camera = published_camera(**RENDERED)
    reading = open_clips(tiny.ruano(tmp_path, camera))
    (clip,) = reading.clips
    assert (reading.dataset, clip.name, clip.frame_ids) == ("ruano", "vid40", ("0029", "0030"))
    on_the_wall(clip, within_mm=1.6, poses=POSES, z=False)  # half a step, and a step of JPEG
    view = clip[0]
    error = view["depth_mm"] - seen(camera, 0).depth_mm
    assert error.mean().abs() < 0.1  # taken for z, the corners would be 20 mm off
    assert 370 < view["polyp"].sum() < 400


def test_the_published_camera_of_ruano_sees_119_by_101_degrees():
    across, down, _ = published_camera(480, 640).field_of_view_rad()
    assert_close(across.rad2deg().item(), 118.9, atol=0.1, rtol=0)
    assert_close(down.rad2deg().item(), 100.6, atol=0.1, rtol=0)


def test_a_ruano_image_without_depth_is_named(tmp_path):
    tiny.ruano(tmp_path, published_camera(**RENDERED))
    (tmp_path / "vid40" / "z" / "0030.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 frames have no depth: 0030.jpg"):
        open_clips(tmp_path)


def test_ucl_frames_land_on_the_wall(tmp_path):
    reading = open_clips(tiny.ucl(tmp_path), camera=PINHOLE)
    (clip,) = reading.clips
    assert (reading.dataset, clip.name, clip.frame_ids[0]) == ("ucl", "T2_L3_1", "0203")
    on_the_wall(clip, within_mm=0.4, poses=POSES)  # half a step
    guessed = open_clips(tmp_path)
    assert not guessed.clips[0].camera.calibrated
    assert "no length made with it is metric" in guessed.warnings[0]


def test_a_ucl_depth_without_image_is_named(tmp_path):
    tiny.ucl(tmp_path)
    (tmp_path / "T2_L3_1_resized_FrameBuffer_0204.png").unlink()
    with pytest.raises(DataError, match=r"no image: T2_L3_1_resized_Depth_0204.png"):
        open_clips(tmp_path)


def test_endoslam_depth_is_relative_and_its_camera_is_off_centre(tmp_path):
    reading = open_clips(tiny.endoslam(tmp_path))
    (clip,) = reading.clips
    view = clip[1]
    require_view(view)
    assert (reading.dataset, clip.name) == ("endoslam", "Colon")
    assert "no unit" in reading.warnings[0]
    assert {"depth_mm", "world_from_camera"}.isdisjoint(view)
    assert_close(
        view["relative_depth"] * 127.5, seen(PINHOLE, 1).depth_mm.float(), atol=0.3, rtol=0
    )
    assert clip.camera.centre.tolist() == [178.5604, 181.8043]


def test_endoslam_with_a_broken_calibration_is_told(tmp_path):
    (tiny.endoslam(tmp_path) / "UnityCam" / "Calibration" / "cam.txt").write_text("156,0,178")
    with pytest.raises(DataError, match=r"cam.txt holds .* expected the 9 numbers"):
        open_clips(tmp_path)


def test_endomapper_frames_land_on_the_wall(tmp_path):
    reading = open_clips(tiny.endomapper(tmp_path, exr_writer()), camera=PINHOLE)
    (clip,) = reading.clips
    assert (reading.dataset, clip.name) == ("endomapper", "Seq_3")
    on_the_wall(clip, within_mm=0.01)
    assert clip[1]["time_s"] == 1 / 30


def test_endomapper_asks_for_the_unit_that_nobody_knows(tmp_path):
    tiny.endomapper(tmp_path, lambda path, values: path.write_bytes(b"exr"))
    (tmp_path / "Seq_3" / "dataset.json").unlink()
    with pytest.raises(DataError, match=r"unit .* is doubtful; state it in a dataset.json"):
        open_clips(tmp_path)


def test_endomapper_without_openexr_says_how_to_get_it(tmp_path, monkeypatch):
    tiny.endomapper(tmp_path, lambda path, values: path.write_bytes(b"exr" * 20))
    monkeypatch.setitem(__import__("sys").modules, "OpenEXR", None)
    with pytest.raises(MissingExtraError, match="pip install OpenEXR"):
        open_clips(tmp_path, camera=PINHOLE).clips[0][0]
