"""Clips in training loops: datasets, dictionaries, workers and the splits of the papers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_datasets as tiny
import torch
from monai.data import Dataset as MonaiDataset
from monai.transforms import Compose
from scenes import H, W
from tiny_datasets import PINHOLE
from torch.utils.data import DataLoader

from colondepth.cameras import Camera
from colondepth.data import SPLITS, LoadView, ViewDataset, as_dictionaries, open_clips, split
from colondepth.data.shards import write_shards
from colondepth.errors import DataError, UnknownNameError
from colondepth.transforms import ResizeViewd
from colondepth.views import Clip, View, collate_views, require_view


def read(number: int) -> View:
    image = torch.full((3, H, W), number / 255)
    return View(image=image, camera=PINHOLE)


def named(name: str, length: int = 2) -> Clip:
    frames = [f"{number:04d}" for number in range(length)]
    return Clip(read, frames, camera=PINHOLE, name=name)


def test_a_view_dataset_counts_through_its_clips():
    dataset = ViewDataset([named("a", 3), named("b", 1), named("c", 4)])
    found = [round(float(dataset[number]["image"].max() * 255)) for number in range(len(dataset))]
    assert found == [0, 1, 2, 0, 0, 1, 2, 3]
    assert dataset[-1]["frame_id"] == "0003"
    with pytest.raises(IndexError):
        dataset[8]
    with pytest.raises(DataError, match="no clip"):
        ViewDataset([])


def test_a_transform_sees_every_view():
    small = ViewDataset([named("a")], ResizeViewd(["image"], (H // 2, W // 3)))[1]
    require_view(small)
    assert small["image"].shape == (3, H // 2, W // 3)


def test_two_workers_give_the_same_batches_in_order(tmp_path):
    clips = open_clips(tiny.simcol3d(tmp_path / "raw")).clips
    write_shards(clips, tmp_path / "shards")
    dataset = ViewDataset([*clips, *open_clips(tmp_path / "shards").clips])
    loader = DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=collate_views)
    first, second = loader
    require_view(first)
    assert first["frame_id"] == ["0000", "0001"]
    assert first["camera"].batch == (2,)
    for key in ("image", "depth_mm", "world_from_camera"):
        assert torch.equal(first[key], second[key])
        assert torch.equal(first[key][1], clips[0][1][key])


def test_clips_of_files_can_be_sent_to_processes_that_were_not_forked(tmp_path):
    import pickle

    (clip,) = open_clips(tiny.simcol3d(tmp_path)).clips
    again = pickle.loads(pickle.dumps(ViewDataset([clip])))
    assert torch.equal(again[1]["depth_mm"], clip[1]["depth_mm"])


def test_monai_reads_the_dictionaries_one_by_one():
    opened: list[int] = []

    def noted(number: int) -> View:
        opened.append(number)
        return read(number)

    clip = Clip(noted, ["0000", "0001", "0002"], camera=PINHOLE, name="a")
    rows = as_dictionaries([clip, named("b")])
    assert [(row["clip_name"], row["frame_id"]) for row in rows][2:4] == [
        ("a", "0002"),
        ("b", "0000"),
    ]
    data = MonaiDataset(rows, Compose([LoadView(), ResizeViewd(["image"], (12, 18))]))
    assert opened == []
    view = data[2]
    assert (opened, view["clip_name"], view["image"].shape) == ([2], "a", (3, 12, 18))
    with pytest.raises(DataError, match=r"lacks \['clip', 'index'\]"):
        LoadView()({"image": "a.png"})


def test_simcol3d_has_18_trajectories_to_train_6_to_validate_and_9_to_test():
    sizes = {name: len(SPLITS[f"simcol3d/{name}"]) for name in ("train", "val", "test")}
    assert sizes == {"train": 18, "val": 6, "test": 9}
    every = {clip for name in sizes for clip in SPLITS[f"simcol3d/{name}"]}
    assert every == {f"{s}{n}" for s in "SB" for n in range(1, 16)} | {"O1", "O2", "O3"}


def test_a_split_comes_in_its_own_order_and_leaves_the_rest_out():
    clips = [named(name) for name in reversed([f"S{n}" for n in range(1, 16)])]
    clips += [named(f"B{n}") for n in range(1, 16)]
    kept = split(clips, "simcol3d/val")
    assert [clip.name for clip in kept] == ["S4", "S9", "S14", "B4", "B9", "B14"]


def test_a_split_that_lacks_a_clip_names_it():
    with pytest.raises(DataError, match=r"simcol3d/val asks for \['B14'\]"):
        split([named(name) for name in SPLITS["simcol3d/val"][:-1]], "simcol3d/val")
    with pytest.raises(DataError, match="two clips are called 'S4'"):
        split([named("S4"), named("S4")], "simcol3d/val")
    with pytest.raises(UnknownNameError, match="Did you mean 'simcol3d/test'"):
        split([named("S4")], "simcol3d/tests")


def test_c3vd_has_22_sequences_and_ppsnet_cuts_one_in_two():
    clips = [named(name, 148 if name == "desc_t4_a" else 2) for name in SPLITS["c3vd/all"]]
    assert len(clips) == 22
    val, train = (split(clips, f"c3vd/ppsnet-{name}") for name in ("val", "train"))
    assert (len(val), len(train)) == (8, 15)
    second = next(clip for clip in val if clip.name == "desc_t4_a_p2")
    first = next(clip for clip in train if clip.name == "desc_t4_a_p1")
    assert (len(first), len(second)) == (74, 74)
    assert (second[0]["frame_id"], second[-1]["frame_id"]) == ("0074", "0147")
    assert round(float(second[0]["image"].max() * 255)) == 74
    short = [named(name) for name in SPLITS["c3vd/all"]]
    with pytest.raises(DataError, match="desc_t4_a has 2 frames, and not all of 0074 to 0147"):
        split(short, "c3vd/ppsnet-val")


def test_importing_the_readers_needs_no_video_no_opencv_and_no_screen():
    code = """
import sys
from pathlib import Path
for name in ("av", "cv2", "albumentations", "pyvista", "pydicom", "OpenEXR"):
    sys.modules[name] = None
import colondepth.data
from colondepth.data.recognition import FOLDER_READERS, reader
for name in FOLDER_READERS:
    reader(name)
import colondepth.data.dicom, colondepth.data.writers
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_guessed_camera_says_so_in_the_reading(tmp_path):
    tiny.save(tiny.colour(tiny.seen(PINHOLE, 0)), tmp_path / "a.png")
    reading = open_clips(tmp_path)
    assert not reading.clips[0].camera.calibrated
    assert len(reading.warnings) == 1
    assert open_clips(tmp_path, camera=Camera.assumed(H, W)).warnings == ()


def test_a_video_is_opened_by_the_same_door(tmp_path):
    import av

    with av.open(tmp_path / "v.mkv", "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = W, H, "bgr0"
        for number in range(3):
            pixels = tiny.colour(tiny.seen(PINHOLE, number % 2))
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode())
    reading = open_clips(tmp_path / "v.mkv", camera=PINHOLE)
    assert (reading.dataset, len(reading.clips[0])) == ("video", 3)
    view = reading.clips[0][1]
    assert view["camera"] is PINHOLE
    assert (view["image"] - tiny.seen(PINHOLE, 1).image).abs().max() < 0.01


def test_the_table_of_formats_names_tests_that_exist():
    root = Path(__file__).parents[1]
    page = (root / "docs" / "how-to" / "data.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page.partition("## Which test covers what")[2]))
    files = (path.read_text(encoding="utf-8") for path in (root / "tests").glob("test_*.py"))
    there = {name for text in files for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    assert len(named) > 25
    assert named <= there
