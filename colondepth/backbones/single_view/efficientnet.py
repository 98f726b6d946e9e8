"""EfficientNet-B0 (Tan & Le 2019, arXiv 1905.11946) as an encoder, from MONAI, without its head."""

from typing import Self

from monai.networks.nets.efficientnet import EfficientNetBNFeatures, MBConvBlock
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from colondepth.backbones.single_view.encoder import Encoder

_PADDINGS = ("_conv_stem_padding", "_expand_conv_padding", "_depthwise_conv_padding")


class EfficientNetB0(Encoder):
    """Five levels, each half the size of the one before; 3 596 540 weights for RGB.

    Args:
        channels_in: 3 for RGB; more for an image with things known about its pixels.
        drop_connect: chance that the last block is skipped in training, less for those before.
        centred: pad both sides of a map alike; False pads one pixel more right and below, as Keras
            does.
        top: end with the convolution to 1280 channels that stands before a classifier.
    """

    strides = (2, 4, 8, 16, 32)

    def __init__(
        self, channels_in: int, *, drop_connect: float, centred: bool, top: bool = False
    ) -> None:
        super().__init__()
        self.channels = (16, 24, 40, 112, 1280 if top else 320)
        # The momentum that is written for batches of thousands would forget nothing in a short run.
        norm = ("batch", {"eps": 1e-3, "momentum": 0.1})
        net = EfficientNetBNFeatures(
            "efficientnet-b0", pretrained=False, in_channels=channels_in, norm=norm
        )
        # What only a classifier uses would be weights without a gradient.
        self.top = nn.Sequential(net._conv_head, net._bn1, nn.SiLU()) if top else nn.Identity()
        for name in ("_conv_head", "_conv_head_padding", "_bn1", "_avg_pooling", "_dropout", "_fc"):
            setattr(net, name, nn.Identity())
        net._swish = nn.SiLU(inplace=True)
        blocks = [module for module in net.modules() if isinstance(module, MBConvBlock)]
        for number, block in enumerate(blocks):
            block._swish = nn.SiLU(inplace=True)
            block.drop_connect_rate = drop_connect * number / len(blocks)
            for name in ("_se_reduce", "_se_expand"):
                setattr(block, name, _PointConv2d.of(getattr(block, name)))
        if centred:
            for module in [net, *blocks]:
                _pad_inside(module)
        self.net = net

    def forward(self, planes: Tensor) -> list[Tensor]:
        """See `Encoder.forward`; the planes are an image and what is known about its pixels."""
        *levels, deepest = self.net(planes)
        return [*levels, self.top(deepest)]


class _PointConv2d(nn.Conv2d):
    """A convolution of maps of one pixel, which is a matrix product and quicker as one."""

    @classmethod
    def of(cls, convolution: nn.Conv2d) -> Self:
        point = cls(convolution.in_channels, convolution.out_channels, kernel_size=1)
        point.weight, point.bias = convolution.weight, convolution.bias
        return point

    def forward(self, pixel: Tensor) -> Tensor:
        """Map (B, C, 1, 1) to (B, D, 1, 1)."""
        return F.linear(pixel.flatten(1), self.weight.flatten(1), self.bias)[..., None, None]


def _pad_inside(module: nn.Module) -> None:
    """Let the convolutions pad themselves, both sides alike, which spares a copy of each map."""
    for name in _PADDINGS:
        convolution = getattr(module, name.removesuffix("_padding"), None)
        if isinstance(convolution, nn.Conv2d):
            across, down = convolution.kernel_size
            convolution.padding = (across // 2, down // 2)
            setattr(module, name, nn.Identity())
