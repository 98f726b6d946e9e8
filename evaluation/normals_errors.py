"""How far found surface normals turn away from the true ones.

Mean and median angle and the shares of pixels that are turned by less than 11.25, 22.5 and 30
degrees: Fouhey, Gupta and Hebert, "Data-driven 3D primitives for single image understanding"
(2013); also Eigen and Fergus (2015).
"""

from collections.abc import Mapping
from math import nan

import torch
from torch import Tensor

from colondepth.geometry import cross
from colondepth.losses.known import image_means
from colondepth.shapes import require_bool, require_finite, require_float, require_shapes
from evaluation.depth_errors import medians
from evaluation.quantities import Quantity

LIMITS_DEG = {"11": 11.25, "22": 22.5, "30": 30.0}
NORMALS_ERRORS: Mapping[str, Quantity] = {
    "normals_mean_deg": Quantity("mean angle between normals", "deg", True),
    "normals_median_deg": Quantity("median angle between normals", "deg", True),
    **{
        f"normals_within_{name}": Quantity(f"normals turned by less than {limit:g} deg", "", False)
        for name, limit in LIMITS_DEG.items()
    },
    "normals_answered": Quantity("known pixels that have a normal", "", False),
}


def normals_errors(found: Tensor, true: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Return the errors of each frame, (B,) float64 each, named as in `NORMALS_ERRORS`.

    A found normal that is 0, NaN or infinite is no answer: the pixel is left out and lowers
    `normals_answered`. A frame without known pixels gives nan everywhere; one with known pixels
    and no answer gives 0 answered and nan elsewhere.

    Args:
        found: normals of any length, shape (B, 3, H, W).
        true: finite; 0 where unknown, shape (B, 3, H, W).
        known: bool, where to measure, shape (B, 1, H, W).
    """
    require_shapes(found=(found, "B 3 H W"), true=(true, "B 3 H W"), known=(known, "B 1 H W"))
    require_float(found=found, true=true)
    require_bool(known=known)
    require_finite(true=true)
    found, true = found.double(), true.double()
    known = known & (true != 0).any(dim=1, keepdim=True)
    answered = found.isfinite().all(dim=1, keepdim=True) & (found != 0).any(dim=1, keepdim=True)
    measured = known & answered
    left = torch.where(measured, found, 1.0).movedim(1, 0)  # (3, B, H, W)
    right = torch.where(measured, true, 1.0).movedim(1, 0)
    # Not acos, which loses half of the digits of a small angle.
    sine = cross(left, right).square().sum(dim=0).sqrt()  # (B, H, W), times both lengths
    angle_deg = torch.atan2(sine, (left * right).sum(dim=0)).rad2deg()[:, None]  # (B, 1, H, W)
    errors = {
        "normals_mean_deg": image_means(angle_deg, measured),
        "normals_median_deg": medians(angle_deg.masked_fill(~measured, nan).flatten(start_dim=1)),
        **{
            f"normals_within_{name}": image_means((angle_deg < limit).double(), measured)
            for name, limit in LIMITS_DEG.items()
        },
    }
    empty = ~measured.flatten(start_dim=1).any(dim=1)  # (B,)
    errors = {name: values.masked_fill(empty, nan) for name, values in errors.items()}
    share = image_means(answered.double(), known)
    return {
        **errors,
        "normals_answered": share.masked_fill(~known.flatten(start_dim=1).any(dim=1), nan),
    }
