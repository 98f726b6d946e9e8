"""Residual networks (He et al. 2016): blocks, and the encoder with five levels of features."""

from enum import IntEnum

import torch
from torch import Tensor, nn
from torch.nn.functional import relu


class Depth(IntEnum):
    """Layers of an encoder."""

    R18 = 18
    R50 = 50


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a way around them."""

    def __init__(self, width_in: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        self.width_out = width
        self.body = nn.Sequential(
            *conv_norm(width_in, width, 3, stride=stride),
            nn.ReLU(inplace=True),
            *conv_norm(width, width, 3),
        )
        self.around = _around(width_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(body(x) + x), (B, C, H, W) -> (B, C2, H / stride, W / stride)."""
        return relu(self.body(x) + self.around(x))


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up to four times the width, and a way around them."""

    def __init__(self, width_in: int, width: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.width_out = 4 * width
        self.body = nn.Sequential(
            *conv_norm(width_in, width, 1),
            nn.ReLU(inplace=True),
            *conv_norm(width, width, 3, stride=stride, dilation=dilation),
            nn.ReLU(inplace=True),
            *conv_norm(width, self.width_out, 1),
        )
        self.around = _around(width_in, self.width_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(body(x) + x), (B, C, H, W) -> (B, C2, H / stride, W / stride)."""
        return relu(self.body(x) + self.around(x))


class ResidualEncoder(nn.Module):
    """A stem of stride 2, a pool, four stages; features at 1/2, 1/4, 1/8, 1/16 and 1/32."""

    def __init__(self, depth: Depth) -> None:
        super().__init__()
        counts, block = {
            Depth.R18: ((2, 2, 2, 2), BasicBlock),
            Depth.R50: ((3, 4, 6, 3), Bottleneck),
        }[depth]
        self.stem = nn.Sequential(*conv_norm(3, 64, 7, stride=2), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = nn.ModuleList()
        widths = [64]
        for number, count in enumerate(counts):
            stage, width = residual_stage(
                block, widths[-1], 64 * 2**number, count, stride=1 if number == 0 else 2
            )
            self.stages.append(stage)
            widths.append(width)
        self.widths = tuple(widths)
        start_for_relu(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return five maps, (B, C_i, H / 2^(i+1), W / 2^(i+1)), finest first."""
        x = self.stem(image)  # (B, 64, H/2, W/2)
        levels = [x]
        x = self.pool(x)  # (B, 64, H/4, W/4)
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


def residual_stage(
    block: type[BasicBlock] | type[Bottleneck],
    width_in: int,
    width: int,
    count: int,
    *,
    stride: int = 1,
    **options: int,
) -> tuple[nn.Sequential, int]:
    """Return `count` blocks, the first with the stride, and how many channels come out."""
    blocks: list[nn.Module] = []
    for number in range(count):
        made = block(width_in, width, stride=stride if number == 0 else 1, **options)
        blocks.append(made)
        width_in = made.width_out
    return nn.Sequential(*blocks), width_in


def conv_norm(
    width_in: int, width_out: int, kernel: int, *, stride: int = 1, dilation: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Return a convolution that keeps the size but for its stride, and its norm."""
    conv = nn.Conv2d(
        width_in,
        width_out,
        kernel,
        stride=stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        bias=False,
    )
    return conv, nn.BatchNorm2d(width_out)


def start_for_relu(network: nn.Module) -> None:
    """Draw convolutions so that a ReLU keeps the size of what passes (He et al. 2015), biases 0."""
    for module in network.modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
        else:  # its inputs come first, and of its kernel a pixel meets one in stride^2
            nn.init.kaiming_uniform_(module.weight, mode="fan_out", nonlinearity="relu")
            with torch.no_grad():
                module.weight.mul_(module.stride[0])
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _around(width_in: int, width_out: int, stride: int) -> nn.Module:
    if stride == 1 and width_in == width_out:
        return nn.Identity()
    return nn.Sequential(*conv_norm(width_in, width_out, 1, stride=stride))
