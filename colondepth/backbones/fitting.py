"""Images of any size through a backbone, and its maps back on the image's own pixels.

On the way in, image and camera are resized together (`remapping.resize_view`), so that every ray
still belongs to its pixel; depth along it is the same at any size. On the way back maps are looked
up between the network's pixels (`warping.sample`):

- depth, as its inverse, bilinearly: the inverse depth of a plane is linear in a pinhole's pixels,
  so a plane comes back as itself, where the nearest pixel would make a staircase of it: on a tube
  from 224x288 to 240x320 its normals were off by 7.7 degrees, these by 0.05. Across an edge, where
  the bilinear value is off the nearest one by more than `EDGE`, and beside unknown pixels, the
  nearest is taken: no wall appears in the air between a fold and what lies behind it.
- disparity likewise, in the image's pixels; flow bilinearly, in the image's pixels.
- `valid` from the nearest pixel. It is also False where a pixel is NaN or infinite, where the
  camera has no ray that looks forward, and all over a black image, or one whose partner is black
  or damaged: one bad frame does not end a video.
- `coarser_depth_mm`, `label_logits` and `target_from_source` stay as the network gave them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from colondepth.backbones.contract import Backbone, Needs
from colondepth.backbones.sight import sight
from colondepth.cameras import Camera
from colondepth.errors import DataError, ShapeError
from colondepth.remapping import resize_view
from colondepth.shapes import require_float, require_shapes
from colondepth.views import MAP_KINDS, MapKind, Prediction
from colondepth.warping import Lookup, sample

LEAST_SIDE = 8  # pixels; a smaller picture has no shape in it
BLACK = 4 / 255  # an image that is nowhere brighter shows nothing; JPEG leaves 3/255 on black
EDGE = 0.1  # share by which inverse depth may differ between a place and the nearest pixel

# What a batch holds for a backbone and moves with the image; no truth is among it.
_TRAVELS = {
    "image": MapKind.IMAGE,
    "previous": MapKind.IMAGE,
    "right": MapKind.IMAGE,
    "cues": MapKind.SCALAR,
}
_NEEDED = {
    Needs.IMAGE: (),
    Needs.PREVIOUS: ("previous",),
    Needs.MOTION: ("previous", "previous_from_current"),
    Needs.RIGHT: ("right",),
}


def predict_fitted(backbone: Backbone, batch: Mapping[str, Any]) -> Prediction:
    """Return what a backbone says about images of any size, on their own pixels.

    Args:
        backbone: any; its size rule decides what it sees.
        batch: as `Backbone.forward` takes it, but of any size from `LEAST_SIDE` up.
    """
    size = _require_batch(backbone, batch)
    batch, usable = _cleaned(batch)
    usable = usable & sight(batch["camera"], *size, like=batch["image"]).ahead
    fitting = backbone.sizes.nearest(*size)
    prediction: Prediction = backbone(batch if fitting == size else _resized(batch, fitting))
    if fitting != size:
        prediction = _brought_back(prediction, size)
    valid = usable if prediction.valid is None else prediction.valid & usable
    return replace(prediction, valid=valid)


def _require_batch(backbone: Backbone, batch: Mapping[str, Any]) -> tuple[int, int]:
    """Check what a batch must hold for a backbone, and return the (height, width) of its image."""
    name = type(backbone).__name__
    needed = ("image", "camera", *_NEEDED[backbone.needs])
    if lacking := [key for key in needed if key not in batch]:
        raise DataError(
            f"{name} needs {', '.join(needed)}; the batch lacks {lacking}. Without a calibration,"
            " Camera.assumed(height, width) is the stated guess"
        )
    images = {
        key: batch[key] for key, kind in _TRAVELS.items() if key in batch and kind is MapKind.IMAGE
    }
    size = require_shapes(**{key: (value, "B 3 H W") for key, value in images.items()})
    height, width = size["H"], size["W"]
    if min(height, width) < LEAST_SIDE or size["B"] == 0:
        raise ShapeError(
            f"image has shape {tuple(batch['image'].shape)}, expected images of"
            f" {LEAST_SIDE}x{LEAST_SIDE} pixels or more: smaller ones show no shape"
        )
    require_float(**images)
    for key, image in images.items():
        low, high = image.nan_to_num(0, 0, 0).aminmax()
        if low < 0 or high > 1:
            raise DataError(
                f"{key} lies in [{low:g}, {high:g}], expected [0, 1]; divide 8 bits by 255"
            )
    camera = batch["camera"]
    if not isinstance(camera, Camera):
        raise DataError(f"camera is a {type(camera).__name__}, expected a Camera")
    if (camera.height, camera.width) != (height, width):
        raise ShapeError(
            f"the images have {height}x{width} pixels, the camera {camera.height}x{camera.width};"
            f" camera.resized({height}, {width}) follows a resized image"
        )
    return height, width


def _cleaned(batch: Mapping[str, Any]) -> tuple[dict[str, Any], Tensor]:
    """Return a batch without truths, NaN and infinities, and which pixels show something."""
    # What is a map and no input of a network is truth, and stays at home.
    clean = {name: batch[name] for name in batch if name in _TRAVELS or name not in MAP_KINDS}
    image: Tensor = batch["image"]
    usable = image.isfinite().all(dim=1, keepdim=True)  # (B, 1, H, W)
    for name, kind in _TRAVELS.items():
        if name in batch and kind is MapKind.IMAGE:
            finite = batch[name].isfinite()
            clean[name] = torch.where(finite, batch[name], torch.zeros_like(batch[name]))
            usable = usable & (clean[name].amax(dim=(1, 2, 3), keepdim=True) > BLACK)
            if name != "image":  # nobody knows which of our pixels hear of a partner's
                usable = usable & finite.all(dim=(1, 2, 3), keepdim=True)
    return clean, usable


def _resized(batch: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Resize what travels, and the camera; images are folded, as a view has three axes."""
    folded = {
        name: value.flatten(0, 1) if name in _TRAVELS else value for name, value in batch.items()
    }
    keys = [name for name in _TRAVELS if name in batch]
    moved = resize_view(folded, keys, size, kinds=_TRAVELS)
    return {
        name: value.unflatten(0, batch[name].shape[:2]) if name in _TRAVELS else value
        for name, value in moved.items()
    }


def _brought_back(prediction: Prediction, size: tuple[int, int]) -> Prediction:
    """Return the prediction with its maps on the pixels of an image of (height, width)."""
    depth_mm = prediction.depth_mm
    places = _places(tuple(depth_mm.shape[-2:]), size, like=depth_mm)
    down, across = (new / old for new, old in zip(size, depth_mm.shape[-2:], strict=True))

    def between(values: Tensor) -> Tensor:
        return sample(values, places, lookup=Lookup.BILINEAR)[0]

    std, valid = prediction.log_depth_std, prediction.valid
    flow_px, disparity_px = prediction.flow_px, prediction.disparity_px
    if flow_px is not None:
        flow_px = between(flow_px) * flow_px.new_tensor([across, down]).reshape(2, 1, 1)
    if disparity_px is not None:
        disparity_px = _nearness_at(disparity_px, places) * across
    return replace(
        prediction,
        depth_mm=_inverse(_nearness_at(_inverse(depth_mm), places)),
        log_depth_std=None if std is None else between(std),
        valid=None if valid is None else sample(valid, places, lookup=Lookup.NEAREST)[0],
        flow_px=flow_px,
        disparity_px=disparity_px,
    )


def _places(old: tuple[int, ...], new: tuple[int, int], *, like: Tensor) -> Tensor:
    """Return where the pixels of a resized map lie on the old one, (H, W, 2)."""
    v, u = (
        (torch.arange(side, dtype=like.dtype, device=like.device) + 0.5) * (before / side) - 0.5
        for side, before in zip(new, old, strict=True)
    )
    v, u = torch.meshgrid(v, u, indexing="ij")
    return torch.stack([u, v], dim=-1)


def _nearness_at(nearness: Tensor, places: Tensor) -> Tensor:
    """Return inverse depth or disparity, 0 where unknown, at places between its pixels.

    Bilinear within a surface; from the nearest pixel across an edge and beside the unknown.
    """
    nearest, _ = sample(nearness, places, lookup=Lookup.NEAREST)
    between, _ = sample(nearness, places, lookup=Lookup.BILINEAR)
    known = (nearness > 0).to(nearness)
    surrounded = sample(known, places, lookup=Lookup.BILINEAR)[0] == 1
    within = surrounded & ((between - nearest).abs() <= EDGE * nearest)
    return torch.where(within, between, nearest)


def _inverse(values: Tensor) -> Tensor:
    """Return 1 / values, and 0 for 0, with a finite gradient in both cases."""
    positive = values > 0
    return torch.where(positive, 1 / torch.where(positive, values, torch.ones_like(values)), 0)
