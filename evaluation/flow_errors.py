"""How far found optical flow and disparity are from the true ones.

The end-point error of Baker et al. (2011), and the outliers of KITTI 2015 (Menze and Geiger,
"Object scene flow for autonomous vehicles", 2015): a pixel is wrong if it is off by
more than 3 px and by more than 5 % of the true length; Fl-all for flow, D1-all for disparity.
KITTI's own tool fills the pixels that a method leaves open; here they are counted instead.
"""

from collections.abc import Mapping
from math import nan

import torch
from torch import Tensor

from colondepth.losses.known import image_means
from colondepth.shapes import require_bool, require_finite, require_float, require_shapes
from evaluation.quantities import Quantity

OUTLIER_PX = 3.0
OUTLIER_SHARE = 0.05  # of the true length
FLOW_ERRORS: Mapping[str, Quantity] = {
    "flow_epe_px": Quantity("mean end-point error of flow", "px", True),
    "flow_fl": Quantity("flow off by more than 3 px and 5 % (Fl-all)", "", True),
    "flow_answered": Quantity("known pixels that have a flow", "", False),
}
DISPARITY_ERRORS: Mapping[str, Quantity] = {
    "disparity_epe_px": Quantity("mean error of disparity", "px", True),
    "disparity_d1": Quantity("disparity off by more than 3 px and 5 % (D1-all)", "", True),
    "disparity_answered": Quantity("known pixels that have a disparity", "", False),
}


def flow_errors(found_px: Tensor, true_px: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Return the errors of each frame, (B,) float64 each, named as in `FLOW_ERRORS`.

    A found flow that is NaN or infinite is no answer: the pixel is left out and lowers
    `flow_answered`. A frame without known pixels gives nan everywhere.

    Args:
        found_px: shape (B, 2, H, W); 0 is a flow like any other.
        true_px: finite, shape (B, 2, H, W).
        known: bool, where the truth is known, shape (B, 1, H, W).
    """
    require_shapes(
        found_px=(found_px, "B 2 H W"), true_px=(true_px, "B 2 H W"), known=(known, "B 1 H W")
    )
    _require_truth(found_px, true_px, known)
    answered = found_px.isfinite().all(dim=1, keepdim=True)
    epe_px, fl, share = _errors(found_px, true_px, known, answered)
    return {"flow_epe_px": epe_px, "flow_fl": fl, "flow_answered": share}


def disparity_errors(found_px: Tensor, true_px: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Return the errors of each frame, (B,) float64 each, named as in `DISPARITY_ERRORS`.

    A found disparity that is not a positive number is no answer: the pixel is left out and lowers
    `disparity_answered`. A frame without known pixels gives nan everywhere.

    Args:
        found_px: shape (B, 1, H, W).
        true_px: finite, 0 where unknown, shape (B, 1, H, W).
        known: bool, where to measure, shape (B, 1, H, W).
    """
    require_shapes(
        found_px=(found_px, "B 1 H W"), true_px=(true_px, "B 1 H W"), known=(known, "B 1 H W")
    )
    _require_truth(found_px, true_px, known)
    answered = found_px.isfinite() & (found_px > 0)
    epe_px, d1, share = _errors(found_px, true_px, known & (true_px > 0), answered)
    return {"disparity_epe_px": epe_px, "disparity_d1": d1, "disparity_answered": share}


def _require_truth(found_px: Tensor, true_px: Tensor, known: Tensor) -> None:
    require_float(found_px=found_px, true_px=true_px)
    require_bool(known=known)
    require_finite(true_px=true_px)


def _errors(
    found_px: Tensor, true_px: Tensor, known: Tensor, answered: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean error, share of outliers and share of answers of each frame, (B,) each."""
    measured = known & answered  # (B, 1, H, W)
    true_px = true_px.double()
    miss_px = torch.where(measured, found_px.double() - true_px, 0.0)  # (B, C, H, W)
    error_px = miss_px.square().sum(dim=1, keepdim=True).sqrt()  # (B, 1, H, W)
    length_px = true_px.square().sum(dim=1, keepdim=True).sqrt()
    wrong = (error_px > OUTLIER_PX) & (error_px > OUTLIER_SHARE * length_px)
    unmeasured, unknown = (~mask.flatten(start_dim=1).any(dim=1) for mask in (measured, known))
    return (
        image_means(error_px, measured).masked_fill(unmeasured, nan),
        image_means(wrong.double(), measured).masked_fill(unmeasured, nan),
        image_means(answered.double(), known).masked_fill(unknown, nan),
    )
