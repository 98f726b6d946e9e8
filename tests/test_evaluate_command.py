"""`colondepth evaluate PROTOCOL` leaves a report, and answers mistakes with one line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import C3VD, H, W
from tiny_datasets import c3vd, plain, ruano, simcol3d

from colondepth import cli
from colondepth.console import err, out
from colondepth.data import open_clips
from colondepth.data.ruano import published_camera
from colondepth.errors import DataError
from colondepth.views import Clip, Prediction
from evaluation import evaluating, synthetic_frames
from evaluation.evaluating import Judged, evaluate
from evaluation.protocols.names import PURPOSES, named_protocol
from evaluation.protocols.synthetic import SEED, Extent, level_of
from evaluation.summary import read_exclusions, read_scores, read_summary, write_summary

NUMBERS = 2  # frames of a tiny dataset


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the program; return what it printed, or with `wrong` the one line of the mistake."""
    for console in (out, err):
        monkeypatch.setattr(console, "_width", 500)

    def ran(*words: object, wrong: bool = False) -> str:
        monkeypatch.setattr(sys, "argv", ["colondepth", "evaluate", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        assert stop.value.code == (2 if wrong else 0), said.err
        if wrong:
            assert said.out == ""
            assert said.err.count("\n") == 1, said.err
            return said.err
        return said.out

    return ran


@pytest.fixture
def simcol(tmp_path: Path) -> Path:
    return simcol3d(tmp_path / "simcol3d")


@pytest.fixture
def no_page(monkeypatch) -> None:
    """Leave the page and its pictures out, which take most of the time."""

    def written(folder, summary, frames, exclusions, worst, *, evidence) -> Path:
        write_summary(folder, summary, frames, exclusions)
        return folder / "report.html"

    monkeypatch.setattr(evaluating, "write_report", written)


def saved_maps(data: Path, folder: Path, *, per_mm: float = 100.0, of=lambda depth_mm: depth_mm):
    """Write the true depth of every frame as 16-bit counts, changed by `of`."""
    for clip in open_clips(data).clips:
        for view in clip:
            counts = (of(view["depth_mm"][0]) * per_mm).round().numpy().astype(np.uint16)
            path = folder / clip.name / f"{view['frame_id']}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(counts).save(path)
    return folder


def test_help_lists_every_protocol(run) -> None:
    said = run("--help")
    assert all(name in said for name in (*PURPOSES, "etis", "trajectory"))
    assert "--predictions" in run("c3vd-ppsnet", "--help")
    assert "--level" in run("synthetic", "--help")


def test_true_depth_scores_perfectly_and_leaves_a_report(run, simcol, tmp_path) -> None:
    maps = saved_maps(simcol, tmp_path / "maps", of=lambda depth_mm: depth_mm / 2)
    words = ("simcol3d", "--data", simcol, "--predictions", maps, "--mm-per-unit", 0.01)
    said = run(*words, "--split", "all", "--out", tmp_path / "out")
    summary = read_summary(tmp_path / "out")
    assert summary.made.protocol == "simcol3d, S5"
    assert summary.made.backbone == "predictions"
    assert summary.frames == NUMBERS == len(read_scores(tmp_path / "out"))
    # Rounded to 16-bit floats of 20 cm, one scale for both frames.
    assert summary.figures["median_rel"].mean < 1e-3
    assert summary.figures["delta_1_05"].mean == 1
    assert summary.made.settings["predicted maps"] == "depth, 0.01 mm a unit"
    assert list(summary.tables) == ["colon"]
    assert "median_rel" in said
    assert "too few clips for an interval" in said
    page = (tmp_path / "out" / "report.html").read_text()
    assert "simcol3d, S5" in page
    assert "CVML" not in page  # published by the whole test split
    # The same command again has nothing left to score.
    assert json.loads(run(*words, "--split", "all", "--out", tmp_path / "out", "--json")) == {
        "protocol": "simcol3d, S5",
        "backbone": "predictions",
        "frames": 2,
        "there_before": 2,
        "excluded": {},
        "average": "macro",
        "alignment": "least squares, per clip, fitted to the means of its frames",
        "figures": {
            name: {"mean": summary.figures[name].mean, "low": None, "high": None}
            for name in ("l1_mm", "rmse_mm", "median_rel")
        },
        "report": str(tmp_path / "out" / "report.html"),
    }


def test_a_split_that_is_not_there_is_told_with_its_cure(run, simcol, tmp_path) -> None:
    maps = saved_maps(simcol, tmp_path / "maps")
    words = ("simcol3d", "--data", simcol, "--predictions", maps, "--mm-per-unit", 0.01)
    said = run(*words, "--out", tmp_path / "out", wrong=True)
    assert "asks for ['S10'" in said
    assert "--split all" in said
    assert "Known: all" in run(*words, "--out", "x", "--split", "tset", wrong=True)
    assert not (tmp_path / "out").exists()


def test_one_kind_of_depth_is_asked_for(run, simcol, tmp_path) -> None:
    base = ("simcol3d", "--data", simcol, "--out", tmp_path / "out")
    maps = ("--predictions", tmp_path)
    assert "neither of --backbone" in run(*base, wrong=True)
    assert "both of --backbone" in run(*base, *maps, "--backbone", "sfsnet_lite", wrong=True)
    assert "needs --mm-per-unit" in run(*base, *maps, wrong=True)
    unit = ("--mm-per-unit", 1)
    assert "knows its own" in run(*base, "--backbone", "sfsnet_lite", *unit, wrong=True)
    assert "--weights" in run(*base, *maps, *unit, "--weights", "a.safetensors", wrong=True)
    assert "no weights" in run(*base, "--split", "all", "--backbone", "dorn", wrong=True)


def test_a_wrong_unit_is_told(run, no_page, tmp_path) -> None:
    data = ruano(tmp_path / "ruano", published_camera(H, W))
    maps = saved_maps(data, tmp_path / "maps")
    words = ("sfsnet", "--data", data, "--predictions", maps, "--out", tmp_path / "out")
    assert "the unit looks wrong" in run(*words, "--mm-per-unit", 0.001, wrong=True)
    run(*words, "--mm-per-unit", 0.01)
    summary = read_summary(tmp_path / "out")
    assert summary.made.protocol == "sfsnet"
    # Truth has 8 bits of distance; codes with gamma are as coarse again.
    assert summary.figures["abs_rel"].mean < 0.03
    again = run(*words, "--mm-per-unit", 0.0101, wrong=True)
    assert "mm_per_unit was 0.01 and is 0.0101" in again


def test_missing_maps_are_excluded_by_reason_where_that_is_asked_for(
    run, no_page, tmp_path
) -> None:
    data = plain(tmp_path / "plain")
    maps = saved_maps(data, tmp_path / "maps")
    (maps / "mine" / "frame_10.png").unlink()
    words = ("hamlyn", "--data", data, "--predictions", maps, "--mm-per-unit", 0.01)
    said = run(*words, "--out", tmp_path / "out", wrong=True)
    assert "1 of 2 frames of 'mine' have no predicted map: frame_10" in said
    said = run(*words, "--out", tmp_path / "out2", "--skip-bad")
    assert "excluded: 1 frames, no predicted map" in said
    assert [each.frame for each in read_exclusions(tmp_path / "out2")] == ["frame_10"]
    assert read_summary(tmp_path / "out2").excluded == {"no predicted map": 1}


def test_bad_files_of_the_dataset_are_excluded_by_reason(run, no_page, tmp_path) -> None:
    data = plain(tmp_path / "plain")
    maps = saved_maps(data, tmp_path / "maps")
    whole = (data / "frame_9.png").read_bytes()
    (data / "frame_9.png").write_bytes(whole[: len(whole) // 2])
    words = ("scared", "--data", data, "--predictions", maps, "--mm-per-unit", 0.01)
    assert "frame_9.png" in run(*words, "--out", tmp_path / "out", wrong=True)
    run(*words, "--out", tmp_path / "out", "--skip-bad")
    summary = read_summary(tmp_path / "out")
    assert summary.frames == 1
    (excluded,) = read_exclusions(tmp_path / "out")
    assert (excluded.clip, excluded.frame) == ("mine", "frame_9")
    assert "truncated" in excluded.why


def test_every_other_frame_is_another_protocol(run, no_page, tmp_path) -> None:
    data = plain(tmp_path / "plain")
    maps = saved_maps(data, tmp_path / "maps")
    (maps / "mine" / "frame_10.png").unlink()
    words = ("scared", "--data", data, "--predictions", maps, "--mm-per-unit", 0.01)
    run(*words, "--out", tmp_path / "out", "--every", 2)
    summary = read_summary(tmp_path / "out")
    assert summary.frames == 1
    assert summary.made.protocol == "scared, one frame in 2"


def test_c3vd_is_scored_on_its_own_fisheye(run, no_page, tmp_path) -> None:
    data = c3vd(tmp_path / "c3vd", C3VD.resized(H, W))
    camera = tmp_path / "camera.json"
    from colondepth.cameras import to_file

    to_file(C3VD.resized(H, W), camera)
    maps = tmp_path / "maps"
    truth = open_clips(data, camera=C3VD.resized(H, W)).clips[0]
    maps.mkdir()
    for view in truth:
        np.save(maps / f"depth_{int(view['frame_id'])}.npy", view["depth_mm"][0].numpy() * 1.5)
    words = ("c3vd", "--data", data, "--predictions", maps, "--mm-per-unit", 1)
    run(*words, "--split", "all", "--camera", camera, "--out", tmp_path / "out")
    figures = read_summary(tmp_path / "out").figures
    assert figures["abs_rel"].mean == pytest.approx(0.5, abs=1e-5)
    assert figures["abs_rel_by_median"].mean == pytest.approx(0, abs=1e-5)


class Halved:
    """A network that says half of what a frame's red channel holds; it counts what it is asked."""

    metric = True

    def __init__(self) -> None:
        self.asked = 0
        self.backbone = self

    def predict(self, image, camera):
        self.asked += 1
        depth_mm = image[None, :1] * 50 + 1

        class Answer:
            prediction = Prediction(depth_mm=depth_mm, log_depth_std=depth_mm / 100)

        return Answer


def test_rendered_colons_are_scored_by_level(monkeypatch, run, no_page, tmp_path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"some")
    network = Halved()
    monkeypatch.setattr(evaluating, "load", lambda *given, **named: network)
    monkeypatch.setattr(evaluating, "found_weights", lambda source: weights)
    size = ("--size", "12x16", "--clips", 1, "--frames", 2)
    words = ("synthetic", "--backbone", "halved", "--level", 1, *size)
    run(*words, "--out", tmp_path / "out")
    summary = read_summary(tmp_path / "out")
    assert summary.frames == 2
    assert set(summary.tables["level"]) == {"1"}
    assert summary.made.protocol == "synthetic, 1 clips of 2 frames of each level, 12x16"
    assert summary.made.backbone == "halved"
    assert len(summary.made.weights_sha256) == 64
    assert network.asked == 2 + 2  # the worst frames are looked at again
    assert "twice" in run(*words, "--level", 1, "--out", tmp_path / "b", wrong=True)


def test_the_whole_extent_keeps_the_protocols_name(monkeypatch) -> None:
    drawn = []

    class Drawn:
        """Stands for a clip that would take a second to draw."""

        def __init__(self, level, *, seed, number, frames, height, width, frames_per_s) -> None:
            drawn.append((level, seed, number, height, width, frames / frames_per_s))
            self.clip = Clip(
                lambda k: {},
                [f"{k:05d}" for k in range(frames)],
                camera=C3VD,
                name=f"level{level}_seed{seed}_clip{number}",
            )

        def as_clip(self) -> Clip:
            return self.clip

    monkeypatch.setattr(synthetic_frames, "SyntheticClip", Drawn)
    frames = synthetic_frames.synthetic_frames(Extent())
    assert frames.protocol.name == "synthetic"
    assert frames.total == 6 * 6 * 20
    assert drawn[-1] == ("6", SEED, 5, 256, 320, 30.0)
    assert len(set(drawn)) == 36
    clinic = frames.clips[-1]
    assert clinic.frame_ids[:2] == ("00022", "00067")
    assert level_of(clinic.name) == "6"
    other = synthetic_frames.synthetic_frames(Extent(levels=("5",), clips=2))
    assert other.protocol.name == "synthetic, 2 clips of 20 frames of each level, 256x320"


def test_a_network_without_a_unit_is_refused_where_nothing_is_aligned(monkeypatch) -> None:
    network = Halved()
    network.metric = False
    monkeypatch.setattr(evaluating, "load", lambda *given, **named: network)
    with pytest.raises(DataError, match="in no unit"):
        evaluating.network("monodepth2", named_protocol("c3vd"))


def test_a_network_that_answers_nothing_leaves_a_report_of_exclusions(tmp_path) -> None:
    data = plain(tmp_path / "plain")
    frames = evaluating.open_frames(named_protocol("scared"), data)
    network = Halved()
    network.predict = lambda image, camera: type(
        "Answer", (), {"prediction": Prediction(depth_mm=torch.zeros(1, 1, H, W))}
    )
    source = evaluating.NetworkDepth(network)
    done = evaluate(frames, Judged(source=source, name="silent", says={}), tmp_path / "out")
    assert done.summary.frames == 0
    assert done.summary.excluded == {"no depth predicted where truth is known": 2}
    assert done.page.is_file()
