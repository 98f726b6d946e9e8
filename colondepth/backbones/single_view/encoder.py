"""What every encoder of the house's networks promises."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """Makes maps of an image at some strides, each twice the one before."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @abstractmethod
    def forward(self, planes: Tensor) -> list[Tensor]:
        """Return one map for each stride of (B, C, H, W), finest first.

        H and W are multiples of the last stride; the maps have (B, channels, H / s, W / s).
        """


def convolved(
    width_in: int, width_out: int, *, stride: int = 1, dilation: int = 1
) -> list[nn.Module]:
    """Return a 3x3 convolution, its norm and its activation."""
    return [
        nn.Conv2d(
            *(width_in, width_out),
            kernel_size=3,
            stride=stride,
            padding=dilation,
            dilation=dilation,
            bias=False,
        ),
        nn.BatchNorm2d(width_out),  # folds into the convolution once trained
        nn.ReLU(inplace=True),
    ]
