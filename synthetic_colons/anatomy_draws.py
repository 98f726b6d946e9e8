"""Draws the numbers of a colon: where folds sit, how polyps are shaped, what else is found."""

import math

import torch

from synthetic_colons.anatomy import (
    SEGMENTS,
    STALKS_APART_MM,
    AnatomyRanges,
    ColonDraw,
    FindingDraw,
    FindingKind,
    FoldDraw,
    Folds,
    PolypDraw,
    PolypKind,
    Range,
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


_HEAD_SHARE = 0.9  # of the narrowest segment's radius: the widest head on a stalk


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
    polyps = _polyps(draw, r, length, min(radii), simple=simple_polyps)
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
    draw: _Dice, r: AnatomyRanges, length: float, narrowest: float, *, simple: bool
) -> tuple[PolypDraw, ...]:
    """Draw polyps; those on stalks keep apart, so that a place has one at most within reach."""
    found: list[PolypDraw] = []
    for _ in range(int(draw(r.polyp_count))):
        polyp = _polyp(draw, r, length, narrowest, simple=simple)
        stalks = [each.arc_mm for each in found if each.kind is PolypKind.STALKED]
        near = any(abs(polyp.arc_mm - arc) < STALKS_APART_MM for arc in stalks)
        if polyp.kind is not PolypKind.STALKED or not near:
            found.append(polyp)
    return tuple(found)


def _polyp(
    draw: _Dice, r: AnatomyRanges, length: float, narrowest: float, *, simple: bool
) -> PolypDraw:
    pick = draw((0, 1))
    kind = PolypKind.SESSILE
    if not simple and pick > 0.8:
        kind = PolypKind.STALKED
    elif not simple and pick > 0.6:
        kind = PolypKind.FLAT
    arc = draw((30.0, length - 40.0))
    size = draw.logarithmic(r.stalked_size_mm if kind is PolypKind.STALKED else r.polyp_size_mm)
    if kind is PolypKind.STALKED:  # a scope must pass beside the head
        size = min(size, _HEAD_SHARE * narrowest)
    height = {
        PolypKind.SESSILE: size * draw((0.35, 0.6)),
        PolypKind.FLAT: min(2.5, size * draw((0.08, 0.16))),  # Paris: IIa rises less than 2.5 mm
        PolypKind.STALKED: size * draw((0.6, 0.9)),
    }[kind]
    stalked = kind is PolypKind.STALKED
    return PolypDraw(
        kind=kind,
        arc_mm=arc,
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
