"""Dictionary transforms that find what of a frame must not be used, and narrow `valid` to the rest.

They follow the convention of `transforms`, and leave every pixel where it was. Find the aperture
first: highlights and text are then looked for with its border known.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from monai.transforms import MapTransform
from torch import Tensor

from colondepth.masks import find_aperture, find_specular, find_text
from colondepth.transforms import ViewDict, present_keys


class ApertureMaskd(MapTransform):
    """Find the round or octagonal field of the scope: `inside`, and `valid` only there.

    Args:
        keys: the image to look at.
        allow_missing_keys: skip the keys that a view does not have.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Return a copy of `data` that knows its aperture."""
        view = dict(data)
        for key in present_keys(self, data):
            view["inside"] = find_aperture(data[key])
            view["valid"] = _narrowed(view, view["inside"])
        return view


class SpecularMaskd(MapTransform):
    """Find specular highlights: `specular`, and `valid` only elsewhere.

    Args:
        keys: the image to look at.
        allow_missing_keys: skip the keys that a view does not have.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Return a copy of `data` that knows its highlights."""
        return _without(self, data, "specular", find_specular)


class TextMaskd(MapTransform):
    """Find burnt-in text and graphics: `overlay`, and `valid` only elsewhere.

    Args:
        keys: the image to look at.
        allow_missing_keys: skip the keys that a view does not have.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> ViewDict:
        """Return a copy of `data` that knows its on-screen text."""
        return _without(self, data, "overlay", find_text)


def _without(
    transform: MapTransform, data: Mapping[Hashable, Any], name: str, find: Callable[..., Tensor]
) -> ViewDict:
    """Note what `find` finds under `name`, and take it out of `valid`."""
    view = dict(data)
    for key in present_keys(transform, data):
        view[name] = find(data[key], inside=data.get("inside"))
        view["valid"] = _narrowed(view, ~view[name])
    return view


def _narrowed(view: ViewDict, usable: Tensor) -> Tensor:
    """Return `valid` narrowed to what is usable; without a `valid`, just that."""
    return view["valid"] & usable if "valid" in view else usable
