"""Dictionary transforms after MONAI's convention: they move views and keep their geometry true.

A name ends in d, keys come first, `allow_missing_keys` last, and a new dictionary comes out. The
arithmetic lives in `remapping` and `undistortion`; here the keys are walked. A view is one
frame: maps (C, H, W), one camera. Transforms compose in `monai.transforms.Compose`; the invertible
ones undo themselves, camera included, so that a prediction made on the changed view can be carried
back: put it into the dictionary under its key and call `inverse`.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.transforms.inverse import InvertibleTransform

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.remapping import (
    crop_view,
    flip_view,
    move_view,
    resize_view,
    see_through,
    turn_matrix,
    uncrop_view,
)
from colondepth.undistortion import pinhole_for
from colondepth.views import MAP_KINDS, MapKind

ViewDict = dict[Hashable, Any]
Kinds = Mapping[str, MapKind]

# Where a view keeps what has been done to it, last at the end.
UNDO_KEY = "undo"


class _Step(NamedTuple):
    """What was done to a view, by whom, and what it takes to undo it."""

    transform: str
    before: dict[str, Any]


class ResizeViewd(MapTransform, InvertibleTransform):
    """Resize the maps of a view.

    Args:
        keys: maps to resize, of one common size.
        size: the new (height, width).
        kinds: kinds of maps that `views.MAP_KINDS` does not list.
        allow_missing_keys: skip the keys that a view does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: tuple[int, int],
        *,
        kinds: Kinds | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        require_size(size)
        self.size = size
        self.kinds = kinds or {}

    def __call__(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Return a resized copy of `data`."""
        keys = moving_keys(self, data)
        before = {"size": frame_size(data, keys)}
        return done(self, data, resize_view(data, keys, self.size, kinds=self.kinds), before)

    def inverse(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Resize back; what shrinking lost stays lost."""
        view, before = undone(self, data)
        return resize_view(view, moving_keys(self, view), before["size"], kinds=self.kinds)


class CropViewd(MapTransform, InvertibleTransform):
    """Keep a rectangle of a view.

    Args:
        keys: maps to crop, of one common size.
        top: first row that is kept.
        left: first column that is kept.
        size: (height, width) of the rectangle.
        allow_missing_keys: skip the keys that a view does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        top: int,
        left: int,
        size: tuple[int, int],
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        require_size(size)
        self.top, self.left, self.size = top, left, size

    def __call__(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Return a cropped copy of `data`."""
        keys = moving_keys(self, data)
        height, width = self.size
        view = crop_view(data, keys, top=self.top, left=self.left, height=height, width=width)
        before = {"size": frame_size(data, keys), "top": self.top, "left": self.left}
        return done(self, data, view, before)

    def inverse(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Put the rectangle back; what was cut off is 0, and False in masks."""
        view, before = undone(self, data)
        return uncrop_view(view, moving_keys(self, view), **before)


class FlipViewd(MapTransform, InvertibleTransform):
    """Mirror a view, and with it the colon: see `remapping`.

    Args:
        keys: maps to mirror.
        axis: -1 exchanges left and right, -2 top and bottom.
        kinds: kinds of maps that `views.MAP_KINDS` does not list.
        allow_missing_keys: skip the keys that a view does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        axis: int,
        *,
        kinds: Kinds | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if axis not in (-1, -2):
            raise DataError(f"axis is {axis}, expected -1 (left and right) or -2 (top and bottom)")
        self.axis = axis
        self.kinds = kinds or {}

    def __call__(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Return a mirrored copy of `data`."""
        view = flip_view(data, moving_keys(self, data), axis=self.axis, kinds=self.kinds)
        return done(self, data, view, {})

    def inverse(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Mirror back, bit for bit."""
        view, _ = undone(self, data)
        return flip_view(view, moving_keys(self, view), axis=self.axis, kinds=self.kinds)


class RotateViewd(MapTransform, InvertibleTransform):
    """Roll the camera: turn a view about the centre of its frame, clockwise on the screen.

    Args:
        keys: maps to turn.
        angle_rad: how far; pixels from outside the old frame are 0 and not `valid`.
        kinds: kinds of maps that `views.MAP_KINDS` does not list.
        allow_missing_keys: skip the keys that a view does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        angle_rad: float,
        *,
        kinds: Kinds | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.angle_rad = angle_rad
        self.kinds = kinds or {}

    def __call__(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Return a turned copy of `data`."""
        view = rotated(data, moving_keys(self, data), self.angle_rad, self.kinds)
        return done(self, data, view, {})

    def inverse(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Turn back; corners that left the frame stay lost."""
        view, _ = undone(self, data)
        return rotated(view, moving_keys(self, view), -self.angle_rad, self.kinds)


class UndistortViewd(MapTransform, InvertibleTransform):
    """Straighten a view into that of an ideal pinhole at the same place.

    Args:
        keys: maps to straighten.
        field_rad: angle across the new width.
        size: (height, width) of the new frame.
        kinds: kinds of maps that `views.MAP_KINDS` does not list.
        allow_missing_keys: skip the keys that a view does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        field_rad: float,
        size: tuple[int, int],
        *,
        kinds: Kinds | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.field_rad, self.size = field_rad, size
        self.kinds = kinds or {}

    def __call__(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Return a straightened copy of `data`; `valid` is False where the lens saw nothing."""
        keys = moving_keys(self, data)
        if "camera" not in data:
            raise DataError("the view has no camera, so nothing says how its lens bends")
        camera: Camera = data["camera"]
        height, width = self.size
        target = pinhole_for(camera, field_rad=self.field_rad, height=height, width=width)
        view = see_through(data, keys, target, kinds=self.kinds)
        return done(self, data, view, {"camera": camera})

    def inverse(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Bend the view back; what the pinhole did not see stays lost."""
        view, before = undone(self, data)
        return see_through(view, moving_keys(self, view), before["camera"], kinds=self.kinds)


def present_keys(transform: MapTransform, data: Mapping[Hashable, Any]) -> list[str]:
    """Return the transform's keys that the view has; a missing one is an error unless allowed."""
    keys = [str(key) for key in transform.keys]
    lacking = [key for key in keys if key not in data]
    if lacking and not transform.allow_missing_keys:
        raise DataError(
            f"{type(transform).__name__}: the view lacks {lacking}; it has"
            f" {sorted(map(str, data))}. allow_missing_keys=True skips what is not there"
        )
    return [key for key in keys if key in data]


def moving_keys(transform: MapTransform, data: Mapping[Hashable, Any]) -> list[str]:
    """Return the keys to move, having checked that no map of the view is left behind."""
    keys = present_keys(transform, data)
    if behind := sorted(name for name in MAP_KINDS if name in data and name not in keys):
        raise DataError(
            f"{type(transform).__name__} would move {keys} and leave {behind} where they are, which"
            " would then belong to no pixel; add them to the keys, or take them out of the view"
        )
    return keys


def require_size(size: tuple[int, int]) -> None:
    """Check that a frame of (height, width) has pixels."""
    if min(size) < 1:
        raise DataError(f"size is {size}, expected a height and a width of 1 or more")


def frame_size(data: Mapping[Hashable, Any], keys: Iterable[str]) -> tuple[int, int]:
    """Return the (height, width) that all maps share."""
    sizes = {key: tuple(data[key].shape[-2:]) for key in keys}
    if "camera" in data:
        sizes["camera"] = (data["camera"].height, data["camera"].width)
    if len(set(sizes.values())) != 1:
        raise DataError(f"the maps of a view have one size, found {sizes}")
    height, width = next(iter(sizes.values()))
    return height, width


def done(
    transform: MapTransform, data: Mapping[Hashable, Any], view: ViewDict, before: dict[str, Any]
) -> ViewDict:
    """Return `view` with a note of what was done to `data`, for `undone` to read."""
    step = _Step(type(transform).__name__, before)
    return {**view, UNDO_KEY: (*data.get(UNDO_KEY, ()), step)}


def undone(
    transform: MapTransform, data: Mapping[Hashable, Any]
) -> tuple[ViewDict, dict[str, Any]]:
    """Return the view without its last note, and the note; another transform's is an error."""
    steps: tuple[_Step, ...] = data.get(UNDO_KEY, ())
    name = type(transform).__name__
    if not steps or steps[-1].transform != name:
        last = steps[-1].transform if steps else "nothing"
        raise DataError(f"{name} cannot be undone: the last thing done to this view was {last}")
    view = {key: value for key, value in data.items() if key != UNDO_KEY}
    return {**view, **({UNDO_KEY: steps[:-1]} if steps[:-1] else {})}, steps[-1].before


def rotated(
    data: Mapping[Hashable, Any], keys: list[str], angle_rad: float, kinds: Kinds
) -> ViewDict:
    """Return the view turned about the centre of its frame."""
    height, width = frame_size(data, keys)
    linear = turn_matrix(angle_rad)
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=linear.dtype)
    offset = middle - linear @ middle
    return move_view(data, keys, linear=linear, offset=offset, size=(height, width), kinds=kinds)
