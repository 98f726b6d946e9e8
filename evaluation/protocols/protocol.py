"""A protocol: all that has to be fixed before a number about depth means something.

The order in which a frame is scored: `picture` changes it, the prediction is turned into `length`,
`rounding` takes its bits, `alignment` is fitted on the pixels that are scored, the aligned
prediction is kept within the limits if `clamped`, and the errors are taken on those pixels.

Where the facts about a paper's protocol end, `doubts` says so in words.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import isfinite

import torch
from torch import Tensor

from colondepth.errors import DataError
from evaluation.alignment import Alignment, Scope
from evaluation.protocols.picture import Picture
from evaluation.protocols.rounding import Rounding
from evaluation.quantities import Quantity
from evaluation.statistics import Average


class Length(StrEnum):
    """Which length is compared."""

    DEPTH = "depth"  # z, along the optical axis
    DISTANCE = "distance"  # along the ray of the pixel


class Mask(StrEnum):
    """Which pixels are scored, before limits and region."""

    NONE = "no mask"  # where truth is unknown (0) no error exists; those alone are left out
    KNOWN = "where the truth is known and valid"  # also within `View.valid`


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the picture, in shares of its height and width; the picture stays whole."""

    top: float
    bottom: float
    left: float
    right: float
    name: str

    def inside(self, height: int, width: int) -> Tensor:
        """Return True inside, (1, H, W); the ends are truncated, as numpy's astype(int) does."""
        rows = slice(int(self.top * height), int(self.bottom * height))
        columns = slice(int(self.left * width), int(self.right * width))
        inside = torch.zeros(1, height, width, dtype=torch.bool)
        inside[:, rows, columns] = True
        return inside


@dataclass(frozen=True, slots=True)
class OwnQuantity:
    """A quantity that one paper alone has: found, true, known (B, 1, H, W) to (B,)."""

    quantity: Quantity
    measure: Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class ClipLabel:
    """A property of clips that gets a table, such as the colon that a trajectory runs through."""

    name: str
    of: Callable[[str], str]  # from the name of a clip


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How one paper, or this project, measures depth."""

    name: str
    paper: str  # that the protocol is from
    used_by: tuple[str, ...]  # systems whose published numbers are by it, as far as is known
    dataset: str | None  # a reader of `colondepth.data`; None for what is rendered
    split: str | None  # of `colondepth.data.SPLITS`; None for every clip that is there
    split_words: str  # which frames those are
    length: Length = Length.DEPTH
    picture: Picture | None = None
    region: Region | None = None
    mask: Mask
    near_mm: float = 0.0  # truth nearer than this is not scored; 0 for no limit
    cap_mm: float | None  # truth farther than this is not scored
    clamped: bool = False  # predictions are kept within these limits after alignment
    rounding: Rounding | None = None
    alignment: Alignment
    scope: Scope = Scope.FRAME  # a clip's one fit is to the means of its frames, as SimCol3D's
    beside: tuple[Alignment, ...] = ()  # scored too, under names of their own
    average: Average
    reported: tuple[str, ...]  # the paper's own figures, of `DEPTH_ERRORS` and `own`
    own: Mapping[str, OwnQuantity] = field(default_factory=dict)
    label: ClipLabel | None = None
    far_mm: float  # where the report's histograms end
    doubts: tuple[str, ...]  # what is not known about the paper's way, a sentence each

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        limits = (self.near_mm, self.far_mm, self.cap_mm or self.far_mm)
        if not all(isfinite(limit) for limit in limits) or not 0 <= self.near_mm < min(limits[1:]):
            raise DataError(f"protocol {self.name!r}: limits {limits} mm are not in order")
        if self.clamped and self.cap_mm is None:
            raise DataError(f"protocol {self.name!r} clamps, and has no cap to clamp to")
        if self.scope is Scope.CLIP and self.alignment is Alignment.NONE:
            raise DataError(f"protocol {self.name!r} aligns by clip, and aligns nothing")

    @property
    def aligned(self) -> str:
        """How predictions are aligned, in words."""
        if self.alignment is Alignment.NONE:
            return str(self.alignment)
        fitted = ", fitted to the means of its frames" if self.scope is Scope.CLIP else ""
        return f"{self.alignment}, per {self.scope}{fitted}"

    @property
    def limits(self) -> str:
        """Between which depths truth is scored, in words."""
        if self.cap_mm is None and self.near_mm == 0:
            return "none"
        low = f"{self.near_mm:g}" if self.near_mm else "0"
        high = "any" if self.cap_mm is None else f"{self.cap_mm:g}"
        clamped = "; predictions are kept within" if self.clamped else ""
        return f"{low} to {high} mm{clamped}"

    @property
    def settings(self) -> dict[str, str]:
        """All that is fixed, in words, for the report."""
        said = {
            "from": self.paper,
            "frames": self.split_words,
            "length": f"{self.length} in mm",
            "picture": self.picture.words if self.picture else "the dataset's own",
            "region": self.region.name if self.region else "all of the picture",
            "mask": str(self.mask),
            "limits": self.limits,
            "rounding of predictions": self.rounding.words if self.rounding else "none",
            "alignment": self.aligned,
            "averaging": AVERAGES[self.average],
            "the paper's figures": ", ".join(self.reported),
        }
        said |= {f"doubt {n}": words for n, words in enumerate(self.doubts, start=1)}
        return said


AVERAGES: Mapping[Average, str] = {
    Average.MACRO: "within a frame, over the frames of a clip, over clips",
    Average.MICRO: "within a frame, over all frames",
}


def varied(protocol: Protocol, how: str, *, split: str | None, split_words: str) -> Protocol:
    """Return a protocol that scores other frames, under a name that says so.

    No number of it may stand beside a published one, and none does: the name differs.
    """
    return replace(protocol, name=f"{protocol.name}, {how}", split=split, split_words=split_words)
