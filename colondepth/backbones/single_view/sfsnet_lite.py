"""The house's network for a laptop: the answers of `sfsnet`, in real time on two cores.

Ordinary 3x3 convolutions, because processors are quick at those and slow at depthwise ones; few
channels where there are many pixels.
"""

from torch import Tensor, nn

from colondepth.backbones.single_view.encoder import Encoder, convolved
from colondepth.backbones.single_view.sfsnet import Sfsnet, input_channels


class PlainEncoder(Encoder):
    """Four levels from a quarter of the size downwards, one residual block each.

    The last looks at every second pixel, so that each of its pixels depends on 431 pixels of the
    image across, and then adds the mean of the whole image.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, channels_in: int, *, stem: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = channels
        self.stem = nn.Sequential(*convolved(channels_in, stem, stride=2))
        self.levels = nn.ModuleList()
        for before, width in zip((stem, *channels[:-1]), channels, strict=True):
            dilation = 2 if width == channels[-1] else 1
            self.levels.append(
                nn.Sequential(
                    *convolved(before, width, stride=2), _Residual(width, dilation=dilation)
                )
            )
        self.context = _Context(channels[-1])

    def forward(self, planes: Tensor) -> list[Tensor]:
        """See `Encoder.forward`."""
        x = self.stem(planes)  # (B, C, H/2, W/2)
        levels = []
        for level in self.levels:
            x = level(x)
            levels.append(x)
        levels[-1] = self.context(x)
        return levels


class _Residual(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, width: int, *, dilation: int) -> None:
        super().__init__()
        *both, self.activation = (
            *convolved(width, width, dilation=dilation),
            *convolved(width, width, dilation=dilation),
        )
        self.both = nn.Sequential(*both)

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.activation(self.both(x) + x)
        return activated


class _Context(nn.Module):
    """Add to every place what the mean of all places says: exposure, colour, size of the lumen."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        told: Tensor = self.linear(x.mean(dim=(2, 3)))  # (B, C)
        return x + told[..., None, None]


def sfsnet_lite(*, rays: bool = True, shading: bool = True) -> Sfsnet:
    """1.4 million weights and ordinary convolutions, for real time on a processor."""
    encoder = PlainEncoder(
        input_channels(rays=rays, shading=shading), stem=16, channels=(32, 64, 128, 160)
    )
    return Sfsnet(encoder, (32, 48, 64), repeats=1, rays=rays, shading=shading)
