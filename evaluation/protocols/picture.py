"""What a paper does to a frame before the network sees it: a crop, or another lens.

A change is applied to the whole view, so that image, truth and camera stay true to each other.
Depth is taken from the nearest pixel and never interpolated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.remapping import crop_view, resize_view, see_through
from colondepth.views import MAP_KINDS, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A part of the dataset's own picture, in its pixels."""

    of: tuple[int, int]  # (height, width) of the picture it was stated for
    top: int
    left: int
    height: int
    width: int

    @property
    def words(self) -> str:
        """Say it in a few words."""
        bottom, right = self.top + self.height, self.left + self.width
        return f"rows {self.top} to {bottom - 1}, columns {self.left} to {right - 1}"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what is left."""
        return self.height, self.width

    def applied(self, view: View) -> View:
        """Return the part of a view."""
        return cast(View, crop_view(view, _maps(view), **_box(self.top, self.left, *self.size)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Straightened:
    """Seen through a pinhole of the same size, then shrunk and cut to a square in the middle."""

    of: tuple[int, int]  # (height, width) of the picture that the pinhole is for
    fx: float
    fy: float
    cx: float
    cy: float
    side: int  # of the square

    @property
    def words(self) -> str:
        """Say it in a few words."""
        return (
            f"straightened to the pinhole fx {self.fx:g}, fy {self.fy:g}, cx {self.cx:g}, cy"
            f" {self.cy:g}, shorter side to {self.side} px, the middle {self.side}x{self.side}"
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the square."""
        return self.side, self.side

    def applied(self, view: View) -> View:
        """Return the square of a view."""
        height, width = self.of
        pinhole = Camera.pinhole(
            fx=self.fx, fy=self.fy, cx=self.cx, cy=self.cy, height=height, width=width
        ).to(view["image"])
        held: Mapping[str, Any] = {**view, "camera": view["camera"].to(view["image"])}
        seen = see_through(held, _maps(view), pinhole, kinds={})
        scale = self.side / min(height, width)
        size = (round(height * scale), round(width * scale))
        small = resize_view(seen, _maps(cast(View, seen)), size, kinds={})
        top, left = (size[0] - self.side) // 2, (size[1] - self.side) // 2
        return cast(View, crop_view(small, _maps(cast(View, small)), **_box(top, left, *self.size)))


Picture = Crop | Straightened


def pictured(view: View, picture: Picture | None) -> View:
    """Return the view that a protocol scores; a picture of another size is an error."""
    if picture is None:
        return view
    size = (int(view["image"].shape[-2]), int(view["image"].shape[-1]))
    if size != picture.of:
        raise DataError(
            f"the frame has {size[0]}x{size[1]} pixels, expected {picture.of[0]}x{picture.of[1]}:"
            f" the protocol's picture ({picture.words}) is stated for the dataset's own frames"
        )
    return picture.applied(view)


def _maps(view: View) -> list[str]:
    return [name for name in view if name in MAP_KINDS]


def _box(top: int, left: int, height: int, width: int) -> dict[str, int]:
    return {"top": top, "left": left, "height": height, "width": width}
