"""What becomes of a view when its pixels move: the arithmetic behind the transforms.

Every function takes a view, returns a new one and leaves the old as it was. The camera follows
exactly, whatever its lens. A flip or a turn also turns the camera's own axes, so that a network
always sees a camera whose x runs right and y down: a flipped view is the view of a mirrored colon,
and a turned one is the view of a camera that rolled. Points, normals and `world_from_camera` agree
with that; depth and distance do not change at all.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from colondepth.cameras import Camera, pixel_grid
from colondepth.errors import DataError
from colondepth.undistortion import (
    pixels_through,
    undistort_depth,
    undistort_flow,
    undistort_image,
    undistort_mask,
    undistort_normals,
)
from colondepth.views import MAP_KINDS, MapKind
from colondepth.warping import Lookup, sample


def map_kind(name: str, kinds: Mapping[str, MapKind]) -> MapKind:
    """Return the kind of a map, from the caller's table or the project's."""
    kind = kinds.get(name, MAP_KINDS.get(name))
    if kind is None:
        raise DataError(
            f"nobody knows what kind of map {name!r} is; known: {', '.join(sorted(MAP_KINDS))}."
            f" Pass kinds={{{name!r}: MapKind...}}"
        )
    return kind


def resize_view(
    view: Mapping[Any, Any],
    keys: Iterable[str],
    size: tuple[int, int],
    *,
    kinds: Mapping[str, MapKind],
) -> dict[Any, Any]:
    """Resize maps (C, H, W) to (height, width); shrunk images are smoothed first."""
    new = dict(view)
    for name in keys:
        values, kind = view[name], map_kind(name, kinds)
        if kind is MapKind.IMAGE:
            smooth = interpolate(
                values[None], size, mode="bilinear", align_corners=False, antialias=True
            )[0]
            new[name] = smooth.clamp(0, 1)  # smoothing white gives 1.0000002
        else:
            rows = _nearest_exact(values.shape[-2], size[0], values.device)
            columns = _nearest_exact(values.shape[-1], size[1], values.device)
            new[name] = values[..., rows[:, None], columns]
        if kind is MapKind.FLOW:
            scale = [size[1] / values.shape[-1], size[0] / values.shape[-2]]
            new[name] = new[name] * values.new_tensor(scale).reshape(2, 1, 1)
    if "camera" in view:
        new["camera"] = view["camera"].resized(*size)
    return new


def crop_view(
    view: Mapping[Any, Any], keys: Iterable[str], *, top: int, left: int, height: int, width: int
) -> dict[Any, Any]:
    """Keep height x width pixels of every map, starting at row `top` and column `left`."""
    new = dict(view)
    for name in keys:
        rows, columns = view[name].shape[-2:]
        if min(top, left) < 0 or top + height > rows or left + width > columns:
            raise DataError(
                f"the crop of {height}x{width} at row {top}, column {left} leaves {name!r}, which"
                f" has {rows}x{columns}"
            )
        new[name] = view[name][..., top : top + height, left : left + width]
    if "camera" in view:
        new["camera"] = view["camera"].cropped(top, left, height, width)
    return new


def uncrop_view(
    view: Mapping[Any, Any], keys: Iterable[str], *, top: int, left: int, size: tuple[int, int]
) -> dict[Any, Any]:
    """Put cropped maps back into a frame of (height, width); what was cut off is 0 and False."""
    new = dict(view)
    for name in keys:
        rows, columns = view[name].shape[-2:]
        margins = (left, size[1] - columns - left, top, size[0] - rows - top)
        new[name] = pad(view[name], margins)
    if "camera" in view:
        camera = view["camera"]
        offset = torch.tensor([left, top])
        new["camera"] = camera.remapped(torch.eye(2), offset, height=size[0], width=size[1])
    return new


def flip_view(
    view: Mapping[Any, Any], keys: Iterable[str], *, axis: int, kinds: Mapping[str, MapKind]
) -> dict[Any, Any]:
    """Mirror maps left to right (axis -1) or top to bottom (axis -2), bit for bit."""
    keys = list(keys)
    new = dict(view)
    for name in keys:
        new[name] = view[name].flip(axis)
    sign = torch.tensor([-1.0, 1.0] if axis == -1 else [1.0, -1.0], dtype=torch.float64)
    if "camera" in view:
        camera: Camera = view["camera"]
        outer = torch.tensor([camera.width - 1.0, camera.height - 1.0], dtype=torch.float64)
        offset = torch.where(sign < 0, outer, 0)
        size = {"height": camera.height, "width": camera.width}
        new["camera"] = camera.remapped(sign.diag(), offset, **size)
    return _turn_vectors(new, keys, sign.diag(), flow=sign.diag(), kinds=kinds)


def move_view(
    view: Mapping[Any, Any],
    keys: Iterable[str],
    *,
    linear: Tensor,
    offset: Tensor,
    size: tuple[int, int],
    kinds: Mapping[str, MapKind],
) -> dict[Any, Any]:
    """Move every pixel to linear @ pixel + offset in a frame of (height, width).

    Args:
        view: the view.
        keys: the maps to move.
        linear: (2, 2) float64, not singular.
        offset: (2,) float64.
        size: (height, width) of the new frame.
        kinds: kinds of maps that the project does not know.

    Returns:
        The moved view, whose `valid` is False where no old pixel was.
    """
    keys = list(keys)
    new = dict(view)
    grid = pixel_grid(*size, like=linear)  # (H2, W2, 2)
    source = (grid - offset) @ torch.linalg.inv(linear).mT
    inside = None
    for name in keys:
        values = view[name]
        image = map_kind(name, kinds) is MapKind.IMAGE
        lookup = Lookup.BILINEAR if image else Lookup.NEAREST
        pixels = source.to(values.device, values.dtype if image else source.dtype)
        new[name], inside = sample(values, pixels, lookup=lookup)
    if "camera" in view:
        new["camera"] = view["camera"].remapped(linear, offset, height=size[0], width=size[1])
    if inside is not None:
        new["valid"] = new["valid"] & inside if "valid" in keys else inside
    # The camera's axes follow the turn that is nearest to `linear`: its orthogonal polar factor.
    left, _, right = torch.linalg.svd(linear)
    return _turn_vectors(new, keys, left @ right, flow=linear, kinds=kinds)


def turn_matrix(angle_rad: float) -> Tensor:
    """Return the (2, 2) turn that carries x towards y, clockwise on the screen."""
    angle = torch.tensor(angle_rad, dtype=torch.float64)
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2)


def see_through(
    view: Mapping[Any, Any], keys: Iterable[str], camera: Camera, *, kinds: Mapping[str, MapKind]
) -> dict[Any, Any]:
    """Show a view as another camera at the same place and with the same axes would see it."""
    if "camera" not in view:
        raise DataError("the view has no camera, so nothing says how its lens bends")
    old: Camera = view["camera"]
    keys = list(keys)
    look = {
        MapKind.IMAGE: undistort_image,
        MapKind.TRUTH: undistort_mask,
        MapKind.SCALAR: undistort_mask,
        MapKind.NORMALS: undistort_normals,
        MapKind.FLOW: undistort_flow,
    }
    new = dict(view)
    _, seen = pixels_through(camera, old)
    seen = seen[..., None, :, :]
    for name in keys:
        change = undistort_depth if name == "depth_mm" else look[map_kind(name, kinds)]
        new[name], known = change(view[name], old, camera)
        if map_kind(name, kinds) is MapKind.FLOW:
            seen = seen & known.to(seen.device)
    new["valid"] = new["valid"] & seen if "valid" in keys else seen
    new["camera"] = camera
    return new


def _nearest_exact(old: int, new: int, device: torch.device) -> Tensor:
    """Return which old row (or column) each new one takes its values from, of any type.

    Plain "nearest" takes the corner of each block and moves a depth map by up to half an old
    pixel; this is torch's "nearest-exact", which knows floating types only.
    """
    centre = (torch.arange(new, dtype=torch.float64) + 0.5) * (old / new)
    return centre.floor().long().clamp(max=old - 1).to(device)


def _turn_vectors(
    view: dict[Any, Any],
    keys: list[str],
    turn: Tensor,
    *,
    flow: Tensor,
    kinds: Mapping[str, MapKind],
) -> dict[Any, Any]:
    """Turn what points somewhere: axes of the camera, normals, motion; and stretch the flow."""
    for name in keys:
        kind = map_kind(name, kinds)
        if kind is MapKind.FLOW:
            view[name] = _apply(flow, view[name])
        elif kind is MapKind.NORMALS:
            view[name] = torch.cat(
                [_apply(turn, view[name][..., :2, :, :]), view[name][..., 2:, :, :]], dim=-3
            )
    if "camera" in view:
        view["camera"] = view["camera"].turned(turn)
    if "world_from_camera" in view:
        pose = view["world_from_camera"]
        whole = torch.block_diag(turn, torch.eye(2, dtype=turn.dtype)).to(pose)
        # A mirror would leave a left-handed pose: mirror the world with the camera.
        pose = pose @ whole.mT
        view["world_from_camera"] = whole @ pose if torch.linalg.det(turn) < 0 else pose
    return view


def _apply(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Multiply the channels of (..., 2, H, W) by a (2, 2) matrix."""
    return torch.einsum("ij,...jhw->...ihw", matrix.to(vectors), vectors)
