"""Two evaluations are compared on shared frames, and only if they were made alike."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from colondepth.errors import DataError
from evaluation.compare_command import compare as compare_command
from evaluation.comparison import compare, comparison_json, comparison_table
from evaluation.quantities import Quantity
from evaluation.statistics import Average
from evaluation.summary import Exclusion, FrameScore, Made, summarise, write_summary

QUANTITIES = {
    "abs_rel": Quantity("mean relative error", "", lower_is_better=True),
    "delta_1_25": Quantity("share within 1.25", "", lower_is_better=False),
}
MADE = Made(
    protocol="c3vd",
    settings={"crop": "none", "size": "1080x1350"},
    dataset="c3vd, all",
    alignment="median",
    mask="aperture",
    cap_mm=100.0,
    average=Average.MACRO,
    backbone="sfsnet_lite",
    weights_sha256="ab" * 32,
    commit="0123abc",
)


def write(folder: Path, *, offset=0.0, made=MADE, clips=10, each=4, seed=1, without=()) -> Path:
    """Write a run whose errors lie `offset` above those of every other run."""
    hard, own = np.random.default_rng(0), np.random.default_rng(seed)
    frames = []
    for clip in range(clips):
        level = hard.uniform(0.1, 0.3)
        for frame in range(each):
            error = level + offset + own.normal(0, 0.004)
            scores = {"abs_rel": error, "delta_1_25": 1 - error}
            frames.append(FrameScore(f"clip {clip}", str(frame), scores))
    out = [Exclusion(f.clip, f.frame, "no prediction") for f in frames if f.frame in without]
    frames = [f for f in frames if f.frame not in without]
    summary = summarise(frames, out, made=made, quantities=QUANTITIES)
    write_summary(folder, summary, frames, out)
    return folder


def test_a_better_network_is_found_better_in_every_quantity(tmp_path):
    found = compare(write(tmp_path / "a"), write(tmp_path / "b", offset=0.02, seed=2))
    assert found.frames == 40
    first, second = found.figures
    assert first.paired.difference == pytest.approx(-0.02, abs=0.003)
    assert first.paired.low < -0.02 < first.paired.high
    # Clips differ far more among each other than networks do: only pairs can show it.
    assert first.a.high > first.b.low
    assert (first.better, second.better) == ("A", "A")
    control = replace(first, quantity=replace(first.quantity, ranks=False))
    assert control.better == ""
    # Two quantities that are one: all of them together are as likely as one is.
    assert first.p_family == first.paired.p_value == 2 / 2**10


def test_the_other_way_round_is_the_mirror_image(tmp_path):
    a, b = write(tmp_path / "a"), write(tmp_path / "b", offset=0.02, seed=2)
    there, back = compare(a, b).figures[0], compare(b, a).figures[0]
    assert back.better == "B"
    assert back.paired.p_value == there.paired.p_value
    ends = (-there.paired.high, -there.paired.low)
    assert (back.paired.low, back.paired.high) == pytest.approx(ends)


def test_networks_that_do_not_differ_are_not_clear(tmp_path):
    found = compare(write(tmp_path / "a"), write(tmp_path / "b", seed=2))
    assert [row.better for row in found.figures] == ["", ""]
    assert {row[-1] for row in comparison_table(found).rows} == {"not clear"}


def test_only_shared_frames_are_compared_and_the_others_counted(tmp_path):
    a = write(tmp_path / "a", without=("0",))
    b = write(tmp_path / "b", offset=0.02, seed=2, without=("2", "3"))
    found = compare(a, b)
    assert (found.frames, found.only_a, found.only_b) == (10, 20, 10)
    notes = " ".join(comparison_table(found).notes)
    assert "20 frames that only A scored and 10 that only B did" in notes
    assert found.figures[0].a.values == found.figures[0].b.values == 10
    with pytest.raises(DataError, match="no frame in common"):
        compare(write(tmp_path / "c", without=("0", "1")), b)


def test_a_value_that_one_of_them_lacks_counts_in_neither(tmp_path):
    a, b = write(tmp_path / "a"), write(tmp_path / "b")
    lines = (b / "scores.csv").read_text().splitlines()
    lines[1] = ",".join([*lines[1].split(",")[:2], "", "0.5"])
    (b / "scores.csv").write_text("\n".join(lines) + "\n")
    first, second = compare(a, b).figures
    assert (first.a.values, first.b.values, first.paired.values) == (39, 39, 39)
    assert second.a.values == 40


def test_the_average_can_be_chosen(tmp_path):
    a, b = write(tmp_path / "a"), write(tmp_path / "b")
    assert compare(a, b).average is Average.MACRO
    assert compare(a, b, average=Average.MICRO).average is Average.MICRO


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"protocol": "sfsnet"}, "protocol ('c3vd' in A, 'sfsnet' in B)"),
        ({"alignment": "none"}, "alignment ('median' in A, 'none' in B)"),
        ({"mask": "none"}, "mask ('aperture' in A, 'none' in B)"),
        ({"cap_mm": None}, "cap mm ('100.0' in A, none in B)"),
        ({"dataset": "c3vd, test"}, "dataset ('c3vd, all' in A, 'c3vd, test' in B)"),
        ({"average": Average.MICRO}, "average ('macro' in A, 'micro' in B)"),
        (
            {"settings": {"crop": "none", "size": "518x518"}},
            "setting 'size' ('1080x1350' in A, '518x518' in B)",
        ),
    ],
)
def test_runs_made_otherwise_are_refused_in_one_line_that_says_why(tmp_path, other, words):
    a, b = write(tmp_path / "a"), write(tmp_path / "b", made=replace(MADE, **other))
    with pytest.raises(DataError) as caught:
        compare(a, b)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_networks_weights_and_commits_may_differ(tmp_path):
    settings = {**MADE.settings, "predicted maps": "depth, 0.01 mm a unit"}
    other = replace(MADE, backbone="predictions", weights_sha256="", commit="", settings=settings)
    found = compare(write(tmp_path / "a"), write(tmp_path / "b", made=other))
    assert "B is predictions, scored by commit not known" in comparison_table(found).notes[0]


def test_scores_that_are_not_those_of_the_summary_are_refused(tmp_path):
    a, b = write(tmp_path / "a"), write(tmp_path / "b")
    lines = (b / "scores.csv").read_text().splitlines()
    (b / "scores.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match="holds other frames than the summary"):
        compare(a, b)


def test_too_few_clips_are_answered_without_an_interval(tmp_path):
    found = compare(write(tmp_path / "a", clips=3), write(tmp_path / "b", clips=3, offset=0.1))
    answer = comparison_json(found)
    assert answer["figures"][0]["paired"]["low"] is None
    assert answer["figures"][0]["better"] == ""  # p cannot fall below 1/4
    json.dumps(answer, allow_nan=False)


def test_the_command_prints_writes_and_refuses(tmp_path):
    app = typer.Typer()
    app.command()(compare_command)
    a, b = write(tmp_path / "a"), write(tmp_path / "b", offset=0.02, seed=2)
    done = CliRunner().invoke(app, [str(a), str(b / "summary.json"), "--out", str(tmp_path / "c")])
    assert done.exit_code == 0, done.output
    assert "abs_rel" in done.stdout
    assert "40 frames of 10 clips" in done.stdout
    assert max(map(len, done.stdout.split("A is ")[0].splitlines())) <= 80
    written = {path.name for path in (tmp_path / "c").iterdir()}
    assert written == {"comparison.md", "comparison.tex", "comparison.json"}
    answer = CliRunner().invoke(app, [str(a), str(b), "--json"])
    assert json.loads(answer.stdout)["figures"][0]["better"] == "A"
    missing = CliRunner().invoke(app, [str(a), str(tmp_path / "nowhere")])
    assert isinstance(missing.exception, DataError)
