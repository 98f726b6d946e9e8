"""`colondepth predict`: depth with uncertainty for every frame."""

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colondepth.commands.devices import usable_device
from colondepth.commands.folders import require_folder
from colondepth.commands.notes import TextWatch, tell_skipped
from colondepth.console import err, out, print_json, progress, resumable
from colondepth.errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from colondepth.cameras import Camera
    from colondepth.data import Reading
    from colondepth.prediction_run import Network
    from colondepth.views import Clip

LOOKS = 24  # images of a clip that are searched for on-screen text
TAKES = "a video, an image, a folder of images, a dataset's folder, or a glob in quotes"


def predict(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="A video, an image, a folder or a glob in quotes."),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the predictions.")],
    backbone: Annotated[str, typer.Option(help="Of `colondepth backbones`.")] = "sfsnet",
    weights: Annotated[
        Path | None, typer.Option(help="File of weights; those of the package if absent.")
    ] = None,
    camera: Annotated[
        Path | None, typer.Option(help="Calibration; else the input's own, else a guess.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="png: 16 bits; tiff: floats.")] = "png",
    aperture: Annotated[
        str, typer.Option(help="auto: no depth on the black border; none: depth everywhere.")
    ] = "auto",
    valid: Annotated[
        bool, typer.Option("--valid", help="Also mark glare and on-screen text, in valid/.")
    ] = False,
    video: Annotated[
        bool, typer.Option("--video", help="Also write frames beside depth as a video.")
    ] = False,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second to take of a video; all if absent.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Frames in the network at a time.")] = 1,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; a GPU if there is one, if absent.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad files and frames out, and list them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Predict depth in mm and its uncertainty for every frame.

    The folder explains itself in README.txt. Several clips get a folder each. Run again, the same
    command goes on where it stopped. Not for diagnosis.
    """
    from colondepth.cameras import from_file
    from colondepth.prediction_files import MapForm
    from colondepth.prediction_folder import SIDE_BY_SIDE
    from colondepth.prediction_run import predict_clip, require_size
    from colondepth.prediction_survey import Aperture

    if len(sources) > 1:
        raise DataError(
            f"{len(sources)} inputs, {sources[0]} and {sources[1]} among them; expected one: put a"
            " glob in quotes, so that the shell leaves it"
        )
    (source,) = sources
    if form not in tuple(MapForm):
        raise DataError(f"--format is {form!r}, expected {' or '.join(MapForm)}")
    if aperture not in tuple(Aperture):
        raise DataError(f"--aperture is {aperture!r}, expected {' or '.join(Aperture)}")
    require_folder(folder, of="new or of predictions")
    lens = None if camera is None else from_file(camera)
    reading = opened(source, lens, skip_bad=skip_bad)
    places = _places(reading, folder)
    clips = [thinned(clip, reading, source, fps, skip_bad=skip_bad) for clip in reading.clips]
    for clip in clips:
        require_size(clip, source)
    network = network_of(backbone, weights, device if device is None else usable_device(device))
    for warning in reading.warnings:
        _note(warning)
    answer: list[dict[str, Any]] = []
    watch = TextWatch()
    stopped = f"finished frames are in {folder}; the same command goes on from there"
    bar = progress()
    bar.disable = not err.is_terminal  # in a log it would be an empty line
    with bar, resumable(stopped):
        for clip, place in zip(clips, places, strict=True):
            task = bar.add_task(f"Predicting {clip.name}", total=len(clip))
            begun = time.perf_counter()
            done = predict_clip(
                network,
                clip,
                place,
                source=_called(source),
                batch_size=batch,
                form=MapForm(form),
                aperture=Aperture(aperture),
                with_valid=valid,
                tick=partial(bar.advance, task),
            )
            spent_s = time.perf_counter() - begun
            if video:
                _video(clip, done.files, place / SIDE_BY_SIDE, bar, watch)
            answer.append(
                {
                    "clip": clip.name,
                    "folder": str(place),
                    "frames": len(clip),
                    "there_before": done.before,
                    "seconds": round(spent_s, 3),
                    "backbone": done.made.backbone,
                    "weights_sha256": done.made.weights_sha256,
                    "calibrated": done.made.calibrated,
                }
            )
    tell_skipped(reading.skipped)
    watch.tell()
    if as_json:
        print_json(answer)
        return
    for row in answer:
        out.print(_told(row), markup=False, highlight=False, soft_wrap=True)


def _told(row: dict[str, Any]) -> str:
    before = f", {row['there_before']} of them there before" if row["there_before"] else ""
    new = row["frames"] - row["there_before"]
    pace = f", {new / row['seconds']:.1f} frames/s" if new and row["seconds"] else ""
    camera = "" if row["calibrated"] else "; the camera is a guess, and so are lengths"
    return f"{row['clip']}: {row['frames']} frames{before}{pace} -> {row['folder']}{camera}"


def _called(source: str) -> str:
    """Return the end of a path; of a glob, the folder too."""
    from glob import has_magic

    return "/".join(Path(source).parts[-2 if has_magic(source) else -1 :])


def opened(source: str, lens: "Camera | None", *, skip_bad: bool) -> "Reading":
    """Open the input; what is none is answered with what `predict` takes."""
    from glob import has_magic, iglob

    from colondepth.data import open_clips

    there = os.path.lexists(Path(source).expanduser())
    if not source or (not there and not has_magic(source)):
        hint = "; nothing is fetched from the network" if "://" in source else ""
        found = f"{source} does not exist" if source else "INPUT is empty"
        raise DataError(f"{found}; expected {TAKES}{hint}")
    if not there and next(iglob(source), None) is None:  # noqa: PTH207 - from any root
        raise DataError(f"{source} fits no file; expected {TAKES}")
    try:
        return open_clips(source, camera=lens, skip_bad=skip_bad)
    except DataError as error:
        if Path(source).expanduser().is_dir() and (lacks := _without_images(source)):
            raise DataError(f"{source} {lacks}; expected {TAKES}") from error
        if lens is not None and f"camera is for {lens.height}x{lens.width}" in str(error):
            what = str(error).partition(", but")[0]
            raise DataError(
                f"{what}, but --camera is for {lens.height}x{lens.width}; a calibration holds for"
                " images of its own size: Camera.resized and Camera.cropped take it along"
            ) from error
        raise


def _without_images(folder: str) -> str:
    """Say what a folder without images holds; "" if it has images, or cannot be listed."""
    from colondepth.data import DICOM_SUFFIXES, VIDEO_SUFFIXES
    from colondepth.data.rasters import IMAGE_SUFFIXES

    refused: list[OSError] = []
    names = [
        name
        for _, _, files in os.walk(Path(folder).expanduser(), onerror=refused.append)
        for name in files
    ]
    if refused or any(name.lower().endswith(IMAGE_SUFFIXES) for name in names):
        return ""
    films = [name for name in names if name.lower().endswith(VIDEO_SUFFIXES + DICOM_SUFFIXES)]
    if films:
        return f"holds videos, such as {films[0]!r}, and no image; give one video at a time"
    return f"holds no image, but {sorted(names)[0]!r}" if names else "is empty"


def _places(reading: "Reading", folder: Path) -> list[Path]:
    """Return the folder of each clip."""
    if len(reading.clips) == 1:
        return [folder]
    names = [clip.name for clip in reading.clips]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"two clips are called {twice[0]!r}; predict one folder at a time")
    return [folder / name for name in names]


def thinned(
    clip: "Clip", reading: "Reading", source: str, fps: float | None, *, skip_bad: bool
) -> "Clip":
    """Return the clip of so many frames a second."""
    if fps is None:
        return clip
    if reading.dataset != "video":
        raise DataError(f"--fps takes frames of a video by their times; {source} is none")
    from colondepth.data.reading import Opening
    from colondepth.data.video_index import index_video
    from colondepth.prediction_run import chosen, every

    index = index_video(Path(source).expanduser(), Opening(skip_bad=skip_bad))
    kept = chosen(clip, every(index.time_s.tolist(), fps))
    return kept or clip


def network_of(name: str, weights: Path | None, device: "torch.device | None") -> "Network":
    """Return the network with its weights; what is missing is said with its cure."""
    import torch

    from colondepth import inference
    from colondepth.backbones.contract import Needs
    from colondepth.backbones.registry import backbones, create
    from colondepth.prediction_run import Network
    from colondepth.weights import shipped
    from colondepth.weights.files import found, read_origin

    backbones.owner(name)  # a misspelt name is answered with the nearest right one
    with torch.device("meta"):  # shapes without numbers
        needs = create(name).needs
    if needs is not Needs.IMAGE:
        raise DataError(
            f"{name} needs {needs}; `predict` gives each frame alone: take a backbone that needs"
            " an image only, see `colondepth backbones`"
        )
    if weights is None and name not in {each.path.stem for each in shipped()}:
        known = ", ".join(sorted(each.path.stem for each in shipped())) or "none in this version"
        raise DataError(
            f"no weights of {name!r} come with colondepth (known: {known}); train them with"
            f" `colondepth train {name} --out runs/{name}`, make a file of them with `colondepth"
            f" ship runs/{name} --out weights`, and pass that with --weights"
        )
    chosen: Path | str = name if weights is None else weights
    origin = read_origin(chosen)
    if origin.backbone != name:
        raise DataError(
            f"{chosen} holds weights of {origin.backbone!r}, not of {name!r};"
            f" --backbone {origin.backbone} takes them"
        )
    predictor = inference.load(name, weights=chosen, device=device)
    return Network(predictor=predictor, origin=origin, weights=found(chosen))


def _video(clip: "Clip", files: Any, path: Path, bar: Any, watch: TextWatch) -> None:
    from colondepth.prediction_video import write_side_by_side

    task = bar.add_task("Writing the video", total=len(clip))
    step = -(-len(clip) // LOOKS)
    count = 0

    def seen(image: "Tensor") -> None:
        nonlocal count
        if count % step == 0:
            watch.look(image)
        count += 1
        bar.advance(task)

    write_side_by_side(clip, files, path, seen=seen)


def _note(words: str) -> None:
    err.print("[yellow]note[/yellow] ", end="", highlight=False)
    err.print(words, markup=False, highlight=False, soft_wrap=True)
