"""The folder of a clip's predictions: predictions.json for programs, README.txt for people.

What predictions were made with is written before the first of them, so that a run that goes on can
refuse a folder that is about something else.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.cameras import Camera, to_file
from colondepth.errors import DataError
from colondepth.images import read_image, write_image
from colondepth.pictures import Scale
from colondepth.prediction_files import MM_PER_COUNT, STD_PER_COUNT, MapForm, Scales
from colondepth.prediction_survey import ENDS, SURVEYED, Aperture

PREDICTIONS, README, CAMERA = "predictions.json", "README.txt", "camera.json"
SIDE_BY_SIDE, APERTURE = "side_by_side.mp4", "aperture.png"
_FORMAT = "colondepth predictions 2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What predictions were made of and with; a run goes on in a folder only if all is the same."""

    source: str  # the name of the input, without its folder
    clip: str
    first_image_sha256: str  # two videos of one name are told apart by it
    height: int
    width: int
    camera: str  # as it stands in camera.json, on one line
    calibrated: bool
    backbone: str
    metric: bool
    weights: str  # the name of the file
    weights_sha256: str
    weights_commit: str
    weights_recipe: str
    form: MapForm
    with_std: bool
    aperture: Aperture
    with_valid: bool


def image_sha256(image: Tensor) -> str:
    """Return a digest of an image's pixels."""
    return hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the digest that `sha256sum` prints."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def camera_in_words(camera: Camera) -> str:
    """Return a camera as camera.json will say it, on one line."""
    with TemporaryDirectory() as folder:
        path = Path(folder, CAMERA)
        to_file(camera, path)
        return json.dumps(json.loads(path.read_text(encoding="utf-8")))


def require_room(folder: Path) -> None:
    """Refuse a file, and a folder of other things: predictions must not mix with them."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"--out {folder} is a file; expected a folder, new or of predictions")
    if not folder.is_dir() or (folder / PREDICTIONS).exists():
        return
    if others := sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")):
        raise DataError(
            f"--out {folder} holds {others[0]!r} and no {PREDICTIONS}; expected a new folder, an"
            " empty one or one of predictions"
        )


def read_made(folder: Path) -> Made | None:
    """Return what a folder's predictions were made with; None where there are none."""
    if not (folder / PREDICTIONS).exists():
        return None
    with _described(folder) as said:
        made = dict(said["made"])
        form, aperture = MapForm(made["form"]), Aperture(made["aperture"])
        return Made(**{**made, "form": form, "aperture": aperture})


def read_scales(folder: Path) -> Scales:
    """Return the scales of the pictures that are in a folder of predictions."""
    with _described(folder) as said:
        std = said["uncertainty"]
        return Scales(
            depth=Scale(**said["colours"]["scale"]),
            uncertainty=std and Scale(**std["scale"]),
            metric=bool(said["made"]["metric"]),
        )


def write_aperture(folder: Path, inside: Tensor) -> None:
    """Write the aperture of a clip, (H, W) bool, as a picture: white inside."""
    write_image(inside.float().expand(3, -1, -1), folder / APERTURE)


def read_aperture(folder: Path) -> Tensor | None:
    """Return what `write_aperture` wrote; None where it is no longer there."""
    path = folder / APERTURE
    return read_image(path)[0] > 0.5 if path.exists() else None


def require_same(folder: Path, there: Made, wanted: Made) -> None:
    """Refuse to go on in a folder whose predictions were made with something else."""
    old, new = asdict(there), asdict(wanted)
    for name, value in old.items():
        if new[name] != value:
            raise DataError(
                f"--out {folder} holds predictions with {name.replace('_', ' ')} {value}, this one"
                f" would have {new[name]}; choose another --out, or delete the folder"
            )


def write_description(
    folder: Path, made: Made, scales: Scales, frames: Sequence[str], *, complete: bool
) -> None:
    """Write camera.json, README.txt and predictions.json.

    Args:
        folder: of the clip.
        made: see there.
        scales: of the pictures.
        frames: the names of all frames that were asked for.
        complete: whether all of them are there.
    """
    words: dict[str, Any] = {
        "format": _FORMAT,
        "colondepth": version("colondepth"),
        "complete": complete,
        "depth": _scale("depth", made.form, MM_PER_COUNT, "mm_per_count")
        | {"kind": "z", "metric": made.metric and made.calibrated},
        "log_depth_std": _scale("log_depth_std", made.form, STD_PER_COUNT, "std_per_count")
        if made.with_std
        else None,
        "colours": {"folder": "colours", "form": "png", "scale": asdict(scales.depth)},
        "uncertainty": scales.uncertainty
        and {"folder": "uncertainty", "form": "png", "scale": asdict(scales.uncertainty)},
        "valid": {"folder": "valid", "form": "png"} if made.with_valid else None,
        "made": asdict(made),
        "frames": list(frames),
    }
    _write(folder / CAMERA, json.dumps(json.loads(made.camera), indent=2) + "\n")
    _write(folder / README, _readme(made, scales))
    _write(folder / PREDICTIONS, json.dumps(words, indent=2, allow_nan=False) + "\n")


@contextmanager
def _described(folder: Path) -> Iterator[dict[str, Any]]:
    """Give what predictions.json says; what it should say and does not is one error."""
    path = folder / PREDICTIONS
    try:
        yield json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not what this version's `predict` writes ({type(error).__name__}: {error});"
            " choose another --out, or delete the folder"
        ) from error


def _scale(folder: str, form: MapForm, per_count: float, name: str) -> dict[str, Any]:
    scale = {name: per_count} if form is MapForm.PNG else {}
    return {"folder": folder, "form": str(form), "unknown": 0, **scale}


def _write(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _readme(made: Made, scales: Scales) -> str:
    numbers = made.form is MapForm.PNG
    depth = (
        f"16 bits, {MM_PER_COUNT:g} mm a count, 65535 is {65535 * MM_PER_COUNT:g} mm or more"
        if numbers
        else "32-bit floats, mm"
    )
    std = f"16 bits, {STD_PER_COUNT:g} a count" if numbers else "32-bit floats"
    lines = [
        f"Depth of {made.source}, frame by frame, predicted by colondepth. Research software, not",
        "for diagnosis. Pictures of a patient's colon are as private as the video they are from.",
        "",
        f"depth/NAME.{made.form}",
        f"    Depth along the optical axis (z), {depth}; 0 is unknown.",
    ]
    if made.with_std:
        lines += [
            f"log_depth_std/NAME.{made.form}",
            f"    Standard deviation of log depth, {std}; 0 is unknown. 0.1 means that depth is",
            "    believed to be right within 10 % in two cases of three.",
        ]
    else:
        lines += ["No uncertainty: this network gives none."]
    low, high = (f"{end:.0%}" for end in ENDS)
    lines += [
        "colours/NAME.png",
        "    Depth for the eye, on the frame's pixels, with its scale to the right of them: bright",
        "    is near, dark blue far, black unknown.",
        f"    From {_ends(scales.depth, made)} in all frames:",
        f"    {low} to {high} of the depths of {SURVEYED} frames or fewer, evenly spaced.",
    ]
    if scales.uncertainty:
        ends = f"{scales.uncertainty.low:g} to {scales.uncertainty.high:g}"
        lines += [
            "uncertainty/NAME.png",
            f"    The standard deviation for the eye, as a percentage of depth, from {ends}.",
        ]
    if made.with_valid:
        lines += [
            "valid/NAME.png",
            "    White where depth is known and the image shows neither glare nor on-screen text.",
        ]
    if made.aperture is Aperture.AUTO:
        lines += [
            APERTURE,
            "    White where the scope's picture is, for all frames. The border has no depth.",
        ]
    lines += [
        f"{SIDE_BY_SIDE}",
        "    Every frame beside its colours; there if it was asked for.",
        f"{CAMERA}",
        f"    The camera of the frames, {made.height}x{made.width} (rows x columns).",
        f"{PREDICTIONS}",
        "    All of this for programs, the names of the frames, and whether all are there.",
        "",
        f"Network:  {made.backbone}",
        f"Weights:  {made.weights}, SHA-256 {made.weights_sha256}",
        f"          trained by {made.weights_recipe}, commit {made.weights_commit}",
        f"Camera:   {'calibrated' if made.calibrated else 'ASSUMED, not calibrated'}",
        "",
    ]
    if not made.metric:
        lines += ["Each frame has a scale of its own: its numbers are mm in name only."]
    elif not made.calibrated:
        lines += [
            "Lengths are a guess, because the camera is one: where a lens sees less than was",
            "assumed, all of them are wrong by a factor. `predict --camera FILE` takes a camera",
            "that was calibrated.",
        ]
    lines += ["A frame whose files are here is not predicted again by the same command.", ""]
    return "\n".join(lines)


def _ends(scale: Scale, made: Made) -> str:
    unit = "mm" if made.metric else "times the frame's median"
    return f"{scale.low:g} to {scale.high:g} {unit}"
