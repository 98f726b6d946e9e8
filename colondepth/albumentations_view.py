"""Any albumentations pipeline over a whole view, with one draw, and the geometry still true.

The image goes through the pipeline together with a map of its own pixel coordinates. Where each
new pixel came from can then be read off, whatever the pipeline did: flips, crops, resizes, turns
and shears show as an affine map, which the camera and all other maps follow exactly (albumentations
itself would take depth from the wrong half of a pixel when it resizes). A pipeline that bends the
image has no camera that follows, and is refused for views that have one.

albumentations is imported when the transform is made: training machines need not have it. Its
check for newer versions, which asks the network, is off.
"""

import os
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from numpy.typing import NDArray
from torch import Tensor

from colondepth.errors import DataError, MissingExtraError
from colondepth.remapping import map_kind, move_view
from colondepth.views import MAP_KINDS, MapKind

# OpenCV interpolates in steps of 1/32 pixel, so the coordinates of a true affine map come back a
# few hundredths off; a bend that matters is larger.
LARGEST_BEND_PX = 0.15
_IDENTITY = 1e-4  # an affine map this near to doing nothing did nothing: colours only


class Albumentationsd(Randomizable, MapTransform):
    """Run an albumentations transform, or a list of them, over the keys of a view.

    Colour changes reach the maps of kind image only. `valid` becomes False where the pipeline
    moved in pixels from outside the frame. The draws come from MONAI's random state, so
    `set_random_state`, `set_determinism` and MONAI's DataLoader workers govern them too.

    Args:
        keys: maps of the view, an image among them; the first image is what the pipeline sees,
            and further images get the same draw.
        pipeline: an albumentations transform, composition, or list.
        kinds: kinds of maps that `views.MAP_KINDS` does not list.
        allow_missing_keys: skip the keys that a view does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        pipeline: Any,
        *,
        kinds: Mapping[str, MapKind] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.kinds = kinds or {}
        self._names = [str(key) for key in self.keys]
        images = [name for name in self._names if map_kind(name, self.kinds) is MapKind.IMAGE]
        if not images:
            raise DataError(f"Albumentationsd needs an image among its keys, found {self._names}")
        self._first, self._more = images[0], images[1:]
        self._pipeline = _whole(pipeline, self._more)

    def draw(self) -> int:
        """Draw the seed of one run of the pipeline."""
        return int(self.R.randint(2**31 - 1))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a changed copy of `data`."""
        lacking = [key for key in self._names if key not in data]
        if lacking and (not self.allow_missing_keys or self._first in lacking):
            raise DataError(f"Albumentationsd: the view lacks {lacking}")
        keys = [key for key in self._names if key in data]
        behind = sorted(name for name in MAP_KINDS if name in data and name not in keys)
        height, width = data[self._first].shape[-2:]
        more = {key: _to_numpy(data[key]) for key in self._more if key in data}
        self._pipeline.set_random_seed(self.draw())
        drawn = self._pipeline(
            image=_to_numpy(data[self._first]), where=_coordinates(height, width), **more
        )
        images = {self._first: drawn["image"]} | {key: drawn[key] for key in more}
        changed: dict[Hashable, Any] = {
            key: _to_tensor(value, like=data[key]) for key, value in images.items()
        }
        linear, offset, bend_px = _affine(drawn["where"])
        size = tuple(drawn["where"].shape[:2])
        still = torch.eye(2, dtype=linear.dtype)
        moved = (linear - still).abs().max() + offset.abs().max() > _IDENTITY
        if bend_px <= LARGEST_BEND_PX and not moved and size == (height, width):
            return {**data, **changed}
        if behind:
            raise DataError(
                f"the albumentations pipeline moves pixels and would leave {behind} where they"
                " are; add them to the keys, or take them out of the view"
            )
        geometry = [key for key in keys if map_kind(key, self.kinds) is not MapKind.IMAGE]
        if bend_px > LARGEST_BEND_PX and (geometry or "camera" in data):
            raise DataError(
                f"the albumentations pipeline bends the image by {bend_px:.2g} px, and no camera"
                " or depth map follows a bend; leave elastic, grid and perspective transforms out,"
                " or run it on the image alone, without a camera"
            )
        if bend_px > LARGEST_BEND_PX:
            return {**data, **changed}
        view = move_view(
            data, keys, linear=linear, offset=offset, size=(size[0], size[1]), kinds=self.kinds
        )
        return {**view, **changed}


def _whole(pipeline: Any, more: list[str]) -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        import albumentations
        import cv2
    except ImportError as error:
        raise MissingExtraError(
            "Albumentationsd needs albumentations, which is not here; pip install albumentations"
        ) from error
    steps = list(pipeline) if isinstance(pipeline, list | tuple) else [pipeline]
    if isinstance(pipeline, albumentations.Compose):
        steps = [albumentations.Sequential(pipeline.transforms, p=pipeline.p)]
    return albumentations.Compose(
        steps,
        additional_targets={"where": "mask"} | dict.fromkeys(more, "image"),
        mask_interpolation=cv2.INTER_LINEAR,  # coordinates: halfway between pixels is halfway
    )


def _coordinates(height: int, width: int) -> NDArray[np.float32]:
    """Return u, v and a 1 that turns 0 where the pipeline fills in, (H, W, 3)."""
    v, u = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([u, v, np.ones_like(u)], axis=-1)


def _affine(where: NDArray[np.float32]) -> tuple[Tensor, Tensor, float]:
    """Return the (2, 2) and (2,) that moved the pixels, and by how much the truth differs from it.

    Args:
        where: for every new pixel the old u, v, and a third channel that is 1 where they count.
    """
    v, u = _inner(where)
    if len(np.unique(u)) < 2 or len(np.unique(v)) < 2:
        raise DataError("the albumentations pipeline left less than two rows and columns of image")
    new = np.stack([u, v, np.ones_like(u)], axis=-1).astype(np.float64)  # (N, 3)
    old = where[v, u, :2].astype(np.float64)
    solution, *_ = np.linalg.lstsq(new, old, rcond=None)  # old = new @ solution
    bend_px = float(np.abs(new @ solution - old).max())
    if bend_px > LARGEST_BEND_PX:
        return torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), bend_px
    back = torch.from_numpy(solution[:2].T.copy())  # (2, 2): old = back @ new + start
    start = torch.from_numpy(solution[2].copy())
    linear = torch.linalg.inv(back)
    return linear, -linear @ start, bend_px


def _inner(where: NDArray[np.float32]) -> tuple[NDArray[np.intp], ...]:
    """Return the rows and columns that see the old frame's inside.

    Beyond the outer pixel centres an enlarged image repeats its border, and so do coordinates.
    """
    filled = where[..., 2] > 1 - 1e-4
    old = where[..., :2]
    low = old[filled].min(axis=0, initial=np.inf) + 0.5
    high = old[filled].max(axis=0, initial=-np.inf) - 0.5
    return np.nonzero(filled & (old > low).all(axis=-1) & (old < high).all(axis=-1))


def _to_numpy(image: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(image.detach().cpu().float().movedim(0, -1).numpy())


def _to_tensor(image: NDArray[Any], *, like: Tensor) -> Tensor:
    values = torch.from_numpy(np.ascontiguousarray(image)).movedim(-1, 0).contiguous()
    return values.to(like).clamp(0, 1)
