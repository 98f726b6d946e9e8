"""Clips for training loops: a torch `Dataset`, and the list of dictionaries that MONAI asks for."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, cast

from torch.utils.data import Dataset

from colondepth.errors import DataError
from colondepth.views import Clip

Transform = Callable[[dict[str, Any]], Any]


class ViewDataset(Dataset[Any]):
    """Every view of some clips, one after the other, each read when it is asked for.

    Made for `DataLoader(dataset, num_workers=N, collate_fn=collate_views)`.

    Args:
        clips: their views come in this order.
        transform: called with each view; None leaves it as it was read.
    """

    def __init__(self, clips: Sequence[Clip], transform: Transform | None = None) -> None:
        if not clips:
            raise DataError("there is no clip; expected one or more")
        self.clips = tuple(clips)
        self.transform = transform
        self._ends = list(accumulate(len(clip) for clip in self.clips))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Any:
        """Read one view and transform it."""
        number = range(len(self))[index]
        which = bisect_right(self._ends, number)
        start = self._ends[which - 1] if which else 0
        view = cast(dict[str, Any], self.clips[which][number - start])
        return self.transform(view) if self.transform else view


def as_dictionaries(clips: Sequence[Clip]) -> list[dict[str, Any]]:
    """Return one small dictionary a frame: "clip", "index", "frame_id" and "clip_name".

    Nothing is read. `monai.data.Dataset(as_dictionaries(clips), Compose([LoadView(), ...]))` reads
    each frame when its turn comes.
    """
    return [
        {"clip": clip, "index": index, "frame_id": frame_id, "clip_name": clip.name}
        for clip in clips
        for index, frame_id in enumerate(clip.frame_ids)
    ]


class LoadView:
    """The transform that turns a dictionary of `as_dictionaries` into its view."""

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Read the view; what else the dictionary holds is kept, but for the clip itself."""
        if lacking := sorted({"clip", "index"} - data.keys()):
            raise DataError(f"the dictionary lacks {lacking}; make it with as_dictionaries(clips)")
        rest = {name: value for name, value in data.items() if name not in ("clip", "index")}
        return {**rest, **data["clip"][data["index"]]}
