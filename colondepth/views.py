"""What flows through the program: views in, predictions out.

A `View` is one frame with what is known about it; a batch of views is the same dictionary with a
leading B on every tensor and camera. A `Clip` is an ordered, lazily read sequence of views through
one camera. A `Prediction` is all that leaves a backbone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import partial
from typing import Any, NotRequired, TypedDict, cast, overload

import torch
from torch import Tensor

from colondepth.cameras import Camera, stack
from colondepth.errors import DataError, ShapeError
from colondepth.motion import require_rigid
from colondepth.shapes import require_bool, require_finite, require_float, require_shapes


class View(TypedDict):
    """One frame, ready for the transforms. Maps are channels-first, of one size."""

    image: Tensor  # (3, H, W) float32 in [0, 1], RGB
    camera: Camera
    frame_id: NotRequired[str]
    time_s: NotRequired[float]
    valid: NotRequired[Tensor]  # (1, H, W) bool, True where a pixel may be used
    depth_mm: NotRequired[Tensor]  # (1, H, W), z, 0 where unknown
    distance_mm: NotRequired[Tensor]  # (1, H, W), along the ray, 0 where unknown
    normals: NotRequired[Tensor]  # (3, H, W), camera frame, towards the camera, 0 where unknown
    polyp: NotRequired[Tensor]  # (1, H, W) bool
    flow_px: NotRequired[Tensor]  # (2, H, W), to where each pixel goes in the next frame
    flow_to_previous_px: NotRequired[Tensor]  # (2, H, W), to where it was in the frame before
    flow_to_previous_known: NotRequired[Tensor]  # (1, H, W) bool
    occluding: NotRequired[Tensor]  # (1, H, W) bool, True where a pixel hides another surface
    relative_depth: NotRequired[Tensor]  # (1, H, W), in no known unit; never for measuring
    world_from_camera: NotRequired[Tensor]  # (4, 4), millimetres


class MapKind(StrEnum):
    """What the numbers of a map are, and so what happens to them when pixels move."""

    IMAGE = "image"  # interpolated
    SCALAR = "scalar"  # from the nearest pixel: depth, labels
    TRUTH = "truth"  # bool, from the nearest pixel, False where there is none
    NORMALS = "normals"  # from the nearest pixel; turn with the camera's axes
    FLOW = "flow"  # from the nearest pixel; both ends of the vector move


MAP_KINDS: Mapping[str, MapKind] = {
    "image": MapKind.IMAGE,
    "valid": MapKind.TRUTH,
    "inside": MapKind.TRUTH,
    "specular": MapKind.TRUTH,
    "overlay": MapKind.TRUTH,
    "polyp": MapKind.TRUTH,
    "occluded": MapKind.TRUTH,
    "occluding": MapKind.TRUTH,
    "flow_to_previous_known": MapKind.TRUTH,
    "depth_mm": MapKind.SCALAR,
    "distance_mm": MapKind.SCALAR,
    "normals": MapKind.NORMALS,
    "flow_px": MapKind.FLOW,
    "flow_to_previous_px": MapKind.FLOW,
    "relative_depth": MapKind.SCALAR,
}
NORMAL_TOLERANCE = 0.02  # 8-bit normals are off by 0.01
_PATTERNS = {
    "image": "*B 3 H W",
    "normals": "*B 3 H W",
    "flow_px": "*B 2 H W",
    "flow_to_previous_px": "*B 2 H W",
}


def require_view(view: Mapping[str, Any]) -> None:
    """Check a view, or a batch of views, against everything that its fields promise."""
    if lacking := [name for name in ("image", "camera") if name not in view]:
        raise DataError(f"the view lacks {lacking}; it has {sorted(view)}")
    camera = view["camera"]
    if not isinstance(camera, Camera):
        raise DataError(
            f"camera is a {type(camera).__name__}, expected a Camera; without a calibration,"
            " Camera.assumed(height, width) is the stated guess"
        )
    maps = {
        name: (view[name], _PATTERNS.get(name, "*B 1 H W")) for name in MAP_KINDS if name in view
    }
    size = require_shapes(**maps)
    if min(size["H"], size["W"]) == 0:
        raise ShapeError(f"image has shape {tuple(view['image'].shape)}, expected pixels in it")
    _require_one_batch(view, maps)
    if (size["H"], size["W"]) != (camera.height, camera.width):
        raise ShapeError(
            f"the maps have {size['H']}x{size['W']} pixels, the camera {camera.height}x"
            f"{camera.width}; camera.resized({size['H']}, {size['W']}) follows a resized image"
        )
    numbers = {name: view[name] for name in maps if MAP_KINDS[name] is not MapKind.TRUTH}
    require_float(**numbers)
    require_finite(**numbers)
    require_bool(**{name: view[name] for name in maps if name not in numbers})
    low, high = view["image"].min().item(), view["image"].max().item()
    if low < 0 or high > 1:
        raise DataError(f"image lies in [{low:g}, {high:g}], expected [0, 1]; divide 8 bits by 255")
    for name in ("depth_mm", "distance_mm"):
        if name in view and view[name].min() < 0:
            raise DataError(f"{name} has negative values; unknown is 0")
    if "normals" in view:
        length = view["normals"].norm(dim=-3)
        if bool(((length - 1).abs() > NORMAL_TOLERANCE).logical_and(length > 0).any()):
            raise DataError(
                f"normals have lengths up to {length.max().item():.3g}, expected 1, or 0 where"
                " unknown; an 8-bit or 16-bit file holds (n + 1) / 2"
            )
    if "world_from_camera" in view:
        require_rigid(world_from_camera=view["world_from_camera"])


def collate_views(views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make a batch of views with equal keys: tensors and cameras stacked, words in lists."""
    if not views:
        raise DataError("there is no view to collate; expected one or more")
    names = set(views[0])
    for number, view in enumerate(views):
        if odd := sorted(names ^ set(view)):
            raise DataError(f"view {number} differs from view 0 in its keys {odd}")
    batch: dict[str, Any] = {}
    for name in views[0]:
        values = [view[name] for view in views]
        if all(isinstance(value, Camera) for value in values):
            batch[name] = stack(values)
        elif isinstance(values[0], Tensor):
            if not all(isinstance(value, Tensor) for value in values):
                raise DataError(f"{name} is a tensor in some views and not in others")
            shapes = {tuple(value.shape) for value in values}
            if len(shapes) > 1:
                raise ShapeError(f"{name} has shapes {sorted(shapes)}; resize the views first")
            batch[name] = torch.stack(values)
        elif all(isinstance(value, float | int) for value in values):
            batch[name] = torch.tensor(values, dtype=torch.float64)
        else:
            batch[name] = values
    return batch


class Clip(Sequence[View]):
    """Views in the order they were taken, read when asked for, through one camera.

    Args:
        read: gives view number k; called anew at every access, so it may be a slow file.
        frame_ids: one name per frame, in order, no two alike.
        camera: the camera of every view.
        name: what to call the clip in tables.
    """

    def __init__(
        self,
        read: Callable[[int], View],
        frame_ids: Sequence[str],
        *,
        camera: Camera,
        name: str,
    ) -> None:
        if not frame_ids:
            raise DataError(f"clip {name!r} has no frame")
        if len(set(frame_ids)) < len(frame_ids):
            twice = next(frame for frame in frame_ids if list(frame_ids).count(frame) > 1)
            raise DataError(f"clip {name!r} has two frames called {twice!r}")
        self._read = read
        self.frame_ids = tuple(frame_ids)
        self.camera = camera
        self.name = name

    def __len__(self) -> int:
        return len(self.frame_ids)

    @overload
    def __getitem__(self, index: int) -> View: ...
    @overload
    def __getitem__(self, index: slice) -> "Clip": ...
    def __getitem__(self, index: int | slice) -> "View | Clip":
        """Return one view, or the clip of a slice; nothing is read for a slice."""
        if isinstance(index, slice):
            kept = range(len(self))[index]
            return Clip(
                partial(_read_kept, self._read, kept),
                [self.frame_ids[number] for number in kept],
                camera=self.camera,
                name=self.name,
            )
        number = range(len(self))[index]  # negative numbers, and IndexError at the end
        return cast(View, {**self._read(number), "frame_id": self.frame_ids[number]})


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """What a backbone says about a batch of views; None for what it does not make."""

    depth_mm: Tensor  # (B, 1, H, W), z, 0 where it does not know
    log_depth_std: Tensor | None = None  # (B, 1, H, W), standard deviation of log depth
    valid: Tensor | None = None  # (B, 1, H, W) bool
    flow_px: Tensor | None = None  # (B, 2, H, W)
    disparity_px: Tensor | None = None  # (B, 1, H, W)
    target_from_source: Tensor | None = None  # (B, 4, 4)
    coarser_depth_mm: tuple[Tensor, ...] = ()  # (B, 1, h, w) each, finest first, for losses
    # (B, 2K, h, w), for losses over K labels: each two channels say "not beyond" and "beyond".
    label_logits: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not belong to one batch of one size."""
        patterns = {
            "depth_mm": "B 1 H W",
            "log_depth_std": "B 1 H W",
            "valid": "B 1 H W",
            "flow_px": "B 2 H W",
            "disparity_px": "B 1 H W",
            "target_from_source": "B 4 4",
        }
        given = {
            part.name: getattr(self, part.name)
            for part in fields(self)
            if part.name in patterns and getattr(self, part.name) is not None
        }
        require_shapes(**{name: (value, patterns[name]) for name, value in given.items()})
        require_float(**{name: value for name, value in given.items() if name != "valid"})
        if self.valid is not None:
            require_bool(valid=self.valid)
        for depth_mm in self.coarser_depth_mm:
            require_shapes(
                depth_mm=(self.depth_mm, "B 1 H W"), coarser_depth_mm=(depth_mm, "B 1 h w")
            )
            require_float(coarser_depth_mm=depth_mm)
        if self.label_logits is not None:
            size = require_shapes(
                depth_mm=(self.depth_mm, "B 1 H W"), label_logits=(self.label_logits, "B K2 h w")
            )
            require_float(label_logits=self.label_logits)
            if size["K2"] % 2:
                raise ShapeError(
                    f"label_logits has shape {tuple(self.label_logits.shape)}, expected two"
                    " channels a label"
                )


def _read_kept(read: Callable[[int], View], kept: range, number: int) -> View:
    """Read view `number` of a slice; not a lambda, which could not travel to another process."""
    return read(kept[number])


def _require_one_batch(view: Mapping[str, Any], maps: Mapping[str, tuple[Tensor, str]]) -> None:
    batches = {name: tuple(tensor.shape[:-3]) for name, (tensor, _) in maps.items()}
    batches["camera"] = view["camera"].batch
    if "world_from_camera" in view:
        batches["world_from_camera"] = tuple(view["world_from_camera"].shape[:-2])
    if len(set(batches.values())) > 1:
        found = ", ".join(f"{name} {batch}" for name, batch in batches.items())
        raise ShapeError(f"the parts of a view have one batch, found {found}")
