"""What is drawn of a colon before anything is built: numbers with names, ranges and reasons.

A `Colon` is built from these numbers alone (`colon.py`), so that a draw can be written as JSON and
the same colon made again. Angles around the wall are measured as in `centre_line.py`.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

Range = tuple[float, float]


# Half of it is the longest stride (16 mm), the reach of a head (20 mm) and its blending (4 mm).
STALKS_APART_MM = 80.0


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

    Lengths, radii and shares of the length: CT colonography of inflated colons (Khashab 2009, Alazmani 2016);
    folds and taeniae: textbooks of anatomy (Standring 2020); polyps: Paris classification 2003 and the
    sizes of Ruano 2023. Where those give a mean and a spread, the range is the mean and two spreads.
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
# How a colon lies: x to the patient's left, y to the head, z to the front, in mm for a colon of
# about 1.3 m. From the anus to the caecum, read off an atlas.
_LIE = (
    *((0, -190, -50), (0, -140, -75), (5, -95, -40), (35, -65, 10), (10, -15, 45)),
    *((60, 20, 40), (100, -20, 0), (130, -40, -45), (140, 30, -60), (135, 100, -60)),
    *((120, 165, -50), (75, 160, 0), (35, 110, 35), (-15, 80, 55), (-65, 95, 40)),
    *((-105, 135, 0), (-130, 105, -45), (-138, 40, -55), (-135, -25, -45), (-118, -85, -30)),
    ((-98, -120, -20)),
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


def draw_colon(
    generator: torch.Generator,
    *,
    folds: Folds,
    relief: bool,
    simple_polyps: bool,
    findings: bool,
    stool: bool,
    ranges: AnatomyRanges | None = None,
) -> ColonDraw:
    """Draw the numbers of one colon.

    Args:
        generator: on the CPU.
        folds: what crosses the tube.
        relief: fine unevenness of the wall.
        simple_polyps: domes alone, all of one kind.
        findings: valve, appendix and diverticula.
        stool: residue on the wall.
        ranges: where the numbers come from.
    """
    r = ranges or AnatomyRanges()
    draw = _Dice(generator)
    uneven = folds is Folds.HAUSTRAL
    length = draw(r.length_mm)
    shares = [draw(each.length_share) for each in SEGMENTS]
    ends = [length * sum(shares[: k + 1]) / sum(shares) for k in range(len(shares))]
    inflation = draw(r.inflation)
    radii = [draw(each.radius_mm) * inflation for each in SEGMENTS]
    if not uneven and folds is Folds.NONE:
        radii = [sum(radii) / len(radii)] * len(radii)
    taenia, twist = draw((0, 2 * math.pi)), draw(r.taenia_twist_rad_per_m) / 1000
    collapsed = tuple(
        (draw((0.1 * length, 0.85 * length)), draw(r.collapsed_length_mm), draw(r.collapsed_share))
        for _ in range(int(draw(r.collapsed_count)) if uneven else 0)
    )
    jitter = draw(r.jitter_mm)
    controls = tuple(
        (x + draw.normal() * jitter, y + draw.normal() * jitter, z + draw.normal() * jitter)
        for x, y, z in _LIE
    )
    polyps = _polyps(draw, r, length, simple=simple_polyps)
    return ColonDraw(
        seed=draw.whole(),
        length_mm=round(length),
        controls=controls,
        segment_ends_mm=tuple(ends),
        segment_radius_mm=tuple(radii),
        swell=draw(r.swell) if uneven else 0.0,
        swell_wavelength_mm=draw(r.swell_wavelength_mm),
        collapsed=collapsed,
        taenia_angle_rad=taenia,
        taenia_twist_rad_per_mm=twist,
        taenia_width_mm=draw(r.taenia_width_mm),
        taenia_rise_mm=draw(r.taenia_rise_mm) if uneven else 0.0,
        haustra_bulge=draw(r.haustra_bulge) if uneven else 0.0,
        lumps_mm=draw(r.lumps_mm) if uneven else 0.0,
        relief_mm=draw(r.relief_mm) if relief else 0.0,
        folds=_folds(draw, r, folds, length, ends, taenia, twist),
        polyps=polyps,
        findings=_findings(draw, r, length, ends, taenia, findings=findings, stool=stool),
    )


def lie(draw: ColonDraw) -> Tensor:
    """Return the control points of the centre line, (C, 3)."""
    return torch.tensor(draw.controls, dtype=torch.float64)


class _Dice:
    """Draws numbers one by one."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def __call__(self, among: Range) -> float:
        low, high = among
        return low + (high - low) * float(torch.rand((), generator=self._generator))

    def normal(self) -> float:
        return float(torch.randn((), generator=self._generator).clamp(-2, 2))

    def whole(self) -> int:
        return int(torch.randint(2**31 - 1, (), generator=self._generator))

    def logarithmic(self, among: Range) -> float:
        return math.exp(self((math.log(among[0]), math.log(among[1]))))


def _folds(
    draw: _Dice,
    r: AnatomyRanges,
    kind: Folds,
    length: float,
    ends: list[float],
    taenia: float,
    twist: float,
) -> tuple[FoldDraw, ...]:
    found: list[FoldDraw] = []
    if kind is Folds.NONE:
        return ()
    arc, rings = 15.0, kind is Folds.RINGS
    spacing, depth = draw(r.fold_spacing_mm), draw(r.ring_depth_mm) / 20
    while arc < length - 25:
        turned = draw((-math.pi, math.pi))
        if rings:
            found.append(_fold(draw, r, arc, 0.0, 4.0, depth, 0.0, turned))
            arc += spacing
            continue
        part = next(k for k, end in enumerate(ends) if arc <= end)
        count, depth_share, gap = _FOLD_HABITS[SEGMENTS[part].name]
        first = int(draw((0, 2.99)))
        for k in range(int(draw(count))):
            middle = (
                taenia + twist * arc + (first + k + 0.5) * 2 * math.pi / 3 + 0.2 * draw.normal()
            )
            half = draw((0.75, 1.25))
            share = depth_share * draw(r.fold_depth_share)
            own = arc + 3 * draw.normal()
            found.append(_fold(draw, r, own, middle, half, share, draw(r.fold_tilt), turned))
        arc += gap * draw(r.fold_spacing_mm)
    return tuple(found)


# Segment -> crescents at one place, depth against `fold_depth_share`, distance against the range.
_FOLD_HABITS: dict[str, tuple[Range, float, float]] = {
    "rectum": ((1.0, 1.99), 1.3, 1.5),  # Houston's three valves
    "sigmoid": ((1.0, 3.99), 0.9, 0.9),
    "descending": ((1.0, 3.49), 0.7, 1.1),
    "transverse": ((2.0, 3.99), 1.0, 0.85),  # three crescents leave a triangle
    "ascending": ((1.0, 3.99), 1.0, 1.0),
    "caecum": ((1.0, 2.49), 0.7, 1.0),
}


def _fold(
    draw: _Dice,
    r: AnatomyRanges,
    arc: float,
    angle: float,
    half: float,
    depth: float,
    tilt: float,
    turned: float,
) -> FoldDraw:
    return FoldDraw(
        arc_mm=arc,
        angle_rad=angle,
        half_angle_rad=half,
        depth_share=min(depth, 0.5),
        thickness_mm=draw(r.fold_thickness_mm),
        tilt=tilt,
        tilt_angle_rad=turned,
    )


def _polyps(
    draw: _Dice, r: AnatomyRanges, length: float, *, simple: bool
) -> tuple[PolypDraw, ...]:
    """Draw polyps; those on stalks keep apart, so that a place has one at most within reach."""
    found: list[PolypDraw] = []
    for _ in range(int(draw(r.polyp_count))):
        polyp = _polyp(draw, r, length, simple=simple)
        stalks = [each.arc_mm for each in found if each.kind is PolypKind.STALKED]
        near = any(abs(polyp.arc_mm - arc) < STALKS_APART_MM for arc in stalks)
        if polyp.kind is not PolypKind.STALKED or not near:
            found.append(polyp)
    return tuple(found)


def _polyp(draw: _Dice, r: AnatomyRanges, length: float, *, simple: bool) -> PolypDraw:
    pick = draw((0, 1))
    kind = PolypKind.SESSILE
    if not simple and pick > 0.8:
        kind = PolypKind.STALKED
    elif not simple and pick > 0.6:
        kind = PolypKind.FLAT
    size = draw.logarithmic(r.stalked_size_mm if kind is PolypKind.STALKED else r.polyp_size_mm)
    height = {
        PolypKind.SESSILE: size * draw((0.35, 0.6)),
        PolypKind.FLAT: min(2.5, size * draw((0.08, 0.16))),  # Paris: IIa rises less than 2.5 mm
        PolypKind.STALKED: size * draw((0.6, 0.9)),
    }[kind]
    stalked = kind is PolypKind.STALKED
    return PolypDraw(
        kind=kind,
        arc_mm=draw((30.0, length - 40.0)),
        angle_rad=draw((0, 2 * math.pi)),
        size_mm=size,
        shape=draw((0.7, 1.0)),
        height_mm=min(height, 11.0),  # the lumen must stay open
        turn_rad=draw((0, math.pi)),
        lobes=0.0 if simple else draw((0.0, 0.22)),
        phase=draw((0, 2 * math.pi)),
        stalk_mm=draw((4.0, 9.0)) if stalked else 0.0,
        stalk_radius_mm=draw((1.2, 2.2)) if stalked else 0.0,
        lean=(draw((-0.6, 0.6)), draw((-0.4, 0.4))),
    )


def _findings(
    draw: _Dice,
    r: AnatomyRanges,
    length: float,
    ends: list[float],
    taenia: float,
    *,
    findings: bool,
    stool: bool,
) -> tuple[FindingDraw, ...]:
    found: list[FindingDraw] = []

    def add(
        kind: FindingKind,
        arc: float,
        angle: float,
        size: float,
        shape: float,
        rise: float,
        turn: float = 0.0,
    ) -> None:
        found.append(
            FindingDraw(
                kind=kind,
                arc_mm=arc,
                angle_rad=angle,
                size_mm=size,
                shape=shape,
                rise_mm=rise,
                turn_rad=turn,
            )
        )

    if findings:
        # Two lips across the wall with the slit between them, on the inner side.
        for offset in (-4.5, 4.5):
            add(
                FindingKind.VALVE,
                ends[-2] + offset,
                taenia,
                draw((22, 32)),
                0.28,
                draw((5, 8)),
                math.pi / 2,
            )
        add(FindingKind.APPENDIX, length - 17.0, taenia + 2.1, draw((3, 5)), 0.7, -draw((1.5, 3)))
        for _ in range(int(draw(r.diverticulum_count))):
            size = draw(r.diverticulum_size_mm)
            arc = draw((ends[0], ends[2]))  # sigmoid and descending, where they are found
            add(
                FindingKind.DIVERTICULUM,
                arc,
                draw((0, 2 * math.pi)),
                size,
                draw((0.8, 1)),
                -0.8 * size,
            )
    if stool:
        for _ in range(int(draw(r.stool_count))):
            size = draw.logarithmic(r.stool_size_mm)
            arc, angle = draw((10, length - 10)), draw((0, 2 * math.pi))
            add(
                FindingKind.STOOL, arc, angle, size, draw((0.4, 1)), 0.35 * size, draw((0, math.pi))
            )
    return tuple(found)
