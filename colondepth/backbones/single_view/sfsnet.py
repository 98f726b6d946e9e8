"""The house's own networks: depth from the shading of one image, with an uncertainty.

After SfSNet (Ruano et al. 2024, arXiv 2311.05021): an encoder, here told where each pixel looks,
and a U-shaped decoder. The network answers with the log of the *distance* along each ray, which
is what the light tells, and with the standard deviation of that log; depth is distance times the z
of the unit ray. It predicts at half the image's size, and log distance is interpolated
(bilinear, align_corners=False).
"""

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from colondepth.backbones.contract import Backbone, Gives, Needs, SizeRule
from colondepth.backbones.fitting import BLACK
from colondepth.backbones.sight import Sight, sight
from colondepth.backbones.single_view.door import fitting_image
from colondepth.backbones.single_view.efficientnet import EfficientNetB0
from colondepth.backbones.single_view.encoder import Encoder, convolved
from colondepth.views import Prediction

UNTRAINED_MM = 30.0  # what a network says before it has learnt: the middle of a colon, in logs
# Larger images are shrunk to it. The recipes train on 160 to 320; what they made was better when it
# saw views of 256x320 at 192x240, in three fifths of the time: scaled AbsRel 0.116 and 0.129 on
# levels 5 and 6, at full size 0.125 and 0.137.
LONGEST_SIDE = 240
DISTANCE_LIMITS_MM = (0.5, 1000.0)  # nearer than the lens's window, farther than a lit colon
STD_LIMITS = (0.01, 1.5)  # of log distance: 1 %, which no training data is good for, to a guess
_BRIGHTNESS = (0.4, 0.25)  # mean and spread of a colonoscopy image's values, roughly
_DARKEST = 0.02  # added before the log of the luminance
_LUMINANCE = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709


class Sfsnet(Backbone):
    """Log distance and its spread from one image and the rays of its camera.

    Args:
        encoder: takes `input_channels(rays=rays, shading=shading)` channels.
        widths: channels of the decoder at each stride of the encoder but the last, finest first.
        repeats: convolutions of the decoder at each stride.
        rays: tell the network where each pixel looks and how finely.
        shading: give it the log of the luminance, which for a wall lit from the camera falls with
            log distance.
    """

    needs = Needs.IMAGE
    gives = Gives.DEPTH
    sizes = SizeRule(least=(32, 32), longest=LONGEST_SIDE)
    metric = True
    source = "after SfSNet (Ruano et al. 2024), with rays and an uncertainty"
    temperature: Tensor

    def __init__(
        self, encoder: Encoder, widths: Sequence[int], *, repeats: int, rays: bool, shading: bool
    ) -> None:
        super().__init__()
        self.rays = rays
        self.shading = shading
        self.encoder = encoder
        self.decoder = Decoder(encoder.channels, widths, repeats=repeats)
        # From the finest stride to half the image's size: 1, or 2 for an encoder that starts at 4.
        self.finer = encoder.strides[0] // 2
        self.head = nn.Conv2d(widths[0], 2 * self.finer**2, kernel_size=3, padding=1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        # Multiplies the standard deviation; found on images that were not trained on.
        self.register_buffer("temperature", torch.tensor(1.0))
        # What convolutions are quick in; torch's own annotations leave this argument out.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, batch: Mapping[str, Any]) -> Prediction:
        """See `Backbone.forward`."""
        image = fitting_image(self, batch)
        seen = sight(batch["camera"], *image.shape[-2:], like=image)
        finite = image.sum(dim=1, keepdim=True).isfinite()  # (B, 1, H, W)
        image = image.nan_to_num(nan=0, posinf=0, neginf=0)
        lit = image.amax(dim=(1, 2, 3), keepdim=True) > BLACK  # (B, 1, 1, 1)
        log_distance, log_std = self.log_distance(image, seen)
        valid = finite & lit & seen.ahead  # (B, 1, H, W)
        depth_mm = log_distance.exp() * seen.rays[:, 2:]
        return Prediction(
            depth_mm=torch.where(valid, depth_mm, torch.zeros_like(depth_mm)),
            log_depth_std=log_std.exp() * self.temperature,
            valid=valid,
        )

    def log_distance(self, image: Tensor, seen: Sight) -> tuple[Tensor, Tensor]:
        """Return the log of the distance in mm and the log of its spread, each (B, 1, H, W).

        Args:
            image: finite values in [0, 1], (B, 3, H, W).
            seen: of the same height and width; for B images or for one.
        """
        height, width = image.shape[-2:]
        planes = self._planes(image, seen)  # (B, C, H, W)
        step = self.encoder.strides[-1]
        planes = F.pad(planes, (0, -width % step, 0, -height % step), mode="replicate")
        planes = planes.contiguous(memory_format=torch.channels_last)  # (B, C, H', W')
        answer = self.head(self.decoder(self.encoder(planes)))  # (B, 2 f f, H'/2f, W'/2f)
        if self.finer > 1:
            answer = F.pixel_shuffle(answer, self.finer)  # (B, 2, H'/2, W'/2)
        answer = F.interpolate(
            answer.to(image.dtype), scale_factor=2, mode="bilinear", align_corners=False
        )
        answer = answer[..., :height, :width]  # (B, 2, H, W)
        nearest, farthest = (log(limit) for limit in DISTANCE_LIMITS_MM)
        surest, vaguest = (log(limit) for limit in STD_LIMITS)
        log_distance = (answer[:, :1] + log(UNTRAINED_MM)).clamp(nearest, farthest)
        log_std = surest + (vaguest - surest) * answer[:, 1:].sigmoid()
        return log_distance, log_std

    def _planes(self, image: Tensor, seen: Sight) -> Tensor:
        mean, spread = _BRIGHTNESS
        planes = [(image - mean) / spread]
        if self.shading:
            weighted = zip(_LUMINANCE, image.split(1, dim=1), strict=True)
            luminance = sum(weight * colour for weight, colour in weighted)  # (B, 1, H, W)
            planes.append((luminance + _DARKEST).log() + 1)  # (B, 1, H, W), about 0
        if self.rays:
            planes += [part.expand(len(image), -1, -1, -1) for part in (seen.rays, seen.log_focal)]
        return torch.cat(planes, dim=1)


class Decoder(nn.Module):
    """Doubles the size level by level, each time beside what the encoder saw at that size."""

    def __init__(self, channels: Sequence[int], widths: Sequence[int], *, repeats: int) -> None:
        super().__init__()
        if len(widths) != len(channels) - 1:
            raise ValueError(f"{len(widths)} widths for {len(channels)} levels, expected one less")
        below = channels[-1]
        self.narrow = nn.ModuleList()
        self.merge = nn.ModuleList()
        for skip, width in zip(reversed(channels[:-1]), reversed(widths), strict=True):
            # Narrowed before it is enlarged: the two commute, and this way a quarter is worked.
            self.narrow.append(nn.Conv2d(below, width, kernel_size=1))
            self.merge.append(
                nn.Sequential(
                    *convolved(width + skip, width),
                    *(part for _ in range(repeats - 1) for part in convolved(width, width)),
                )
            )
            below = width

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return the finest decoded map, of the size of the first level."""
        x, *skips = reversed(levels)
        for narrow, merge, skip in zip(self.narrow, self.merge, skips, strict=True):
            x = F.interpolate(narrow(x), scale_factor=2, mode="bilinear", align_corners=False)
            x = merge(torch.cat([x, skip], dim=1))
        return x


def input_channels(*, rays: bool, shading: bool) -> int:
    """Return how many planes the encoder is given."""
    return 3 + shading + 4 * rays


def sfsnet(*, rays: bool = True, shading: bool = True, drop_connect: float = 0.0) -> Sfsnet:
    """EfficientNet-B0 and a slim decoder: the network that the project ships."""
    encoder = EfficientNetB0(
        input_channels(rays=rays, shading=shading), drop_connect=drop_connect, centred=True
    )
    return Sfsnet(encoder, (16, 48, 64, 128), repeats=2, rays=rays, shading=shading)
