"""What is wrong with a folder is said in one line that names it; the rest can still be had."""

import json
import os
import time

import numpy as np
import pytest
import tiny_datasets as tiny
from scenes import CX, CY, FX, FY, H, W, cameras
from tiny_datasets import PINHOLE

from colondepth.cameras import Camera
from colondepth.data import open_clips
from colondepth.data.folders import natural_key
from colondepth.errors import DataError, UnknownNameError

BLACK = np.zeros((H, W, 3), np.uint8)


def images(folder, *names):
    for name in names:
        tiny.save(BLACK, folder / name)
    return folder


def test_an_empty_folder_is_answered_with_what_was_looked_for(tmp_path):
    with pytest.raises(
        DataError, match=r"is empty, which no reader knows.*c3vd: .*simcol3d: "
    ) as e:
        open_clips(tmp_path)
    assert "\n" not in str(e.value)


def test_a_folder_of_something_else_is_answered_with_what_it_holds(tmp_path):
    (tmp_path / "notes_12.docx").write_bytes(b"x")
    with pytest.raises(DataError, match=r"holds \['notes_#.docx'\]"):
        open_clips(tmp_path)


def test_a_path_that_is_not_there_or_of_the_wrong_kind_is_told(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    images(tmp_path, "a.png")
    for path, dataset, message in (
        ("nowhere", None, "does not exist"),
        ("notes.txt", None, "is a file; expected a folder, an image or a video"),
        ("a.png", "c3vd", "is a file; expected the folder of a c3vd dataset"),
        ("*.tif", None, "fits no file"),
        ("*.txt", None, "fits no image"),
        (".", "dicom", "expected a dicom file"),
        (".", "simcol3d", "is not simcol3d; looked for folders called Frames_S1"),
    ):
        with pytest.raises(DataError, match=message):
            open_clips(tmp_path / path, dataset=dataset)


def test_a_misspelt_dataset_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'simcol3d'"):
        open_clips(tmp_path, dataset="simcol")


def test_a_folder_that_fits_two_datasets_asks_which_and_takes_the_answer(tmp_path):
    tiny.ucl(tmp_path / "a")
    tiny.simcol3d(tmp_path / "b")
    with pytest.raises(DataError, match=r"simcol3d, ucl; say which .*--dataset simcol3d"):
        open_clips(tmp_path)
    assert open_clips(tmp_path, dataset="simcol3d").clips[0].name == "S5"


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda data: b"", "has no bytes"),
        (lambda data: data[: len(data) // 2], "is truncated or broken"),
        (lambda data: b"GIF89a" + data, r"is not a .png file; it begins with b'GIF8'"),
        (lambda data: data[:9], "too few for an image"),
    ],
    ids=["empty", "cut", "another kind", "a stump"],
)
def test_a_broken_image_is_named_or_skipped_and_listed(tmp_path, harm, reason):
    images(tmp_path, "1.png", "2.png", "3.png")
    path = tmp_path / "2.png"
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(DataError, match=rf"2\.png: .*{reason}"):
        open_clips(tmp_path)
    reading = open_clips(tmp_path, skip_bad=True)
    assert reading.clips[0].frame_ids == ("1", "3")
    (skipped,) = reading.skipped
    assert (skipped.path, len(reading.clips[0])) == (path, 2)
    assert reading.clips[0][1]["image"].shape == (3, H, W)


@pytest.mark.parametrize("suffix", ["jpg", "tif", "bmp", "webp"])
def test_a_file_that_ends_too_early_is_found_when_it_is_opened(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)
    path = tiny.save(noise, tmp_path / f"b.{suffix}")
    images(tmp_path, f"a.{suffix}")
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(DataError, match=rf"b\.{suffix}: "):
        open_clips(tmp_path)


def test_bytes_behind_the_end_of_a_jpeg_are_no_fault(tmp_path):
    path = tiny.save(BLACK, tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + b"a camera wrote this")
    assert len(open_clips(tmp_path).clips[0]) == 1


def test_nothing_left_is_an_error_even_when_skipping(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"nothing is left of this plain .*: a\.png has no bytes"):
        open_clips(tmp_path, skip_bad=True)


def test_damage_that_only_a_decoder_sees_is_named_when_read(tmp_path):
    path = tiny.save(
        np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8), tmp_path / "a.png"
    )
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(data)
    clip = open_clips(tmp_path).clips[0]
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image"):
        clip[0]


def test_images_of_unequal_sizes_are_named_when_read(tmp_path):
    images(tmp_path, "1.png")
    tiny.save(np.zeros((H, W + 2, 3), np.uint8), tmp_path / "2.png")
    with pytest.raises(DataError, match=r"2\.png is 36x50, but the clip's first image .* 36x48"):
        open_clips(tmp_path).clips[0][1]


def test_a_depth_map_of_another_size_is_named(tmp_path):
    folder = tiny.plain(tmp_path)
    tiny.save(np.ones((H, W + 2), np.uint16), folder / "depth" / "frame_10.png")
    with pytest.raises(DataError, match=r"frame_10\.png is \(36, 50\)"):
        open_clips(tmp_path).clips[0][1]


def test_two_numbers_for_one_frame_are_refused(tmp_path):
    folder = tiny.c3vd(tmp_path, PINHOLE)
    tiny.save(BLACK, folder / "0_color.png")
    with pytest.raises(DataError, match=r"both frame 0; remove one"):
        open_clips(tmp_path)


def test_partners_that_are_missing_are_named_or_skipped(tmp_path):
    folder = tiny.c3vd(tmp_path, PINHOLE)
    (folder / "0001_normals.tiff").unlink()
    with pytest.raises(DataError, match=r"1 of 2 frames have no normals: 0001_color\.png"):
        open_clips(tmp_path, camera=PINHOLE)
    reading = open_clips(tmp_path, camera=PINHOLE, skip_bad=True)
    assert [(skipped.path.name, skipped.reason) for skipped in reading.skipped] == [
        ("0001_color.png", "has no normals")
    ]
    assert reading.clips[0].frame_ids == ("0000",)


def test_a_frame_that_is_skipped_does_not_move_the_poses_of_the_others(tmp_path):
    folder = tiny.c3vd(tmp_path, PINHOLE)
    (folder / "0000_depth.tiff").write_bytes(b"")
    (clip,) = open_clips(tmp_path, camera=PINHOLE, skip_bad=True).clips
    assert clip.frame_ids == ("0001",)
    assert clip[0]["world_from_camera"][0, 3] == tiny.POSES[1][0, 3]


def test_frames_known_to_be_corrupt_are_a_warning_and_skipped_on_request(tmp_path):
    tiny.simcol3d(tmp_path)
    scene = tmp_path / "SyntheticColon_I"
    (scene / "Frames_S5").rename(scene / "Frames_S14")
    for kind in ("Position", "RotationQuaternion"):
        (scene / f"Saved{kind}_S5.txt").rename(scene / f"Saved{kind}_S14.txt")
    for file in (scene / "Frames_S14").iterdir():
        file.rename(file.with_name(file.name.replace("000", "006")))
    reading = open_clips(tmp_path)
    assert reading.warnings == (
        "S14: frames 0060, 0061: dropped as corrupt by the challenge's winner",
    )
    assert len(reading.clips[0]) == 2
    with pytest.raises(DataError, match="nothing is left"):
        open_clips(tmp_path, skip_bad=True)


def test_a_camera_of_another_size_is_refused(tmp_path):
    images(tmp_path, "1.png")
    with pytest.raises(DataError, match=r"36x48, but its camera is for 37x48"):
        open_clips(tmp_path, camera=Camera.assumed(H + 1, W))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "holds a list"),
        ('{"mm_per_counts": 1}', r"keys \['mm_per_counts'\] are unknown"),
        ('{"mm_per_count": -1, "depth_kind": "z"}', "mm_per_count is -1, expected a positive"),
        ('{"mm_per_count": 1, "depth_kind": "range"}', "depth_kind is 'range'"),
        (
            '{"mm_per_count": 0.01, "depth_kind": "z"}',
            "give trajectory_mm_per_unit in dataset.json",
        ),
    ],
)
def test_a_dataset_json_that_says_nothing_sure_is_refused(tmp_path, text, message):
    (tiny.plain(tmp_path) / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=message):
        open_clips(tmp_path)


def test_names_in_any_script_and_very_long_paths_are_read(tmp_path):
    folder = tmp_path / "大腸内視鏡 ß ñ" / ("x" * 200) / ("y" * 200)
    images(folder, "画像_2.png", "画像_10.png", "ä" * 100 + ".png")
    (clip,) = open_clips(tmp_path).clips
    assert clip.frame_ids == ("ä" * 100, "画像_2", "画像_10")
    assert clip[0]["image"].shape == (3, H, W)
    with pytest.raises(DataError, match="cannot be reached: File name too long"):
        open_clips(tmp_path / ("z" * 300))


def test_a_folder_whose_name_looks_like_a_pattern_is_taken_by_its_name(tmp_path):
    images(tmp_path / "case[1]", "1.png")
    assert open_clips(tmp_path / "case[1]").clips[0].name == "case[1]"


def test_links_that_lead_round_in_circles_are_named_or_skipped(tmp_path):
    images(tmp_path, "1.png")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    with pytest.raises(DataError, match=r"self\.png: cannot be followed|a link that leads back"):
        open_clips(tmp_path)
    reading = open_clips(tmp_path, skip_bad=True)
    assert {skipped.path.name for skipped in reading.skipped} == {"again", "self.png"}
    assert [len(clip) for clip in reading.clips] == [1]
    with pytest.raises(DataError, match="cannot be reached"):
        open_clips(tmp_path / "self.png")


def test_a_folder_that_may_not_be_listed_is_named_or_skipped(tmp_path, monkeypatch):
    images(tmp_path / "open", "1.png")
    (tmp_path / "locked").mkdir()
    really = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return really(path)

    monkeypatch.setattr(os, "scandir", scandir)  # the tests may run as root, who may do all
    with pytest.raises(DataError, match=r"locked: cannot be listed: Permission denied"):
        open_clips(tmp_path)
    assert len(open_clips(tmp_path, skip_bad=True).skipped) == 1
    with pytest.raises(DataError, match="cannot be listed"):
        open_clips(tmp_path / "locked", skip_bad=True)


@pytest.mark.slow
def test_a_folder_of_100000_images_is_indexed_in_seconds_and_listed_once(tmp_path, monkeypatch):
    first = images(tmp_path, "frame_0.png") / "frame_0.png"
    for number in range(1, 100_000):
        if number % 30_000 == 0:  # a file has at most 65,000 names
            first = images(tmp_path, f"frame_{number}.png") / f"frame_{number}.png"
        else:
            os.link(first, tmp_path / f"frame_{number}.png")
    listed, really = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or really(path))
    start = time.process_time()
    (clip,) = open_clips(tmp_path).clips
    took_s = time.process_time() - start
    assert (len(clip), clip.frame_ids[99_999], len(listed)) == (100_000, "frame_99999", 1)
    assert took_s < 2


def test_frame_10_comes_after_frame_9():
    names = ["frame_10", "frame_9", "2b", "10a", "frame_9b", "a"]
    assert sorted(names, key=natural_key) == ["2b", "10a", "a", "frame_9", "frame_9b", "frame_10"]


def test_a_camera_json_of_our_own_form_is_obeyed(tmp_path):
    images(tmp_path, "1.png")
    fields = {"height": H, "width": W, "fx": FX, "fy": FY, "cx": CX, "cy": CY}
    (tmp_path / "camera.json").write_text(json.dumps({"model": "fisheye", **fields}))
    camera = open_clips(tmp_path).clips[0].camera
    assert (camera.calibrated, camera.linear[0, 0].item()) == (True, FX)
    assert type(camera.lens) is type(cameras()["fisheye"].lens)
