"""Which copies a call of `colondepth deidentify` makes, and each of them made.

Folders keep their structure. With `rename`, files and folders are numbered in natural order, so
that no name of a patient is left in a path; without it names stay. A copy that stands, whole and
with its log, is not made again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from colondepth.data import DICOM_SUFFIXES, VIDEO_SUFFIXES, is_dicom
from colondepth.data.folders import Folder, exists, list_folder
from colondepth.data.rasters import IMAGE_SUFFIXES
from colondepth.data.reading import Opening
from colondepth.deidentification import Removed
from colondepth.deidentified_dicom import deidentify_dicom
from colondepth.deidentified_files import deidentify_image, deidentify_video
from colondepth.deidentified_log import read_finished
from colondepth.errors import ColonDepthError, DataError

DIGITS = 4  # of a number that takes the place of a name; more where there are more files
DEEPEST = 64  # folders in folders: archives sort by year, month, day, patient, study and series


class Kind(StrEnum):
    """What a file is; its value is the suffix of the copy."""

    VIDEO = ".mp4"
    IMAGE = ".png"
    DICOM = ".dcm"


@dataclass(frozen=True, slots=True)
class Job:
    """One file and its copy."""

    source: Path
    target: Path
    kind: Kind


def plan_copies(
    paths: Sequence[Path], folder: Path, *, rename: bool, opening: Opening
) -> list[Job]:
    """Return what is to be made of files and folders, in order; nothing is read or written.

    Args:
        paths: videos, images, DICOM files, and folders of them. What lies in the only folder given
            goes straight into `folder`, otherwise each gets a folder of its own.
        folder: of the copies.
        rename: number files and folders instead of keeping their names.
        opening: says what becomes of files that are none of these.
    """
    jobs: list[Job] = []
    for number, path in enumerate(paths, start=1):
        if not exists(path):
            raise DataError(f"{path} does not exist; expected a video, an image or a folder")
        if not path.is_dir():
            jobs += _job(path, folder / _name(path.stem, number, len(paths), rename), opening)
            continue
        if folder.resolve().is_relative_to(path.resolve()):
            raise DataError(
                f"the copies would go into {folder}, inside {path}, and be copied themselves; give"
                " another folder with --out"
            )
        own = _name(path.resolve().name, number, len(paths), rename) if len(paths) > 1 else ""
        listed = list_folder(path, opening, deepest=DEEPEST)
        jobs += _jobs_below(listed, folder / own, rename=rename, opening=opening)
    twice = {job.target: job for job in jobs}
    if len(twice) < len(jobs):
        first = next(job for job in jobs if twice[job.target] is not job)
        raise DataError(
            f"{first.source.name} and {twice[first.target].source.name} would both become"
            f" {first.target}; --rename numbers them"
        )
    return jobs


def make_copy(
    job: Job, opening: Opening, *, seen: Callable[[int], None] | None = None
) -> tuple[Removed, bool] | None:
    """Make one copy, unless it stands already.

    Args:
        job: what to make.
        opening: says what becomes of a file that cannot be read.
        seen: called with the number of all frames, once for each that is done.

    Returns:
        What was removed, and whether the copy is new; None if the file is bad and was skipped.
    """
    if (removed := read_finished(job.source, job.target)) is not None:
        return removed, False
    try:
        if job.source.stat().st_size == 0:
            raise DataError(f"{job.source} has no bytes")
        if job.kind is Kind.IMAGE:
            removed = deidentify_image(job.source, job.target)
        elif job.kind is Kind.DICOM:
            removed = deidentify_dicom(job.source, job.target, seen=seen)
        else:
            removed = deidentify_video(job.source, job.target, opening=opening, seen=seen)
    except (ColonDepthError, OSError) as error:
        if not opening.skip_bad:
            raise
        opening.bad(job.source, str(error).removeprefix(f"{job.source}").lstrip(" :"))
        return None
    return removed, True


def _jobs_below(folder: Folder, target: Path, *, rename: bool, opening: Opening) -> Iterator[Job]:
    for number, file in enumerate(folder.files.values(), start=1):
        path = Path(file.path)
        yield from _job(path, target / _name(path.stem, number, len(folder.files), rename), opening)
    for number, (name, child) in enumerate(folder.folders.items(), start=1):
        own = _name(name, number, len(folder.folders), rename)
        yield from _jobs_below(child, target / own, rename=rename, opening=opening)


def _job(path: Path, target: Path, opening: Opening) -> Iterator[Job]:
    """Give the job for one file; what is no picture is bad."""
    if (kind := _kind(path)) is None:
        opening.bad(path, "is no video, image or DICOM file")
        return
    yield Job(path, target.with_name(target.name + kind), kind)


def _kind(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    if suffix in DICOM_SUFFIXES:
        return Kind.DICOM
    if suffix in IMAGE_SUFFIXES:
        return Kind.IMAGE
    if suffix in VIDEO_SUFFIXES:
        return Kind.VIDEO
    return Kind.DICOM if path.is_file() and is_dicom(path) else None  # archives leave suffixes out


def _name(name: str, number: int, count: int, rename: bool) -> str:
    return f"{number:0{max(DIGITS, len(str(count)))}d}" if rename else name
