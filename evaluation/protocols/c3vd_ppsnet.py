"""C3VD as PPSNet (ECCV 2024) is measured on it."""

import torch
from torch import Tensor

from evaluation.alignment import Alignment
from evaluation.protocols.picture import Straightened
from evaluation.protocols.protocol import Mask, OwnQuantity, Protocol
from evaluation.quantities import Quantity
from evaluation.statistics import Average

_A1 = 0.1  # PPSNet's "a1" is the share of pixels with less relative error, not delta < 1.25


def share_within_a_tenth(found_mm: Tensor, true_mm: Tensor, known: Tensor) -> Tensor:
    """Return the share of known pixels whose relative error is below 0.1, (B,); nan of none."""
    error = (found_mm.double() - true_mm.double()).abs()
    good = (error < _A1 * true_mm.double()) & known
    count = known.sum(dim=(1, 2, 3))  # (B,)
    share = good.sum(dim=(1, 2, 3)).double() / count.clamp(min=1)
    return torch.where(count > 0, share, torch.full_like(share, float("nan")))


PROTOCOL = Protocol(
    name="c3vd-ppsnet",
    paper="Paruchuri et al., PPSNet, ECCV 2024, and its code",
    used_by=("PPSNet",),
    dataset="c3vd",
    split="c3vd/ppsnet-val",
    split_words="8 named sequences, of desc_t4_a the frames 74 to 147",
    picture=Straightened(of=(1080, 1350), fx=770.662, fy=770.444, cx=674.762, cy=549.178, side=518),
    mask=Mask.KNOWN,
    cap_mm=100.0,
    alignment=Alignment.ROBUST,
    average=Average.MACRO,
    reported=("abs_rel", "sq_rel", "rmse_mm", "ppsnet_a1"),
    own={
        "ppsnet_a1": OwnQuantity(
            Quantity("pixels with relative error below 0.1", "", lower_is_better=False),
            share_within_a_tenth,
        )
    },
    far_mm=100.0,
    doubts=(
        "The robust scale of a frame is taken to be the one of least median of squares, which"
        " evaluation/alignment.py searches among all scales; that PPSNet's script means the same"
        " was not read at its source.",
        "PPSNet divides each map by its largest value. That cancels out of a prediction whose"
        " scale is fitted; truth stays in millimetres here, as the published RMSE is in mm.",
        "The pinhole is PPSNet's own recalibration; its distortion coefficients are not known"
        " here, so the ray of each pixel comes from the dataset's omnidirectional camera.",
        "PPSNet straightens depth with OpenCV, which interpolates it and keeps the old z; here the"
        " nearest pixel is taken and z is computed anew.",
        "Whether the mask covers the black corners, and whether a cap is set, is not known; here"
        " unknown truth is left out and the files end at 100 mm.",
        "The published tables of C3VD that quote PPSNet do not all state this protocol, so none of"
        " them is shown beside it.",
    ),
)
