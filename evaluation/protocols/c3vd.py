"""C3VD as it was recorded: z-depth on the fisheye's own pixels, in millimetres."""

from evaluation.alignment import Alignment
from evaluation.protocols.protocol import Mask, Protocol
from evaluation.statistics import Average

PROTOCOL = Protocol(
    name="c3vd",
    paper="this project; the dataset: Bobrow et al., Medical Image Analysis 2023",
    used_by=("colondepth",),
    dataset="c3vd",
    split="c3vd/all",
    split_words="all 22 registered sequences",
    mask=Mask.KNOWN,
    cap_mm=100.0,
    alignment=Alignment.NONE,
    beside=(Alignment.MEDIAN, Alignment.LEAST_SQUARES, Alignment.SCALE_SHIFT),
    average=Average.MACRO,
    reported=("abs_rel", "sq_rel", "rmse_mm", "delta_1_25"),
    far_mm=100.0,
    doubts=(
        "The files end at 100 mm: a lumen that is deeper is unknown and is not scored.",
        "No split into training and test is official; a network that was trained on some of the"
        " sequences must be scored on the others.",
    ),
)
