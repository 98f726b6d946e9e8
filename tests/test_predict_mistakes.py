"""`colondepth predict`: inputs, options and folders that are wrong are one line and exit code 2."""

import errno
import shutil
import sys
from pathlib import Path

import pytest
import torch
from films import film, picture
from predicting import H, W, exit_code, small_weights, write_stills

from colondepth import cli, prediction_files
from colondepth.backbones.contract import Needs
from colondepth.backbones.single_view.monodepth2 import Monodepth2
from colondepth.cameras import Camera, to_file
from colondepth.images import write_image


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
    assert "is not what this version's `predict` writes" in mistake(stills / "00.png", out=out)


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
