"""DORN (Fu et al. 2018, arXiv 1806.02446): which of K ordered labels does every pixel's depth have?

The network's unit: labels span `nearest` to `farthest` units, by default 1 to 250 mm, in which a
colon's depths lie; 1 to 80 with `unit_mm=1000` are the paper's for KITTI. The answer is metric.

Depth is decoded from whole labels, as published, and a whole label has no gradient. What flows back
through `depth_mm` is the gradient of the same formula at the soft count, the sum of P_k; that is
ours, so the depth that is shown and its gradient belong to slightly different numbers. A loss over
labels takes `label_logits` instead.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, interpolate, relu

from colondepth.backbones.contract import Backbone, SizeRule
from colondepth.backbones.single_view.door import fitting_image
from colondepth.backbones.single_view.ordinal_labels import Decode, Labels, beyond
from colondepth.backbones.single_view.residual import (
    Bottleneck,
    conv_norm,
    residual_stage,
    start_for_relu,
)
from colondepth.errors import ShapeError
from colondepth.views import Prediction

_MEAN_BGR = (103.0626, 115.9029, 123.1516)  # of the images, 0 to 255, as released
_DROPPED = 0.5  # share of the whole image's summary that training leaves out
_STRIDE = 8  # of the label maps: cell i sits on pixel 8 i, so sides are 8 n + 1


class Layout(StrEnum):
    """Which of the two published networks."""

    KITTI = "kitti"
    NYU = "nyu"


# Size, labels, dilations of the wide ways, and pool of the whole-image way.
_LAYOUTS = {
    Layout.KITTI: ((385, 513), 71, (6, 12, 18), 16),
    Layout.NYU: ((257, 353), 68, (4, 8, 12), 8),
}


class Dorn(Backbone):
    """Depth at the image's size, and logits of labels at an eighth of it.

    Args:
        layout: size, labels and dilations as published for one of two datasets.
        size: (height, width) of the images, if not the layout's; sides are 8 n + 1.
        labels: K, if not the layout's; the paper's best is 80.
        blocks: of the encoder's stages; 101 layers as published.
        width: of the encoder's first stage; everything else follows it.
        decode: how a label becomes a depth.
        nearest: depth of the first threshold, in units.
        farthest: depth of the last threshold, in units.
        unit_mm: one unit in millimetres; the formulas of `decode` that were released speak metres.
    """

    sizes = SizeRule(exact=_LAYOUTS[Layout.KITTI][0])
    source = "Fu et al. 2018, ordinal regression, arXiv 1806.02446"
    mean: Tensor  # of the images, (3, 1, 1)

    def __init__(
        self,
        *,
        layout: Layout = Layout.KITTI,
        size: tuple[int, int] | None = None,
        labels: int | None = None,
        blocks: Sequence[int] = (3, 4, 23, 3),
        width: int = 64,
        decode: Decode = Decode.PAPER,
        nearest: float = 1.0,
        farthest: float = 250.0,
        unit_mm: float = 1.0,
    ) -> None:
        super().__init__()
        published_size, published_labels, dilations, pool = _LAYOUTS[Layout(layout)]
        size, count = size or published_size, labels or published_labels
        if any(side <= _STRIDE or side % _STRIDE != 1 for side in size):
            raise ShapeError(
                f"size is {size}, expected a height and a width of {_STRIDE} n + 1, 9 or more"
            )
        self.sizes = SizeRule(exact=size)  # type: ignore[misc]  # an option settles it
        self.labels = Labels(count=count, nearest=nearest, farthest=farthest, unit_mm=unit_mm)
        self.decode = Decode(decode)
        self.encoder = _encoder(blocks, width)
        wide, deep = 8 * width, 32 * width  # 512 and 2048 as published
        self.whole = _WholeImage(deep, wide, grid=_grid(size), pool=pool)
        self.ways = nn.ModuleList([_way(deep, wide, kernel=1, dilation=1)])
        self.ways.extend(_way(deep, wide, kernel=3, dilation=dilation) for dilation in dilations)
        self.join = nn.Sequential(nn.Conv2d(5 * wide, deep, 1), nn.ReLU(inplace=True))
        self.out = nn.Conv2d(deep, 2 * count, 1)
        start_for_relu(self)
        self.register_buffer("mean", torch.tensor(_MEAN_BGR).reshape(3, 1, 1), persistent=False)

    def forward(self, batch: Mapping[str, Any]) -> Prediction:
        """See `Backbone.forward`."""
        image = fitting_image(self, batch)
        x = self.encoder(image.flip(1) * 255 - self.mean)  # (B, 2048, h, w)
        whole = self.whole(x)  # (B, 512, h, w)
        x = self.join(torch.cat([whole, *(way(x) for way in self.ways)], dim=1))  # (B, 2048, h, w)
        label_logits = self.out(x)  # (B, 2K, h, w)
        # Corners on corners: an odd kernel of stride 2 keeps cell i on pixel 2 i.
        odds = interpolate(
            beyond(label_logits), image.shape[-2:], mode="bilinear", align_corners=True
        )  # (B, K, H, W)
        return Prediction(depth_mm=self.depth_mm(odds), label_logits=label_logits)

    def depth_mm(self, odds: Tensor) -> Tensor:
        """Return depth from the log odds of being beyond each label, (B, K, H, W) -> (B, 1, H, W).

        The value is that of the whole label, the number of odds of 1 : 1 or better; the gradient
        that of the soft count.
        """
        whole = (odds >= 0).sum(dim=1, keepdim=True).to(odds)  # (B, 1, H, W)
        depth_mm = self.labels.depth_mm(whole, self.decode)
        if not odds.requires_grad:
            return depth_mm
        soft = self.labels.depth_mm(odds.sigmoid().sum(dim=1, keepdim=True), self.decode)
        return depth_mm + (soft - soft.detach())


class _WholeImage(nn.Module):
    """A summary of the whole image, copied to every cell."""

    def __init__(self, deep: int, wide: int, *, grid: tuple[int, int], pool: int) -> None:
        super().__init__()
        # A last window that is cut off by the border counts its own cells only.
        self.pool = nn.AvgPool2d(pool, ceil_mode=True)
        rows, columns = (-(-max(side - pool, 0) // pool) + 1 for side in grid)
        self.summary = nn.Linear(deep * rows * columns, wide)
        self.after = nn.Sequential(nn.Conv2d(wide, wide, 1), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the same features in every cell, (B, C, h, w) -> (B, C2, h, w)."""
        pooled = self.pool(x).flatten(start_dim=1)  # (B, C rows columns)
        summary = relu(self.summary(dropout(pooled, _DROPPED, self.training)))  # (B, C2)
        features: Tensor = self.after(summary[..., None, None])  # (B, C2, 1, 1)
        return features.expand(-1, -1, *x.shape[-2:])


def _encoder(blocks: Sequence[int], width: int) -> nn.Sequential:
    """Return a residual network of stride 8, whose last two stages widen their sight instead."""
    layers: list[nn.Module] = [
        *(*conv_norm(3, width, 3, stride=2), nn.ReLU(inplace=True)),
        *(*conv_norm(width, width, 3), nn.ReLU(inplace=True)),
        *(*conv_norm(width, 2 * width, 3), nn.ReLU(inplace=True)),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    channels = 2 * width
    for number, (count, stride, dilation) in enumerate(
        zip(blocks, (1, 2, 1, 1), (1, 1, 2, 4), strict=True)
    ):
        stage, channels = residual_stage(
            Bottleneck, channels, width * 2**number, count, stride=stride, dilation=dilation
        )
        layers.append(stage)
    return nn.Sequential(*layers)


def _way(deep: int, wide: int, *, kernel: int, dilation: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(deep, wide, kernel, padding=dilation * (kernel // 2), dilation=dilation),
        nn.ReLU(inplace=True),
        nn.Conv2d(wide, wide, 1),
        nn.ReLU(inplace=True),
    )


def _grid(size: tuple[int, int]) -> tuple[int, int]:
    """Return the (rows, columns) of the label maps."""
    return (size[0] - 1) // _STRIDE + 1, (size[1] - 1) // _STRIDE + 1
