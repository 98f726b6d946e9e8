"""What opening a dataset gives, and what its readers share while they open it."""

from dataclasses import dataclass
from pathlib import Path

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.views import Clip


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that was left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The clips of a dataset, with all that a user of them has to know.

    Attributes:
        dataset: the name of the reader that opened it.
        clips: in natural order of their names.
        skipped: what `skip_bad` left out; empty without it.
        warnings: what is known to be doubtful about the data, a sentence each.
    """

    dataset: str
    clips: tuple[Clip, ...]
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()


class Opening:
    """One call of `open_clips`: what was asked for, and what was found wrong so far.

    Args:
        camera: takes the place of the dataset's own camera; None where none was given.
        skip_bad: whether bad files are listed and left out; they are errors otherwise.
    """

    def __init__(self, *, camera: Camera | None = None, skip_bad: bool = False) -> None:
        self.camera = camera
        self.skip_bad = skip_bad
        self.skipped: list[Skipped] = []
        self.warnings: list[str] = []

    def bad(self, path: Path | str, reason: str) -> None:
        """Raise for a bad file, or list it where bad files are to be skipped."""
        if not self.skip_bad:
            raise DataError(f"{path}: {reason}; skip_bad (--skip-bad) leaves it out")
        self.skipped.append(Skipped(Path(path), reason))

    def warn(self, message: str) -> None:
        """Note something doubtful, once."""
        if message not in self.warnings:
            self.warnings.append(message)

    def camera_for(self, where: Path | str, height: int, width: int, own: Camera | None) -> Camera:
        """Return the given camera, else the dataset's own, else the stated guess.

        Args:
            where: what the camera belongs to, for the message.
            height: of the images.
            width: of the images.
            own: the dataset's camera; None where it has none, and then the guess is a warning.
        """
        camera = self.camera or own
        if camera is None:
            self.warn(
                f"{where} has no calibration: an equidistant fisheye is assumed, and no length"
                " made with it is metric; camera.json beside the images would hold one"
            )
            return Camera.assumed(height, width)
        if (camera.height, camera.width) != (height, width):
            raise DataError(
                f"{where} has images of {height}x{width}, but its camera is for"
                f" {camera.height}x{camera.width}; if they were only resized, pass"
                f" camera=that_camera.resized({height}, {width}), else a calibration of their own"
            )
        return camera
