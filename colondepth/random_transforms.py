"""Dictionary transforms that draw what they do anew for each view.

Drawing is one function, `draw`, using the numbers another, so that a draw can be logged. Draws come
from MONAI's random state: `set_random_state` and `set_determinism` govern them. With torch's own
DataLoader give every worker a state of its own (`monai.data.utils.worker_init_fn` does).
"""

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.transforms.inverse import InvertibleTransform

from colondepth.errors import DataError
from colondepth.remapping import crop_view, flip_view, uncrop_view
from colondepth.transforms import (
    Kinds,
    ViewDict,
    done,
    frame_size,
    moving_keys,
    require_size,
    rotated,
    undone,
)


class RandCropViewd(Randomizable, MapTransform, InvertibleTransform):
    """Keep a rectangle of a view, drawn anew for each.

    Args:
        keys: maps to crop, of one common size.
        size: (height, width) of the rectangle.
        allow_missing_keys: skip the keys that a view does not have.
    """

    def __init__(
        self, keys: KeysCollection, size: tuple[int, int], *, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        require_size(size)
        self.size = size

    def draw(self, frame: tuple[int, int]) -> tuple[int, int]:
        """Draw the first row and column for a frame of (height, width)."""
        spare = frame[0] - self.size[0], frame[1] - self.size[1]
        if min(spare) < 0:
            raise DataError(f"a crop of {self.size} does not fit a frame of {frame}")
        return int(self.R.randint(spare[0] + 1)), int(self.R.randint(spare[1] + 1))

    def __call__(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Return a cropped copy of `data`."""
        keys = moving_keys(self, data)
        size = frame_size(data, keys)
        top, left = self.draw(size)
        view = crop_view(data, keys, top=top, left=left, height=self.size[0], width=self.size[1])
        return done(self, data, view, {"size": size, "top": top, "left": left})

    def inverse(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Put the rectangle back; what was cut off is 0, and False in masks."""
        view, before = undone(self, data)
        return uncrop_view(view, moving_keys(self, view), **before)


class RandFlipViewd(Randomizable, MapTransform, InvertibleTransform):
    """Mirror a view left to right, and top to bottom, each with a probability of its own.

    Args:
        keys: maps to mirror.
        prob: probability of either mirror, in [0, 1].
        kinds: kinds of maps that `views.MAP_KINDS` does not list.
        allow_missing_keys: skip the keys that a view does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float,
        *,
        kinds: Kinds | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if not 0 <= prob <= 1:
            raise DataError(f"prob is {prob}, expected a number in [0, 1]")
        self.prob = prob
        self.kinds = kinds or {}

    def draw(self) -> tuple[int, ...]:
        """Draw the axes to mirror."""
        return tuple(axis for axis in (-1, -2) if self.R.random_sample() < self.prob)

    def __call__(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Return a copy of `data`, mirrored or not."""
        axes = self.draw()
        view = dict(data)
        for axis in axes:
            view = flip_view(view, moving_keys(self, data), axis=axis, kinds=self.kinds)
        return done(self, data, view, {"axes": axes})

    def inverse(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Mirror back, bit for bit."""
        view, before = undone(self, data)
        for axis in before["axes"]:
            view = flip_view(view, moving_keys(self, view), axis=axis, kinds=self.kinds)
        return view


class RandRotateViewd(Randomizable, MapTransform, InvertibleTransform):
    """Roll the camera by an angle drawn evenly between two bounds.

    Args:
        keys: maps to turn.
        largest_rad: the angle is drawn from [-largest_rad, largest_rad].
        kinds: kinds of maps that `views.MAP_KINDS` does not list.
        allow_missing_keys: skip the keys that a view does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        largest_rad: float,
        *,
        kinds: Kinds | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.largest_rad = largest_rad
        self.kinds = kinds or {}

    def draw(self) -> float:
        """Draw the angle."""
        return float(self.R.uniform(-self.largest_rad, self.largest_rad))

    def __call__(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Return a turned copy of `data`."""
        angle_rad = self.draw()
        view = rotated(data, moving_keys(self, data), angle_rad, self.kinds)
        return done(self, data, view, {"angle_rad": angle_rad})

    def inverse(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Turn back; corners that left the frame stay lost."""
        view, before = undone(self, data)
        return rotated(view, moving_keys(self, view), -before["angle_rad"], self.kinds)
