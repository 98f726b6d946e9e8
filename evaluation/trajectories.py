"""How far an estimated camera trajectory is from the true one: absolute and relative errors.

After Sturm et al., "A benchmark for the evaluation of RGB-D SLAM systems", IROS 2012. Millimetres
and radians. Frames are paired one to one: by number, or by time where a tolerance is given; then
every frame of the estimate needs its own partner, and true frames without one are only counted.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import degrees, isfinite

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.motion import align_points, relative, rigid_motion, so3_log
from colondepth.trajectories import Trajectory


class TrajectoryAlignment(StrEnum):
    """What is fitted to the true camera centres before the error is taken."""

    NONE = "none"
    RIGID = "rigid"  # rotation and translation
    SIMILARITY = "similarity"  # and one scale, for a camera that cannot know it


@dataclass(frozen=True, slots=True)
class Spread:
    """How errors are spread over frames; the unit is in the name of the field that holds it."""

    rmse: float
    mean: float
    median: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsoluteError:
    """Distances between estimated and true camera centres (ATE), and how they were made."""

    translation_mm: Spread
    alignment: TrajectoryAlignment
    scale: float  # that the estimate was multiplied by; 1 unless the alignment fits one
    frames: int  # compared
    truth_frames: int  # there were; more than `frames` where the estimate leaves some out
    tolerance_s: float | None  # of the pairing by time; None when paired by number


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeError:
    """Errors of the motion over `step_frames` (RPE), over all overlapping pairs of frames."""

    translation_mm: Spread
    rotation_rad: Spread
    drift_mm_per_m: float | None  # summed error over summed true displacement; None if that is 0
    step_frames: int
    pairs: int
    alignment: TrajectoryAlignment
    scale: float
    frames: int
    truth_frames: int
    tolerance_s: float | None

    @property
    def rotation_deg(self) -> Spread:
        """The rotation errors in degrees."""
        spread = self.rotation_rad
        return Spread(*map(degrees, (spread.rmse, spread.mean, spread.median, spread.max)))


def absolute_error(
    estimate: Trajectory,
    truth: Trajectory,
    *,
    alignment: TrajectoryAlignment,
    tolerance_s: float | None = None,
) -> AbsoluteError:
    """Compare camera centres in one world (ATE).

    Args:
        estimate: two frames or more, for an alignment three that are not on a line.
        truth: as many frames, or with `tolerance_s` at least as many.
        alignment: what is fitted first.
        tolerance_s: pair by time, up to this difference; None pairs by frame number.
    """
    guess, true = _paired(estimate, truth, tolerance_s)
    guess, scale = _aligned(guess, true, alignment)
    # Eq. 4 and 5: the length of the translation of true^-1 @ guess is the distance of the centres
    distance_mm = torch.linalg.vector_norm(guess[:, :3, 3] - true[:, :3, 3], dim=-1)  # (N,)
    return AbsoluteError(
        translation_mm=_spread(distance_mm),
        alignment=alignment,
        scale=scale,
        frames=len(guess),
        truth_frames=len(truth),
        tolerance_s=tolerance_s,
    )


def relative_error(
    estimate: Trajectory,
    truth: Trajectory,
    *,
    step_frames: int,
    alignment: TrajectoryAlignment,
    tolerance_s: float | None = None,
) -> RelativeError:
    """Compare the motion from each frame to the one `step_frames` later (RPE).

    Args:
        estimate: more than `step_frames` frames.
        truth: as many frames, or with `tolerance_s` at least as many.
        step_frames: 1 for the error from frame to frame, more for drift.
        alignment: what is fitted first; only the scale of a similarity makes a difference here.
        tolerance_s: pair by time, up to this difference; None pairs by frame number.
    """
    guess, true = _paired(estimate, truth, tolerance_s)
    if not 1 <= step_frames < len(guess):
        raise DataError(
            f"step_frames is {step_frames}, expected 1 to {len(guess) - 1} for {len(guess)} frames"
        )
    guess, scale = _aligned(guess, true, alignment)
    true_step = relative(true[:-step_frames], true[step_frames:])  # (P, 4, 4)
    guess_step = relative(guess[:-step_frames], guess[step_frames:])  # (P, 4, 4)
    error = relative(true_step, guess_step)  # Eq. 1
    error_mm = torch.linalg.vector_norm(error[:, :3, 3], dim=-1)  # (P,)
    moved_mm = float(torch.linalg.vector_norm(true_step[:, :3, 3], dim=-1).sum())
    return RelativeError(
        translation_mm=_spread(error_mm),
        rotation_rad=_spread(torch.linalg.vector_norm(so3_log(error[:, :3, :3]), dim=-1)),
        drift_mm_per_m=1000 * float(error_mm.sum()) / moved_mm if moved_mm > 0 else None,
        step_frames=step_frames,
        pairs=len(error),
        alignment=alignment,
        scale=scale,
        frames=len(guess),
        truth_frames=len(truth),
        tolerance_s=tolerance_s,
    )


def _paired(
    estimate: Trajectory, truth: Trajectory, tolerance_s: float | None
) -> tuple[Tensor, Tensor]:
    """Return the matrices of the frames that belong together, (N, 4, 4) each."""
    guess, true = estimate.world_from_camera, truth.world_from_camera
    if tolerance_s is not None:
        true = true[_partners(estimate, truth, tolerance_s)]
    if len(guess) != len(true):
        raise DataError(
            f"the estimate has {len(guess)} frames and the truth {len(true)}; expected as many,"
            " or times in both and tolerance_s to pair them by"
        )
    if len(guess) < 2:
        raise DataError("a trajectory of 1 frame has no error to take; expected 2 or more")
    return guess, true


def _partners(estimate: Trajectory, truth: Trajectory, tolerance_s: float) -> Tensor:
    """Return for every frame of the estimate the number of its own true frame, (N,)."""
    if not (isfinite(tolerance_s) and tolerance_s >= 0):
        raise DataError(f"tolerance_s is {tolerance_s:g}, expected 0 or a positive number")
    if estimate.time_s is None or truth.time_s is None:
        without = "the estimate" if estimate.time_s is None else "the truth"
        raise DataError(f"{without} has no times; leave tolerance_s out to pair by frame number")
    after = torch.searchsorted(truth.time_s, estimate.time_s)  # (N,)
    before, after = (after - 1).clamp(min=0), after.clamp(max=len(truth) - 1)
    back_s = (estimate.time_s - truth.time_s[before]).abs()
    ahead_s = (estimate.time_s - truth.time_s[after]).abs()
    partner, smallest = torch.where(back_s <= ahead_s, before, after), back_s.minimum(ahead_s)
    lonely = (smallest > tolerance_s).nonzero()
    if len(lonely):
        frame = int(lonely[0])
        raise DataError(
            f"frame {frame} of the estimate, at {float(estimate.time_s[frame])!r} s, has no true"
            f" frame within {tolerance_s:g} s; the nearest is {float(smallest[frame]):g} s away"
        )
    shared = (partner.diff() == 0).nonzero()  # times increase, so only neighbours can share
    if len(shared):
        frame = int(shared[0])
        raise DataError(
            f"frames {frame} and {frame + 1} of the estimate share true frame"
            f" {int(partner[frame])}; expected one partner each: drop frames or pair by number"
        )
    return partner


def _aligned(guess: Tensor, true: Tensor, alignment: TrajectoryAlignment) -> tuple[Tensor, float]:
    """Return the estimate (N, 4, 4) moved onto the truth, and the scale that this took."""
    if alignment is TrajectoryAlignment.NONE:
        return guess, 1.0
    fit = align_points(
        guess[:, :3, 3], true[:, :3, 3], with_scale=alignment is TrajectoryAlignment.SIMILARITY
    )
    scaled = rigid_motion(guess[:, :3, :3], fit.scale * guess[:, :3, 3])  # (N, 4, 4)
    return fit.target_from_source @ scaled, float(fit.scale)


def _spread(errors: Tensor) -> Spread:
    return Spread(
        rmse=float(errors.square().mean().sqrt()),  # Eq. 2 and 5
        mean=float(errors.mean()),
        median=float(errors.quantile(0.5)),  # torch's own median takes the lower of the middle two
        max=float(errors.max()),
    )
