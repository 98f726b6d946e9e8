"""What a run of `evaluate etis` leaves in its folder, beside the report that every evaluation has.

pairs.csv        near-duplicate views of one polyp, and how far their depths differ
stability.csv    how much depth moved under each change of each image
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from colondepth.atomic import written_whole
from colondepth.errors import DataError
from colondepth.inference import Predictor
from colondepth.prediction_folder import file_sha256
from colondepth.reconstruction.polyps import PolypSize
from colondepth.weights.files import found
from evaluation.etis import LONGEST_PX, SCORES, EtisRun
from evaluation.etis_pairs import AREAS, LEAST_CORRELATION, LEAST_OVERLAP, NEIGHBOURS
from evaluation.etis_stability import Stability
from evaluation.statistics import Average
from evaluation.summary import Exclusion, FrameScore, Made, Summary, summarise
from synthetic_colons.provenance import commit

PAIRS, STABILITY = "pairs.csv", "stability.csv"
PROTOCOL = "etis"
_PAIR_COLUMNS = ("first", "second", "correlation", "overlap", "moved", "relief_ratio")


def etis_summary(
    frames: Sequence[FrameScore],
    exclusions: Sequence[Exclusion],
    *,
    dataset: str,
    predictor: Predictor,
    weights: Path | str,
    calibrated: bool,
    groups: Path | None,
) -> Summary:
    """Average a run, with how it was made."""
    settings = {
        "size": f"{LONGEST_PX} pixels on the longer side, smaller images as they are",
        "camera": "calibrated" if calibrated else "a guess, and so is every length",
        "left out of shading": "highlights, text, clipped and black pixels",
        "intervals": "draw the groups of a file" if groups else "draw clips",
    }
    return summarise(
        frames,
        exclusions,
        made=Made(
            protocol=PROTOCOL,
            settings=settings,
            dataset=dataset,
            alignment="none needed: there is no true depth",
            mask="inside the aperture",
            cap_mm=None,
            average=Average.MICRO,
            backbone=predictor.origin.backbone if predictor.origin else "",
            weights_sha256=file_sha256(found(weights)),
            commit=commit() or "",
        ),
        quantities=SCORES,
    )


def exclusions_of(run: EtisRun, group_of: Mapping[str, str]) -> list[Exclusion]:
    """Return what a run left out, as a summary counts it."""
    return [
        Exclusion(group_of.get(each.frame, each.clip), each.frame, each.why)
        for each in run.left_out
    ]


def read_groups(path: Path, frames: Sequence[str]) -> dict[str, str]:
    """Read which group, such as a patient, every frame belongs to: columns frame,group."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if not rows or rows[0] != ["frame", "group"] or any(len(row) != 2 for row in rows):
        raise DataError(f"{path} is no table of two columns that begins with frame,group")
    found_groups = dict(rows[1:])
    if lacking := [frame for frame in frames if frame not in found_groups]:
        raise DataError(
            f"{path} says nothing of {len(lacking)} frames, {lacking[0]!r} first; expected a line"
            " for each"
        )
    return found_groups


def write_agreements(folder: Path, run: EtisRun) -> None:
    """Write the pairs of a run, a line each, below how they were found."""
    with (
        written_whole(folder / PAIRS) as path,
        path.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(_PAIR_COLUMNS)
        for each in run.agreements:
            numbers = (each.correlation, each.overlap, each.moved, each.relief_ratio)
            table.writerow([each.first, each.second, *(f"{number:.5g}" for number in numbers)])


def write_stability(folder: Path, found_of: Iterable[tuple[str, Stability]]) -> None:
    """Write how far depth of every frame moved under each change, a line a frame."""
    rows = list(found_of)
    names = list(rows[0][1].moved) if rows else []
    with (
        written_whole(folder / STABILITY) as path,
        path.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(["frame", *names])
        table.writerows([frame, *(f"{each.moved[n]:.5g}" for n in names)] for frame, each in rows)


def pairs_in_words() -> str:
    """Say how near-duplicate views are found."""
    return (
        f"images at most {NEIGHBOURS} apart in the order of their names, masks at most"
        f" {AREAS:g} times as large, images correlated by {LEAST_CORRELATION:g} and masks"
        f" overlapping by {LEAST_OVERLAP:g} after an affinity"
    )


def write_sizes(folder: Path, sizes: Sequence[tuple[str, PolypSize]]) -> None:
    """Write the size of every image's polyp, with its interval and why it is no answer."""
    with (
        written_whole(folder / "sizes.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(["frame", "size_mm", "low_mm", "high_mm", "height_mm", "shape", "why_not"])
        for frame, size in sizes:
            numbers = [size.size_mm, size.low_mm, size.high_mm, size.height_mm]
            cells = ["" if each != each else f"{each:.2f}" for each in numbers]
            table.writerow([frame, *cells, size.shape, "; ".join(size.why_not)])
