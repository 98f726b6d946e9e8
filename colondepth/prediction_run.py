"""A clip through a network into a folder of predictions, in batches, from where it was stopped.

A few frames are predicted first, for what all of them share (see `prediction_survey`). Then a
thread reads frames ahead, a batch at a time is in the network, and nothing else is kept: memory
does not grow with the length of a video.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from colondepth.backbones.fitting import LEAST_SIDE, predict_fitted
from colondepth.data.prefetch import AHEAD, prefetched
from colondepth.errors import DataError, ShapeError
from colondepth.inference import Predictor
from colondepth.masks import find_specular, find_text
from colondepth.prediction_files import (
    FrameFiles,
    MapForm,
    Scales,
    known_values,
    room_in,
    write_frame,
)
from colondepth.prediction_folder import (
    Made,
    camera_in_words,
    file_sha256,
    image_sha256,
    read_aperture,
    read_made,
    read_scales,
    require_room,
    require_same,
    write_aperture,
    write_description,
)
from colondepth.prediction_survey import (
    SURVEYED_PIXELS,
    Aperture,
    scales_of,
    shared_aperture,
    surveyed,
)
from colondepth.views import Clip, View
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What the network says about a frame, on the CPU; the border is not valid."""

    image: Tensor  # (3, H, W)
    depth_mm: Tensor  # (H, W)
    log_depth_std: Tensor | None  # (H, W)
    valid: Tensor  # (H, W) bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Survey:
    """What the surveyed frames of a clip tell, the first frame among them."""

    inside: Tensor  # (H, W) bool
    said: dict[int, _Said]

    @property
    def has_std(self) -> bool:
        return self.said[0].log_depth_std is not None

    def scales(self, made: Made) -> Scales:
        return scales_of(
            [known_values(each.depth_mm, each.depth_mm, each.valid) for each in self.said.values()],
            [
                known_values(each.log_depth_std, each.depth_mm, each.valid)
                for each in self.said.values()
                if each.log_depth_std is not None
            ],
            metric=made.metric,
            calibrated=made.calibrated,
        )


def predict_clip(
    network: Network,
    clip: Clip,
    folder: Path,
    *,
    source: str,
    batch_size: int,
    form: MapForm,
    aperture: Aperture = Aperture.AUTO,
    with_valid: bool = False,
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
        aperture: whether the black border around the scope's picture is left without depth.
        with_valid: whether to write where depth is known and neither glare nor text is.
        tick: called with the number of frames that were there, then for each batch with its own.
    """
    require_size(clip, source)
    require_room(folder)
    look = surveyed(len(clip), pixels=clip.camera.height * clip.camera.width)
    there = read_made(folder)
    begun = None if there else _survey(network, clip, look, batch_size, aperture)
    # Whether a network gives uncertainty shows when it answers.
    with_std = there.with_std if there else begun is not None and begun.has_std
    made = _made(
        network,
        clip,
        begun.said[0].image if begun else clip[0]["image"],
        source=source,
        form=form,
        with_std=with_std,
        aperture=aperture,
        with_valid=with_valid,
    )
    if there:
        require_same(folder, there, made)
    scales = begun.scales(made) if begun else read_scales(folder)
    files = tuple(
        FrameFiles.of(folder, name, form=form, with_std=with_std, with_valid=with_valid)
        for name in clip.frame_ids
    )
    pending = [number for number, each in enumerate(files) if not each.whole()]
    before = len(files) - len(pending)
    tick(before)
    with room_in(folder):
        if pending:
            inside = begun.inside if begun else _inside_again(clip, look, folder, aperture)
            if aperture is Aperture.AUTO:
                write_aperture(folder, inside)
            write_description(folder, made, scales, clip.frame_ids, complete=False)
            if begun:
                pending = [number for number in pending if number not in begun.said]
                for number, said in begun.said.items():
                    _write(files[number], said, scales, inside)
                    tick(1)
                begun.said.clear()  # images of a long run's first minute
            ahead = min(max(AHEAD, batch_size), max(1, SURVEYED_PIXELS // inside.numel()))
            with closing(_views(chosen(clip, pending), ahead=ahead)) as views:
                for numbers in batched(pending, batch_size):
                    answers = _answers(network, list(islice(views, len(numbers))), inside)
                    for number, said in zip(numbers, answers, strict=True):
                        _write(files[number], said, scales, inside)
                    tick(len(numbers))
        write_description(folder, made, scales, clip.frame_ids, complete=True)
    return Predicted(files=files, before=before, made=made)


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
    if not (frames_per_s > 0 and isfinite(frames_per_s)):
        raise DataError(f"--fps is {frames_per_s:g} frames a second; expected more than 0")
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


def _survey(
    network: Network, clip: Clip, look: list[int], batch_size: int, aperture: Aperture
) -> _Survey:
    views = [clip[number] for number in look]
    inside = _inside([view["image"] for view in views], aperture)
    said: dict[int, _Said] = {}
    for places in batched(range(len(look)), batch_size):
        answers = _answers(network, [views[place] for place in places], inside)
        said.update(zip([look[place] for place in places], answers, strict=True))
    return _Survey(inside=inside, said=said)


def _inside_again(clip: Clip, look: list[int], folder: Path, aperture: Aperture) -> Tensor:
    """Return the aperture that a run began with."""
    kept = read_aperture(folder) if aperture is Aperture.AUTO else None
    if kept is not None and tuple(kept.shape) == (clip.camera.height, clip.camera.width):
        return kept
    return _inside([clip[number]["image"] for number in look], aperture)


def _inside(images: list[Tensor], aperture: Aperture) -> Tensor:
    if aperture is Aperture.NONE:
        return torch.ones(images[0].shape[-2:], dtype=torch.bool)
    return shared_aperture(images)


def _answers(network: Network, views: list[View], inside: Tensor) -> list[_Said]:
    predictor = network.predictor
    images = torch.stack([view["image"] for view in views]).to(predictor.device)
    with torch.inference_mode():
        said = predict_fitted(predictor.backbone, {"image": images, "camera": views[0]["camera"]})
    depth_mm, std = said.depth_mm[:, 0].cpu(), said.log_depth_std
    valid = depth_mm > 0 if said.valid is None else said.valid[:, 0].cpu()
    return [
        _Said(
            image=view["image"],
            depth_mm=depth_mm[number],
            log_depth_std=None if std is None else std[number, 0].cpu(),
            valid=valid[number] & inside,
        )
        for number, view in enumerate(views)
    ]


def _write(files: FrameFiles, said: _Said, scales: Scales, inside: Tensor) -> None:
    disturbed = None
    if files.valid is not None:
        found = (find(said.image, inside=inside[None]) for find in (find_specular, find_text))
        disturbed = torch.stack(list(found)).any(dim=0)[0]
    write_frame(
        files,
        said.depth_mm,
        said.log_depth_std,
        valid=said.valid,
        scales=scales,
        disturbed=disturbed,
    )


def _made(
    network: Network,
    clip: Clip,
    first: Tensor,
    *,
    source: str,
    form: MapForm,
    with_std: bool,
    aperture: Aperture,
    with_valid: bool,
) -> Made:
    return Made(
        source=source,
        clip=clip.name,
        first_image_sha256=image_sha256(first),
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
        aperture=aperture,
        with_valid=with_valid,
    )


def _read(clip: Clip, numbers: tuple[int, ...], number: int) -> View:
    return clip[numbers[number]]
