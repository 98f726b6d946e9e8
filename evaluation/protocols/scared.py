"""SCARED (Allan et al., 2021), as AF-SfMLearner and EndoDAC are measured on it."""

from evaluation.alignment import Alignment
from evaluation.protocols.protocol import Mask, Protocol
from evaluation.statistics import Average

PROTOCOL = Protocol(
    name="scared",
    paper="Cui et al., EndoDAC, MICCAI 2024, and its code",
    used_by=("Monodepth2", "Endo-SfMLearner", "Lite-Mono", "AF-SfMLearner", "MonoPCC", "EndoDAC"),
    dataset="plain",
    split=None,
    split_words="every frame of the folder",
    mask=Mask.KNOWN,
    near_mm=1e-3,
    cap_mm=150.0,
    clamped=True,
    alignment=Alignment.MEDIAN,
    average=Average.MICRO,
    reported=("abs_rel", "sq_rel", "rmse_mm", "rmse_log", "delta_1_25"),
    far_mm=150.0,
    doubts=(
        "There is no reader for the dataset's own files: put images, depth/ and dataset.json into"
        " folders as `colondepth.data.plain` takes them.",
        "Which frames make the published test set is not known here; every frame of the folder is"
        " scored, so put those of the paper there, and no others.",
        "The near limit, that predictions are clamped after scaling, and that all frames count the"
        " same, is taken from Monodepth2's evaluation, which the code descends from.",
    ),
)
