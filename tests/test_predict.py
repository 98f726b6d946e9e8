"""`colondepth predict`: what it writes, what it skips, and what it refuses."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from films import FRAMES, HEIGHT, RATE, WIDTH, film, number_of, picture
from PIL import Image
from predicting import STILLS, H, W, camera, exit_code, small_weights, write_stills
from torch.testing import assert_close

import colondepth
from colondepth import prediction_run
from colondepth.cameras import Camera, from_file, to_file
from colondepth.data.video import read_video
from colondepth.errors import DataError
from colondepth.images import write_image
from colondepth.pictures import Scale, bar_width
from colondepth.prediction_files import (
    FrameFiles,
    MapForm,
    Scales,
    read_depth_mm,
    read_log_depth_std,
    write_frame,
)
from colondepth.prediction_run import every


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return small_weights(tmp_path_factory.mktemp("weights") / "mine.safetensors")


@pytest.fixture
def stills(tmp_path) -> Path:
    return write_stills(tmp_path / "stills")


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    pictures = [picture(number) for number in range(8)]
    return film(tmp_path_factory.mktemp("video") / "short.mp4", pictures=pictures)


@pytest.fixture
def ended(monkeypatch, weights):
    """Run `predict` with the small weights, and return its exit code."""

    def run(*arguments: object, own: bool = True) -> int:
        return exit_code(monkeypatch, *arguments, weights=weights if own else None)

    return run


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """Note how many images the network is asked for at a time."""
    sizes: list[int] = []
    answer = prediction_run.predict_fitted

    def noting(backbone, batch):
        sizes.append(len(batch["image"]))
        return answer(backbone, batch)

    monkeypatch.setattr(prediction_run, "predict_fitted", noting)
    return sizes


def test_a_folder_of_images_becomes_what_the_network_says(ended, stills, tmp_path, weights, capsys):
    out = tmp_path / "out"
    assert ended(stills, "--out", out, "--batch", 2, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["frames"], row["there_before"], row["calibrated"]) == (STILLS, 0, True)
    predictor = colondepth.load("sfsnet_lite", weights=weights, device="cpu")
    for number in range(STILLS):
        said = predictor.predict(stills / f"{number:02d}.png", camera())
        depth_mm = read_depth_mm(out / "depth" / f"{number:02d}.png")
        std = read_log_depth_std(out / "log_depth_std" / f"{number:02d}.png")
        assert said.depth_mm.log().std() > 0.1
        assert_close(depth_mm[0], said.depth_mm, rtol=1e-4, atol=0.006)  # half a count
        assert_close(std[0], said.log_depth_std, rtol=1e-4, atol=0.6e-4)
        with Image.open(out / "colours" / f"{number:02d}.png") as colours:
            assert colours.size == (W + bar_width(H), H)
    described = json.loads((out / "predictions.json").read_text())
    assert described["complete"]
    assert described["frames"] == ["00", "01", "02"]
    assert described["depth"]["mm_per_count"] == 0.01
    assert described["depth"]["metric"]
    assert described["made"]["weights_sha256"] == row["weights_sha256"]
    assert_close(from_file(out / "camera.json").linear, camera().linear.double())


def test_the_folder_explains_itself(ended, stills, tmp_path, weights):
    out = tmp_path / "out"
    assert ended(stills, "--out", out) == 0
    text = (out / "README.txt").read_text()
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    for words in (
        *("not\nfor diagnosis", "0.01 mm a count", "655.35 mm or more", "0.0001 a count"),
        *("sfsnet_lite", digest, "none at all, commit c0ffee", "Camera:   calibrated"),
    ):
        assert words in text
    assert "guess" not in text
    for path in out.iterdir():
        assert path.name == "README.txt" or path.name in text


def test_without_a_calibration_lengths_are_said_to_be_a_guess(ended, stills, tmp_path, capsys):
    (stills / "camera.json").unlink()
    assert ended(stills / "00.png", "--out", tmp_path / "out") == 0
    told = capsys.readouterr()
    assert "lengths" in told.out
    assert "has no calibration" in told.err
    text = (tmp_path / "out" / "README.txt").read_text()
    assert "ASSUMED" in text
    assert "Lengths are a guess" in text
    assert not json.loads((tmp_path / "out/predictions.json").read_text())["depth"]["metric"]


def test_a_calibration_of_its_own_takes_the_place_of_the_folders(ended, stills, tmp_path):
    to_file(Camera.pinhole(fx=70, fy=65, cx=27, cy=19, height=H, width=W), tmp_path / "other.json")
    assert ended(stills / "*.png", "--out", tmp_path / "a") == 0
    assert (
        ended(stills / "*.png", "--out", tmp_path / "b", "--camera", tmp_path / "other.json") == 0
    )
    first, second = (read_depth_mm(tmp_path / name / "depth/00.png") for name in "ab")
    assert not torch.allclose(first, second, rtol=1e-2)


def test_floats_are_kept_as_they_are(ended, stills, tmp_path, weights):
    assert ended(stills / "01.png", "--out", tmp_path / "out", "--format", "tiff") == 0
    predictor = colondepth.load("sfsnet_lite", weights=weights, device="cpu")
    said = predictor.predict(stills / "01.png", camera())
    assert_close(read_depth_mm(tmp_path / "out/depth/01.tiff")[0], said.depth_mm)
    assert_close(read_log_depth_std(tmp_path / "out/log_depth_std/01.tiff")[0], said.log_depth_std)
    assert "32-bit floats, mm" in (tmp_path / "out/README.txt").read_text()


def test_a_run_goes_on_with_what_is_missing_or_broken(ended, stills, tmp_path, asked, capsys):
    out = tmp_path / "out"
    assert ended(stills, "--out", out, "--batch", 2) == 0
    assert asked == [2, 1]
    asked.clear()
    whole = (out / "depth/02.png").read_bytes()
    untouched = (out / "depth/01.png").stat().st_mtime_ns
    (out / "depth/02.png").write_bytes(whole[:-300])
    (out / "colours/00.png").unlink()
    capsys.readouterr()
    assert ended(stills, "--out", out, "--batch", 2) == 0
    assert asked == [2]
    assert "3 frames, 1 of them there before" in capsys.readouterr().out
    assert (out / "depth/02.png").read_bytes() == whole
    assert (out / "depth/01.png").stat().st_mtime_ns == untouched
    asked.clear()
    assert ended(stills, "--out", out) == 0
    assert asked == []


def test_ctrl_c_leaves_work_that_the_same_command_ends(
    ended, stills, tmp_path, monkeypatch, asked, capsys
):
    out = tmp_path / "out"
    write = prediction_run.write_frame

    def stopping(files, *arguments, **options):
        if files.depth.stem == "01":
            raise KeyboardInterrupt
        write(files, *arguments, **options)

    monkeypatch.setattr(prediction_run, "write_frame", stopping)
    assert ended(stills, "--out", out) == 130
    assert "the same command goes on from there" in " ".join(capsys.readouterr().err.split())
    assert not json.loads((out / "predictions.json").read_text())["complete"]
    monkeypatch.setattr(prediction_run, "write_frame", write)
    asked.clear()
    assert ended(stills, "--out", out) == 0
    assert asked == [1, 1]
    assert json.loads((out / "predictions.json").read_text())["complete"]


def test_a_video_gives_its_frames_and_one_to_look_at(ended, video, tmp_path):
    out = tmp_path / "out"
    assert ended(video, "--out", out, "--batch", 3, "--video") == 0
    names = sorted(path.stem for path in (out / "depth").iterdir())
    assert names == [f"{number:06d}" for number in range(8)]
    shown = read_video(out / "side_by_side.mp4")
    original = read_video(video)
    assert (shown.camera.height, shown.camera.width) == (HEIGHT, 2 * WIDTH + bar_width(HEIGHT))
    assert len(shown) == 8
    for number in (0, 5, 7):
        assert number_of(shown[number]["image"][:, :, :WIDTH]) == number
        assert shown[number]["time_s"] == pytest.approx(original[number]["time_s"], abs=1e-4)
        with Image.open(out / f"colours/{number:06d}.png") as file:
            colours = torch.from_numpy(np.asarray(file.convert("RGB")) / 255).movedim(-1, 0)
        assert (shown[number]["image"][:, :, WIDTH:] - colours).abs().mean() < 0.05


def test_the_video_shows_each_frame_beside_its_own_colours(ended, video, tmp_path):
    out = tmp_path / "out"
    assert ended(video, "--out", out) == 0
    write_image(torch.ones(3, HEIGHT, WIDTH + bar_width(HEIGHT)), out / "colours/000005.png")
    assert ended(video, "--out", out, "--video") == 0
    shown = read_video(out / "side_by_side.mp4")
    white = [float(shown[number]["image"][:, :, WIDTH:].mean()) > 0.95 for number in range(8)]
    assert white == [number == 5 for number in range(8)]


def test_frames_a_second_are_those_of_the_video(ended, video, tmp_path, asked):
    out = tmp_path / "out"
    assert ended(video, "--out", out, "--fps", RATE / 4) == 0
    assert sorted(path.stem for path in (out / "depth").iterdir()) == ["000000", "000004"]
    assert len(asked) == 2


def test_a_rate_takes_the_first_frame_due_each_time():
    times = [10 + number / 25 for number in range(FRAMES)]
    assert every(times, 25) == list(range(FRAMES))
    assert every(times, 100) == list(range(FRAMES))
    assert every(times, 5) == list(range(0, FRAMES, 5))
    assert every([0, 0.9, 1.1, 1.2, 5.5, 5.9, 6.2], 1) == [0, 2, 4, 6]
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(DataError, match="expected more than 0"):
            every(times, rate)


def test_a_folder_of_clips_gets_a_folder_for_each(ended, stills, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(stills, root / "a")
    shutil.copytree(stills, root / "b")
    assert ended(root, "--out", tmp_path / "out") == 0
    for name in "ab":
        assert (tmp_path / "out" / name / "README.txt").is_file()
        assert (tmp_path / "out" / name / "depth/02.png").is_file()


def scales() -> Scales:
    depth = Scale(words="depth, mm", low=0.001, high=100, low_is_bright=True, logarithmic=True)
    uncertainty = Scale(words="uncertainty, %", low=10, high=60)
    return Scales(depth=depth, uncertainty=uncertainty, metric=True)


def test_unknown_is_0_and_nothing_known_is_and_far_is_the_end(tmp_path):
    depth_mm = torch.tensor([[0.0, 0.004, 12.344], [700.0, 50.0, torch.nan]])
    std = torch.tensor([[0.1, 0.00001, 0.25], [9.0, 0.3, 0.1]])
    valid = torch.tensor([[True, True, True], [True, False, True]])
    files = FrameFiles.of(tmp_path, "x/1", form=MapForm.PNG, with_std=True, with_valid=False)
    assert not files.whole()
    write_frame(files, depth_mm, std, valid=valid, scales=scales())
    assert files.whole()
    assert_close(read_depth_mm(files.depth)[0], torch.tensor([[0, 0.01, 12.34], [655.35, 0, 0]]))
    assert_close(
        read_log_depth_std(files.log_depth_std)[0],
        torch.tensor([[0, 0.0001, 0.25], [6.5535, 0, 0]]),
    )
    with Image.open(files.uncertainty) as file:
        shades = np.asarray(file.convert("RGB")).astype(int).sum(axis=-1)
    assert 0 == shades[0, 0] < shades[0, 1] < shades[0, 2] < shades[1, 0]
    with Image.open(files.colours) as file:
        colours = np.asarray(file.convert("RGB")).astype(int)
    assert (colours[0, 0] == 0).all()
    assert (colours[1, 1] == 0).all()
    assert colours[0, 1].sum() > colours[0, 2].sum() > colours[1, 0].sum() > 0
    with pytest.raises(DataError, match="for some frames and not for others"):
        write_frame(files, depth_mm, None, valid=valid, scales=scales())


def test_bad_frames_are_left_out_when_asked_for(ended, stills, tmp_path, capsys):
    (stills / "01.png").write_bytes(b"")
    assert ended(stills, "--out", tmp_path / "out", "--skip-bad") == 0
    assert "01.png: has no bytes" in " ".join(capsys.readouterr().err.split())
    names = json.loads((tmp_path / "out/predictions.json").read_text())["frames"]
    assert names == ["00", "02"]
