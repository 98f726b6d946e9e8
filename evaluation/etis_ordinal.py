"""Which of two points is nearer, as a person says, against predicted depth (WHDR).

A CSV file holds one pair of points a row, pixels of the image's own size:

    frame,first_u,first_v,second_u,second_v,nearer
    13,410,380,700,200,first

`nearer` is first, second or same. The score is the share of pairs on which depth disagrees (Bell,
Bala and Snavely 2014, with all weights 1; Chen et al. 2016 for depth).

What it can tell: gross errors of order that a person can see. What it cannot: any amount. It is as
good as the pairs: easy ones, such as wall against lumen, are right for a depth made of brightness.
On rendered polyps, with pairs drawn from true depth (`colondepth bench etis-scores`), it followed
the true error best of all scores; people's pairs are fewer and have mistakes.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.shapes import require_shapes
from evaluation.ordinal_agreement import PointPairs, ordinal_errors

COLUMNS = ("frame", "first_u", "first_v", "second_u", "second_v", "nearer")
SAME = 0.03  # relative difference of depth up to which two points count as equally far


class Nearer(StrEnum):
    """Which point of a pair is nearer to the camera."""

    FIRST = "first"
    SECOND = "second"
    SAME = "same"


_ORDER = {Nearer.FIRST: -1, Nearer.SECOND: 1, Nearer.SAME: 0}  # as `PointPairs` has it


@dataclass(frozen=True, slots=True, kw_only=True)
class PointPair:
    """Two pixels (u, v), as (column, row), and which is nearer."""

    first: tuple[float, float]
    second: tuple[float, float]
    nearer: Nearer


def read_pairs(path: Path) -> dict[str, list[PointPair]]:
    """Read the point pairs of every frame from a CSV file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    rows = csv.DictReader(text.splitlines())
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise DataError(f"{path} has columns {rows.fieldnames}, expected {','.join(COLUMNS)}")
    found: dict[str, list[PointPair]] = defaultdict(list)
    for number, row in enumerate(rows, start=2):
        try:
            pair = PointPair(
                first=(float(row["first_u"]), float(row["first_v"])),
                second=(float(row["second_u"]), float(row["second_v"])),
                nearer=Nearer(row["nearer"].strip()),
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}, line {number}: {','.join(map(str, row.values()))} is no pair; expected"
                f" four numbers and one of {', '.join(Nearer)}"
            ) from error
        found[row["frame"].strip()].append(pair)
    return dict(found)


def require_frames(pairs: Mapping[str, Sequence[PointPair]], frames: Sequence[str]) -> None:
    """Refuse pairs of frames that are not there."""
    if lost := sorted(set(pairs) - set(frames)):
        raise DataError(
            f"{len(lost)} frames of the point pairs are not in the data, {lost[0]!r} first;"
            f" expected names such as {frames[0]!r}"
        )


def disagreement(
    depth_mm: Tensor, pairs: Sequence[PointPair], *, size: tuple[int, int]
) -> tuple[float, int]:
    """Return the share of pairs on which depth disagrees, and how many pairs it is of.

    A pair with a point of unknown depth counts as a disagreement; no pair gives nan.

    Args:
        depth_mm: z-depth, (1, H, W), 0 where unknown.
        pairs: their pixels are those of an image of `size`.
        size: (height, width) of the image that was labelled.
    """
    require_shapes(depth_mm=(depth_mm, "1 H W"))
    if not pairs:
        return float("nan"), 0
    (height, width), (rows, columns) = size, depth_mm.shape[-2:]
    outside = [
        point
        for pair in pairs
        for point in (pair.first, pair.second)
        if not (-0.5 <= point[0] <= width - 0.5 and -0.5 <= point[1] <= height - 0.5)
    ]
    if outside:
        raise DataError(
            f"the point ({outside[0][0]:g}, {outside[0][1]:g}) is outside of an image of"
            f" {height}x{width}"
        )
    points = torch.tensor([(pair.first, pair.second) for pair in pairs], dtype=torch.float64)
    stretch = points.new_tensor([columns / width, rows / height])
    placed = (points + 0.5) * stretch - 0.5  # (N, 2, 2)
    errors = ordinal_errors(
        depth_mm,
        PointPairs(
            first_px=placed[:, 0],
            second_px=placed[:, 1],
            order=torch.tensor([_ORDER[pair.nearer] for pair in pairs]),
            weight=torch.ones(len(pairs), dtype=torch.float64),
        ),
        equal_within=SAME,
    )
    answered = errors["ordinal_answered"]
    return 1 - (answered * (1 - errors["whdr"]) if answered else 0.0), len(pairs)
