"""Blur that the scope's lens and its movement make, on linear light (B, 3, H, W).

Blurs are sums with weights that add up to 1, so light is moved and not made; beyond the image's
edge the border pixel goes on. Each image of a batch is treated alone.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from colondepth.shapes import require_bool, require_shapes

# Lookups along the path of a pixel; a path of 6 px at 320 px then has no gap wider than 2 px.
MOTION_TAPS = 4
# The two fields of an interlaced frame are half a frame apart, a quarter before and after its time.
FIELD_OFFSET_FRAMES = 0.25
# Variance, px^2 along each axis, of the three blurred copies that defocus mixes: a binomial
# [1 2 1] / 4 has 1/2. At half the size: 1/4 (mean of 2) + 2 (binomial) + 3/4 (linear upsampling).
# At a quarter: 1/4 + 1 (means) + 8 + 3 + 3/4.
_VARIANCES_PX2 = (0.0, 0.5, 3.0, 13.0)
# A uniform disc of diameter c has the variance c^2 / 16 along each axis.
_DISC_VARIANCE = 1 / 16
# Depth below which a surface touches the lens; the thin lens has no image of it.
_NEAREST_MM = 0.2


def circle_of_confusion_px(
    depth_mm: Tensor, *, focus_mm: Tensor, pupil_mm: Tensor, focal_mm: Tensor, focal_px: Tensor
) -> Tensor:
    """Return the diameter of a point's image, px, shape (B, 1, H, W); 0 where depth is unknown.

    Thin lens (e.g. Potmesil and Chakravarty 1981, eq. 3): c = A f |z - s| / (z (s - f)), on the
    sensor in mm; focal_px / focal_mm turns it into pixels.

    Args:
        depth_mm: z-depth, 0 where unknown, shape (B, 1, H, W).
        focus_mm: distance s of perfect focus, more than `focal_mm`, shape (B,).
        pupil_mm: diameter A of the entrance pupil, shape (B,); 0 is a pinhole.
        focal_mm: focal length f, shape (B,).
        focal_px: the same in pixels at the image's centre, shape (B,).
    """
    require_shapes(
        depth_mm=(depth_mm, "B 1 H W"),
        focus_mm=(focus_mm, "B"),
        pupil_mm=(pupil_mm, "B"),
        focal_mm=(focal_mm, "B"),
        focal_px=(focal_px, "B"),
    )
    scale = pupil_mm * focal_px / (focus_mm - focal_mm)  # (B,)
    z = depth_mm.clamp(min=_NEAREST_MM)
    focus = focus_mm[:, None, None, None]
    circle = scale[:, None, None, None] * (1 - focus / z).abs()  # (B, 1, H, W)
    return circle * (depth_mm > 0)


def defocus(light: Tensor, circle_px: Tensor) -> Tensor:
    """Blur every pixel by its own circle of confusion.

    Four copies, from sharp to very blurred, are mixed so that the variance of a point's image is
    exactly that of a uniform disc of the diameter asked for, up to 14 px. Each pixel gathers with
    its own circle: a blurred foreground has a sharp outline.

    Args:
        light: linear, shape (B, 3, H, W).
        circle_px: diameter, shape (B, 1, H, W).
    """
    require_shapes(light=(light, "B C H W"), circle_px=(circle_px, "B 1 H W"))
    variance = circle_px.square() * _DISC_VARIANCE  # (B, 1, H, W)
    highest = float(variance.max()) if variance.numel() else 0.0
    if highest == 0:
        return light
    out, half = light, light
    for low, high in pairwise(_VARIANCES_PX2):
        if highest <= low:
            break  # no pixel of this batch is that blurred
        if low == 0:
            blurred = binomial(light)
        elif high == _VARIANCES_PX2[2]:
            half = halved(light)
            blurred = doubled(binomial(half), light.shape[-2:])
        else:
            blurred = doubled(doubled(binomial(halved(half)), half.shape[-2:]), light.shape[-2:])
        share = ((variance - low) / (high - low)).clamp(0, 1)
        out = torch.lerp(out, blurred, share)
    return out


def along_motion(
    light: Tensor,
    flow_px: Tensor,
    *,
    shutter_share: Tensor,
    interlaced: Tensor,
    shift_px: Tensor | None = None,
) -> Tensor:
    """Smear each image along its flow, and take the odd rows half a frame later if interlaced.

    The shutter is open around the frame's own time, the fields lie a quarter of a frame before
    and after it: ground truth for the frame's time stays centred. An image at rest is unchanged.

    Args:
        light: linear, shape (B, 3, H, W).
        flow_px: forward flow to the next frame, (u, v), shape (B, 2, H, W).
        shutter_share: part of the frame time that the shutter is open, in [0, 1], shape (B,).
        interlaced: bool, shape (B,).
        shift_px: a displacement of every lookup, e.g. by drops of water, shape (B, 2, H, W).
    """
    size = require_shapes(
        light=(light, "B C H W"),
        flow_px=(flow_px, "B 2 H W"),
        shutter_share=(shutter_share, "B"),
        interlaced=(interlaced, "B"),
    )
    require_bool(interlaced=interlaced)
    height, width = size["H"], size["W"]
    odd = torch.arange(height, device=light.device) % 2  # (H,)
    field = (2.0 * odd - 1) * FIELD_OFFSET_FRAMES * interlaced[:, None]  # (B, H), frames
    moves = (shutter_share > 0) | interlaced
    flow_px = flow_px * moves[:, None, None, None]
    active = (flow_px != 0).flatten(start_dim=1).any(dim=1)  # (B,)
    if shift_px is not None:
        active = active | (shift_px != 0).flatten(start_dim=1).any(dim=1)
    if not bool(active.any()):
        return light
    # `grid_sample`, not `warping.sample`: four lookups of a picture that is being blurred need
    # speed and not the last 1e-5 of a pixel. Its coordinates run from -1 to 1 between the edges.
    u = torch.arange(width, device=light.device, dtype=light.dtype) + 0.5  # (W,)
    v = torch.arange(height, device=light.device, dtype=light.dtype)[:, None] + 0.5  # (H, 1)
    if shift_px is not None:
        u, v = u + shift_px[:, 0], v + shift_px[:, 1]  # (B, H, W)
    base = torch.stack(torch.broadcast_tensors(u * (2 / width) - 1, v * (2 / height) - 1), dim=-1)
    path = torch.stack([flow_px[:, 0] * (2 / width), flow_px[:, 1] * (2 / height)], dim=-1)
    middle = base - field[:, :, None, None].to(path) * path
    step = path * (shutter_share / (MOTION_TAPS - 1))[:, None, None, None].to(path)
    out = torch.zeros_like(light)
    for tap in range(MOTION_TAPS):
        grid = torch.add(middle, step, alpha=(MOTION_TAPS - 1) / 2 - tap)
        out += grid_sample(light, grid, mode="bilinear", padding_mode="border", align_corners=False)
    out *= 1 / MOTION_TAPS
    return out if bool(active.all()) else torch.where(active[:, None, None, None], out, light)


def continued(light: Tensor, known: Tensor) -> Tensor:
    """Let light, or flow, go on where it is not known: a pixel takes what is known around it.

    Behind the border of its picture a sensor sees more of the wall, and blur, drops and movement
    bring that in. It is not rendered; black in its place would show as a shadow of the border.

    Args:
        light: linear, shape (B, C, H, W).
        known: bool, shape (B, 1, H, W); where it is False, `light` is replaced.
    """
    require_shapes(light=(light, "B C H W"), known=(known, "B 1 H W"))
    require_bool(known=known)
    if bool(known.all()):
        return light
    # Coarser and coarser means of what is known, and back: a hole takes the finest there is.
    share = known.to(light)
    levels = [(light * share, share)]
    while max(levels[-1][1].shape[-2:]) > 1:
        levels.append((halved(levels[-1][0]), halved(levels[-1][1])))
    filled, share = levels.pop()
    filled = filled / share.clamp(min=torch.finfo(light.dtype).tiny)
    for sums, share in reversed(levels):
        there = sums / share.clamp(min=torch.finfo(light.dtype).tiny)
        filled = torch.where(share > 0, there, doubled(filled, share.shape[-2:]))
    return filled


def binomial(image: Tensor) -> Tensor:
    """Blur with [1 2 1] / 4 along rows and columns."""
    wide = pad(image, (1, 1, 0, 0), mode="replicate")
    image = (wide[..., :-2] + wide[..., 2:]).add_(image, alpha=2).mul_(0.25)
    tall = pad(image, (0, 0, 1, 1), mode="replicate")
    return (tall[..., :-2, :] + tall[..., 2:, :]).add_(image, alpha=2).mul_(0.25)


def halved(image: Tensor) -> Tensor:
    """Return the means of 2x2 blocks; an odd row or column is continued by itself."""
    height, width = image.shape[-2:]
    if height % 2 or width % 2:
        image = pad(image, (0, width % 2, 0, height % 2), mode="replicate")
    rows = image[..., ::2, :] + image[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]).mul_(0.25)


def doubled(image: Tensor, size: Sequence[int]) -> Tensor:
    """Return an image of twice the size, linear between pixel centres, cut to `size`."""
    wide = pad(image, (1, 1, 0, 0), mode="replicate")
    image = torch.stack(
        [torch.lerp(image, wide[..., :-2], 0.25), torch.lerp(image, wide[..., 2:], 0.25)], dim=-1
    ).flatten(start_dim=-2)  # (..., H, 2 W)
    tall = pad(image, (0, 0, 1, 1), mode="replicate")
    image = torch.stack(
        [torch.lerp(image, tall[..., :-2, :], 0.25), torch.lerp(image, tall[..., 2:, :], 0.25)],
        dim=-2,
    ).flatten(start_dim=-3, end_dim=-2)  # (..., 2 H, 2 W)
    return image[..., : size[0], : size[1]]
