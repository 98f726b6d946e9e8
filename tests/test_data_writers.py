"""What is written is read back: bit by bit, or to the step that the format states."""

import pickle
from functools import partial

import numpy as np
import pytest
import tiny_datasets as tiny
import torch
from scenes import H, W, at, cameras
from tiny_datasets import PINHOLE, POSES, seen
from torch.testing import assert_close

from colondepth.cameras import from_file
from colondepth.data import open_clips
from colondepth.data.ruano import published_camera
from colondepth.data.shards import write_shards
from colondepth.data.writers import write_c3vd, write_ruano
from colondepth.errors import DataError
from colondepth.geometry import depth_from_distance
from colondepth.views import Clip, View

GENERATOR = torch.Generator()


def read_noise(camera, keys, number: int) -> View:
    generator = GENERATOR.manual_seed(number)
    size = (camera.height, camera.width)
    depth_mm = torch.rand(1, *size, generator=generator) * 99
    depth_mm[:, :3] = 0
    normals = torch.nn.functional.normalize(torch.randn(3, *size, generator=generator), dim=0)
    known = torch.rand(1, *size, generator=generator) > 0.4
    view = {
        "image": torch.randint(0, 256, (3, *size), generator=generator) / 255,
        "camera": camera,
        "depth_mm": depth_mm,
        "normals": normals,
        "flow_to_previous_px": known * 30 * (torch.rand(2, *size, generator=generator) - 0.5),
        "flow_to_previous_known": known,
        "occluding": torch.rand(1, *size, generator=generator) > 0.5,
        "polyp": torch.rand(1, *size, generator=generator) > 0.5,
        "world_from_camera": at(0.1 + number, 2 / 3, -number, yaw_rad=0.1 * number),
        "time_s": number / 30,
    }
    return {name: value for name, value in view.items() if name in keys}


def noise(*keys: str, camera=PINHOLE, length: int = 3) -> Clip:
    read = partial(read_noise, camera, {"image", "camera", *keys})
    return Clip(read, [f"f{number}" for number in range(length)], camera=camera, name="noise")


C3VD_KEYS = (
    *("depth_mm", "normals", "flow_to_previous_px", "flow_to_previous_known"),
    *("occluding", "world_from_camera"),
)


def test_a_c3vd_sequence_comes_back_to_its_steps_and_the_second_time_exactly(tmp_path):
    clip = noise(*C3VD_KEYS, camera=cameras()["omnidirectional"])
    write_c3vd(clip, tmp_path / "once")
    (once,) = open_clips(tmp_path / "once").clips
    for number in range(3):
        old, new = clip[number], once[number]
        assert torch.equal(new["image"], old["image"])
        assert_close(new["depth_mm"], old["depth_mm"], atol=100 / 65535 / 2 + 1e-6, rtol=0)
        assert_close(new["normals"], old["normals"], atol=5e-5, rtol=0)
        assert torch.equal(new["occluding"], old["occluding"])
        assert torch.equal(new["world_from_camera"], old["world_from_camera"])
        if number:
            assert torch.equal(new["flow_to_previous_known"], old["flow_to_previous_known"])
            flow = (new["flow_to_previous_px"], old["flow_to_previous_px"])
            assert_close(*flow, atol=20 / 65535 + 1e-5, rtol=0)
    assert torch.equal(once.camera.rays(H, W), clip.camera.rays(H, W))
    write_c3vd(once, tmp_path / "twice")
    for file in sorted((tmp_path / "once").iterdir()):
        if "normals" not in file.name:  # normals are made unit again
            assert (tmp_path / "twice" / file.name).read_bytes() == file.read_bytes(), file.name


def test_depth_beyond_what_c3vd_holds_comes_back_unknown(tmp_path):
    def read(number: int) -> View:
        depth_mm = torch.tensor([[[0.0, 1e-4, 99.9, 100.0, 250.0]]])
        return View(image=torch.zeros(3, 1, 5), camera=camera, depth_mm=depth_mm)

    camera = published_camera(1, 5)
    write_c3vd(Clip(read, ["0"], camera=camera, name="x"), tmp_path / "x")
    depth_mm = open_clips(tmp_path, camera=camera).clips[0][0]["depth_mm"]
    assert_close(depth_mm, torch.tensor([[[0, 0.0015, 99.9, 0, 0]]]), atol=1e-3, rtol=0)
    assert depth_mm[0, 0, 1] > 0  # near is not unknown


def test_a_ruano_video_comes_back_within_a_step_and_jpeg(tmp_path):
    camera = published_camera(H, W)

    def read(number: int) -> View:
        view = seen(camera, number)
        return View(
            image=view.image.float(),
            camera=camera,
            depth_mm=view.depth_mm.float(),
            polyp=view.depth_mm > 40,
        )

    clip = Clip(read, ["a", "b"], camera=camera, name="x")
    write_ruano(clip, tmp_path / "vid01")
    (back,) = open_clips(tmp_path, camera=from_file(tmp_path / "vid01" / "camera.json")).clips
    for number in range(2):
        old, new = seen(camera, number), back[number]
        error_mm = (new["distance_mm"] - old.distance_mm).abs()
        assert error_mm.max() < 1.5 * 250 / 255 + 1e-3
        assert error_mm.mean() < 0.5
        again = depth_from_distance(new["distance_mm"], camera)
        assert torch.equal(new["depth_mm"], again)
        assert (new["polyp"] == (old.depth_mm > 40)).float().mean() > 0.98


@pytest.mark.parametrize(
    ("write", "clip", "message"),
    [
        (write_c3vd, noise("depth_mm", "polyp"), r"C3VD has no place for \['polyp'\]"),
        (write_ruano, noise("depth_mm", "normals"), r"no place for \['normals'\]"),
        (write_ruano, noise(), "has no depth"),
        (write_ruano, noise("depth_mm", camera=cameras()["omnidirectional"]), "ends at 250"),
    ],
)
def test_what_a_format_cannot_hold_is_an_error(tmp_path, write, clip, message):
    with pytest.raises(DataError, match=message):
        write(clip, tmp_path / "x")


def test_nothing_is_written_over_what_is_there(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    for write in (write_c3vd, write_ruano, lambda clip, path: write_shards([clip], path)):
        with pytest.raises(DataError, match="nothing is overwritten"):
            write(noise("depth_mm"), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


EVERYTHING = (*C3VD_KEYS, "polyp", "time_s")


@pytest.mark.parametrize("shard_bytes", [1, 2 * 3 * H * W * 8, 1 << 30])
def test_shards_come_back_bit_by_bit(tmp_path, shard_bytes):
    clips = [noise(*EVERYTHING), noise("depth_mm", camera=cameras()["fisheye"], length=5)]
    write_shards(clips, tmp_path / "s", shard_bytes=shard_bytes)
    reading = open_clips(tmp_path / "s")
    assert (reading.dataset, reading.warnings) == ("shards", ())
    for old, new in zip(clips, reading.clips, strict=True):
        assert (new.name, new.frame_ids) == (old.name, old.frame_ids)
        assert torch.equal(new.camera.rays(H, W), old.camera.rays(H, W))
        for number in (len(old) - 1, 0, 1):
            wanted, view = old[number], new[number]
            assert view.keys() == wanted.keys()
            for key in wanted.keys() - {"camera"}:
                if isinstance(wanted[key], torch.Tensor):
                    assert view[key].dtype == wanted[key].dtype, key
                    assert torch.equal(view[key], wanted[key]), key
                else:
                    assert view[key] == wanted[key], key


def test_a_view_of_a_shard_may_be_changed_without_changing_the_shard(tmp_path):
    write_shards([noise("depth_mm")], tmp_path / "s")
    (clip,) = open_clips(tmp_path / "s").clips
    before = clip[1]["depth_mm"].clone()
    clip[1]["depth_mm"].mul_(2)
    assert torch.equal(clip[1]["depth_mm"], before)


def test_shards_travel_to_other_processes_without_their_content(tmp_path):
    write_shards([noise(*EVERYTHING)], tmp_path / "s")
    (clip,) = open_clips(tmp_path / "s").clips
    assert clip[0]["image"].shape == (3, H, W)  # now they are mapped
    sent = pickle.dumps(clip)
    assert len(sent) < 5_000
    assert torch.equal(pickle.loads(sent)[2]["depth_mm"], clip[2]["depth_mm"])


def test_an_image_of_more_than_8_bits_is_not_rounded_in_silence(tmp_path):
    camera = PINHOLE
    clip = Clip(
        lambda number: View(image=torch.full((3, H, W), 0.5), camera=camera),
        ["a"],
        camera=camera,
        name="x",
    )
    with pytest.raises(DataError, match="more than 8 bits"):
        write_shards([clip], tmp_path / "s")
    assert not (tmp_path / "s" / "index.json").exists()


def test_a_shard_that_is_cut_short_or_gone_is_named(tmp_path):
    write_shards([noise("depth_mm"), noise("depth_mm", length=2)], tmp_path / "s")
    path = tmp_path / "s" / "000_depth_mm_000.npy"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"000_depth_mm_000\.npy: is missing, cut short or broken"):
        open_clips(tmp_path)
    reading = open_clips(tmp_path, skip_bad=True)
    assert ([len(clip) for clip in reading.clips], len(reading.skipped)) == ([2], 1)
    (tmp_path / "s" / "index.json").write_text('{"format": "colondepth-shards", "version": 9}')
    with pytest.raises(DataError, match="version 9, expected"):
        open_clips(tmp_path)


def test_a_clip_that_changes_on_the_way_is_refused(tmp_path):
    def read(number: int) -> View:
        return read_noise(PINHOLE, {"image", "camera", *(["depth_mm"] * number)}, number)

    clip = Clip(read, ["a", "b"], camera=PINHOLE, name="x")
    with pytest.raises(DataError, match=r"\['depth_mm'\]"):
        write_shards([clip], tmp_path / "s")
    with pytest.raises(DataError, match=r"\['depth_mm'\]"):
        write_c3vd(clip, tmp_path / "c")


def test_a_simcol3d_clip_can_be_kept_as_shards(tmp_path):
    (clip,) = open_clips(tiny.simcol3d(tmp_path / "raw")).clips
    write_shards([clip], tmp_path / "s")
    back = open_clips(tmp_path / "s").clips[0][1]
    assert torch.equal(back["depth_mm"], clip[1]["depth_mm"])
    assert_close(back["world_from_camera"], POSES[1])
    assert np.array_equal(back["image"], clip[1]["image"])
