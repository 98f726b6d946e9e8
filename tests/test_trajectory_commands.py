import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from typer.testing import CliRunner, Result
from winding import moved, winding

from colondepth.commands import trajectory as commands
from colondepth.errors import ColonDepthError, DataError
from colondepth.motion import se3_exp
from colondepth.trajectories import TrajectoryForm, read_trajectory, write_trajectory
from evaluation import commands as evaluation_commands
from evaluation.trajectories import TrajectoryAlignment

WALK = winding(12)


def run(*words: object) -> Result:
    return CliRunner().invoke(commands.app, [str(word) for word in words])


def evaluate(*words: object) -> Result:
    return CliRunner().invoke(evaluation_commands.app, ["trajectory", *map(str, words)])


def refusal(result: Result) -> str:
    assert isinstance(result.exception, ColonDepthError), result.output
    assert result.stdout == ""
    return str(result.exception)


@pytest.fixture
def tum(tmp_path: Path) -> Path:
    path = tmp_path / "walk [x].tum"
    write_trajectory(WALK, path, form=TrajectoryForm.TUM, mm_per_unit=1000)
    return path


@pytest.fixture
def c3vd(tmp_path: Path) -> Path:
    path = tmp_path / "pose.txt"
    write_trajectory(WALK, path, form=TrajectoryForm.C3VD)
    return path


def test_the_names_on_the_command_line_are_those_of_the_library() -> None:
    assert set(get_args(commands.FormName)) == set(TrajectoryForm)
    assert set(get_args(evaluation_commands.AlignmentName)) == set(TrajectoryAlignment)


@pytest.mark.parametrize("form", TrajectoryForm)
def test_convert_writes_every_form_in_the_asked_unit(
    tum: Path, tmp_path: Path, form: TrajectoryForm
) -> None:
    output = tmp_path / "SavedPosition_S2.txt"
    unit = 10.0 if form in ("tum", "kitti") else None
    extra = ["--out-mm-per-unit", unit] if unit else []
    result = run("convert", tum, output, "--to", form, "--mm-per-unit", 1000, *extra)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"12 frames -> {output} ({form})\n"
    assert ("no times" in result.stderr) == (form != "tum")
    written = read_trajectory(output, form=form, mm_per_unit=unit)
    torch.testing.assert_close(written.world_from_camera, WALK.world_from_camera)


def test_convert_gives_times_to_frames_that_have_none(c3vd: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.tum"
    words = ["convert", c3vd, output, "--to", "tum", "--out-mm-per-unit", 1]
    assert "tum needs a time for every frame" in refusal(run(*words))
    assert not output.exists()
    assert run(*words, "--frames-per-s", 25).exit_code == 0
    written = read_trajectory(output, form=TrajectoryForm.TUM, mm_per_unit=1)
    assert written.time_s is not None
    assert written.time_s[10] == 0.4
    again = ["convert", output, output, "--to", "tum", "--mm-per-unit", 1, "--out-mm-per-unit", 1]
    assert "has times of its own" in refusal(run(*again, "--frames-per-s", 25))
    assert "expected a positive number" in refusal(run(*words, "--frames-per-s", 0))


def test_show_describes_a_walk(tum: Path) -> None:
    result = run("show", tum, "--mm-per-unit", 1000, "--json")
    answer = json.loads(result.stdout)
    assert answer["frames"] == 12
    assert answer["length_mm"] == pytest.approx(11 * answer["mean_step_mm"])
    assert answer["length_mm"] == pytest.approx(float(WALK.step_mm().sum()))
    assert WALK.time_s is not None
    assert answer["duration_s"] == pytest.approx(float(WALK.time_s[-1] - WALK.time_s[0]))
    assert answer["total_rotation_deg"] == pytest.approx(57.29577951 * WALK.turn_rad().sum())
    assert (
        f"length_mm           {answer['length_mm']:.6g}\n"
        in run("show", tum, "--mm-per-unit", 1000).stdout
    )


def test_show_says_what_nobody_wrote_down(c3vd: Path) -> None:
    assert "duration_s          unknown\n" in run("show", c3vd).stdout
    assert json.loads(run("show", c3vd, "--json").stdout)["duration_s"] is None


def test_a_trajectory_without_its_unit_or_form_is_refused(tum: Path, tmp_path: Path) -> None:
    assert "tum states no unit of length; give mm_per_unit" in refusal(run("show", tum))
    (tmp_path / "novel.txt").write_text("it was a dark and stormy night\n")
    words = refusal(run("show", tmp_path / "novel.txt"))
    assert words.endswith("looks like none of tum, kitti, c3vd, simcol3d; say --from")
    assert "expected 12" in refusal(run("show", tum, "--from", "kitti", "--mm-per-unit", 1))
    assert run("show", tum, "--from", "tmu").exit_code == 2


def test_evaluate_compares_a_metric_truth_with_an_estimate_of_unknown_scale(
    tum: Path, tmp_path: Path
) -> None:
    truth = tmp_path / "pose.txt"
    there = se3_exp(torch.tensor([9, 2, -4, 0.3, 1.0, -0.6], dtype=torch.double))
    write_trajectory(moved(WALK, there, 0.5), truth, form=TrajectoryForm.C3VD)
    words = [tum, truth, "--alignment", "similarity", "--mm-per-unit", 1000, "--step-frames", 3]
    result = evaluate(*words, "--json")
    answer = json.loads(result.stdout)
    assert answer["absolute"]["scale"] == pytest.approx(0.5)
    assert answer["absolute"]["alignment"] == "similarity"
    assert answer["absolute"]["translation_mm"]["rmse"] < 1e-9
    assert answer["relative"]["pairs"] == 9
    assert answer["relative"]["rotation_rad"]["max"] < 1e-9
    table = evaluate(*words).stdout
    assert "12 of 12 true frames, similarity alignment, scale 0.5" in table
    assert "relative, 3 frames (deg)" in table


def test_evaluate_leaves_the_relative_error_out_unless_a_step_is_given(c3vd: Path) -> None:
    result = evaluate(c3vd, c3vd, "--alignment", "none", "--json")
    assert json.loads(result.stdout)["relative"] is None
    assert "relative" not in evaluate(c3vd, c3vd, "--alignment", "none").stdout


def test_evaluate_refuses_what_cannot_be_compared(tum: Path, c3vd: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    write_trajectory(winding(5), short, form=TrajectoryForm.C3VD)
    assert "5 frames and the truth 12" in refusal(evaluate(short, c3vd, "--alignment", "none"))
    wrong = evaluate(c3vd, c3vd, "--alignment", "none", "--mm-per-unit", 10)
    assert "but c3vd has 1; leave it out" in refusal(wrong)
    assert isinstance(evaluate(tum, tum, "--alignment", "none").exception, DataError)
    (tmp_path / "novel.txt").write_text("it was a dark and stormy night\n")
    novel = evaluate(tmp_path / "novel.txt", c3vd, "--alignment", "none")
    assert "say --form" in refusal(novel)
    assert evaluate(c3vd, c3vd).exit_code == 2
