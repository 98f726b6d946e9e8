"""From drawn numbers to the wall: lumen radius and what lies where, over arc length and angle."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from colondepth.centre_line import CentreLine, centre_line, sharpest_bends
from synthetic_colons.anatomy import (
    AnatomyRanges,
    ColonDraw,
    FindingDraw,
    FindingKind,
    FoldDraw,
    PolypDraw,
    PolypKind,
    lie,
)
from synthetic_colons.noise import wall_noise
from synthetic_colons.wall_tables import COLUMNS, POLYP_NUMBERS, ROW_MM, rows_of

NARROWEST_MM, WIDEST_MM = 8.0, 38.0  # of the lumen before folds
# The line's bend times the lumen's radius: wall coordinates fold over at 1.
LARGEST_BEND = 0.55
WALL_MM = 3.0  # thickness; two stretches of colon keep twice this between them
LUMEN_LEFT = 0.35  # share of the radius that folds and polyps together leave open
# Labels of the wall: 0 is wall, 1 and up are polyps in the order of the draw, then these.
LABELS = {
    FindingKind.DIVERTICULUM: 200,
    FindingKind.VALVE: 201,
    FindingKind.APPENDIX: 202,
    FindingKind.STOOL: 203,
}
_SMOOTHINGS = 60  # rounds of smoothing until the line bends gently enough
_BLEND_MM = 25.0  # over which one segment's radius becomes the next one's


@dataclass(frozen=True, slots=True, eq=False)
class Wall:
    """The wall of one colon."""

    radius_mm: Tensor  # (S, COLUMNS)
    label: Tensor  # (S, COLUMNS) int16, see `LABELS`
    fold: Tensor  # (S, COLUMNS) in [0, 1], 1 on the crest of a fold


def build_line(draw: ColonDraw, ranges: AnatomyRanges | None = None) -> CentreLine:
    """Return the centre line, smoothed until it bends no sharper than a colon does."""
    smallest = (ranges or AnatomyRanges()).bend_radius_min_mm
    controls = lie(draw)
    for _ in range(_SMOOTHINGS):
        sharp = sharpest_bends(controls, length_mm=draw.length_mm)
        if float(sharp.min()) >= smallest:
            break
        middle = (controls[:-2] + controls[2:]) / 2
        # All of it a little, so that a sharp corner has somewhere to go, and sharp bends more.
        pull = 0.02 + 0.2 * (sharp[1:-1] < smallest).to(controls)[:, None]
        inner = controls[1:-1] + pull * (middle - controls[1:-1])
        controls = torch.cat([controls[:1], inner, controls[-1:]])
    return centre_line(controls, length_mm=draw.length_mm)


def build_wall(draw: ColonDraw, line: CentreLine) -> Wall:
    """Bake radius and labels."""
    rows = rows_of(len(line.nodes))
    generator = torch.Generator().manual_seed(draw.seed)
    base = _base_radius(draw, line, generator)  # (S, 1)
    arc = torch.arange(rows) * ROW_MM
    angle = torch.arange(COLUMNS) * (2 * math.pi / COLUMNS)
    taenia = _taenia(draw, arc, angle)  # (S, COLUMNS), 0 on a taenia, 1 between two
    inward = torch.zeros(rows, COLUMNS)
    for fold in draw.folds:
        _press(inward, fold, base)
    crest = (inward / (0.3 * base)).clamp(max=1)
    bulge = draw.haustra_bulge * base * taenia * _between_folds(draw, arc)
    inward = inward + draw.taenia_rise_mm * torch.exp(
        -((taenia * base / draw.taenia_width_mm) ** 2)
    )
    radius = base + bulge - inward
    mean = float(base.mean())
    for sigma, wavelength, octaves in ((draw.lumps_mm, 45.0, 2), (draw.relief_mm, 9.0, 2)):
        if sigma:
            noise = wall_noise(
                generator,
                rows,
                COLUMNS,
                step_mm=ROW_MM,
                wavelength_mm=wavelength,
                mean_radius_mm=mean,
                octaves=octaves,
            )
            radius = radius + sigma * noise
    label = torch.zeros(rows, COLUMNS, dtype=torch.int16)
    for finding in draw.findings:
        _raise(radius, label, finding, LABELS[finding.kind], lobes=0.0, phase=0.0)
    for number, polyp in enumerate(draw.polyps, start=1):
        if polyp.kind is not PolypKind.STALKED:
            _raise(radius, label, _dome(polyp), number, lobes=polyp.lobes, phase=polyp.phase)
    radius = _softened(_at_least(radius, LUMEN_LEFT * base))
    return Wall(radius.contiguous(), label, crest)


def stalked_polyps(draw: ColonDraw, line: CentreLine, wall: Wall) -> tuple[Tensor, tuple[int, ...]]:
    """Return the numbers of polyps on stalks (K, POLYP_NUMBERS), and which of the draw they are."""
    rows, which = [], []
    for number, polyp in enumerate(draw.polyps, start=1):
        if polyp.kind is not PolypKind.STALKED:
            continue
        row = min(len(wall.radius_mm) - 1, round(polyp.arc_mm / ROW_MM))
        column = round(polyp.angle_rad / (2 * math.pi) * COLUMNS) % COLUMNS
        radius = float(wall.radius_mm[row, column])
        across, along = polyp.size_mm / 2, polyp.height_mm / 2
        reach = min(polyp.stalk_mm + along, 1.1 * radius)
        arc = polyp.arc_mm + polyp.lean[0] * reach
        angle = polyp.angle_rad + polyp.lean[1] * reach / radius
        spots = line.point(
            torch.tensor([polyp.arc_mm, arc]),
            torch.tensor([polyp.angle_rad, angle]),
            torch.tensor([radius + 1.0, max(radius - reach, 0.0)]),
        )
        own = (
            *spots[0].tolist(),
            *spots[1].tolist(),
            polyp.stalk_radius_mm,
            along,
            across,
            (polyp.arc_mm + arc) / 2,
        )
        rows.append((*own, *(0.0,) * (POLYP_NUMBERS - len(own))))
        which.append(number)
    table = torch.tensor(rows) if rows else torch.zeros(0, POLYP_NUMBERS)
    return table, tuple(which)


def _base_radius(draw: ColonDraw, line: CentreLine, generator: torch.Generator) -> Tensor:
    """Return the lumen's radius before folds, (S, 1)."""
    rows = rows_of(len(line.nodes))
    arc = torch.arange(rows) * ROW_MM
    radius = torch.full((rows,), draw.segment_radius_mm[0])
    for end, before, after in zip(
        draw.segment_ends_mm, draw.segment_radius_mm, draw.segment_radius_mm[1:], strict=False
    ):
        radius = radius + (after - before) * torch.sigmoid((arc - end) / (_BLEND_MM / 4))
    if draw.swell:
        noise = wall_noise(
            generator,
            rows,
            8,
            step_mm=ROW_MM,
            wavelength_mm=draw.swell_wavelength_mm,
            mean_radius_mm=1.0,
        )[:, 0]
        radius = radius * (draw.swell * noise).exp()
    for middle, length, share in draw.collapsed:
        radius = radius * (1 - (1 - share) * torch.exp(-(((arc - middle) / (length / 2)) ** 2)))
    radius = torch.minimum(radius, _room(line).repeat_interleave(2)[:rows])
    return _evened(radius.clamp(NARROWEST_MM, WIDEST_MM))[:, None]


def _room(line: CentreLine) -> Tensor:
    """Return the radius that bends and other stretches of the colon leave at every node, (N,)."""
    bend = LARGEST_BEND * line.bend_radius_mm()
    places = line.nodes[::4, :3]
    apart = torch.cdist(places, places)
    number = torch.arange(len(places))
    neighbours = (number[:, None] - number[None]).abs() * 4 < 3 * WIDEST_MM
    apart = torch.where(neighbours, torch.inf, apart).amin(dim=1)
    free = ((apart - 2 * WALL_MM) / 2).repeat_interleave(4)[: len(line.nodes)]
    room = torch.minimum(bend, free)
    reach = 16
    padded = torch.cat([room[:1].expand(reach), room, room[-1:].expand(reach)])
    return -torch.nn.functional.max_pool1d(-padded[None], 2 * reach + 1, stride=1)[0]


def _evened(radius: Tensor) -> Tensor:
    """Return a mean over 16 mm: no step where limits set in."""
    reach = round(8 / ROW_MM)
    padded = torch.cat([radius[:1].expand(reach), radius, radius[-1:].expand(reach)])
    for _ in range(2):
        padded = torch.nn.functional.avg_pool1d(
            padded[None], 2 * reach + 1, stride=1, padding=reach, count_include_pad=False
        )[0]
    return padded[reach:-reach]


def _taenia(draw: ColonDraw, arc: Tensor, angle: Tensor) -> Tensor:
    """Return |sin| of the angle to the nearest of the three taeniae, (S, COLUMNS)."""
    own = angle[None] - draw.taenia_angle_rad - draw.taenia_twist_rad_per_mm * arc[:, None]
    return (1.5 * own).sin().abs()


def _between_folds(draw: ColonDraw, arc: Tensor) -> Tensor:
    """Return 0 at folds and 1 in the middle between two, (S, 1)."""
    if not draw.folds:
        return torch.zeros(len(arc), 1)
    places = torch.tensor(sorted(fold.arc_mm for fold in draw.folds))
    away = (arc[:, None] - places[None]).abs().amin(dim=1)
    return ((away / 12).clamp(max=1) * (math.pi / 2)).sin().square()[:, None]


def _press(inward: Tensor, fold: FoldDraw, base: Tensor) -> None:
    """Let a fold stand into the lumen; where two meet, the deeper one shows."""
    rows, columns = inward.shape
    reach = 4 * fold.thickness_mm + abs(fold.tilt) * WIDEST_MM
    first = max(0, int((fold.arc_mm - reach) / ROW_MM))
    last = min(rows, int((fold.arc_mm + reach) / ROW_MM) + 1)
    if first >= last:
        return
    own = base[first:last]
    arc = torch.arange(first, last)[:, None] * ROW_MM
    angle = torch.arange(columns)[None] * (2 * math.pi / columns)
    middle = fold.arc_mm + fold.tilt * own * (angle - fold.tilt_angle_rad).cos()
    # cosh^-2 has the roundness of a fold of mucosa over muscle; its half width is 0.88.
    across = torch.cosh((arc - middle) / (fold.thickness_mm / 1.76)) ** -2
    turn = (angle - fold.angle_rad + math.pi).remainder(2 * math.pi) - math.pi
    if fold.half_angle_rad < math.pi:
        share = (turn / fold.half_angle_rad).clamp(-1, 1)
        across = across * (0.5 + 0.5 * (math.pi * share).cos()) ** 0.8
    inward[first:last] = torch.maximum(inward[first:last], fold.depth_share * own * across)


def _dome(polyp: PolypDraw) -> FindingDraw:
    return FindingDraw(
        kind=FindingKind.STOOL,
        arc_mm=polyp.arc_mm,
        angle_rad=polyp.angle_rad,
        size_mm=polyp.size_mm,
        shape=polyp.shape,
        rise_mm=polyp.height_mm,
        turn_rad=polyp.turn_rad,
    )


def _raise(
    radius: Tensor, label: Tensor, what: FindingDraw, number: int, *, lobes: float, phase: float
) -> None:
    """Let an ellipse rise from the wall, or sink into it, and write its label."""
    rows, columns = radius.shape
    centre_row = min(rows - 1, round(what.arc_mm / ROW_MM))
    centre_column = round(what.angle_rad / (2 * math.pi) * columns) % columns
    around_mm = float(radius[centre_row, centre_column]) * 2 * math.pi / columns
    first = max(0, int((what.arc_mm - what.size_mm) / ROW_MM))
    last = min(rows, int((what.arc_mm + what.size_mm) / ROW_MM) + 1)
    half = min(columns // 2 - 1, int(what.size_mm / around_mm) + 1)
    index = (torch.arange(-half, half + 1) + centre_column) % columns
    a = torch.arange(first, last)[:, None] * ROW_MM - what.arc_mm
    turn = (index * (2 * math.pi / columns) - what.angle_rad + math.pi).remainder(2 * math.pi)
    b = (turn - math.pi)[None] * (around_mm * columns / (2 * math.pi))
    c, s = math.cos(what.turn_rad), math.sin(what.turn_rad)
    u, v = (c * a + s * b) / (what.size_mm / 2), (c * b - s * a) / (what.size_mm / 2 * what.shape)
    square = u * u + v * v
    dome = (1 - square).clamp(min=0) ** 0.9  # steep at the rim, round on top
    if lobes:
        dome = dome * (1 + lobes * (3.1 * u + phase).sin() * (3.7 * v - phase).sin())
    block = radius[first:last][:, index]
    radius[first:last, index] = block - what.rise_mm * dome
    named = label[first:last][:, index]
    label[first:last, index] = torch.where(square < 1, torch.tensor(number).to(named), named)


def _softened(radius: Tensor) -> Tensor:
    """Return the wall without what its grid cannot hold: a binomial mean, three by three."""
    around = (radius.roll(1, 1) + 2 * radius + radius.roll(-1, 1)) / 4
    padded = torch.cat([around[:1], around, around[-1:]])
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4


def _at_least(values: Tensor, floor: Tensor) -> Tensor:
    """Return values that bend smoothly towards a floor instead of crossing it."""
    width = 0.3 * floor
    return floor + width * torch.nn.functional.softplus((values - floor) / width)
