"""The benchmark of scoring times what `evaluate` does, and says how."""

import json
import sys

import pytest

from colondepth import cli
from colondepth.errors import UnknownNameError
from evaluation import bench_score
from evaluation.bench_score import ScoreSettings, bench, print_report

TINY = ScoreSettings(protocols=("scared", "c3vd-ppsnet"), frames=10, height=16, width=20, threads=1)


def test_every_frame_is_scored_and_the_time_is_that_of_all(monkeypatch) -> None:
    now_s = iter([0.0, 2.5, 10.0, 11.0])
    monkeypatch.setattr(bench_score.time, "perf_counter", lambda: next(now_s))
    report = bench(TINY)
    assert [row["seconds"] for row in report["protocols"]] == [2.5, 1.0]
    assert [row["ms_a_frame"] for row in report["protocols"]] == [250, 100]
    assert not report["enough_frames"]


def test_a_report_says_how_it_was_made(capsys) -> None:
    print_report(bench(TINY))
    said = capsys.readouterr().out
    assert "10 frames of 16x20" in said
    assert "a trial" in said
    assert "c3vd-ppsnet" in said


def test_the_command_prints_json(monkeypatch, capsys) -> None:
    words = ["scared", "--frames", "3", "--size", "16x20", "--threads", "1", "--json"]
    monkeypatch.setattr(sys, "argv", ["colondepth", "bench", "score", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out)["settings"]["protocols"] == ["scared"]


def test_a_misspelt_protocol_is_told_before_any_is_timed(monkeypatch) -> None:
    monkeypatch.setattr(bench_score, "timed", lambda settings, name: pytest.fail("timed"))
    settings = ScoreSettings(
        protocols=("scared", "scard"), frames=1, height=16, width=20, threads=1
    )
    with pytest.raises(UnknownNameError, match="'scared'"):
        bench(settings)
