"""DispNetS of SfMLearner (Zhou et al. 2017, arXiv 1704.07813): an encoder-decoder of 7 levels.

The network's unit: disparity = 10 sigma + 0.01 with sigma in (0, 1), and depth is 1 / disparity,
0.0999 to 100 units. A unit is `unit_mm`; at 10 mm depths from 1 mm to 1 m can be said. Trained on
true depth the answer is metric; trained on video alone every network has a unit of its own.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from colondepth.backbones.contract import Backbone, SizeRule
from colondepth.backbones.single_view.door import fitting_image, require_positive
from colondepth.backbones.single_view.residual import start_for_relu
from colondepth.views import Prediction

_DOWN = (32, 64, 128, 256, 512, 512, 512)
_KERNELS = (7, 5, 3, 3, 3, 3, 3)
_UP = (16, 32, 64, 128, 256, 512, 512)  # finest first, as everything below
_SCALES = 4  # disparities at 1, 1/2, 1/4 and 1/8


class DispNet(Backbone):
    """Depth at the image's size, and at 1/2, 1/4 and 1/8 of it for losses.

    Args:
        unit_mm: one unit of the network in millimetres.
        steepest: what sigma is multiplied by, 1 / units.
        least: disparity at sigma 0, 1 / units.
    """

    # 7 halvings would ask for multiples of 128; maps that come out a pixel larger than what they
    # join lose their last row or column, as published with 128x416.
    sizes = SizeRule(multiple=32, least=(32, 32))
    source = "Zhou et al. 2017, SfMLearner's DispNetS, arXiv 1704.07813"

    def __init__(
        self, *, unit_mm: float = 10.0, steepest: float = 10.0, least: float = 0.01
    ) -> None:
        super().__init__()
        require_positive(unit_mm=unit_mm, steepest=steepest, least=least)
        self.unit_mm, self.steepest, self.least = unit_mm, steepest, least
        self.down = nn.ModuleList(
            nn.Sequential(_conv_relu(a, b, kernel, stride=2), _conv_relu(b, b, kernel))
            for (a, b), kernel in zip(pairwise((3, *_DOWN)), _KERNELS, strict=True)
        )
        below = (*_UP[1:], _DOWN[-1])
        self.up = nn.ModuleList(_up_relu(a, b) for a, b in zip(below, _UP, strict=True))
        skips = (0, *_DOWN[:-1])
        self.join = nn.ModuleList(
            _conv_relu(width + skip + (level < _SCALES - 1), width, 3)
            for level, (width, skip) in enumerate(zip(_UP, skips, strict=True))
        )
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, 1, 3, padding=1), nn.Sigmoid())
            for width in _UP[:_SCALES]
        )
        start_for_relu(self)

    def forward(self, batch: Mapping[str, Any]) -> Prediction:
        """See `Backbone.forward`."""
        image = fitting_image(self, batch)
        depths_mm = [self.unit_mm / each for each in self.disparities(image)]
        return Prediction(depth_mm=depths_mm[0], coarser_depth_mm=tuple(depths_mm[1:]))

    def disparities(self, image: Tensor) -> list[Tensor]:
        """Return 1 / depth in units at 4 scales, (B, 1, H / 2^i, W / 2^i), finest first."""
        levels = [image]
        for stage in self.down:
            levels.append(stage(levels[-1]))  # (B, C, H/2^i, W/2^i), rounded up
        x = levels.pop()
        found: list[Tensor] = []
        for level in reversed(range(len(self.up))):
            finer = levels.pop()  # the image itself at last: only its size is used then
            height, width = finer.shape[-2:]
            parts = [self.up[level](x)[..., :height, :width]]
            if level > 0:
                parts.append(finer)
            if found:
                coarse = interpolate(
                    found[-1], scale_factor=2.0, mode="bilinear", align_corners=False
                )
                parts.append(coarse[..., :height, :width])
            x = self.join[level](torch.cat(parts, dim=1))  # (B, C, H/2^level, W/2^level)
            if level < _SCALES:
                found.append(self.disparity(self.heads[level](x)))
        return found[::-1]

    def disparity(self, sigma: Tensor) -> Tensor:
        """Return 1 / depth, in 1 / units, of the sigmoid's answer, of any shape."""
        return self.steepest * sigma + self.least


def _conv_relu(width_in: int, width_out: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(width_in, width_out, kernel, stride=stride, padding=kernel // 2)
    return nn.Sequential(conv, nn.ReLU(inplace=True))


def _up_relu(width_in: int, width_out: int) -> nn.Sequential:
    conv = nn.ConvTranspose2d(width_in, width_out, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(conv, nn.ReLU(inplace=True))
