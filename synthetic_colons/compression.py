"""What the video file does to a picture: chroma at half size, JPEG's rounded 8x8 blocks.

Images are sRGB (or another coded curve) in [0, 1], shape (B, 3, H, W). The steps and tables are
those of ITU-T T.81 (JPEG) with JFIF's YCbCr; entropy coding loses nothing and is left out.
"""

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import pad

from colondepth.shapes import require_bool, require_shapes
from synthetic_colons.lens_blur import doubled, halved

# T.81, annex K, tables K.1 and K.2: counts of 255, row by row of vertical frequency.
LUMA_TABLE: Final = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_TABLE: Final = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)
_BLOCK_PX = 8
_COUNTS = 255  # of an 8-bit sample
_MIDDLE = 128  # the count of grey chroma, and of T.81's level shift
# libjpeg rounds halves away from zero. Every 16th sum of a block is one, and a little more keeps
# them on that side whatever the last bit of a float says.
_HALF = 0.5 + 1e-4
# JFIF 1.02: Y, Cb, Cr of R, G, B (BT.601 luma), chroma around 0, and the way back.
_YCC_FROM_RGB: Final = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)
_RGB_FROM_YCC: Final = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))


def compress(image: Tensor, *, quality: Tensor, subsampled: Tensor) -> Tensor:
    """Return the images as a JPEG decoder would give them back, in whole 1/255.

    An image with quality 0 that is not subsampled comes back as it was. Quality 0 with
    subsampling is the raw 4:2:0 video of a frame grabber.

    Args:
        image: coded values in [0, 1], shape (B, 3, H, W).
        quality: 1 to 100 on libjpeg's scale, or 0 for no quantisation, shape (B,).
        subsampled: bool, True for 4:2:0, shape (B,).
    """
    require_shapes(image=(image, "B 3 H W"), quality=(quality, "B"), subsampled=(subsampled, "B"))
    require_bool(subsampled=subsampled)
    out = image
    for half_chroma in (False, True):
        chosen = (subsampled == half_chroma) & (subsampled | (quality > 0))
        if bool(chosen.all()):
            return _coded(image, quality, half_chroma=half_chroma)
        if bool(chosen.any()):
            out = out.clone() if out is image else out
            out[chosen] = _coded(image[chosen], quality[chosen], half_chroma=half_chroma)
    return out


def quantisation_table(quality: Tensor, *, chroma: bool) -> Tensor:
    """Return libjpeg's table for a quality, shape (B,) -> (B, 8, 8), in counts; 0 for quality 0."""
    require_shapes(quality=(quality, "B"))
    base = torch.tensor(CHROMA_TABLE if chroma else LUMA_TABLE, device=quality.device)  # (8, 8)
    whole = quality.round().long().clamp(0, 100)
    percent = torch.where(whole < 50, 5000 // whole.clamp(min=1), 200 - 2 * whole)  # (B,)
    table = ((base * percent[:, None, None] + 50) // 100).clamp(1, _COUNTS)
    return torch.where(whole[:, None, None] > 0, table, 0)


def block_transform(plane: Tensor) -> Tensor:
    """Return the 8x8 cosine transform of every block (T.81, A.3.3), shape (B, H/8, 8, W/8, 8)."""
    size = require_shapes(plane=(plane, "B H W"))
    basis = _basis(plane)
    rows = basis @ plane.reshape(size["B"], -1, _BLOCK_PX, size["W"])  # (B, H/8, 8, W)
    blocks: Tensor = rows.unflatten(-1, (-1, _BLOCK_PX)) @ basis.T
    return blocks


def inverse_block_transform(blocks: Tensor) -> Tensor:
    """Undo `block_transform`, shape (B, H/8, 8, W/8, 8) -> (B, H, W)."""
    require_shapes(blocks=(blocks, "B I 8 J 8"))
    basis = _basis(blocks)
    rows = basis.T @ (blocks @ basis).flatten(start_dim=-2)  # (B, H/8, 8, W)
    plane: Tensor = rows.flatten(start_dim=1, end_dim=2)
    return plane


def _coded(image: Tensor, quality: Tensor, *, half_chroma: bool) -> Tensor:
    batch, _, height, width = image.shape
    counts = (image.clamp(0, 1) * _COUNTS).round_().flatten(start_dim=2)  # (B, 3, H W)
    ycc = (image.new_tensor(_YCC_FROM_RGB) @ counts).round_().view(batch, 3, height, width)
    luma, chroma = ycc[:, :1], ycc[:, 1:]
    if half_chroma:
        chroma = halved(chroma).round_()
    luma = _quantised(luma - _MIDDLE, quantisation_table(quality, chroma=False))
    chroma = _quantised(chroma, quantisation_table(quality, chroma=True))
    if half_chroma:
        chroma = doubled(chroma, (height, width))
    ycc = torch.cat([luma + _MIDDLE, chroma], dim=1).flatten(start_dim=2)
    rgb = (image.new_tensor(_RGB_FROM_YCC) @ ycc).round_().clamp_(0, _COUNTS)
    return (rgb / _COUNTS).view(batch, 3, height, width)


def _quantised(planes: Tensor, table: Tensor) -> Tensor:
    """Round the planes (B, C, H, W), around 0, in the frequencies of their blocks."""
    batch, channels, height, width = planes.shape
    down, right = -height % _BLOCK_PX, -width % _BLOCK_PX
    padded = pad(planes, (0, right, 0, down), mode="replicate").flatten(end_dim=1)
    blocks = block_transform(padded)  # (B C, I, 8, J, 8)
    shape = blocks.shape
    # The table beside itself, J times: rows as long as the image's are quick to divide by.
    step = table.to(blocks).repeat(1, 1, shape[3])[:, None, None]  # (B, 1, 1, 8, 8 J)
    blocks = blocks.view(batch, channels, shape[1], _BLOCK_PX, -1)  # (B, C, I, 8, 8 J)
    steps = blocks / step.clamp(min=1)
    kept = torch.trunc(steps + torch.copysign(steps.new_tensor(_HALF), steps)) * step
    if not bool((step > 0).all()):
        kept = torch.where(step > 0, kept, blocks)
    back: Tensor = inverse_block_transform(kept.view(shape)).unflatten(0, (batch, channels))
    back = back[..., :height, :width]
    return back.round_().clamp_(-_MIDDLE, _MIDDLE - 1)


def _basis(like: Tensor) -> Tensor:
    """Return the orthonormal cosine basis, frequency by place, shape (8, 8)."""
    place = torch.arange(_BLOCK_PX, dtype=torch.float64)
    basis = torch.cos(math.pi / _BLOCK_PX * (place + 0.5) * place[:, None])  # (8, 8)
    basis[0] *= math.sqrt(0.5)
    return (basis * math.sqrt(2 / _BLOCK_PX)).to(like)
