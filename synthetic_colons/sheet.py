"""The wall laid out flat, so that tissue covers a fold's flanks as densely as the wall between.

By arc length along the colon it would be drawn out along flanks, which are many times as long as
the arc that they pass. So it grows on a sheet, and the wall's texels look it up there.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

# A flank may be so much longer than its arc length; a steeper one is drawn out.
_MOST_EXCESS = 3.0
# By how much one side of the lumen is longer than another is forgotten over this stretch, mm.
_FORGOTTEN_MM = 80.0


def on_sheet_mm(radius_mm: Tensor, *, step_mm: float) -> Tensor:
    """Return how far from the first row each place (S, A) lies when the wall is laid out flat.

    What one side of the lumen has more than another is forgotten along the colon, or the sheet
    would shear.

    Args:
        radius_mm: of the lumen, (S, A).
        step_mm: arc length between its rows.
    """
    slope = torch.gradient(radius_mm, spacing=step_mm, dim=0)[0]
    excess = ((1 + slope * slope).sqrt() - 1).clamp(max=_MOST_EXCESS)
    mean = excess.mean(dim=1, keepdim=True)  # (S, 1)
    arc = torch.arange(len(radius_mm), device=radius_mm.device)[:, None] * step_mm
    return arc + mean.cumsum(dim=0) * step_mm + _forgotten(excess - mean, step_mm)


def laid_out(radius_mm: Tensor, sheet_mm: Tensor, step_mm: float) -> Tensor:
    """Return the radii of the wall (S, A) at even steps of its sheet, whose rows are at (S,)."""
    sheet_mm = sheet_mm.contiguous()
    count = max(len(radius_mm), math.ceil(float(sheet_mm[-1]) / step_mm) + 1)
    wanted = torch.arange(count, device=radius_mm.device) * step_mm
    return radius_mm[torch.searchsorted(sheet_mm, wanted).clamp(max=len(radius_mm) - 1)]


def rolled_up(maps: Tensor, at: Tensor) -> Tensor:
    """Look maps of the sheet (K, *, A) up at the rows (S, A) where the wall's texels lie on it."""
    above = at.long()
    share = at - above
    return torch.stack(
        [torch.lerp(m.gather(0, above), m.gather(0, above + 1), share) for m in maps]
    )


def _forgotten(change: Tensor, step_mm: float) -> Tensor:
    """Add changes (S, A) up along the colon, each fading over `_FORGOTTEN_MM`."""
    reach = round(_FORGOTTEN_MM / step_mm)
    sums = change.double().cumsum(dim=0) * step_mm
    # The sum less its mean over what lies behind: what was added long ago is in both.
    behind = pad(sums, (0, 0, reach, 0)).cumsum(dim=0)
    mean = (behind[reach:] - behind[: len(sums)]) / reach
    return (sums - mean).to(change.dtype)
