"""Monodepth2 (Godard et al. 2019, arXiv 1806.01260): a residual encoder, 4 scales of disparity.

The network's unit: its disparity sigma in (0, 1) stands for a depth of 1 / (1/100 + (1/0.1 - 1/100)
sigma) units, 0.1 to 100. A unit is `unit_mm`; at 10 mm depths from 1 mm to 1 m can be said, and a
colon's lie within. Trained on true depth the answer is metric; trained on video alone the unit is
whatever the pose network made it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from colondepth.backbones.contract import Backbone, SizeRule
from colondepth.backbones.single_view.door import fitting_image, require_positive
from colondepth.backbones.single_view.residual import Depth, ResidualEncoder
from colondepth.errors import DataError
from colondepth.views import Prediction

_MEAN, _SPREAD = 0.45, 0.225  # of the images, as the authors take them
_WIDTHS = (16, 32, 64, 128, 256)  # of the decoder, finest first
_SCALES = 4  # disparities at 1, 1/2, 1/4 and 1/8


class Monodepth2(Backbone):
    """Depth at the image's size, and at 1/2, 1/4 and 1/8 of it for losses.

    Args:
        encoder: layers of the residual encoder.
        unit_mm: one unit of the network in millimetres.
        nearest: depth at sigma 1, in units.
        farthest: depth at sigma 0, in units.
    """

    sizes = SizeRule(multiple=32, least=(64, 64))  # the decoder mirrors borders of 2 pixels or more
    source = "Godard et al. 2019, Monodepth2, arXiv 1806.01260"

    def __init__(
        self,
        *,
        encoder: Depth = Depth.R18,
        unit_mm: float = 10.0,
        nearest: float = 0.1,
        farthest: float = 100.0,
    ) -> None:
        super().__init__()
        require_positive(unit_mm=unit_mm, nearest=nearest)
        if not nearest < farthest:
            raise DataError(f"nearest is {nearest}, farthest {farthest}; expected a range")
        self.unit_mm, self.nearest, self.farthest = unit_mm, nearest, farthest
        self.encoder = ResidualEncoder(Depth(encoder))
        skips = (0, *self.encoder.widths[:4])  # what joins at each level of the decoder
        below = (*_WIDTHS[1:], self.encoder.widths[4])
        self.before = nn.ModuleList(
            _conv_elu(coarse, width) for coarse, width in zip(below, _WIDTHS, strict=True)
        )
        self.after = nn.ModuleList(
            _conv_elu(width + skip, width) for width, skip in zip(_WIDTHS, skips, strict=True)
        )
        self.heads = nn.ModuleList(
            nn.Sequential(_conv(width, 1), nn.Sigmoid()) for width in _WIDTHS[:_SCALES]
        )

    def forward(self, batch: Mapping[str, Any]) -> Prediction:
        """See `Backbone.forward`."""
        image = fitting_image(self, batch)
        depths_mm = [self.depth_mm(sigma) for sigma in self.disparities(image)]
        return Prediction(depth_mm=depths_mm[0], coarser_depth_mm=tuple(depths_mm[1:]))

    def disparities(self, image: Tensor) -> list[Tensor]:
        """Return sigma in (0, 1) at 4 scales, (B, 1, H / 2^i, W / 2^i), finest first."""
        levels = self.encoder((image - _MEAN) / _SPREAD)
        x = levels[4]  # (B, C, H/32, W/32)
        found = []
        for level in reversed(range(5)):
            x = self.before[level](x)  # (B, width, H/2^(level+1), W/2^(level+1))
            x = interpolate(x, scale_factor=2.0, mode="nearest")
            if level > 0:
                x = torch.cat([x, levels[level - 1]], dim=1)
            x = self.after[level](x)  # (B, width, H/2^level, W/2^level)
            if level < _SCALES:
                found.append(self.heads[level](x))
        return found[::-1]

    def depth_mm(self, sigma: Tensor) -> Tensor:
        """Return the depth that a disparity in [0, 1] stands for, of any shape."""
        low, high = 1 / self.farthest, 1 / self.nearest
        return self.unit_mm / (low + (high - low) * sigma)


def _conv(width_in: int, width_out: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, 3, padding=1, padding_mode="reflect")


def _conv_elu(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(_conv(width_in, width_out), nn.ELU(inplace=True))
