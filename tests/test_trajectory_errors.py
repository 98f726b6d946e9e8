"""The second opinion is evo (GPL): imported by this test only, never by a package."""

import math
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from winding import moved, winding

from colondepth.errors import DataError
from colondepth.motion import rigid_motion, se3_exp, so3_exp
from colondepth.trajectories import Trajectory, TrajectoryForm, write_trajectory
from evaluation.trajectories import (
    Spread,
    TrajectoryAlignment,
    absolute_error,
    relative_error,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from evo.core import metrics  # type: ignore[import-untyped]
    from evo.core.trajectory import PoseTrajectory3D  # type: ignore[import-untyped]
    from evo.tools.file_interface import read_tum_trajectory_file  # type: ignore[import-untyped]

TRUTH = winding(41)
ELSEWHERE = se3_exp(torch.tensor([30, -12, 5, 0.8, -0.5, 1.4], dtype=torch.double))
ESTIMATE = moved(winding(41, seed=3, noise_mm=0.6), ELSEWHERE, 0.37)
STILL = torch.eye(4, dtype=torch.double).repeat(5, 1, 1)


@pytest.fixture(scope="module")
def evo_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[PoseTrajectory3D, PoseTrajectory3D]:
    folder: Path = tmp_path_factory.mktemp("evo")
    for name, trajectory in (("estimate", ESTIMATE), ("truth", TRUTH)):
        write_trajectory(trajectory, folder / name, form=TrajectoryForm.TUM, mm_per_unit=1000)
    return tuple(read_tum_trajectory_file(folder / name) for name in ("truth", "estimate"))


def aligned(
    pair: tuple[PoseTrajectory3D, PoseTrajectory3D], alignment: TrajectoryAlignment
) -> tuple[PoseTrajectory3D, PoseTrajectory3D, float]:
    truth, estimate = (
        PoseTrajectory3D(poses_se3=p.poses_se3, timestamps=p.timestamps) for p in pair
    )
    scale = 1.0
    if alignment is not TrajectoryAlignment.NONE:
        _, _, found = estimate.align(
            truth, correct_scale=alignment is TrajectoryAlignment.SIMILARITY
        )
        scale = found if alignment is TrajectoryAlignment.SIMILARITY else 1.0
    return truth, estimate, scale


def agrees(spread: Spread, statistics: dict[str, float], unit: float) -> None:
    for name in ("rmse", "mean", "median", "max"):
        ours, theirs = getattr(spread, name), statistics[name] * unit
        assert ours == pytest.approx(theirs, abs=1e-9, rel=1e-9)
        assert ours > 1e-3  # there was something to agree on


@pytest.mark.parametrize("alignment", TrajectoryAlignment)
def test_the_absolute_error_agrees_with_evo(
    evo_pair: tuple[PoseTrajectory3D, PoseTrajectory3D], alignment: TrajectoryAlignment
) -> None:
    truth, estimate, scale = aligned(evo_pair, alignment)
    theirs = metrics.APE(metrics.PoseRelation.translation_part)
    theirs.process_data((truth, estimate))
    ours = absolute_error(ESTIMATE, TRUTH, alignment=alignment)
    agrees(ours.translation_mm, theirs.get_all_statistics(), 1000)
    assert ours.scale == pytest.approx(scale, rel=1e-12)
    assert (ours.alignment, ours.frames, ours.truth_frames) == (alignment, 41, 41)


@pytest.mark.parametrize("step_frames", [1, 7])
@pytest.mark.parametrize("alignment", TrajectoryAlignment)
def test_the_relative_error_agrees_with_evo(
    evo_pair: tuple[PoseTrajectory3D, PoseTrajectory3D],
    alignment: TrajectoryAlignment,
    step_frames: int,
) -> None:
    truth, estimate, _ = aligned(evo_pair, alignment)
    ours = relative_error(ESTIMATE, TRUTH, step_frames=step_frames, alignment=alignment)
    for relation, spread, unit in (
        (metrics.PoseRelation.translation_part, ours.translation_mm, 1000),
        (metrics.PoseRelation.rotation_angle_deg, ours.rotation_deg, 1),
        (metrics.PoseRelation.rotation_angle_rad, ours.rotation_rad, 1),
    ):
        theirs = metrics.RPE(relation, step_frames, metrics.Unit.frames, all_pairs=True)
        theirs.process_data((truth, estimate))
        agrees(spread, theirs.get_all_statistics(), unit)
    assert ours.pairs == 41 - step_frames


def test_a_shifted_copy_is_off_by_the_shift_until_it_is_aligned() -> None:
    shift = rigid_motion(torch.eye(3).double(), torch.tensor([2.0, -3, 6]).double())
    copy = moved(TRUTH, shift, 1)
    plain = absolute_error(copy, TRUTH, alignment=TrajectoryAlignment.NONE)
    assert plain.translation_mm.rmse == pytest.approx(7)
    assert plain.translation_mm.median == pytest.approx(7)
    fitted = absolute_error(copy, TRUTH, alignment=TrajectoryAlignment.RIGID)
    assert fitted.translation_mm.max < 1e-9
    step = relative_error(copy, TRUTH, step_frames=3, alignment=TrajectoryAlignment.NONE)
    assert step.translation_mm.max < 1e-9


def test_a_similarity_finds_the_scale_and_a_rigid_alignment_does_not() -> None:
    small = moved(TRUTH, ELSEWHERE, 0.25)
    fitted = absolute_error(small, TRUTH, alignment=TrajectoryAlignment.SIMILARITY)
    assert fitted.scale == pytest.approx(4)
    assert fitted.translation_mm.max < 1e-9
    assert absolute_error(small, TRUTH, alignment=TrajectoryAlignment.RIGID).scale == 1
    step = relative_error(small, TRUTH, step_frames=2, alignment=TrajectoryAlignment.SIMILARITY)
    assert step.translation_mm.max < 1e-9


def test_drift_is_the_error_by_the_way_and_turns_are_in_radians() -> None:
    truth, guess = STILL.clone(), STILL.clone()
    truth[:, 2, 3] = torch.arange(5) * 10.0
    guess[:, 2, 3] = torch.arange(5).double() * 10.2
    guess[:, :3, :3] = so3_exp(torch.arange(5)[:, None] * torch.tensor([0, 0, 0.1]).double())
    error = relative_error(
        Trajectory(guess), Trajectory(truth), step_frames=2, alignment=TrajectoryAlignment.NONE
    )
    assert error.drift_mm_per_m == pytest.approx(20)
    assert error.translation_mm.mean == pytest.approx(0.4)
    assert error.rotation_rad.max == pytest.approx(0.2)
    assert error.rotation_deg.max == pytest.approx(math.degrees(0.2))
    assert error.pairs == 3


def test_there_is_no_drift_per_metre_of_standing_still() -> None:
    still = Trajectory(STILL)
    error = relative_error(still, still, step_frames=1, alignment=TrajectoryAlignment.NONE)
    assert error.drift_mm_per_m is None
    assert error.rotation_rad.rmse == 0


def test_frames_are_paired_by_time_whatever_their_number() -> None:
    assert TRUTH.time_s is not None
    kept = torch.tensor([2, 3, 11, 17, 30, 40])
    late = Trajectory(TRUTH.world_from_camera[kept], TRUTH.time_s[kept] + 0.004)
    for alignment in TrajectoryAlignment:
        error = absolute_error(late, TRUTH, alignment=alignment, tolerance_s=0.005)
        assert error.translation_mm.max < 1e-9
        assert (error.frames, error.truth_frames, error.tolerance_s) == (6, 41, 0.005)


def at(*times_s: float) -> Trajectory:
    return Trajectory(
        winding(len(times_s)).world_from_camera, torch.tensor(times_s, dtype=torch.double)
    )


@pytest.mark.parametrize(
    ("estimate", "truth", "tolerance_s", "words"),
    [
        (at(0, 1, 2), at(0, 1, 2, 3), None, "the estimate has 3 frames and the truth 4"),
        (at(0, 1.4, 2), at(0, 1, 2, 3), 0.3, r"frame 1 .*at 1.4 s.* within 0.3 s.* 0.4 s away"),
        (at(0, 1, 9), at(0, 1, 2, 3), 0.3, r"frame 2 .*at 9.0 s, has no true frame within"),
        (at(0, 0.9, 1.2), at(0, 1, 2, 3), 0.3, "frames 1 and 2 of the estimate share true frame 1"),
        (at(0, 1, 2), Trajectory(STILL), 0.3, "the truth has no times"),
        (Trajectory(STILL), at(0, 1, 2), 0.3, "the estimate has no times"),
        (at(0, 1), at(0, 1), -1.0, "tolerance_s is -1"),
        (at(0, 1), at(0, 1), math.nan, "tolerance_s is nan"),
        (at(0), at(0), None, "a trajectory of 1 frame"),
        (at(0), at(0), 0.1, "a trajectory of 1 frame"),
        (at(0, 1), at(0, 1), None, "2 points cannot be aligned"),
        (Trajectory(STILL), winding(5), None, "the 5 points of source coincide"),
    ],
)
def test_trajectories_that_cannot_be_compared_are_refused(
    estimate: Trajectory, truth: Trajectory, tolerance_s: float | None, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        absolute_error(
            estimate, truth, alignment=TrajectoryAlignment.RIGID, tolerance_s=tolerance_s
        )


@pytest.mark.parametrize("step_frames", [-1, 0, 5, 6])
def test_a_step_outside_the_trajectory_is_refused(step_frames: int) -> None:
    with pytest.raises(DataError, match=f"step_frames is {step_frames}, expected 1 to 4 for 5"):
        relative_error(
            winding(5),
            winding(5),
            step_frames=step_frames,
            alignment=TrajectoryAlignment.NONE,
        )


def test_a_result_is_not_changed_after_the_fact() -> None:
    error = absolute_error(ESTIMATE, TRUTH, alignment=TrajectoryAlignment.NONE)
    with pytest.raises(AttributeError):
        error.frames = 3  # type: ignore[misc]
    assert replace(error, frames=3) != error
