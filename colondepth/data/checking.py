"""A dataset examined: is it all there, and was it read as it was meant?

Frames are read one at a time. What is wrong becomes a `Finding` with what was found, the cure where
it is known, and a picture where one says more than words.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

import torch
from torch import Tensor

from colondepth.data.conventions import Verdict, find_conventions
from colondepth.data.reading import Reading
from colondepth.deidentification import shows_text
from colondepth.errors import ColonDepthError
from colondepth.masks import find_aperture
from colondepth.views import Clip, View

# A colonoscope sees nothing nearer than its depth of field begins, and no lumen is half a metre
# long without a bend: a median depth beyond these is a slip of the unit.
SHALLOWEST_MM, DEEPEST_MM = 2.0, 300.0
COARSE_STEP = 0.01  # of the median depth: an 8-bit file shows as steps in every fold
JUMP = 20.0  # a step so many times the median step is a cut, or a pose of another clip
CONVENTION_FRAMES = 10  # frames whose depth and poses are tested against each other
# Slow and fast cameras: the frames tested are neighbours, or lie this many frames apart.
CONVENTION_STRIDES = (1, 4, 12)


class Weight(StrEnum):
    """How bad a finding is."""

    FINE = "fine"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found out about a dataset."""

    weight: Weight
    where: str  # a clip, a file, or the dataset
    words: str
    cure: str = ""


@dataclass(slots=True, eq=False)
class Tally:
    """What is added up while the frames of one clip go by."""

    frames: int = 0
    unreadable: int = 0
    with_depth: int = 0
    pixels: int = 0
    unknown: int = 0
    nearest_mm: float = float("inf")
    farthest_mm: float = 0.0
    step_mm: float = float("inf")
    medians_mm: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class ClipCheck:
    """What was found out about one clip."""

    name: str
    size: tuple[int, int]
    tally: Tally
    poses: int
    path_mm: float
    aperture: float  # share of the frame inside
    verdict: Verdict | None
    findings: tuple[Finding, ...]
    sample: View | None  # a frame to look at


def check_clip(
    clip: Clip, *, most_frames: int | None = None, seen: Callable[[], None] | None = None
) -> ClipCheck:
    """Examine one clip.

    Args:
        clip: what to examine.
        most_frames: read at most so many, evenly spread; all by default.
        seen: called after every frame, for a progress bar.
    """
    tally, findings = Tally(), []
    poses: dict[int, Tensor] = {}
    aperture, sample = 1.0, None
    for number in frames_to_read(len(clip), most_frames):
        tally.frames += 1
        try:
            view = clip[number]
        except (ColonDepthError, OSError) as error:
            tally.unreadable += 1
            where = f"{clip.name}/{clip.frame_ids[number]}"
            findings.append(Finding(Weight.BAD, where, str(error), "copy the file again"))
            continue
        finally:
            if seen is not None:
                seen()
        if sample is None or number <= len(clip) // 2:
            sample = view
        if "world_from_camera" in view:
            poses[number] = view["world_from_camera"]
        if "depth_mm" in view:
            _add_depth(tally, view["depth_mm"])
    if sample is not None:
        aperture = float(find_aperture(sample["image"]).float().mean())
        if shows_text(sample["image"]):
            findings.append(
                Finding(
                    Weight.NOTE,
                    clip.name,
                    "on-screen text in the picture below, which may name a patient",
                    "colondepth deidentify blanks it",
                )
            )
    verdict = _conventions(clip, findings) if poses and tally.with_depth else None
    findings += [*_depth_findings(clip.name, tally), *_pose_findings(clip.name, poses)]
    if verdict is not None:
        findings.append(_verdict_finding(clip.name, verdict))
    steps = [float((b - a)[:3, 3].norm()) for a, b in pairwise(poses.values())]
    size = clip.camera.height, clip.camera.width
    return ClipCheck(
        name=clip.name,
        size=size,
        tally=tally,
        poses=len(poses),
        path_mm=sum(steps),
        aperture=aperture,
        verdict=verdict,
        findings=tuple(findings),
        sample=sample,
    )


def reading_findings(reading: Reading) -> Iterator[Finding]:
    """Give what was already found out when the dataset was opened."""
    for skipped in reading.skipped:
        yield Finding(Weight.BAD, str(skipped.path), skipped.reason, "left out")
    for warning in reading.warnings:
        yield Finding(Weight.NOTE, reading.dataset, warning)
    sizes = {(clip.camera.height, clip.camera.width) for clip in reading.clips}
    if len(sizes) > 1:
        listed = ", ".join(f"{height}x{width}" for height, width in sorted(sizes))
        yield Finding(Weight.NOTE, reading.dataset, f"clips have different sizes: {listed}")


def frames_to_read(length: int, most: int | None) -> range:
    """Return the numbers of all frames, or of `most` spread evenly over a clip of `length`."""
    return range(length) if most is None else range(0, length, -(-length // max(1, most)))


def _add_depth(tally: Tally, depth_mm: Tensor) -> None:
    tally.with_depth += 1
    tally.pixels += depth_mm.numel()
    known = depth_mm[depth_mm > 0]
    tally.unknown += depth_mm.numel() - known.numel()
    if not known.numel():
        return
    tally.nearest_mm = min(tally.nearest_mm, float(known.min()))
    tally.farthest_mm = max(tally.farthest_mm, float(known.max()))
    tally.medians_mm.append(float(known.median()))
    if tally.with_depth <= 3:  # sorting a frame's values takes as long as reading it
        gaps = known.unique().diff()
        if gaps.numel():
            tally.step_mm = min(tally.step_mm, float(gaps.min()))


def _depth_findings(name: str, tally: Tally) -> Iterator[Finding]:
    if not tally.with_depth:
        return
    if not tally.medians_mm:
        yield Finding(Weight.BAD, name, "every pixel of every depth map is unknown (0)")
        return
    missing = tally.frames - tally.unreadable - tally.with_depth
    if missing:
        yield Finding(Weight.NOTE, name, f"{missing} of {tally.frames} frames have no depth")
    median = sorted(tally.medians_mm)[len(tally.medians_mm) // 2]
    if tally.step_mm > COARSE_STEP * median:
        yield Finding(
            Weight.NOTE,
            name,
            f"depth comes in steps of {tally.step_mm:.3g} mm, {tally.step_mm / median:.0%} of its"
            " median: finer than that nothing can be measured here",
        )
    if not SHALLOWEST_MM <= median <= DEEPEST_MM:
        yield Finding(
            Weight.BAD,
            name,
            f"the median depth is {median:.3g} mm, expected {SHALLOWEST_MM:g} to {DEEPEST_MM:g}",
            "the unit of the depth maps is another one",
        )


def _pose_findings(name: str, poses: dict[int, Tensor]) -> Iterator[Finding]:
    steps = [(b, float((poses[b] - poses[a])[:3, 3].norm()) / (b - a)) for a, b in pairwise(poses)]
    if not steps:
        return
    median = sorted(step for _, step in steps)[len(steps) // 2]
    if median == 0:
        yield Finding(Weight.NOTE, name, "the camera stands still in most frames")
        return
    jumps = [number for number, step in steps if step > JUMP * median]
    if jumps:
        listed = ", ".join(map(str, jumps[:5])) + (" ..." if len(jumps) > 5 else "")
        yield Finding(
            Weight.BAD,
            name,
            f"the camera jumps {len(jumps)} times, at frame {listed}: more than {JUMP:g} times"
            f" the median step of {median:.3g} mm",
            "a cut, dropped frames, or poses of another clip",
        )


def _conventions(clip: Clip, findings: list[Finding]) -> Verdict | None:
    """Test depth against motion on neighbours and on frames farther apart; keep the clearest."""
    verdicts = []
    for stride in CONVENTION_STRIDES:
        start = max(0, (len(clip) - CONVENTION_FRAMES * stride) // 2)
        numbers = range(start, len(clip), stride)[:CONVENTION_FRAMES]
        try:
            views = {number: clip[number] for number in numbers}
            whole = {n: v for n, v in views.items() if "depth_mm" in v and "world_from_camera" in v}
            if len(whole) >= 2:
                verdicts.append(_tested(clip, whole))
        except (ColonDepthError, OSError):
            continue  # the frame that cannot be read is a finding already
    if not verdicts:
        findings.append(
            Finding(Weight.NOTE, clip.name, "no two frames have depth and poses to compare")
        )
        return None
    # The clearest is where the best reading stands out most from the one that comes after it.
    return max(verdicts, key=lambda verdict: verdict.decided * verdict.clearness)


def _tested(clip: Clip, views: dict[int, View]) -> Verdict:
    return find_conventions(
        torch.stack([view["depth_mm"] for view in views.values()]),
        clip.camera,
        torch.stack([view["world_from_camera"] for view in views.values()]),
        frames=list(views),
    )


def _verdict_finding(name: str, verdict: Verdict) -> Finding:
    error, as_read = verdict.best.error, verdict.as_read.error
    if not verdict.decided:
        return Finding(
            Weight.BAD,
            name,
            f"depth and poses fit under no usual reading: the best, {verdict.best.words}, leaves"
            f" {error:.1%} of depth; as read it is {as_read:.1%}",
            "poses of another clip, a moving wall, or a camera that is not this one",
        )
    if verdict.sound:
        return Finding(
            Weight.FINE,
            name,
            f"depth and poses agree as read, to {error:.2%} of depth; the next best reading,"
            f" {verdict.runner_up.words}, leaves {verdict.runner_up.error:.1%}",
        )
    return Finding(
        Weight.BAD,
        name,
        f"depth and poses do not agree as read ({as_read:.1%} of depth), but do with:"
        f" {verdict.best.words} ({error:.2%})",
        verdict.best.cure,
    )
