"""Drawing what a clip has in the lumen: pools where fluid can stand, waves, bubbles, a tool."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from colondepth.errors import DataError
from synthetic_colons.clinic_settings import (
    BreathingDraw,
    ClinicDraw,
    ClinicSettings,
    ClusterDraw,
    FoamDraw,
    InstrumentDraw,
    PatchDraw,
    PoolDraw,
    Range,
    Tool,
    Triplet,
    WaveDraw,
    plane_axes,
)
from synthetic_colons.colon import Colon
from synthetic_colons.wall_tables import ROW_MM

# Up in the patient's axes (left, head, front): on the left side, as most examinations begin, on
# the back, on the right side; with the share of examinations that look at a segment so.
LYING: tuple[tuple[Triplet, float], ...] = (
    ((-1.0, 0.0, 0.0), 0.55),
    ((0.0, 0.0, 1.0), 0.35),
    ((1.0, 0.0, 0.0), 0.10),
)
# Linear reflectance of bowel fluid: from bile's yellow to thin brown stool; fitted by eye to the
# pool in ETIS-Larib's frames 2 and 7, whose sRGB is (165, 140, 70).
FLUID_COLOURS: tuple[Triplet, ...] = (
    (0.38, 0.29, 0.12),
    (0.36, 0.25, 0.11),
    (0.27, 0.17, 0.08),
    (0.42, 0.37, 0.24),
)
# How far each primary gets, against green: bile and stool take blue first.
FLUID_PASSES: Triplet = (1.35, 1.0, 0.5)
# Linear reflectance of catheters' sheaths on sale: white, blue, green, orange, black.
SHEATH_COLOURS: tuple[Triplet, ...] = (
    (0.75, 0.75, 0.72),
    (0.05, 0.18, 0.55),
    (0.10, 0.42, 0.25),
    (0.80, 0.30, 0.06),
    (0.05, 0.05, 0.06),
)
# A cluster is no larger than this share of its pool.
_CLUSTER_SHARE = 0.3


def draw_clinic(
    generator: torch.Generator,
    colon: Colon,
    *,
    clip_frames: int,
    frames_per_s: float,
    settings: ClinicSettings | None = None,
    stretch_mm: tuple[float, float] | None = None,
) -> ClinicDraw:
    """Draw what is in the lumen during one clip.

    Args:
        generator: on the CPU.
        colon: at rest; its wall says where fluid can stand.
        clip_frames: how long the clip is.
        frames_per_s: of the clip.
        settings: the ranges.
        stretch_mm: arc lengths that the clip looks at; the whole colon by default.
    """
    if clip_frames < 1 or frames_per_s <= 0:
        raise DataError(f"a clip of {clip_frames} frames at {frames_per_s} a second is none")
    s = settings or ClinicSettings()
    dice = _Dice(generator)
    low, high = stretch_mm or (0.0, colon.length_mm)
    low, high = max(0.0, low), min(colon.length_mm, high)
    if low >= high:
        raise DataError(f"stretch_mm {stretch_mm} lies outside a colon of {colon.length_mm} mm")
    up = _up(dice)
    duration_s = clip_frames / frames_per_s
    return ClinicDraw(
        up=up,
        waves=_waves(dice, s, (low, high), duration_s) if dice.happens(s.wave_chance) else (),
        breathing=BreathingDraw(
            narrowing=dice.within(s.breathing),
            period_s=dice.within(s.breathing_period_s),
            phase_rad=dice.within((0, 2 * math.pi)),
        )
        if dice.happens(s.breathing_chance)
        else None,
        pools=_pools(dice, s, colon, up, (low, high)) if dice.happens(s.pool_chance) else (),
        patches=_patches(dice, s, colon, (low, high)) if dice.happens(s.bubbles_chance) else (),
        instrument=_instrument(dice, s, duration_s) if dice.happens(s.instrument_chance) else None,
    )


def floor_mm(colon: Colon, up: Triplet) -> Tensor:
    """Return the height of the wall's lowest point in every row, (S,): what fluid stands on."""
    radius = colon.wall.radius_mm.cpu()
    rows, columns = radius.shape
    arc = torch.arange(rows) * ROW_MM
    here, frame = colon.line.to("cpu").at(arc)
    upward = torch.tensor(up)
    x, y = (frame[..., k] @ upward for k in (0, 1))  # (S,)
    angle = torch.arange(columns) * (2 * math.pi / columns)
    slope = x[:, None] * angle.cos() + y[:, None] * angle.sin()  # (S, COLUMNS)
    return here @ upward + (radius * slope).amin(dim=1)


class _Dice:
    """Single numbers from a generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def share(self) -> float:
        return float(torch.rand((), generator=self._generator, dtype=torch.float64))

    def within(self, limits: Range) -> float:
        low, high = limits
        return low + (high - low) * self.share()

    def happens(self, chance: float) -> bool:
        return self.share() < chance

    def seed(self) -> int:
        return int(torch.randint(2**31 - 1, (), generator=self._generator))

    def among(self, count: int) -> int:
        return min(count - 1, int(self.share() * count))

    def steps(self, low: float, high: float, apart: Callable[[], float]) -> list[float]:
        """Return places between two ends, each so far from the one before; at least one."""
        places, at = [], low + self.share() * min(apart(), high - low)
        while at < high:
            places.append(at)
            at += apart()
        return places


def _up(dice: _Dice) -> Triplet:
    value, chosen = dice.share(), LYING[-1][0]
    for direction, share in LYING:
        if value < share:
            chosen = direction
            break
        value -= share
    # Nobody lies exactly so: some 15 degrees of tilt.
    x, y, z = (each + 0.25 * (2 * dice.share() - 1) for each in chosen)
    size = math.sqrt(x * x + y * y + z * z)
    return x / size, y / size, z / size


def _waves(
    dice: _Dice, s: ClinicSettings, stretch: Range, duration_s: float
) -> tuple[WaveDraw, ...]:
    found = []
    for middle in dice.steps(*stretch, lambda: max(s.wave_apart_mm, 2 * s.wave_length_mm[1])):
        forwards = 1 if dice.happens(s.retrograde_chance) else -1
        speed = forwards * dice.within(s.wave_speed_mm_per_s)
        found.append(
            WaveDraw(
                arc_mm=middle - speed * duration_s / 2,
                speed_mm_per_s=speed,
                length_mm=dice.within(s.wave_length_mm),
                narrowing=dice.within(s.wave_narrowing),
            )
        )
    return tuple(found)


def _pools(
    dice: _Dice, s: ClinicSettings, colon: Colon, up: Triplet, stretch: Range
) -> tuple[PoolDraw, ...]:
    floor = floor_mm(colon, up)
    colour = FLUID_COLOURS[dice.among(len(FLUID_COLOURS))]  # the same fluid in all of them
    low, high = s.turbidity_mm
    clear = math.exp(dice.within((math.log(max(low, 1e-3)), math.log(max(high, 1e-3)))))
    found: list[PoolDraw] = []
    for place in dice.steps(*stretch, lambda: dice.within(s.pool_apart_mm)):
        depth, foamy = dice.within(s.pool_depth_mm), dice.happens(s.foam_chance)
        basin = _basin(floor, place, depth, s.pool_length_max_mm)
        if basin is None or (found and basin[0] <= found[-1].to_mm):
            continue
        start, end, level = basin
        clusters = _clusters(dice, s, colon, up, (start, end)) if foamy else ()
        found.append(
            PoolDraw(
                from_mm=start,
                to_mm=end,
                level_mm=level,
                albedo=colour,
                turbidity_mm=(
                    clear * FLUID_PASSES[0],
                    clear * FLUID_PASSES[1],
                    clear * FLUID_PASSES[2],
                ),
                ripple_slope=dice.within(s.ripple_slope),
                ripple_phase_rad=dice.within((0, 2 * math.pi)),
                clusters=clusters,
                foam=_foam(dice, s),
            )
        )
    return tuple(found)


def _basin(
    floor: Tensor, place_mm: float, depth_mm: float, longest_mm: float
) -> tuple[float, float, float] | None:
    """Fill the hollow that a place drains into; return its ends and its level."""
    rows, heights = len(floor), floor.tolist()
    row = min(rows - 1, round(place_mm / ROW_MM))
    while True:  # downhill
        lower = min((max(0, row - 1), row, min(rows - 1, row + 1)), key=lambda k: heights[k])
        if heights[lower] >= heights[row]:
            break
        row = lower
    # A lower level makes a shorter pool; small hollows between two folds hold some millimetres.
    for share in (1.0, 0.8, 0.6, 0.45, 0.3, 0.2):
        level = heights[row] + share * depth_mm
        first = last = row
        while first > 0 and heights[first - 1] < level:
            first -= 1
        while last < rows - 1 and heights[last + 1] < level:
            last += 1
        inside = first > 0 and last < rows - 1
        if inside and (last - first) * ROW_MM <= longest_mm:
            return (first - 1) * ROW_MM, (last + 1) * ROW_MM, level
    return None


def _clusters(
    dice: _Dice, s: ClinicSettings, colon: Colon, up: Triplet, ends: Range
) -> tuple[ClusterDraw, ...]:
    found = []
    for _ in range(int(dice.within(s.foam_clusters))):
        here, frame = colon.line.to("cpu").at(torch.tensor(dice.within(ends)))
        aside = (2 * dice.share() - 1) * 12.0  # mm: pools are some 25 mm wide
        across = torch.linalg.cross(frame[:, 2], torch.tensor(up), dim=-1)
        spot = here + aside * across
        u, v = (float(spot @ torch.tensor(axis)) for axis in plane_axes(up))
        radius = min(dice.within(s.foam_radius_mm), _CLUSTER_SHARE * (ends[1] - ends[0]))
        found.append(ClusterDraw(u_mm=u, v_mm=v, radius_mm=radius))
    return tuple(found)


def _foam(dice: _Dice, s: ClinicSettings) -> FoamDraw:
    return FoamDraw(
        seed=dice.seed(),
        cell_mm=dice.within(s.bubble_cell_mm),
        density=dice.within(s.bubble_density),
    )


def _patches(dice: _Dice, s: ClinicSettings, colon: Colon, stretch: Range) -> tuple[PatchDraw, ...]:
    found = []
    for arc in dice.steps(*stretch, lambda: dice.within(s.bubbles_apart_mm)):
        _, frame = colon.line.to("cpu").at(torch.tensor(arc))
        x, y, z = frame[:, 2].tolist()
        found.append(
            PatchDraw(
                arc_mm=arc,
                angle_rad=dice.within((-math.pi, math.pi)),
                length_mm=dice.within(s.patch_length_mm),
                half_angle_rad=dice.within(s.patch_half_angle_rad),
                along=(x, y, z),
                foam=_foam(dice, s),
            )
        )
    return tuple(found)


def _instrument(dice: _Dice, s: ClinicSettings, duration_s: float) -> InstrumentDraw:
    anywhere = dice.happens(s.any_clock_chance)
    clock_h = dice.within((0, 12)) if anywhere else dice.within(s.clock_h)
    # In sight for at least the clip's middle third: often from before it, or to beyond it.
    return InstrumentDraw(
        tool=Tool.SNARE if dice.happens(s.snare_share) else Tool.FORCEPS,
        clock_rad=(clock_h - 3) * math.pi / 6,
        channel_offset_mm=dice.within(s.channel_offset_mm),
        inward_rad=dice.within(s.inward_rad),
        sheath_radius_mm=dice.within(s.sheath_radius_mm),
        sheath_albedo=SHEATH_COLOURS[dice.among(len(SHEATH_COLOURS))],
        reach_mm=dice.within(s.reach_mm),
        swing_mm=dice.within(s.swing_mm),
        swing_period_s=dice.within(s.swing_period_s),
        swing_phase_rad=dice.within((0, 2 * math.pi)),
        thrust_s=dice.within(s.thrust_s),
        out_s=duration_s * dice.within((-0.5, 0.33)),
        back_s=duration_s * dice.within((0.67, 1.5)),
        roll_rad=dice.within((0, 2 * math.pi)),
        opening_rad=dice.within(s.opening_rad),
        loop_length_mm=dice.within(s.loop_length_mm),
        loop_share=dice.within(s.loop_share),
    )
