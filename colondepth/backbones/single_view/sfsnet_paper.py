"""SfSNet as it was published (Ruano et al. 2024, arXiv 2311.05021), to compare with.

What its released notebooks show: an EfficientNet-B0 as Keras has it (without the classifier, 1280
channels deep) under the decoder of DenseDepth (Alhashim & Wonka 2018, arXiv 1812.11941), without
rays or uncertainty. The answer is normalised inverse depth at half the image's size,
`distance_mm = FARTHEST_MM / answer`, where "depth" is the length of the ray. The widths of the
decoder are in no notebook: they are DenseDepth's, half as many channels at each level.

The notebooks feed blue, green, red; this takes red, green, blue, as everything here does. They
store their answers in 8 bits under a gamma, which belongs to their files and not to the network.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from colondepth.backbones.contract import Backbone, SizeRule
from colondepth.backbones.sight import sight
from colondepth.backbones.single_view.door import fitting_image
from colondepth.backbones.single_view.efficientnet import EfficientNetB0
from colondepth.views import Prediction

FARTHEST_MM = 250.0  # maxDepth of the notebooks
NEAREST_MM = 1.0  # they clip to [0.1, 25] cm
UNTRAINED_MM = 30.0  # what an untrained network says, within the clip so that it can learn
_SLOPE = 0.2  # of DenseDepth's leaky ReLU below 0


class SfsnetPaper(Backbone):
    """Normalised inverse distance at half the image's size, from one image."""

    sizes = SizeRule(multiple=32, least=(32, 32))
    source = "Ruano et al. 2024, SfSNet, arXiv 2311.05021, as its notebooks show it"

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EfficientNetB0(3, drop_connect=0.2, centred=False, top=True)
        *skips, deepest = self.encoder.channels
        self.bridge = nn.Conv2d(deepest, deepest, kernel_size=1)
        widths = [deepest // 2**level for level in range(len(skips) + 1)]
        self.ups = nn.ModuleList(
            _Up(below + skip, width)
            for below, skip, width in zip(widths, reversed(skips), widths[1:], strict=False)
        )
        self.head = nn.Conv2d(widths[-1], 1, kernel_size=3, padding=1)
        nn.init.constant_(self.head.bias, FARTHEST_MM / UNTRAINED_MM)  # type: ignore[arg-type]

    def forward(self, batch: Mapping[str, Any]) -> Prediction:
        """See `Backbone.forward`."""
        image = fitting_image(self, batch)
        seen = sight(batch["camera"], *image.shape[-2:], like=image)
        distance_mm = F.interpolate(
            self.distance_mm(image), scale_factor=2, mode="bilinear", align_corners=False
        )  # (B, 1, H, W)
        depth_mm = (distance_mm * seen.rays[:, 2:]).clamp(min=0)
        return Prediction(depth_mm=depth_mm, valid=seen.ahead.expand_as(depth_mm))

    def distance_mm(self, image: Tensor) -> Tensor:
        """Return the lengths of the rays of (B, 3, H, W) at half its size, (B, 1, H/2, W/2)."""
        inverse = self.normalised_inverse(image)
        return FARTHEST_MM / inverse.clamp(min=1, max=FARTHEST_MM / NEAREST_MM)

    def normalised_inverse(self, image: Tensor) -> Tensor:
        """Return what the paper trains, FARTHEST_MM / distance, (B, 1, H/2, W/2)."""
        x, *skips = reversed(self.encoder(image))
        x = self.bridge(x)
        for up, skip in zip(self.ups, skips, strict=True):
            x = up(x, skip)
        answer: Tensor = self.head(x)
        return answer


class _Up(nn.Module):
    """Double the size, put the encoder's map beside it, and convolve twice."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width_in, width, kernel_size=3, padding=1)
        self.second = nn.Conv2d(width, width, kernel_size=3, padding=1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        # The corners are aligned in the notebooks' own layer, and inside this network alone.
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        x = F.leaky_relu(self.first(torch.cat([x, skip], dim=1)), _SLOPE)
        return F.leaky_relu(self.second(x), _SLOPE)
