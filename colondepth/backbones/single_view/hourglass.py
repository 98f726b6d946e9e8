"""The hourglass of inception blocks (Chen et al. 2016, arXiv 1604.03901), and Mannequin's form.

The network's unit: Mannequin Challenge (Li et al. 2019, arXiv 1904.11111) reads the answer as log
depth, and so does this adapter, 0 at `unit_mm`; Chen's is any number that grows with depth, and its
ranking loss is content with that too. The answer is metric once trained on true depth.

Three forms: the paper's table; the released code, whose two outermost blocks are narrower in a
place; and Mannequin's, which averages and interpolates instead of picking, takes more channels than
three (`cues` of the batch: a first depth, its confidence, a mask), and may say how sure it is.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from colondepth.backbones.contract import Backbone, SizeRule
from colondepth.backbones.single_view.door import (
    depth_from_log,
    fitting_image,
    require_positive,
)
from colondepth.errors import DataError
from colondepth.shapes import require_float, require_shapes
from colondepth.views import Prediction


class Form(StrEnum):
    """Which of the published hourglasses."""

    PAPER = "paper"
    RELEASED = "released"
    MANNEQUIN = "mannequin"


class Hourglass(Backbone):
    """Depth at the image's size.

    Args:
        form: which of the published networks.
        channels: of the input; those beyond the image's 3 come as `cues` (B, channels - 3, H, W).
        confidence: whether a second head says how sure it is; see `log_depth_and_confidence`.
        unit_mm: depth at log depth 0.
    """

    sizes = SizeRule(multiple=16, least=(32, 32))  # batch norm has 2x2 pixels at the narrowest
    source = "Chen et al. 2016, depth in the wild, arXiv 1604.03901"

    def __init__(
        self,
        *,
        form: Form = Form.PAPER,
        channels: int = 3,
        confidence: bool = False,
        unit_mm: float = 30.0,
    ) -> None:
        super().__init__()
        require_positive(unit_mm=unit_mm)
        if channels < 3:
            raise DataError(f"channels is {channels}, expected 3 for the image or more")
        self.unit_mm, self.channels = unit_mm, channels
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 128, 7, padding=3), nn.BatchNorm2d(128), nn.ReLU(inplace=True)
        )
        self.body = _body(Form(form))
        self.depth_head = nn.Conv2d(64, 1, 3, padding=1)
        self.confidence_head = nn.Conv2d(64, 1, 3, padding=1) if confidence else None

    def forward(self, batch: Mapping[str, Any]) -> Prediction:
        """See `Backbone.forward`.

        Mannequin's confidence is a weight in (0, 1) without a scale in depth, so it is no
        `log_depth_std`, and a prediction does not carry it.
        """
        log_depth, _ = self.log_depth_and_confidence(batch)
        return Prediction(depth_mm=depth_from_log(log_depth, self.unit_mm))

    def log_depth_and_confidence(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Return log depth (B, 1, H, W), and confidence in (0, 1) of that shape if it has any."""
        image = fitting_image(self, batch)
        x = self.body(self.stem(self._with_cues(image, batch)))  # (B, 64, H, W)
        if self.confidence_head is None:
            return self.depth_head(x), None
        return self.depth_head(x), self.confidence_head(x).sigmoid()

    def _with_cues(self, image: Tensor, batch: Mapping[str, Any]) -> Tensor:
        more = self.channels - image.shape[1]
        if more == 0:
            return image
        if "cues" not in batch:
            raise DataError(
                f"this hourglass takes {self.channels} channels: the batch lacks cues"
                f" (B, {more}, H, W); it has {sorted(map(str, batch))}"
            )
        cues: Tensor = batch["cues"]
        require_shapes(image=(image, "B 3 H W"), cues=(cues, f"B {more} H W"))
        require_float(cues=cues)
        return torch.cat([image, cues], dim=1)


class Inception(nn.Module):
    """Four ways to look at a map, side by side: 1x1, and three wider ones behind a 1x1.

    Args:
        width_in: channels that come in.
        width_out: channels that go out, a quarter from each way.
        between: channels behind the 1x1 of the wider ways.
        kernels: sizes of the wider ways.
    """

    def __init__(
        self, width_in: int, width_out: int, between: int, kernels: tuple[int, int, int]
    ) -> None:
        super().__init__()
        quarter = width_out // 4
        self.ways = nn.ModuleList([_conv_relu(width_in, quarter, 1)])
        for kernel in kernels:
            wide = _conv_relu(between, quarter, kernel)
            self.ways.append(nn.Sequential(_conv_relu(width_in, between, 1), wide))

    def forward(self, x: Tensor) -> Tensor:
        """Return the four answers one behind the other, (B, C, H, W) -> (B, C2, H, W)."""
        return torch.cat([way(x) for way in self.ways], dim=1)


class _Sum(nn.Module):
    """Two ways through a level: at its own size, and through the smaller ones."""

    def __init__(self, straight: nn.Module, around: nn.Module) -> None:
        super().__init__()
        self.straight, self.around = straight, around

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both, (B, C, H, W) -> (B, C2, H, W)."""
        both: Tensor = self.straight(x) + self.around(x)
        return both


# Channels in, out and between, and the kernels: Chen et al. 2016, table 1.
_BLOCKS = {
    "A": (128, 64, 64, (3, 7, 11)),
    "B": (128, 128, 32, (3, 5, 7)),
    "C": (128, 128, 64, (3, 7, 11)),
    "D": (128, 256, 32, (3, 5, 7)),
    "E": (256, 256, 32, (3, 5, 7)),
    "F": (256, 256, 64, (3, 7, 11)),
    "G": (256, 128, 32, (3, 5, 7)),
}
# The last blocks of the outermost level, as released.
_RELEASED = {"B": (128, 128, 64, (3, 5, 7)), "A": (128, 64, 32, (3, 7, 11))}


def block(letter: str, *, released: bool = False) -> Inception:
    """Build a block by its letter in the paper's table, or as it was released."""
    return Inception(*(_RELEASED if released else _BLOCKS)[letter])


def _body(form: Form) -> nn.Module:
    """Return four levels, the innermost first: a straight way and one through half the size."""
    mannequin = form is Form.MANNEQUIN
    outer = nn.AvgPool2d if mannequin else nn.MaxPool2d
    released = form is not Form.PAPER
    last = (block("B", released=released), block("A", released=released))
    level = _Sum(_chain("EE"), nn.Sequential(nn.AvgPool2d(2), _chain("EEE"), _up(mannequin)))
    level = _Sum(
        _chain("EF"),
        nn.Sequential(nn.AvgPool2d(2), _chain("EE"), level, _chain("EF"), _up(mannequin)),
    )
    level = _Sum(
        _chain("BC"),
        nn.Sequential(outer(2), _chain("BD"), level, _chain("EG"), _up(mannequin)),
    )
    return _Sum(block("A"), nn.Sequential(outer(2), _chain("BB"), level, *last, _up(mannequin)))


def _chain(letters: str) -> nn.Sequential:
    return nn.Sequential(*map(block, letters))


def _up(mannequin: bool) -> nn.Upsample:
    if mannequin:  # as its weights were trained, corners on corners
        return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    return nn.Upsample(scale_factor=2, mode="nearest")


def _conv_relu(width_in: int, width_out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, kernel, padding=kernel // 2),
        nn.BatchNorm2d(width_out, affine=False),
        nn.ReLU(inplace=True),
    )
