"""What is drawn of a colon before anything is built: numbers with names, ranges and reasons.

`anatomy_draws.py` draws them; a `Colon` is built from them alone (`colon.py`), so that a draw can
be written as JSON and the same colon made again. Angles around the wall are those of
`centre_line.py`.
"""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

Range = tuple[float, float]


# Half of it is the longest stride (16 mm), the reach of a head (20 mm) and its blending (4 mm).
STALKS_APART_MM = 100.0


class Folds(StrEnum):
    """What crosses the tube."""

    NONE = "none"
    RINGS = "rings"
    HAUSTRAL = "haustral"


class PolypKind(StrEnum):
    """Paris classes (2003): Ip on a stalk, Is without one, IIa flat."""

    STALKED = "stalked"
    SESSILE = "sessile"
    FLAT = "flat"


class FindingKind(StrEnum):
    """Other things on the wall."""

    DIVERTICULUM = "diverticulum"
    VALVE = "ileocaecal valve"
    APPENDIX = "appendix orifice"
    STOOL = "stool"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnatomyRanges:
    """Where every number is drawn from, uniformly unless said otherwise.

    Lengths, radii and shares of the length: CT colonography of inflated colons (Khashab 2009,
    Alazmani 2016); folds and taeniae: textbooks of anatomy (Standring 2020); polyps: the Paris
    classification (2003) and the sizes of Ruano 2023. Where those give a mean and a spread, the
    range is the mean and two spreads.
    """

    length_mm: Range = (1000.0, 1600.0)
    jitter_mm: Range = (5.0, 22.0)  # of the line's control points: no two colons lie alike
    bend_radius_min_mm: float = 34.0  # of the line; sharper flexures come from folds
    inflation: Range = (0.8, 1.15)  # of the whole colon
    swell: Range = (0.05, 0.16)  # slow change of the radius along the colon, one sigma
    swell_wavelength_mm: Range = (90.0, 220.0)
    collapsed_count: Range = (0.0, 2.99)  # stretches that gas has not opened
    collapsed_share: Range = (0.45, 0.7)  # of the radius that is left
    collapsed_length_mm: Range = (25.0, 60.0)
    taenia_width_mm: Range = (4.0, 8.0)
    taenia_rise_mm: Range = (0.2, 1.2)
    taenia_twist_rad_per_m: Range = (-2.0, 2.0)
    haustra_bulge: Range = (0.02, 0.12)  # of the radius, between folds and between taeniae
    fold_spacing_mm: Range = (18.0, 42.0)
    fold_depth_share: Range = (0.12, 0.42)  # of the radius
    fold_thickness_mm: Range = (2.2, 4.5)  # full width at half height
    fold_tilt: Range = (-0.25, 0.25)  # mm along for each mm across the lumen
    ring_depth_mm: Range = (1.5, 6.0)
    lumps_mm: Range = (0.2, 0.9)  # wall unevenness of several cm, one sigma
    relief_mm: Range = (0.04, 0.16)  # of several mm, one sigma
    polyp_count: Range = (6.0, 14.99)
    polyp_size_mm: Range = (2.0, 30.0)  # log-uniform: small ones are the most common
    stalked_size_mm: Range = (6.0, 22.0)
    diverticulum_count: Range = (0.0, 8.99)
    diverticulum_size_mm: Range = (3.0, 8.0)
    stool_count: Range = (4.0, 40.99)
    stool_size_mm: Range = (1.0, 8.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of the colon by name, from the rectum on."""

    name: str
    length_share: Range  # of the whole
    radius_mm: Range  # inflated


SEGMENTS = (
    Segment(name="rectum", length_share=(0.10, 0.13), radius_mm=(20.0, 28.0)),
    Segment(name="sigmoid", length_share=(0.22, 0.30), radius_mm=(15.0, 19.0)),
    Segment(name="descending", length_share=(0.15, 0.20), radius_mm=(16.0, 21.0)),
    Segment(name="transverse", length_share=(0.24, 0.32), radius_mm=(18.0, 25.0)),
    Segment(name="ascending", length_share=(0.11, 0.15), radius_mm=(22.0, 30.0)),
    Segment(name="caecum", length_share=(0.04, 0.06), radius_mm=(25.0, 34.0)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldDraw:
    """One crescent across the lumen."""

    arc_mm: float
    angle_rad: float
    half_angle_rad: float  # pi or more: a ring
    depth_share: float  # of the radius
    thickness_mm: float
    tilt: float
    tilt_angle_rad: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PolypDraw:
    """One polyp: an ellipse on the wall with a height, or a head on a stalk."""

    kind: PolypKind
    arc_mm: float
    angle_rad: float
    size_mm: float  # the longest diameter, which is what a size means in a report
    shape: float  # shorter over longer diameter
    height_mm: float
    turn_rad: float  # of the longer diameter, from along the colon
    lobes: float  # depth of lobulation as a share of the height
    phase: float
    stalk_mm: float  # length, 0 without a stalk
    stalk_radius_mm: float
    lean: tuple[float, float]  # of the stalk, along and around, as a share of its length


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingDraw:
    """Something else on the wall: an ellipse that rises or sinks."""

    kind: FindingKind
    arc_mm: float
    angle_rad: float
    size_mm: float
    shape: float
    rise_mm: float  # into the lumen; negative for a pit
    turn_rad: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ColonDraw:
    """All that one colon is made of; `seed` draws its noises."""

    seed: int
    length_mm: float
    controls: tuple[tuple[float, float, float], ...]
    segment_ends_mm: tuple[float, ...]  # of `SEGMENTS`, in order
    segment_radius_mm: tuple[float, ...]
    swell: float
    swell_wavelength_mm: float
    collapsed: tuple[tuple[float, float, float], ...]  # middle, length, share of the radius
    taenia_angle_rad: float
    taenia_twist_rad_per_mm: float
    taenia_width_mm: float
    taenia_rise_mm: float
    haustra_bulge: float
    lumps_mm: float
    relief_mm: float
    folds: tuple[FoldDraw, ...]
    polyps: tuple[PolypDraw, ...]
    findings: tuple[FindingDraw, ...]


def lie(draw: ColonDraw) -> Tensor:
    """Return the control points of the centre line, (C, 3)."""
    return torch.tensor(draw.controls, dtype=torch.float64)
