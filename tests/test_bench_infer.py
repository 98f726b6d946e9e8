"""The networks' benchmark measures what it says, beside the network that all are compared with."""

import json
import os
import sys

import pytest
import torch

from colondepth import bench_inference, cli
from colondepth.backbones.contract import Needs
from colondepth.backbones.registry import create
from colondepth.backbones.single_view.monodepth2 import Monodepth2
from colondepth.bench_inference import InferenceSettings, bench, quartiles, timed
from colondepth.commands.bench_infer import print_report
from colondepth.errors import DataError
from colondepth.inference import Predictor

TINY = InferenceSettings(backbones=("sfsnet_lite",), frames=2, height=32, width=40)


@pytest.fixture
def here(monkeypatch):
    """Time the networks in this process, which has torch already."""
    monkeypatch.setattr(bench_inference, "_in_a_process", timed)


def ended(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["colondepth", "bench", "infer", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code)


def test_frames_of_the_warm_up_are_not_counted(monkeypatch):
    now_s, calls = [0.0], [0]

    def slow(self, image, camera):
        calls[0] += 1
        now_s[0] += 0.5 if calls[0] <= bench_inference.WARM_UP else 0.04

    monkeypatch.setattr(Predictor, "predict", slow)
    monkeypatch.setattr(bench_inference.time, "perf_counter", lambda: now_s[0])
    found = timed(TINY, "sfsnet_lite")
    assert calls == [bench_inference.WARM_UP + TINY.frames]
    assert found["median_ms"] == pytest.approx(40)
    assert found["frames_per_s"] == pytest.approx(25)


def test_the_median_and_the_quartiles():
    spread = {"median_ms": 3, "quartile_ms": 2, "third_quartile_ms": 4}
    assert quartiles([5.0, 1, 4, 2, 3]) == spread
    assert set(quartiles([7.0]).values()) == {7.0}


def test_a_report_compares_every_network_with_one_of_the_same_run(here, capsys):
    told: list[str] = []
    report = bench(TINY, tick=told.append)
    assert told == ["Timing sfsnet_lite", "Timing monodepth2"]
    ours, reference = report["backbones"]
    assert (ours["backbone"], reference["backbone"]) == ("sfsnet_lite", "monodepth2")
    assert reference["times_reference"] == 1
    ratio = ours["frames_per_s"] / reference["frames_per_s"]
    assert ours["times_reference"] == pytest.approx(ratio)
    count = sum(each.numel() for each in create("sfsnet_lite").parameters())
    assert ours["parameters"] == count
    assert ours["peak_memory_mb"] > 50
    assert ours["threads"] == 1
    assert report["weights"] == "untrained"
    assert not report["enough_frames"]
    json.dumps(report, allow_nan=False)
    print_report(report)
    text = capsys.readouterr().out
    for words in (
        "frames/s over those of monodepth2",
        "a trial",
        "untrained weights",
        "32x40",
        torch.__version__,
    ):
        assert words in " ".join(text.split())
    report["machine"]["load_before"] = 3.14
    print_report(report)
    assert "3.1 programs" in (busy := capsys.readouterr().out)
    assert "so the times are too long" in busy
    report["machine"]["load_before"] = 0.2
    print_report(report)
    assert "too long" not in capsys.readouterr().out


def test_a_network_is_timed_in_a_process_of_its_own():
    threads = torch.get_num_threads()
    settings = InferenceSettings(backbones=(), frames=1, height=16, width=24, threads=threads + 1)
    found = bench_inference._in_a_process(settings, "monodepth2")
    assert found["threads"] == threads + 1
    assert torch.get_num_threads() == threads
    assert found["median_ms"] > 0


def test_the_command_answers_in_json(here, monkeypatch, capsys):
    arguments = ("sfsnet_lite", "--frames", "2", "--size", "32x40", "--threads", "1", "--json")
    assert ended(monkeypatch, *arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["settings"]["width"] == 40
    assert [row["backbone"] for row in report["backbones"]] == ["sfsnet_lite", "monodepth2"]


def test_all_cores_are_taken_if_nothing_is_said(monkeypatch, capsys):
    seen: list[InferenceSettings] = []

    def noting(settings, name):
        seen.append(settings)
        raise DataError("enough")

    monkeypatch.setattr(bench_inference, "_in_a_process", noting)
    assert ended(monkeypatch) == 2
    assert seen[0].threads == os.cpu_count()
    assert (seen[0].height, seen[0].width) == (256, 320)
    assert seen[0].backbones == ("sfsnet", "sfsnet_lite", "monodepth2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sfsnet_light"], "Did you mean 'sfsnet_lite'"),
        (["sfsnet", "--frames", "0"], "--frames"),
        (["sfsnet", "--size", "32"], "expected HEIGHTxWIDTH"),
        (["sfsnet", "--size", "1x1"], "images of 1x1; expected 8x8 or more"),
        (["sfsnet", "--device", "tpu9"], "--device tpu9 cannot be used"),
        (["monodepth2", "--frames", "1"], "monodepth2 needs image, previous"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, monkeypatch, capsys):
    if arguments[0] == "monodepth2":
        monkeypatch.setattr(Monodepth2, "needs", Needs.PREVIOUS)
    assert ended(monkeypatch, *arguments) == 2
    text = capsys.readouterr().err
    assert message in text
    assert len(text.strip().splitlines()) == 1
