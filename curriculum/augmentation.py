"""Changes to a batch before the network sees it: drawing them is one function, applying another.

Photometric changes touch the image alone and differ between the views of a batch. Mirrors and
quarter turns move image, maps and camera together and exactly, one for the whole batch: no pixel is
interpolated, and depth does not change. A turned batch has height and width exchanged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from colondepth.cameras import Camera
from colondepth.remapping import flip_view, map_kind, turn_matrix
from colondepth.views import MapKind
from curriculum.stages import Augmentation

# What rendered batches have beside a view's own maps.
EXTRA_KINDS: Mapping[str, MapKind] = {
    "albedo": MapKind.IMAGE,
    "shading": MapKind.SCALAR,
    "label": MapKind.SCALAR,
    "arc_mm": MapKind.SCALAR,
    "angle_rad": MapKind.SCALAR,
    "flow_known": MapKind.TRUTH,
    "previous": MapKind.IMAGE,
}
_BLUR_TAPS = 3  # on either side; a kernel of 1.5 px has 2 % outside
_LEAST_BLUR_PX = 0.2  # below, a pixel's neighbours weigh nothing
_GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AugmentationDraw:
    """What is done to one batch of B views."""

    colour: Tensor | None  # (B, 3, 3), from RGB to RGB
    gamma: Tensor | None  # (B,)
    blur_px: Tensor | None  # (B,)
    noise: Tensor | None  # (B,)
    noise_seed: int
    flip_across: bool
    flip_down: bool
    quarter_turns: int  # clockwise


def draw_augmentation(
    generator: torch.Generator, views: int, settings: Augmentation
) -> AugmentationDraw:
    """Draw what happens to a batch; the generator is on the CPU."""

    def spread(*shape: int) -> Tensor:
        return torch.rand(views, *shape, generator=generator) * 2 - 1  # in [-1, 1)

    # Everything is drawn, so that switching one thing off leaves the others as they were.
    gain, white, hue, saturation = spread(1), spread(3), spread(), spread()
    gamma, blur, noise = spread(), spread(), spread()
    grey = torch.rand(views, generator=generator) < settings.grey_share
    sides = torch.randint(2, (2,), generator=generator).tolist()
    turns = int(torch.randint(4, (), generator=generator))
    seed = int(torch.randint(2**31, (), generator=generator))
    changes_colour = (
        max(settings.gain, settings.white_balance, settings.hue_rad, settings.saturation) > 0
    )
    colour = None
    if changes_colour or settings.grey_share > 0:
        left = torch.where(grey, 0.0, 1 + saturation * settings.saturation)
        gains = 2 ** (gain * settings.gain + white * settings.white_balance)  # (B, 3)
        colour = gains[:, :, None] * _hue_matrix(hue * settings.hue_rad, left)  # (B, 3, 3)
    return AugmentationDraw(
        colour=colour,
        gamma=2 ** (gamma * settings.gamma) if settings.gamma else None,
        blur_px=blur.abs() * settings.blur_px if settings.blur_px else None,
        noise=noise.abs() * settings.noise if settings.noise else None,
        noise_seed=seed,
        flip_across=bool(sides[0]) and settings.flip_across,
        flip_down=bool(sides[1]) and settings.flip_down,
        quarter_turns=turns if settings.quarter_turns else 0,
    )


def augment(batch: Mapping[str, Any], draw: AugmentationDraw) -> dict[str, Any]:
    """Return a batch with a draw applied; the old one is left as it was."""
    new = dict(batch)
    new["image"] = _photometric(batch["image"], draw)
    names = [name for name, value in new.items() if isinstance(value, Tensor) and value.ndim == 4]
    if draw.flip_across:
        new = flip_view(new, names, axis=-1, kinds=EXTRA_KINDS)
    if draw.flip_down:
        new = flip_view(new, names, axis=-2, kinds=EXTRA_KINDS)
    return _turned(new, names, draw.quarter_turns) if draw.quarter_turns else new


def _photometric(image: Tensor, draw: AugmentationDraw) -> Tensor:
    views, channels, height, width = image.shape
    if draw.colour is not None:
        colour = draw.colour.to(image)
        flat = torch.bmm(colour, image.flatten(start_dim=2))  # (B, 3, H W)
        image = flat.reshape(views, channels, height, width).clamp(0, 1)
    if draw.gamma is not None:
        # Safe at black, where the power has no slope: no gradient goes through an image.
        image = image ** draw.gamma.to(image)[:, None, None, None]
    if draw.blur_px is not None:
        image = _blurred(image, draw.blur_px.to(image))
    if draw.noise is not None:
        generator = torch.Generator(image.device).manual_seed(draw.noise_seed)
        grain = torch.randn(
            image.shape, generator=generator, device=image.device, dtype=image.dtype
        )
        image = image + grain * draw.noise.to(image)[:, None, None, None]
    return image.clamp(0, 1)


def _hue_matrix(angle_rad: Tensor, saturation: Tensor) -> Tensor:
    """Return (B, 3, 3): the part of a colour across the grey axis is turned and stretched."""
    third = angle_rad.new_full((3, 3), 1 / 3)
    root = 3**-0.5
    # The cross product with the unit vector along the grey axis (1, 1, 1) / sqrt(3).
    cross = angle_rad.new_tensor([[0, -root, root], [root, 0, -root], [-root, root, 0]])
    across = torch.eye(3, dtype=angle_rad.dtype) - third
    grey = angle_rad.new_tensor(_GREY).expand(3, 3)
    cosine, sine = angle_rad.cos()[:, None, None], angle_rad.sin()[:, None, None]
    turned = third + cosine * across + sine * cross  # Rodrigues about the grey axis
    stretch = saturation[:, None, None]
    # Towards luma, not towards the mean of the channels: red mucosa keeps its brightness.
    return (1 - stretch) * grey + stretch * turned


def _blurred(image: Tensor, sigma_px: Tensor) -> Tensor:
    views, channels, height, width = image.shape
    taps = torch.arange(-_BLUR_TAPS, _BLUR_TAPS + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (taps / sigma_px.clamp(min=_LEAST_BLUR_PX)[:, None]).square())
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    flat = image.reshape(1, views * channels, height, width)
    edge = _BLUR_TAPS
    down = conv2d(
        pad(flat, (0, 0, edge, edge), mode="replicate"),
        kernel[:, None, :, None],
        groups=views * channels,
    )
    both = conv2d(
        pad(down, (edge, edge, 0, 0), mode="replicate"),
        kernel[:, None, None, :],
        groups=views * channels,
    )
    return both.reshape(views, channels, height, width)


def _turned(batch: dict[str, Any], names: list[str], turns: int) -> dict[str, Any]:
    """Turn a batch clockwise by quarters: the camera rolls the other way round."""
    camera: Camera = batch["camera"]
    turn = turn_matrix(turns * pi / 2).round()  # (2, 2), of -1, 0 and 1
    # The corner that becomes the new first pixel is the one where both coordinates are least.
    outer = torch.tensor([camera.width - 1.0, camera.height - 1.0], dtype=turn.dtype)
    offset = (-turn).clamp(min=0) @ outer
    odd = turns % 2 == 1
    height, width = (camera.width, camera.height) if odd else (camera.height, camera.width)
    new = dict(batch)
    for name in names:
        new[name] = torch.rot90(batch[name], -turns, dims=(-2, -1))
        if map_kind(name, EXTRA_KINDS) in (MapKind.NORMALS, MapKind.FLOW):
            flat = torch.einsum("ij,bjhw->bihw", turn.to(new[name]), new[name][:, :2])
            new[name] = torch.cat([flat, new[name][:, 2:]], dim=1)
    new["camera"] = camera.remapped(turn, offset, height=height, width=width).turned(turn)
    if "world_from_camera" in batch:
        pose = batch["world_from_camera"]
        whole = torch.block_diag(turn, torch.eye(2, dtype=turn.dtype)).to(pose)
        new["world_from_camera"] = pose @ whole.mT
    return new
