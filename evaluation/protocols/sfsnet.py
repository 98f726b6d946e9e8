"""Ruano's own measurement of SfSNet, as the authors' notebook does it."""

from evaluation.alignment import Alignment
from evaluation.protocols.protocol import Length, Mask, Protocol
from evaluation.protocols.rounding import GammaCodes
from evaluation.statistics import Average

PROTOCOL = Protocol(
    name="sfsnet",
    paper="Ruano et al., CMIG 2024 (arXiv 2311.05021); notebooks of Cimalab-unal",
    used_by=("SfSNet",),
    dataset="ruano",
    split=None,
    split_words="every video of the folder; the authors' testing set is given out on request",
    length=Length.DISTANCE,
    mask=Mask.NONE,
    cap_mm=None,
    rounding=GammaCodes(near_mm=1.0, far_mm=250.0, gamma=1.5),
    alignment=Alignment.NONE,
    average=Average.MACRO,
    reported=("delta_1_25", "delta_1_25_2", "delta_1_25_3", "abs_rel", "rmse_mm", "log10"),
    far_mm=250.0,
    doubts=(
        "The videos of the testing set, and which of them are of level 5, are not listed in"
        " public: 95.65 % and 0.451 cm can be claimed on that set alone.",
        "A pixel whose truth is 0 makes the notebook divide by zero; here it is left out.",
        "The network of the paper gives the 8-bit codes itself; the depth of another network is"
        " coded in the same way first, rounded to the nearest code. Whether the decoder's table"
        " rounds or cuts off is not known; it is cut off here, and 218 codes remain both ways.",
        "The notebook's function returns the figures of the last video alone; the mean over"
        " videos is the one of the paper's text.",
    ),
)
