"""Rendered colons that nothing trains on: levels 1 to 6, with complete truth."""

from dataclasses import dataclass

from evaluation.alignment import Alignment
from evaluation.protocols.protocol import ClipLabel, Mask, Protocol
from evaluation.statistics import Average

# Training draws seeds below 2^31 - 1; that one validates, and the next two are for weights that
# are shipped. From here on seeds are nobody's but this protocol's.
SEED = 2**31 + 2
CLIP_S = 30.0  # that a clip lasts, whatever its frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What is rendered; the defaults are the protocol."""

    levels: tuple[str, ...] = ("1", "2", "3", "4", "5", "6")
    clips: int = 6  # of each level: fewer have no 95 % interval
    frames: int = 20  # of each clip, 1.5 s apart
    size: tuple[int, int] = (256, 320)  # (height, width)


def level_of(clip: str) -> str:
    """Return the level of a clip called "level5_seed2_clip0"."""
    return clip.removeprefix("level").split("_")[0]


PROTOCOL = Protocol(
    name="synthetic",
    paper="this project",
    used_by=("colondepth",),
    dataset=None,
    split=None,
    split_words="6 clips of 20 frames of each level, 256x320, of seeds that nothing trains on",
    mask=Mask.KNOWN,
    cap_mm=None,
    alignment=Alignment.NONE,
    beside=(Alignment.MEDIAN, Alignment.LEAST_SQUARES, Alignment.SCALE_SHIFT),
    average=Average.MACRO,
    reported=("abs_rel", "rmse_mm", "delta_1_25"),
    label=ClipLabel("level", level_of),
    far_mm=200.0,
    doubts=(
        "The colons come from the program that also makes the training images: a good score says"
        " that a network learned them, not that it knows a patient's colon.",
    ),
)
