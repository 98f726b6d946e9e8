"""`colondepth predict`: what it writes, what it skips, and what it refuses."""

import errno
import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from films import FRAMES, HEIGHT, RATE, WIDTH, film, number_of, picture
from PIL import Image
from torch.testing import assert_close

import colondepth
from colondepth import cli, prediction_files, prediction_run
from colondepth.backbones.contract import Needs
from colondepth.backbones.registry import create
from colondepth.backbones.single_view.monodepth2 import Monodepth2
from colondepth.cameras import Camera, from_file, to_file
from colondepth.data.video import read_video
from colondepth.errors import DataError
from colondepth.images import write_image
from colondepth.prediction_files import (
    FrameFiles,
    MapForm,
    read_depth_mm,
    read_log_depth_std,
    write_frame,
)
from colondepth.prediction_run import every
from colondepth.weights.files import save_weights

H, W, STILLS = 40, 56, 3


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Weights of a small network that tells images apart; it did not learn to."""
    torch.manual_seed(6)
    made = create("sfsnet_lite", shading=False)
    with torch.no_grad():
        for _ in range(6):
            made({"image": torch.rand(2, 3, 64, 64), "camera": Camera.assumed(64, 64)})
        made.head.weight *= 30
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_weights(
        *(made.eval(), path),
        backbone="sfsnet_lite",
        options={"shading": False},
        commit="c0ffee",
        seed=1,
        recipe="none at all",
    )
    return path


@pytest.fixture
def stills(tmp_path) -> Path:
    """A folder of images with their camera."""
    folder = tmp_path / "stills"
    folder.mkdir()
    generator = torch.Generator().manual_seed(2)
    for number in range(STILLS):
        write_image(torch.rand(3, H, W, generator=generator), folder / f"{number:02d}.png")
    to_file(camera(), folder / "camera.json")
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return film(tmp_path_factory.mktemp("video") / "short.mp4", pictures=pictures(8))


def pictures(count: int) -> list[np.ndarray]:
    return [picture(number) for number in range(count)]


def camera() -> Camera:
    return Camera.pinhole(fx=50, fy=45, cx=26, cy=21, height=H, width=W)


@pytest.fixture
def ended(monkeypatch, weights):
    """Run `predict` in this process with the small weights, and return its exit code."""

    def run(*arguments: object, own: bool = True) -> int:
        small = ["--backbone", "sfsnet_lite", "--weights", str(weights)] if own else []
        monkeypatch.setattr(
            sys, "argv", ["colondepth", "predict", *map(str, arguments), *small, "--device", "cpu"]
        )
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code)

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
            assert colours.size == (W, H)
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
    assert asked == [1, 2, 1]  # the first tells whether there is uncertainty
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
    assert (shown.camera.height, shown.camera.width) == (HEIGHT, 2 * WIDTH)
    assert len(shown) == 8
    for number in (0, 5, 7):
        assert number_of(shown[number]["image"][:, :, :WIDTH]) == number
        assert shown[number]["time_s"] == pytest.approx(original[number]["time_s"], abs=1e-4)
        with Image.open(out / f"colours/{number:06d}.png") as file:
            colours = torch.from_numpy(np.asarray(file) / 255).movedim(-1, 0)
        assert (shown[number]["image"][:, :, WIDTH:] - colours).abs().mean() < 0.05


def test_the_video_shows_each_frame_beside_its_own_colours(ended, video, tmp_path):
    out = tmp_path / "out"
    assert ended(video, "--out", out) == 0
    write_image(torch.ones(3, HEIGHT, WIDTH), out / "colours/000005.png")
    assert ended(video, "--out", out, "--video") == 0
    shown = read_video(out / "side_by_side.mp4")
    white = [float(shown[number]["image"][:, :, WIDTH:].mean()) > 0.95 for number in range(8)]
    assert white == [number == 5 for number in range(8)]


def test_frames_a_second_are_those_of_the_video(ended, video, tmp_path, asked):
    out = tmp_path / "out"
    assert ended(video, "--out", out, "--fps", RATE / 4) == 0
    assert sorted(path.stem for path in (out / "depth").iterdir()) == ["000000", "000004"]
    assert len(asked) == 3


def test_a_rate_takes_the_first_frame_due_each_time():
    times = [10 + number / 25 for number in range(FRAMES)]
    assert every(times, 25) == list(range(FRAMES))
    assert every(times, 100) == list(range(FRAMES))
    assert every(times, 5) == list(range(0, FRAMES, 5))
    assert every([0, 0.9, 1.1, 1.2, 5.5, 5.9, 6.2], 1) == [0, 2, 4, 6]
    with pytest.raises(DataError, match="expected more than 0"):
        every(times, 0)


def test_a_folder_of_clips_gets_a_folder_for_each(ended, stills, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(stills, root / "a")
    shutil.copytree(stills, root / "b")
    assert ended(root, "--out", tmp_path / "out") == 0
    for name in "ab":
        assert (tmp_path / "out" / name / "README.txt").is_file()
        assert (tmp_path / "out" / name / "depth/02.png").is_file()


def test_unknown_is_0_and_nothing_known_is_and_far_is_the_end(tmp_path):
    depth_mm = torch.tensor([[0.0, 0.004, 12.344], [700.0, 50.0, torch.nan]])
    std = torch.tensor([[0.1, 0.00001, 0.25], [9.0, 0.3, 0.1]])
    valid = torch.tensor([[True, True, True], [True, False, True]])
    files = FrameFiles.of(tmp_path, "x/1", form=MapForm.PNG, with_std=True)
    assert not files.whole()
    write_frame(files, depth_mm, std, valid=valid, metric=True)
    assert files.whole()
    assert_close(read_depth_mm(files.depth)[0], torch.tensor([[0, 0.01, 12.34], [655.35, 0, 0]]))
    assert_close(
        read_log_depth_std(files.log_depth_std)[0],
        torch.tensor([[0, 0.0001, 0.25], [6.5535, 0, 0]]),
    )
    with Image.open(files.colours) as file:
        colours = np.asarray(file).astype(int)
    assert (colours[0, 0] == 0).all()
    assert (colours[1, 1] == 0).all()
    assert colours[0, 1].sum() > colours[0, 2].sum() > colours[1, 0].sum() > 0
    with pytest.raises(DataError, match="for some frames and not for others"):
        write_frame(files, depth_mm, None, valid=valid, metric=True)


@pytest.fixture
def mistake(ended, tmp_path, capsys):
    """Run a call that is a mistake; check its form and return its one line."""

    def run(*arguments: object, out: Path | None = None, own: bool = True) -> str:
        folder = out or tmp_path / "out"
        capsys.readouterr()
        assert ended(*arguments, "--out", folder, own=own) == 2
        told = capsys.readouterr()
        assert told.out == ""
        lines = told.err.strip().splitlines()
        assert len(lines) == 1, lines
        assert out is not None or not folder.exists()
        return lines[0]

    return run


def test_inputs_that_are_none_are_one_line(mistake, tmp_path, stills, video):
    (tmp_path / "empty").mkdir()
    write_image(torch.rand(3, 1, 1), tmp_path / "one.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes((stills / "00.png").read_bytes()[:-500])
    film = tmp_path / "cut.mp4"
    film.write_bytes(video.read_bytes()[:-3000])
    assert "does not exist" in mistake(tmp_path / "nowhere")
    assert "is empty" in mistake(tmp_path / "empty")
    assert "truncated or broken" in mistake(cut)
    assert "cut.mp4" in mistake(film)
    assert "1x1 pixels, expected 8x8" in mistake(tmp_path / "one.png")
    assert "expected png or tiff" in mistake(stills, "--format", "exr")
    assert "--fps takes frames of a video" in mistake(stills, "--fps", 5)
    assert "--batch" in mistake(stills, "--batch", 0)


def test_a_pattern_that_the_shell_took_apart_is_one_line(mistake, stills):
    words = mistake(stills / "00.png", stills / "01.png", stills / "02.png")
    assert "3 inputs" in words
    assert "put a glob in quotes" in words


def test_a_full_disk_is_one_line(mistake, stills, tmp_path, monkeypatch):
    def full(counts, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prediction_files, "write_counts", full)
    words = mistake(stills, out=tmp_path / "out")
    assert "No space left on device; what is finished stays" in words


def test_outputs_that_are_something_else_are_one_line(mistake, tmp_path, stills):
    taken = tmp_path / "taken"
    taken.write_text("a letter")
    assert "is a file; expected a folder" in mistake(stills, out=taken)
    assert taken.read_text() == "a letter"
    assert "holds '00.png' and no predictions.json" in mistake(stills, out=stills)


def test_predictions_of_something_else_are_not_taken_for_these(ended, mistake, tmp_path, stills):
    out = tmp_path / "out"
    assert ended(stills / "00.png", "--out", out) == 0
    before = (out / "camera.json").read_text(), (out / "README.txt").read_text()
    assert "source 00.png, this one would have 01.png" in mistake(stills / "01.png", out=out)
    assert "form png" in mistake(stills / "00.png", "--format", "tiff", out=out)
    (stills / "camera.json").unlink()
    to_file(Camera.pinhole(fx=9, fy=8, cx=27, cy=19, height=H, width=W), stills / "camera.json")
    assert "with camera " in mistake(stills / "00.png", out=out)
    shutil.copy(stills / "02.png", stills / "00.png")
    assert "first image sha256" in mistake(stills / "00.png", out=out)
    assert before == ((out / "camera.json").read_text(), (out / "README.txt").read_text())
    (out / "predictions.json").write_text("{}")
    assert "is not what `predict` writes" in mistake(stills / "00.png", out=out)


def test_networks_and_weights_that_do_not_fit_are_one_line(mistake, stills, weights, monkeypatch):
    assert "Did you mean 'sfsnet_lite'" in mistake(stills, "--backbone", "sfsnet_light", own=False)
    assert "`colondepth train eigen" in mistake(stills, "--backbone", "eigen", own=False)
    words = mistake(stills, "--backbone", "eigen", "--weights", weights, own=False)
    assert "weights of 'sfsnet_lite', not of 'eigen'; --backbone sfsnet_lite" in words
    words = mistake(stills, "--backbone", "eigen", "--weights", stills / "00.png", own=False)
    assert "cannot be read as safetensors" in words
    monkeypatch.setattr(Monodepth2, "needs", Needs.MOTION)
    words = mistake(stills, "--backbone", "monodepth2", own=False)
    assert "monodepth2 needs image, previous, motion" in words


def test_a_device_that_is_not_there_is_one_line(monkeypatch, stills, tmp_path, capsys):
    arguments = ["predict", str(stills), "--out", str(tmp_path / "out"), "--device", "tpu9"]
    monkeypatch.setattr(sys, "argv", ["colondepth", *arguments])
    monkeypatch.setattr("colondepth.weights.shipped", lambda: ())
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "--device tpu9 cannot be used" in capsys.readouterr().err


def test_bad_frames_are_left_out_when_asked_for(ended, stills, tmp_path, capsys):
    (stills / "01.png").write_bytes(b"")
    assert ended(stills, "--out", tmp_path / "out", "--skip-bad") == 0
    assert "01.png: has no bytes" in " ".join(capsys.readouterr().err.split())
    names = json.loads((tmp_path / "out/predictions.json").read_text())["frames"]
    assert names == ["00", "02"]
