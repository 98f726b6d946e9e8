"""C3VD as EndoDAC (MICCAI 2024) is measured on it."""

from evaluation.alignment import Alignment
from evaluation.protocols.picture import Crop
from evaluation.protocols.protocol import Mask, Protocol
from evaluation.statistics import Average

PROTOCOL = Protocol(
    name="c3vd-endodac",
    paper="Cui et al., EndoDAC, MICCAI 2024, and its code",
    used_by=("EndoDAC",),
    dataset="c3vd",
    split="c3vd/all",
    split_words="all 22 registered sequences",
    picture=Crop(of=(1080, 1350), top=180, left=200, height=720, width=950),
    mask=Mask.KNOWN,
    near_mm=1e-3,
    cap_mm=100.0,
    clamped=True,
    alignment=Alignment.MEDIAN,
    average=Average.MICRO,
    reported=("abs_rel", "sq_rel", "rmse_mm", "rmse_log", "delta_1_25"),
    far_mm=100.0,
    doubts=(
        "The crop (200, 180, 1150, 900) is read as left, top, right and bottom of the raw fisheye,"
        " and a network sees the crop alone.",
        "Which sequences are scored is not known; all of them are here.",
        "That predictions are clamped after scaling, and that all frames count the same, is taken"
        " from Monodepth2's evaluation, which the code descends from.",
    ),
)
