"""What a monocular network cannot know, fitted to the truth before errors are taken.

A fit looks at the pixels that are known and answered (see `evaluation.depth_errors`) and is made
in depth, not in disparity. A score says which fit it was made with: the same network is two
different numbers without one and with one.

`none`             nothing; the network is metric.
`median`           one scale, median true depth over median found depth (Zhou et al. 2017).
`least squares`    one scale s that minimises sum (s found - true)^2.
`scale and shift`  s and b that minimise sum (s found + b - true)^2. The scale of a prediction that
                   runs against the truth is negative; of one that is constant it is 0.
`robust`           one scale s that minimises median (s found - true)^2, which half of the pixels
                   cannot spoil: least median of squares (Rousseeuw 1984), as PPSNet's script has
                   it. There a local search from 1 finds it, here one over all scales. The median
                   has many dips that are nearly as deep, so that this scale is the least steady.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import nan, sqrt

import torch
from torch import Tensor

from colondepth.shapes import require_shapes
from evaluation.depth_errors import has_depth, measured_pixels, medians

LEAST_DEPTH_MM = 1e-3  # an answer that a shift takes to 0 or below stays an answer, a bad one
# Found depth whose variance is this share of its mean square is constant but for rounding.
CONSTANT_SHARE = 1e-12
# Of the pixels of a clip, for medians over all of them; no divisor of a usual width, so that the
# sample is no set of columns.
CLIP_SAMPLE_STEP = 17
SEARCH_PIXELS = 2048  # of a frame, on which the robust scale is looked for at first ...
SEARCH_SCALES = 257  # ... among so many
SEARCH_STEPS = 30  # of golden section on all pixels: to a millionth of the gap between two


class Alignment(StrEnum):
    """What is fitted; see the head of this file."""

    NONE = "none"
    MEDIAN = "median"
    LEAST_SQUARES = "least squares"
    SCALE_SHIFT = "scale and shift"
    ROBUST = "robust"


class Scope(StrEnum):
    """What shares one fit."""

    FRAME = "frame"
    CLIP = "clip"


class Pooling(StrEnum):
    """What the fit of a clip looks at."""

    PIXELS = "pixels"  # of all frames alike
    FRAME_MEANS = "frame means"  # one mean true and one mean found depth a frame, as SimCol3D


@dataclass(frozen=True, eq=False)
class Fit:
    """A scale and a shift, float64, for each frame (B,), or for all of a clip (1,)."""

    scale: Tensor
    shift_mm: Tensor

    def applied(self, depth_mm: Tensor) -> Tensor:
        """Return the depth (B, 1, H, W) after the fit, float64.

        A pixel without an answer becomes 0; one that has an answer keeps one, of
        `LEAST_DEPTH_MM` or more. A fit of nan gives nan: no frame is scored with it.
        """
        require_shapes(depth_mm=(depth_mm, "B 1 H W"))
        scale, shift_mm = self.scale[:, None, None, None], self.shift_mm[:, None, None, None]
        moved = (depth_mm.double() * scale + shift_mm).clamp(min=LEAST_DEPTH_MM)
        return torch.where(has_depth(depth_mm), moved, 0.0)


def fit(found_mm: Tensor, true_mm: Tensor, known: Tensor, *, alignment: Alignment) -> Fit:
    """Fit each frame by itself; one without a known and answered pixel gives nan.

    Nothing is fitted for `Alignment.NONE`: 1 and 0 for every frame, also for an empty one.

    Args:
        found_mm: z-depth, 0 where the network does not know, shape (B, 1, H, W).
        true_mm: z-depth, 0 where unknown, shape (B, 1, H, W).
        known: bool, where to look, shape (B, 1, H, W).
        alignment: what to fit.
    """
    _, measured = measured_pixels(found_mm, true_mm, known)
    inside = measured.flatten(start_dim=1)  # (B, N)
    found, true = found_mm.flatten(start_dim=1), true_mm.flatten(start_dim=1)
    if alignment is Alignment.NONE:
        return _only_scale(found.new_ones(len(found), dtype=torch.float64))
    if alignment is Alignment.MEDIAN:
        # Values are only picked here, so that their own precision is enough.
        middle = [medians(d.masked_fill(~inside, nan)).double() for d in (true, found)]  # (B,) each
        return _only_scale(middle[0] / middle[1])
    if alignment is Alignment.ROBUST:
        scales = [_robust_scale(found[i][inside[i]], true[i][inside[i]]) for i in range(len(found))]
        return _only_scale(found.new_tensor(scales, dtype=torch.float64))
    return _least_squares(_moments(found, true, inside), alignment)


def clip_fit(
    frames: Iterable[tuple[Tensor, Tensor, Tensor]], *, alignment: Alignment, pooling: Pooling
) -> Fit:
    """Fit one scale, and shift, to all frames of a clip, (1,) each; frames are read once.

    Over pixels, least squares are exact; `median` and `robust` look at every 17th pixel that is
    known and answered, which is all that is kept of a frame. A clip without such a pixel gives nan.

    Args:
        frames: found depth, true depth and known pixels as for `fit`, a batch of frames each.
        alignment: what to fit.
        pooling: what to fit it to.
    """
    if alignment is Alignment.NONE:
        return _only_scale(torch.ones(1, dtype=torch.float64))
    kept_found, kept_true = [torch.zeros(0, dtype=torch.float64)], [torch.zeros(0).double()]
    totals = torch.zeros(5, 1, dtype=torch.float64)
    summed = alignment in (Alignment.LEAST_SQUARES, Alignment.SCALE_SHIFT)
    for found_mm, true_mm, known in frames:
        inside = measured_pixels(found_mm, true_mm, known)[1].flatten(start_dim=1)  # (B, N)
        found, true = found_mm.flatten(start_dim=1), true_mm.flatten(start_dim=1)
        if pooling is Pooling.FRAME_MEANS:
            count, of_found, of_true, _, _ = _moments(found, true, inside)  # (B,) each
            some = count > 0
            kept_found.append((of_found / count)[some].cpu())
            kept_true.append((of_true / count)[some].cpu())
        elif summed:
            totals += _moments(found, true, inside).sum(dim=1, keepdim=True).cpu()
        else:
            kept_found.append(found[inside][::CLIP_SAMPLE_STEP].double().cpu())
            kept_true.append(true[inside][::CLIP_SAMPLE_STEP].double().cpu())
    if summed and pooling is Pooling.PIXELS:
        return _least_squares(totals, alignment)
    pooled_found, pooled_true = (
        torch.cat(kept)[None, None, None] for kept in (kept_found, kept_true)
    )
    every = torch.ones_like(pooled_found, dtype=torch.bool)  # (1, 1, 1, N)
    return fit(pooled_found, pooled_true, every, alignment=alignment)


def _only_scale(scale: Tensor) -> Fit:
    return Fit(scale=scale, shift_mm=torch.where(scale.isnan(), scale, 0.0))


def _moments(found: Tensor, true: Tensor, inside: Tensor) -> Tensor:
    """Return count and sums of found, true, found^2 and found * true of each row, (5, B)."""
    f, t = (torch.where(inside, d.double(), 0.0) for d in (found, true))  # (B, N)
    rows = (inside.sum(dim=1), f.sum(dim=1), t.sum(dim=1), (f * f).sum(dim=1), (f * t).sum(dim=1))
    return torch.stack([row.double() for row in rows])


def _least_squares(moments: Tensor, alignment: Alignment) -> Fit:
    """Solve the normal equations of each column of moments, (5, B)."""
    count = torch.where(moments[0] > 0, moments[0], nan)
    mean_f, mean_t, mean_ff, mean_ft = moments[1:] / count  # (B,) each
    if alignment is Alignment.LEAST_SQUARES:
        return _only_scale(mean_ft / mean_ff)
    variance = mean_ff - mean_f.square()
    constant = variance <= CONSTANT_SHARE * mean_ff
    slope = (mean_ft - mean_f * mean_t) / torch.where(constant, 1.0, variance)
    scale = torch.where(constant, 0.0, slope)
    return Fit(scale=scale, shift_mm=mean_t - scale * mean_f)


def _robust_scale(found: Tensor, true: Tensor) -> float:
    """Return the scale with the least median of squares over pixels (N,); nan for none.

    The median has many dips: the best of scales spread as the ratios are is taken on a part of the
    pixels, then the dip between its neighbours is descended on all of them.
    """
    if len(found) == 0:
        return nan
    found, true = found.double(), true.double()
    step = -(-len(found) // SEARCH_PIXELS)
    some_found, some_true = found[::step], true[::step]
    spread = torch.linspace(0, 1, SEARCH_SCALES, dtype=torch.float64, device=found.device)
    scales = (some_true / some_found).quantile(spread)  # (S,)
    costs = (scales[:, None] * some_found - some_true).abs().median(dim=1).values  # (S,)
    best = int(costs.argmin())
    low, high = float(scales[max(best - 1, 0)]), float(scales[min(best + 1, len(scales) - 1)])

    def cost(scale: float) -> float:
        return float((scale * found - true).abs_().median())

    golden = (sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    tried = {scale: cost(scale) for scale in (float(scales[best]), left, right)}
    for _ in range(SEARCH_STEPS):
        if tried[left] <= tried[right]:
            high, right = right, left
            left = high - golden * (high - low)
        else:
            low, left = left, right
            right = low + golden * (high - low)
        for scale in (left, right):
            if scale not in tried:
                tried[scale] = cost(scale)
    return min(tried, key=lambda scale: tried[scale])
