"""Errors of depth as torchmetrics, which add up across batches and across processes.

Three ways to make one number of many frames, which give three different numbers:

`MeanOverFrames`   errors of each frame, averaged over all frames.
`MeanOverClips`    errors of each frame, averaged within each clip, then over the clips (macro): a
                   long clip counts as much as a short one.
`MeanOverPixels`   every pixel of every frame alike (micro): a root or a logarithm is taken once, of
                   the mean over all of them. The median of all pixels is no sum, and is not there.

Each fits the named alignment to each frame first, as `evaluation.alignment` has it. What `compute`
returns is keyed by `label`, so that no number is logged without how it was made. A frame on which
an error is nan (see `evaluation.depth_errors`) is left out of that error's mean, and counted: the
label of "frames" has the number that were scored, that of "frames left out" the number without an
error. Where no frame has one, the mean is nan. State is float64 whatever the network's precision.

After `torch.distributed.init_process_group`, `compute` adds the sums of all processes. A sampler
that repeats frames, to give each process as many, counts those twice; that cannot be seen here.
"""

from math import nan
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from colondepth.errors import DataError
from evaluation.alignment import Alignment, fit
from evaluation.depth_errors import (
    DEPTH_ERRORS,
    PIXEL_SUMS,
    depth_errors,
    errors_from_sums,
    pixel_sums,
)

FRAMES, LEFT_OUT = "frames", "frames left out"


def label(name: str, *, alignment: Alignment, over: str) -> str:
    """Return what a number is called: the error, what was fitted, and what it is a mean over."""
    return f"{name} | alignment {alignment} | over {over}"


class MeanOverFrames(Metric):
    """The mean error over frames.

    Args:
        alignment: fitted to each frame first.
        more: settings of torchmetrics.
    """

    full_state_update = False
    totals: Tensor  # (1, E)
    counts: Tensor  # (1, E)
    frames: Tensor  # scored, and left out

    def __init__(self, *, alignment: Alignment, **more: Any) -> None:
        super().__init__(**more)
        self.alignment = alignment
        _add_error_states(self, groups=1)

    def update(self, found_mm: Tensor, true_mm: Tensor, known: Tensor) -> None:
        """Add frames, (B, 1, H, W) each, as for `depth_errors` and not aligned yet."""
        clip = torch.zeros(len(found_mm), dtype=torch.long, device=found_mm.device)
        _add_errors(self, found_mm, true_mm, known, clip)

    def compute(self) -> dict[str, Tensor]:
        """Return the means by their labels."""
        return _labelled(self, _means(self.totals, self.counts)[0], over="frames")


class MeanOverClips(Metric):
    """The mean over clips of the mean error over the frames of each.

    Args:
        alignment: fitted to each frame first.
        clips: how many there are, in all processes together.
        more: settings of torchmetrics.
    """

    full_state_update = False
    totals: Tensor  # (clips, E)
    counts: Tensor  # (clips, E)
    frames: Tensor  # scored, and left out

    def __init__(self, *, alignment: Alignment, clips: int, **more: Any) -> None:
        super().__init__(**more)
        if clips < 1:
            raise DataError(f"clips is {clips}, expected 1 or more")
        self.alignment = alignment
        self.clips = clips
        _add_error_states(self, groups=clips)

    def update(self, found_mm: Tensor, true_mm: Tensor, known: Tensor, clip: Tensor) -> None:
        """Add frames; `clip` (B,) has the number of the clip that each is from, from 0 on."""
        if clip.shape != found_mm.shape[:1] or clip.dtype != torch.long:
            raise DataError(
                f"clip has shape {tuple(clip.shape)} and holds {clip.dtype}, expected"
                f" ({len(found_mm)},) whole numbers (torch.long)"
            )
        if len(clip) and (int(clip.min()) < 0 or int(clip.max()) >= self.clips):
            raise DataError(
                f"clip has numbers from {int(clip.min())} to {int(clip.max())}, expected 0 to"
                f" {self.clips - 1}; `clips` says how many there are in all"
            )
        _add_errors(self, found_mm, true_mm, known, clip)

    def compute(self) -> dict[str, Tensor]:
        """Return the means by their labels; a clip without an error is left out of that mean."""
        means = _means(self.totals, self.counts).nanmean(dim=0)  # (E,)
        return _labelled(self, means, over="clips")


class MeanOverPixels(Metric):
    """The error over all pixels of all frames.

    Args:
        alignment: fitted to each frame first.
        more: settings of torchmetrics.
    """

    full_state_update = False
    sums: Tensor  # (S,)
    frames: Tensor  # scored, and left out

    def __init__(self, *, alignment: Alignment, **more: Any) -> None:
        super().__init__(**more)
        self.alignment = alignment
        self.add_state("sums", torch.zeros(len(PIXEL_SUMS), dtype=torch.float64), "sum")
        _add_frame_state(self)

    def update(self, found_mm: Tensor, true_mm: Tensor, known: Tensor) -> None:
        """Add frames, (B, 1, H, W) each, as for `depth_errors` and not aligned yet."""
        aligned_mm = fit(found_mm, true_mm, known, alignment=self.alignment).applied(found_mm)
        sums = pixel_sums(aligned_mm, true_mm, known)
        self.sums += torch.stack([sums[name] for name in PIXEL_SUMS]).sum(dim=1)
        _count_frames(self, sums["measured"] > 0)

    def compute(self) -> dict[str, Tensor]:
        """Return the errors by their labels."""
        errors = errors_from_sums(dict(zip(PIXEL_SUMS, self.sums, strict=True)))
        names = [name for name in DEPTH_ERRORS if name in errors]
        return _labelled(self, torch.stack([errors[name] for name in names]), over="pixels")


_Frames = MeanOverFrames | MeanOverClips


def _add_error_states(metric: _Frames, *, groups: int) -> None:
    for state in ("totals", "counts"):
        zeros = torch.zeros(groups, len(DEPTH_ERRORS), dtype=torch.float64)
        metric.add_state(state, zeros, "sum")
    _add_frame_state(metric)


def _add_frame_state(metric: Metric) -> None:
    metric.add_state("frames", torch.zeros(2, dtype=torch.long), "sum")


def _add_errors(
    metric: _Frames, found_mm: Tensor, true_mm: Tensor, known: Tensor, clip: Tensor
) -> None:
    aligned_mm = fit(found_mm, true_mm, known, alignment=metric.alignment).applied(found_mm)
    errors = depth_errors(aligned_mm, true_mm, known)
    table = torch.stack([errors[name] for name in DEPTH_ERRORS], dim=1)  # (B, E)
    defined = ~table.isnan()
    metric.totals = metric.totals.index_add(0, clip, table.nan_to_num(nan=0))
    metric.counts = metric.counts.index_add(0, clip, defined.double())
    _count_frames(metric, ~errors["abs_rel"].isnan())


def _count_frames(metric: _Frames | MeanOverPixels, scored: Tensor) -> None:
    metric.frames += torch.stack([scored.sum(), (~scored).sum()])


def _means(totals: Tensor, counts: Tensor) -> Tensor:
    return totals / torch.where(counts > 0, counts, nan)


def _labelled(metric: _Frames | MeanOverPixels, values: Tensor, *, over: str) -> dict[str, Tensor]:
    names = [name for name in DEPTH_ERRORS if over != "pixels" or name != "median_rel"]
    numbers = dict(zip(names, values.unbind(), strict=True))
    numbers |= dict(zip((FRAMES, LEFT_OUT), metric.frames.unbind(), strict=True))
    return {
        label(name, alignment=metric.alignment, over=over): number
        for name, number in numbers.items()
    }
