"""Where the depth that is scored comes from: a network, or maps that another program made."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from colondepth.geometry import depth_from_distance, distance_from_depth
from colondepth.inference import Predictor
from colondepth.views import Clip, View
from evaluation.prediction_maps import NO_MAP, ClipMaps, PredictionMaps
from evaluation.protocols.picture import Picture, pictured
from evaluation.protocols.protocol import Length


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Found:
    """What is said about one frame, on the pixels that are scored."""

    depth_mm: Tensor  # (1, H, W), z, 0 where it does not know
    log_depth_std: Tensor | None = None  # (1, H, W)


class DepthSource(ABC):
    """Gives depth frame by frame."""

    ahead: bool  # whether the threads that read frames may ask it

    @abstractmethod
    def lacking(self, clip: Clip) -> Mapping[str, str]:
        """Return the frames of a clip that have no depth, and why."""

    @abstractmethod
    def depth(self, clip: str, own: View, view: View) -> Found:
        """Return the depth of a frame.

        Args:
            clip: name of its clip.
            own: the frame as the dataset has it.
            view: the same as the protocol scores it.
        """


class NetworkDepth(DepthSource):
    """A network that sees what the protocol scores."""

    ahead = False

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def lacking(self, clip: Clip) -> Mapping[str, str]:
        """Nothing: a network always answers."""
        del clip
        return {}

    def depth(self, clip: str, own: View, view: View) -> Found:
        """Ask the network; what is not valid, not finite or not positive is not known."""
        del clip, own
        image = view["image"]
        said = self.predictor.predict(image, view["camera"].to(image)).prediction
        depth_mm = said.depth_mm[0].cpu().nan_to_num(0, 0, 0).clamp(min=0)
        if said.valid is not None:
            depth_mm = torch.where(said.valid[0].cpu(), depth_mm, torch.zeros_like(depth_mm))
        std = said.log_depth_std
        return Found(depth_mm=depth_mm, log_depth_std=None if std is None else std[0].cpu())


class MapDepth(DepthSource):
    """Maps on the pixels that are scored, or on the dataset's own, which are then cut likewise.

    Args:
        maps: where they are.
        length: what they hold.
        picture: the protocol's.
        alone: whether there is one clip only.
        skip_bad: list missing maps; they are errors otherwise.
    """

    ahead = True

    def __init__(
        self,
        maps: PredictionMaps,
        *,
        length: Length,
        picture: Picture | None,
        alone: bool,
        skip_bad: bool,
    ) -> None:
        self.maps, self.length, self.picture = maps, length, picture
        self.alone, self.skip_bad = alone, skip_bad
        self._of_clip: dict[str, ClipMaps] = {}

    def lacking(self, clip: Clip) -> Mapping[str, str]:
        """Find the maps of a clip, and return the frames that have none."""
        self._of_clip[clip.name] = self.maps.of_clip(
            clip.name, clip.frame_ids, alone=self.alone, skip_bad=self.skip_bad
        )
        return dict.fromkeys(self._of_clip[clip.name].missing, NO_MAP)

    def depth(self, clip: str, own: View, view: View) -> Found:
        """Read the map of a frame."""
        scored, whole = _size(view), _size(own)
        path = self._of_clip[clip].paths[own["frame_id"]]
        length_mm = self.maps.read(path, sizes=list(dict.fromkeys([scored, whole])))
        on_own = tuple(length_mm.shape[-2:]) == whole
        camera = (own if on_own else view)["camera"].to(length_mm)
        if self.length is Length.DISTANCE:
            length_mm = depth_from_distance(length_mm, camera)
        if on_own and self.picture is not None:
            blank = torch.zeros(3, *whole)
            carried = cast(View, {"image": blank, "depth_mm": length_mm, "camera": camera})
            length_mm = pictured(carried, self.picture)["depth_mm"]
        return Found(depth_mm=length_mm)


def as_length(depth_mm: Tensor, view: View, length: Length) -> Tensor:
    """Return depth (1, H, W) as the length that a protocol compares."""
    if length is Length.DEPTH:
        return depth_mm
    return distance_from_depth(depth_mm, view["camera"].to(depth_mm))


def true_length(view: View, length: Length) -> Tensor:
    """Return the true length of a view, (1, H, W), 0 where unknown."""
    if length is Length.DISTANCE and "distance_mm" in view:
        return view["distance_mm"]
    return as_length(view["depth_mm"], view, length)


def _size(view: View) -> tuple[int, int]:
    return int(view["image"].shape[-2]), int(view["image"].shape[-1])
