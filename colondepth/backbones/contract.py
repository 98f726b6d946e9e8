"""What a network promises before it may be used by name.

A backbone reads a batch of views (see `colondepth.views`) whose images already fit its `SizeRule`,
and answers with a `Prediction` in millimetres; whatever it works in inside - log depth, disparity,
labels, flow - is turned into depth behind its own door. Fitting an image of any size to the rule,
and the answer back to the image, is the work of `colondepth.backbones.fitting`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from torch import nn

from colondepth.errors import ShapeError
from colondepth.views import Prediction


class Needs(StrEnum):
    """What must be known of the world for one answer."""

    IMAGE = "image"
    PREVIOUS = "image, previous"
    MOTION = "image, previous, motion"
    RIGHT = "image, right"


class Gives(StrEnum):
    """What the network itself works out; its adapter makes depth of it."""

    DEPTH = "depth"
    FLOW = "flow"
    DISPARITY = "disparity"
    NOMINAL_DEPTH = "depth at a nominal displacement"


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRule:
    """The heights and widths that a network takes."""

    multiple: int = 1
    least: tuple[int, int] = (1, 1)
    exact: tuple[int, int] | None = None  # (height, width), for networks of one size
    # The longest side up to which a network sees better: it takes larger images, and `nearest`
    # shrinks them.
    longest: int | None = None

    def require(self, name: str, height: int, width: int) -> None:
        """Refuse a size that does not fit."""
        if self.exact is not None and (height, width) != self.exact:
            raise ShapeError(
                f"{name} takes images of {self.exact[0]}x{self.exact[1]} only, got {height}x{width}"
            )
        if height < self.least[0] or width < self.least[1]:
            raise ShapeError(
                f"{name} takes images of {self.least[0]}x{self.least[1]} or more,"
                f" got {height}x{width}"
            )
        if height % self.multiple or width % self.multiple:
            raise ShapeError(
                f"{name} takes heights and widths that are multiples of {self.multiple},"
                f" got {height}x{width}"
            )

    def nearest(self, height: int, width: int) -> tuple[int, int]:
        """Return the fitting size that changes an image the least, upwards where there is a tie."""
        if self.exact is not None:
            return self.exact
        if self.longest is not None and max(height, width) > self.longest:
            shrunk = self.longest / max(height, width)
            height, width = round(height * shrunk), round(width * shrunk)
        step = self.multiple
        wanted = (max(height, self.least[0]), max(width, self.least[1]))
        floors = [-(-least // step) * step for least in self.least]
        up, across = (
            max((side + step // 2) // step * step, floor)
            for side, floor in zip(wanted, floors, strict=True)
        )
        return up, across


class Backbone(nn.Module, ABC):
    """A network that says what it needs and what it gives."""

    needs: ClassVar[Needs] = Needs.IMAGE
    gives: ClassVar[Gives] = Gives.DEPTH
    sizes: ClassVar[SizeRule] = SizeRule()
    # True where depth is in true millimetres once trained with such; False where each answer
    # has a scale of its own.
    metric: ClassVar[bool] = True
    source: ClassVar[str] = ""  # the paper or design that it follows, in a few words

    @abstractmethod
    def forward(self, batch: Mapping[str, Any]) -> Prediction:
        """Return what the network says about a batch of views.

        Args:
            batch: `image` (B, 3, H, W) in [0, 1] of a fitting size, `camera` of batch (B,) or (),
                and what `needs` names: `previous` (B, 3, H, W), `previous_from_current`
                (B, 4, 4), `right` (B, 3, H, W).
        """
