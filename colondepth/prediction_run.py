"""A clip through a network into a folder of predictions, in batches, from where it was stopped.

A thread reads frames ahead, a batch at a time is in the network, and nothing else is kept: memory
does not grow with the length of a video.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from colondepth.backbones.fitting import LEAST_SIDE, predict_fitted
from colondepth.data.prefetch import AHEAD, prefetched
from colondepth.errors import DataError, ShapeError
from colondepth.inference import Predictor
from colondepth.prediction_files import FrameFiles, MapForm, room_in, write_frame
from colondepth.prediction_folder import (
    Made,
    camera_in_words,
    file_sha256,
    image_sha256,
    read_made,
    require_room,
    require_same,
    write_description,
)
from colondepth.views import Clip, Prediction, View
from colondepth.weights.files import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that is ready to answer, and the file that its weights are from."""

    predictor: Predictor
    origin: Origin
    weights: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What a run did."""

    files: tuple[FrameFiles, ...]  # of every frame, in order
    before: int  # frames that were there already
    made: Made


def predict_clip(
    network: Network,
    clip: Clip,
    folder: Path,
    *,
    source: str,
    batch_size: int,
    form: MapForm,
    tick: Callable[[int], None] = lambda _: None,
) -> Predicted:
    """Predict the frames of a clip that a folder does not have yet.

    Args:
        network: see there.
        clip: the frames.
        folder: new, empty, or of predictions made with the same.
        source: what to call the input.
        batch_size: frames in the network at a time.
        form: of the maps.
        tick: called with the number of frames that were there, then for each batch with its own.
    """
    require_size(clip, source)
    require_room(folder)
    there = read_made(folder)
    first = clip[0]
    # Whether a network gives uncertainty shows when it answers.
    with_std = there.with_std if there else _answer(network, [first]).log_depth_std is not None
    made = _made(network, clip, first, source=source, form=form, with_std=with_std)
    if there is not None:
        require_same(folder, there, made)
    files = tuple(
        FrameFiles.of(folder, name, form=form, with_std=with_std) for name in clip.frame_ids
    )
    pending = [number for number, each in enumerate(files) if not each.whole()]
    tick(len(files) - len(pending))
    with (
        room_in(folder),
        closing(_views(chosen(clip, pending), ahead=max(AHEAD, batch_size))) as views,
    ):
        if pending or there is None:
            write_description(folder, made, clip.frame_ids, complete=False)
        for numbers in batched(pending, batch_size):
            _predict(network, list(islice(views, len(numbers))), [files[n] for n in numbers])
            tick(len(numbers))
        write_description(folder, made, clip.frame_ids, complete=True)
    return Predicted(files=files, before=len(files) - len(pending), made=made)


def require_size(clip: Clip, source: str) -> None:
    """Refuse images in which a network sees nothing."""
    height, width = clip.camera.height, clip.camera.width
    if min(height, width) < LEAST_SIDE:
        raise ShapeError(
            f"{source} has images of {height}x{width} pixels, expected"
            f" {LEAST_SIDE}x{LEAST_SIDE} or more: smaller ones show no shape"
        )


def chosen(clip: Clip, numbers: Sequence[int]) -> Clip | None:
    """Return the clip of some frames, read when asked for; None for none."""
    if not numbers:
        return None
    names = [clip.frame_ids[number] for number in numbers]
    return Clip(partial(_read, clip, tuple(numbers)), names, camera=clip.camera, name=clip.name)


def every(times_s: Sequence[float], frames_per_s: float) -> list[int]:
    """Return the frames that show a video so many times a second: the first one due each time."""
    if not frames_per_s > 0:
        raise DataError(f"{frames_per_s} frames a second; expected more than 0")
    numbers: list[int] = []
    slack = 1e-6  # times are rounded in files
    due = 0
    for number, time_s in enumerate(times_s):
        place = int((time_s - times_s[0]) * frames_per_s + slack)
        if place >= due:
            numbers.append(number)
            due = place + 1
    return numbers


def batched(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Give runs of `size`; the last one is what is left."""
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _views(clip: Clip | None, *, ahead: int) -> Generator[View, None, None]:
    if clip is not None:
        with closing(prefetched(clip, ahead=ahead)) as views:  # type: ignore[type-var]
            yield from views


def _predict(network: Network, views: list[View], files: list[FrameFiles]) -> None:
    said = _answer(network, views)
    std, valid = said.log_depth_std, said.valid
    for number, each in enumerate(files):
        depth_mm = said.depth_mm[number, 0]
        write_frame(
            each,
            depth_mm,
            None if std is None else std[number, 0],
            valid=depth_mm > 0 if valid is None else valid[number, 0],
            metric=network.predictor.backbone.metric,
        )


def _answer(network: Network, views: list[View]) -> Prediction:
    predictor = network.predictor
    images = torch.stack([view["image"] for view in views]).to(predictor.device)
    with torch.inference_mode():
        return predict_fitted(predictor.backbone, {"image": images, "camera": views[0]["camera"]})


def _made(
    network: Network,
    clip: Clip,
    first: View,
    *,
    source: str,
    form: MapForm,
    with_std: bool,
) -> Made:
    return Made(
        source=source,
        clip=clip.name,
        first_image_sha256=image_sha256(first["image"]),
        height=clip.camera.height,
        width=clip.camera.width,
        camera=camera_in_words(clip.camera),
        calibrated=clip.camera.calibrated,
        backbone=network.origin.backbone,
        metric=network.predictor.backbone.metric,
        weights=network.weights.name,
        weights_sha256=file_sha256(network.weights),
        weights_commit=network.origin.commit,
        weights_recipe=network.origin.recipe,
        form=form,
        with_std=with_std,
    )


def _read(clip: Clip, numbers: tuple[int, ...], number: int) -> View:
    return clip[numbers[number]]
