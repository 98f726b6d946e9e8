"""Eigen et al. 2014 (arXiv 1406.2283): the whole image coarsely, then its detail.

The network's unit: both answer in log depth, 0 at `unit_mm`; the authors' unit is the metre, ours
30 mm, which is what a colonoscope mostly looks at. The answer is metric once trained on true depth.
The maps have a quarter of the image's size (55x74 for 228x304, which is no exact quarter) and cover
the whole image: bring the truth to their size for a loss, as `depth_mm` is brought to the image's.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, interpolate, max_pool2d, relu

from colondepth.backbones.contract import Backbone, SizeRule
from colondepth.backbones.single_view.door import (
    depth_from_log,
    fitting_image,
    require_positive,
)
from colondepth.errors import ShapeError
from colondepth.views import Prediction

_MULTIPLE = 4  # of the sides, for the coarse map to be of the fine one's size
_LEAST = 76  # pixels a side, below which nothing is left of the coarse network's last map
_DROPPED = 0.5  # share of the hidden units that training leaves out
_CENTRE = 0.5  # subtracted from the image, so that it has both signs


class Eigen(Backbone):
    """Depth at the image's size; the fine and the coarse map of a quarter size for losses.

    Args:
        size: (height, width) of the images; another size is another network.
        hidden: units between the coarse network's image and its map.
        unit_mm: depth at log depth 0.
    """

    sizes = SizeRule(exact=(228, 304))
    source = "Eigen et al. 2014, coarse and fine, arXiv 1406.2283"

    def __init__(
        self,
        *,
        size: tuple[int, int] = (228, 304),
        hidden: int = 4096,
        unit_mm: float = 30.0,
    ) -> None:
        super().__init__()
        require_positive(unit_mm=unit_mm, hidden=hidden)
        if min(size) < _LEAST or any(side % _MULTIPLE for side in size):
            raise ShapeError(
                f"size is {size}, expected a height and a width of {_LEAST} or more that are"
                f" multiples of {_MULTIPLE}"
            )
        self.sizes = SizeRule(exact=size)  # type: ignore[misc]  # an option settles it
        self.unit_mm = unit_mm
        self.coarse = _Coarse(size, hidden)
        self.fine = _Fine()

    def forward(self, batch: Mapping[str, Any]) -> Prediction:
        """See `Backbone.forward`."""
        image = fitting_image(self, batch) - _CENTRE
        coarse = self.coarse(image)  # (B, 1, h, w), log depth
        fine = self.fine(image, coarse)  # (B, 1, h, w), log depth
        full = interpolate(fine, image.shape[-2:], mode="bilinear", align_corners=False)
        return Prediction(
            depth_mm=depth_from_log(full, self.unit_mm),
            coarser_depth_mm=(
                depth_from_log(fine, self.unit_mm),
                depth_from_log(coarse, self.unit_mm),
            ),
        )


class _Coarse(nn.Module):
    """Convolutions, then two layers in which every place hears of every other."""

    def __init__(self, size: tuple[int, int], hidden: int) -> None:
        super().__init__()
        self.map_size = (_quarter(size[0]), _quarter(size[1]))
        self.near = nn.Sequential(
            nn.Conv2d(3, 96, 11, stride=4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(96, 256, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, stride=2),
            nn.ReLU(inplace=True),
        )
        rows, columns = ((side // 4 - 3) // 2 + 1 for side in self.map_size)
        self.hidden = nn.Linear(256 * rows * columns, hidden)
        self.out = nn.Linear(hidden, self.map_size[0] * self.map_size[1])

    def forward(self, image: Tensor) -> Tensor:
        """Return log depth, (B, 3, H, W) -> (B, 1, h, w)."""
        x = self.near(image).flatten(start_dim=1)  # (B, 12288) for 228x304
        x = dropout(relu(self.hidden(x)), _DROPPED, self.training)  # (B, hidden)
        log_depth: Tensor = self.out(x).reshape(-1, 1, *self.map_size)
        return log_depth


class _Fine(nn.Module):
    """Edges of the image laid beside the coarse map, and three convolutions over both."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = nn.Conv2d(3, 63, 9, stride=2)
        self.middle = nn.Conv2d(64, 64, 5, padding=2)
        self.out = nn.Conv2d(64, 1, 5, padding=2)

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Return log depth, (B, 3, H, W) and (B, 1, h, w) -> (B, 1, h, w)."""
        x = max_pool2d(relu(self.edges(image)), 2)  # (B, 63, h, w)
        x = relu(self.middle(torch.cat([x, coarse], dim=1)))  # (B, 64, h, w)
        log_depth: Tensor = self.out(x)
        return log_depth


def _quarter(side: int) -> int:
    """Return the size of a map behind an 11 pixel kernel of stride 4, or 9 of 2 and a pool."""
    return (side - 11) // 4 + 1
