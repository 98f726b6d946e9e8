"""Clips from files: which files belong to one frame, and how the frame is read.

The whole index is checked here when a clip is opened: every partner, the number of poses, files
that are empty or cut short, the size against the camera. What is left for reading is decoding.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from colondepth.cameras import Camera
from colondepth.data.folders import File
from colondepth.data.rasters import fault, image_size, read_colour
from colondepth.data.reading import Opening
from colondepth.errors import DataError
from colondepth.trajectories import Trajectory
from colondepth.views import Clip, View

# Turns a file into entries of a view; None stands for a file that this frame rightly lacks.
# It must be a function of a module (or a partial of one), so that worker processes can have it.
Decoder = Callable[[str | None, Camera], dict[str, Tensor]]
Part = Mapping[Any, File | None]  # frame key -> its file

# Up to this many files of a clip are looked into when it is opened (20 us each on a local disk);
# beyond it only their sizes are, and the rest shows when they are read.
CHECKED_FILES = 20_000
_NAMED = 3  # missing files that a message lists


@dataclass(frozen=True, eq=False, kw_only=True)
class Frames:
    """Reads view number k from its files; what `Clip` calls."""

    paths: Mapping[str, tuple[str | None, ...]]
    decoders: Mapping[str, Decoder]
    camera: Camera
    world_from_camera: Tensor | None = None  # (N, 4, 4)
    time_s: Tensor | None = None  # (N,)

    def __call__(self, number: int) -> View:
        """Decode every part of one frame."""
        view: dict[str, Any] = {"camera": self.camera}
        for part, decode in self.decoders.items():
            path = self.paths[part][number]
            for name, values in decode(path, self.camera).items():
                height, width = values.shape[-2:]
                if (height, width) != (self.camera.height, self.camera.width):
                    raise DataError(
                        f"{path} is {height}x{width}, but the clip's first image and its camera"
                        f" are {self.camera.height}x{self.camera.width}"
                    )
                view[name] = values
        if self.world_from_camera is not None:
            view["world_from_camera"] = self.world_from_camera[number].clone()
        if self.time_s is not None:
            view["time_s"] = float(self.time_s[number])
        return cast(View, view)


def image(path: str | None, camera: Camera) -> dict[str, Tensor]:
    """Decode the colour image of a frame."""
    del camera
    return {"image": read_colour(str(path))}


def clip_of(
    opening: Opening,
    where: Path,
    *,
    name: str,
    parts: Mapping[str, Part],
    decoders: Mapping[str, Decoder],
    camera: Camera | Callable[[int, int], Camera] | None,
    frame_id: Callable[[Any], str] = "{:04d}".format,
    trajectory: Trajectory | None = None,
    suspect: Mapping[Any, str] | None = None,
) -> Clip | None:
    """Match the parts of every frame, check them and make a clip; None where no frame is left.

    Args:
        opening: takes note of what is bad.
        where: the folder, for messages.
        name: of the clip.
        parts: the files of each part by frame key, "image" first; a key whose file is None is a
            frame that rightly has none.
        decoders: what reads each part.
        camera: the dataset's own, or what makes it from (height, width).
        frame_id: turns a frame key into its name.
        trajectory: one pose for every image in `parts`, in the same order.
        suspect: frames that others found bad, and what they said; only `skip_bad` drops them.
    """
    keys = list(parts["image"])
    pose_of = _poses(opening, where, keys, trajectory)
    for part, files in parts.items():
        keys = _with_partner(opening, where, keys, part=part, files=files, images=parts["image"])
    checked = sum(map(len, parts.values())) <= CHECKED_FILES
    bad = {key for part in parts.values() for key in _bad(opening, keys, part, checked=checked)}
    for key in suspect or {} if opening.skip_bad else ():
        if key in keys and key not in bad:
            opening.bad(_path(parts["image"][key]), (suspect or {})[key])
            bad.add(key)
    keys = [key for key in keys if key not in bad]
    if not keys:
        opening.bad(where, "no frame is left")
        return None
    size = image_size(_path(parts["image"][keys[0]]))
    own = camera(*size) if callable(camera) and opening.camera is None else camera
    lens = opening.camera_for(where, *size, None if callable(own) else own)
    rows = [pose_of[key] for key in keys] if trajectory else []
    time_s = trajectory.time_s if trajectory else None
    frames = Frames(
        paths={
            part: tuple(None if (file := files[key]) is None else file.path for key in keys)
            for part, files in parts.items()
        },
        decoders=decoders,
        camera=lens,
        world_from_camera=trajectory.world_from_camera[rows] if trajectory else None,
        time_s=None if time_s is None else time_s[rows],
    )
    return Clip(frames, [frame_id(key) for key in keys], camera=lens, name=name)


def found(clips: Iterable[Clip | None]) -> list[Clip]:
    """Drop the clips of which nothing was left."""
    return [clip for clip in clips if clip is not None]


def _poses(
    opening: Opening, where: Path, keys: list[Any], trajectory: Trajectory | None
) -> dict[Any, int]:
    """Return the row of the trajectory that belongs to each frame."""
    if trajectory is None or len(trajectory) == len(keys):
        return {key: row for row, key in enumerate(keys)}
    numbered = all(isinstance(key, int) and 0 <= key < len(trajectory) for key in keys)
    if not (opening.skip_bad and numbered and keys):
        raise DataError(
            f"{where}: {len(keys)} images and {len(trajectory)} poses; expected one pose an image"
        )
    gaps = sorted(set(range(len(trajectory))) - set(keys))
    opening.bad(where, f"no image for {len(gaps)} of {len(trajectory)} poses, from frame {gaps[0]}")
    return {key: key for key in keys}


def _with_partner(
    opening: Opening, where: Path, keys: list[Any], *, part: str, files: Part, images: Part
) -> list[Any]:
    """Return the frames that have this part; both kinds of loner are bad."""
    alone = [key for key in keys if key not in files]
    orphans = [file for key, file in files.items() if key not in images and file is not None]
    if (alone or orphans) and not opening.skip_bad:
        count, names, lacks = (
            (len(alone), (_path(images[key]) for key in alone), part)
            if alone
            else (len(orphans), (file.path for file in orphans), "image")
        )
        listed = ", ".join(Path(path).name for path in islice(names, _NAMED))
        more = ", ..." if count > _NAMED else ""
        raise DataError(
            f"{where}: {count} of {len(images)} frames have no {lacks}: {listed}{more};"
            " skip_bad (--skip-bad) leaves them out"
        )
    for key in alone:
        opening.bad(_path(images[key]), f"has no {part}")
    for file in orphans:
        opening.bad(file.path, "has no image")
    lacking = set(alone)
    return [key for key in keys if key not in lacking]


def _bad(opening: Opening, keys: list[Any], part: Part, *, checked: bool) -> list[Any]:
    faulty: list[Any] = []
    for key in keys:
        file = part[key]
        if file is None or (file.size and not checked):
            continue
        if reason := fault(file):
            opening.bad(file.path, reason)
            faulty.append(key)
    return faulty


def _path(file: File | None) -> str:
    assert file is not None, "every frame has an image"
    return file.path
