"""The SimCol3D challenge (MICCAI 2022), task 1: depth."""

from evaluation.alignment import Alignment, Scope
from evaluation.protocols.protocol import ClipLabel, Mask, Protocol
from evaluation.protocols.rounding import HalfFloats
from evaluation.statistics import Average

_COLONS = {"S": "SyntheticColon I", "B": "SyntheticColon II", "O": "SyntheticColon III"}


def colon_of(clip: str) -> str:
    """Return the colon that a trajectory such as "S5" runs through."""
    return _COLONS.get(clip[:1], "another colon")


PROTOCOL = Protocol(
    name="simcol3d",
    paper="SimCol3D challenge (Rau et al., arXiv 2307.11261) and its evaluation script",
    used_by=("CVML", "MIVA", "EndoAI", "IntuitiveIL", "EndoStreamDepth"),
    dataset="simcol3d",
    split="simcol3d/test",
    split_words="S5, S10, S15, B5, B10, B15, O1, O2, O3",
    mask=Mask.NONE,
    cap_mm=None,
    rounding=HalfFloats(far_mm=200.0),
    alignment=Alignment.LEAST_SQUARES,
    scope=Scope.CLIP,
    average=Average.MACRO,
    reported=("l1_mm", "rmse_mm", "median_rel"),
    label=ClipLabel("colon", colon_of),
    far_mm=200.0,
    doubts=(
        "The challenge's tables are by colon, where all trajectories have as many frames; how the"
        " three colons make one figure is not stated, and here each trajectory counts the same.",
        "The script scores pixels of depth 0 too; here 0 is unknown and is left out.",
        "Whether predictions beyond 20 cm are cut off or refused by the script is not known; they"
        " are cut off here.",
    ),
)
