"""What is drawn of a camera's way: moves one after the other, and waves that never rest.

A withdrawal is a chain of moves, each from one arc length to another, with what the tip does
meanwhile. Angles around the lumen are those of `centre_line.py`; the tilt is the angle between the
optical axis and the line's tangent, which points to the caecum. Waves are sums of sines. The
numbers of a draw say everything: `camera_path.follow` makes the same path of them again.
"""

import math
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TypeVar

import torch

from colondepth.errors import DataError
from synthetic_colons.anatomy import PolypDraw
from synthetic_colons.colon import Colon

Range = tuple[float, float]
Item = TypeVar("Item")

RETROFLEXED_IN = ("rectum", "caecum")  # where the lumen is wide enough to turn round
# Peak over mean speed of a move from rest to rest: of the quintic without a jerk at its ends.
PEAK_OVER_MEAN = 1.875
_SEEN_AHEAD_MM = (6.0, 40.0)  # of the tip: where a polyp is found in a withdrawal
_END_ROOM_MM = 5.0  # at either end of a stretch, for what breathing adds
_SHORTEST_TRAVEL_MM = 2.0  # less is a stop


class MoveKind(StrEnum):
    """What an endoscopist does."""

    WITHDRAW = "withdraw"
    STOP = "stop"
    GO_BACK_IN = "go back in"
    SLIP = "slip"
    LOOK_AROUND = "look around"
    LOOP = "loop"
    TOUCH = "touch"
    INSPECT = "inspect"
    RETROFLEX = "retroflex"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveHabits:
    """How one kind of move is drawn, uniformly from ranges."""

    weight: float  # against the other kinds
    duration_s: Range
    travel_mm: Range = (0.0, 0.0)  # along the line, positive to the caecum
    tilt_deg: Range = (0.0, 0.0)
    sweep_deg_s: Range = (0.0, 0.0)  # mean speed around the lumen, to either side
    share: Range = (0.0, 0.0)  # offset towards the side looked at, of the lumen's radius
    gap_mm: Range = (2.0, 2.0)  # kept from the wall where there is room, beyond the clearance
    roll_deg: Range = (0.0, 0.0)  # to either side and back
    rise: Range = (0.3, 0.4)  # share of the duration to get there, and again to get back


# Tilts: the tip bends by 180 degrees up and down and 160 to the sides (data sheets of adult
# colonoscopes). Weights, durations and shares are choices: no paper counts them.
HABITS: dict[MoveKind, MoveHabits] = {
    MoveKind.WITHDRAW: MoveHabits(weight=5.0, duration_s=(1.5, 5.0)),
    MoveKind.STOP: MoveHabits(weight=1.0, duration_s=(0.5, 2.5)),
    MoveKind.GO_BACK_IN: MoveHabits(weight=0.8, duration_s=(2.0, 4.0), travel_mm=(8.0, 25.0)),
    MoveKind.SLIP: MoveHabits(weight=0.5, duration_s=(0.6, 1.4), gap_mm=(3.0, 3.0)),
    MoveKind.LOOK_AROUND: MoveHabits(  # behind folds with a tilt beyond 90
        weight=1.8,
        duration_s=(3.0, 7.0),
        travel_mm=(-3.0, 6.0),
        tilt_deg=(40.0, 120.0),
        sweep_deg_s=(10.0, 55.0),
        share=(0.1, 0.6),
        gap_mm=(1.0, 4.0),
    ),
    MoveKind.LOOP: MoveHabits(  # the shaft's torque takes the tip round the lumen
        weight=0.7,
        duration_s=(4.0, 8.0),
        travel_mm=(-12.0, 8.0),
        tilt_deg=(10.0, 40.0),
        sweep_deg_s=(40.0, 75.0),
        share=(0.4, 0.8),
        roll_deg=(40.0, 150.0),
    ),
    MoveKind.TOUCH: MoveHabits(  # comes to 2 to 4 mm of the wall: the picture goes red
        weight=1.0,
        duration_s=(2.0, 4.5),
        tilt_deg=(50.0, 95.0),
        sweep_deg_s=(0.0, 8.0),
        share=(1.1, 1.3),
        gap_mm=(0.2, 2.0),
    ),
    MoveKind.INSPECT: MoveHabits(
        weight=6.0, duration_s=(3.0, 7.0), share=(-0.4, 0.6), gap_mm=(1.0, 4.0)
    ),
    MoveKind.RETROFLEX: MoveHabits(
        weight=4.0,
        duration_s=(8.0, 15.0),
        travel_mm=(-8.0, 8.0),
        tilt_deg=(135.0, 175.0),
        sweep_deg_s=(3.0, 12.0),
        share=(0.2, 0.5),
        gap_mm=(1.0, 4.0),
        rise=(0.25, 0.3),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSettings:
    """Ranges of a withdrawal."""

    clearance_mm: float = 1.5  # of the lens from the surface: a bent tip's lens cannot come nearer
    withdrawal_s: Range = (360.0, 600.0)  # 6 min is the least in guidelines (Barclay 2006, ESGE)
    slip_mm_s: Range = (20.0, 60.0)  # peak, when a loop straightens or a bend lets go
    fastest_mm_s: float = 15.0  # mean over a stroke of the shaft that is no slip
    pace_jitter: Range = (0.5, 1.5)  # of a stroke against what the schedule asks for
    seen_polyps: float = (
        0.8  # share that is inspected; adenoma miss rates are about 0.2 (Zhao 2019)
    )
    lead_s: Range = (0.0, 12.0)  # a clip starts in the middle of something
    look_ahead_mm: Range = (18.0, 45.0)  # where on the way the tip is steered to
    wander_share: Range = (0.15, 0.45)  # of the lumen's radius, std of the offset
    wander_hz: Range = (0.03, 0.2)
    steer_deg: Range = (4.0, 12.0)  # std of the tilt: hands on the wheels
    steer_hz: Range = (0.08, 0.5)
    roll_deg: Range = (10.0, 60.0)  # std: the shaft's torque
    roll_hz: Range = (0.02, 0.12)
    breath_mm: Range = (0.3, 2.0)  # along the colon; diaphragm 10-20 mm, most of it not felt inside
    breath_hz: Range = (0.2, 0.33)  # 12 to 20 a minute
    tremor_mm: Range = (0.01, 0.06)  # std
    tremor_deg: Range = (0.02, 0.15)  # std
    tremor_hz: Range = (6.0, 12.0)  # physiological tremor of hands (Elble 1990)

    def __post_init__(self) -> None:
        """Refuse ranges that are none."""
        for field in fields(self):
            value = getattr(self, field.name)
            low, high = value if isinstance(value, tuple) else (value, value)
            if not 0 <= low <= high:
                raise DataError(f"{field.name} {value} is not a range of numbers from 0 up")
        if self.clearance_mm <= 0 or self.withdrawal_s[0] <= 0 or self.fastest_mm_s <= 0:
            raise DataError(
                f"clearance {self.clearance_mm} mm, withdrawal {self.withdrawal_s} s and"
                f" {self.fastest_mm_s} mm/s must be positive"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move; in its middle the tip is tilted and off-centre, at its ends it is steered ahead."""

    kind: MoveKind
    start_s: float
    duration_s: float
    from_mm: float
    to_mm: float
    tilt_rad: float
    azimuth_rad: float  # at the start
    sweep_rad: float
    share: float
    gap_mm: float
    roll_rad: float
    rise: float
    polyp: int  # the label that the axis is aimed at instead of `tilt_rad`; 0 is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """One sine."""

    amplitude: float
    frequency_hz: float
    phase_rad: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PathDraw:
    """All that one path through a colon is made of."""

    duration_s: float
    clearance_mm: float
    stretch_mm: Range  # of the way, where it is open
    look_ahead_mm: float
    roll_rad: float
    moves: tuple[Move, ...]  # without gaps, from before 0 to beyond the duration
    offset: tuple[tuple[Wave, ...], tuple[Wave, ...]]  # along U, T x U; share of the lumen's radius
    steer: tuple[tuple[Wave, ...], tuple[Wave, ...]]  # rad
    roll: tuple[Wave, ...]  # rad
    breath: tuple[Wave, ...]  # mm along the line
    tremor_mm: tuple[tuple[Wave, ...], tuple[Wave, ...]]
    tremor_rad: tuple[tuple[Wave, ...], tuple[Wave, ...], tuple[Wave, ...]]  # tilts and roll


def draw_moves(
    generator: torch.Generator,
    colon: Colon,
    stretches_mm: tuple[Range, ...],
    *,
    duration_s: float,
    settings: PathSettings,
) -> PathDraw:
    """Draw a path of a given duration.

    Args:
        generator: on the CPU.
        colon: for its polyps and segments.
        stretches_mm: arc lengths where the way is open; one is drawn, long ones more often.
        duration_s: of the path; a whole withdrawal, or more, takes all of a stretch.
        settings: where the numbers come from.
    """
    dice = _Dice(generator)
    low, high = dice.weighted(stretches_mm, [b - a for a, b in stretches_mm])
    low, high = low + _END_ROOM_MM, high - _END_ROOM_MM
    speed = colon.length_mm / dice(settings.withdrawal_s)
    if speed * duration_s >= high - low:
        start, speed, lead = high, (high - low) / duration_s, 0.0
    else:
        start, lead = dice((low + speed * duration_s, high)), dice(settings.lead_s)
    moves = _chain(dice, colon, settings, _Schedule(low, high, start, speed, lead, duration_s))
    offset_std, steer_std = dice(settings.wander_share), math.radians(dice(settings.steer_deg))
    tremor_std = math.radians(dice(settings.tremor_deg))
    roll_std, breath_std = math.radians(dice(settings.roll_deg)), dice(settings.breath_mm) / 1.5
    tremor_mm = dice(settings.tremor_mm)
    hz = settings
    return PathDraw(
        duration_s=duration_s,
        clearance_mm=settings.clearance_mm,
        stretch_mm=(low - _END_ROOM_MM, high + _END_ROOM_MM),
        look_ahead_mm=dice(settings.look_ahead_mm),
        roll_rad=dice((-math.pi, math.pi)),
        moves=moves,
        offset=(dice.waves(offset_std, hz.wander_hz), dice.waves(offset_std, hz.wander_hz)),
        steer=(dice.waves(steer_std, hz.steer_hz), dice.waves(steer_std, hz.steer_hz)),
        roll=dice.waves(roll_std, hz.roll_hz),
        breath=dice.waves(breath_std, hz.breath_hz, count=1),
        tremor_mm=(dice.waves(tremor_mm, hz.tremor_hz), dice.waves(tremor_mm, hz.tremor_hz)),
        tremor_rad=(
            dice.waves(tremor_std, hz.tremor_hz),
            dice.waves(tremor_std, hz.tremor_hz),
            dice.waves(tremor_std, hz.tremor_hz),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Schedule:
    """Where the tip should be when."""

    low_mm: float
    high_mm: float
    start_mm: float
    speed_mm_s: float
    lead_s: float
    duration_s: float

    def at(self, time_s: float) -> float:
        arc = self.start_mm - self.speed_mm_s * time_s
        return min(max(arc, self.low_mm), self.high_mm)


class _Dice:
    """Draws numbers one by one."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def __call__(self, among: Range) -> float:
        low, high = among
        return low + (high - low) * float(torch.rand((), generator=self._generator))

    def weighted(self, items: tuple[Item, ...], weights: list[float]) -> Item:
        return items[int(torch.tensor(weights).multinomial(1, generator=self._generator))]

    def either(self, among: Range) -> float:
        """Draw a number of either sign."""
        return self(among) * (1.0 if self((-1, 1)) > 0 else -1.0)

    def waves(self, std: float, hz: Range, *, count: int = 4) -> tuple[Wave, ...]:
        """Draw sines that add up to a standard deviation; frequencies are log-uniform."""
        amplitude = std * math.sqrt(2 / count)
        low, high = math.log(hz[0]), math.log(hz[1])
        return tuple(
            Wave(
                amplitude=amplitude,
                frequency_hz=math.exp(self((low, high))),
                phase_rad=self((0, 2 * math.pi)),
            )
            for _ in range(count)
        )


def _chain(dice: _Dice, colon: Colon, settings: PathSettings, plan: _Schedule) -> tuple[Move, ...]:
    seen = {
        label: polyp
        for label, polyp in enumerate(colon.draw.polyps, start=1)
        if dice((0, 1)) < settings.seen_polyps
    }
    moves: list[Move] = []
    time, arc = -plan.lead_s, plan.start_mm
    turned: set[str] = set()  # segments that have been looked at in retroflexion
    kind = MoveKind.WITHDRAW
    while time < plan.duration_s:
        ahead = {n: p for n, p in seen.items() if _in_sight(p, arc)}
        segment = colon.segment_name(arc)
        allowed = {
            each: habits.weight
            for each, habits in HABITS.items()
            if (each is not MoveKind.INSPECT or ahead)
            and (each is not MoveKind.RETROFLEX or segment in set(RETROFLEXED_IN) - turned)
            and (each is MoveKind.WITHDRAW or each is not kind)
        }
        kind = dice.weighted(tuple(allowed), list(allowed.values()))
        label = 0
        if kind is MoveKind.INSPECT:
            label = min(ahead, key=lambda n: ahead[n].arc_mm)
            del seen[label]
        if kind is MoveKind.RETROFLEX:
            turned.add(segment)
        polyp = colon.polyp(label) if label else None
        move = _move(dice, settings, plan, kind, time, arc, label, polyp)
        moves.append(move)
        time, arc = time + move.duration_s, move.to_mm
    return tuple(moves)


def _in_sight(polyp: PolypDraw, arc_mm: float) -> bool:
    return _SEEN_AHEAD_MM[0] < polyp.arc_mm - arc_mm < _SEEN_AHEAD_MM[1]


def _move(
    dice: _Dice,
    settings: PathSettings,
    plan: _Schedule,
    kind: MoveKind,
    time: float,
    arc: float,
    label: int,
    polyp: PolypDraw | None,
) -> Move:
    habits = HABITS[kind]
    duration = dice(habits.duration_s)
    azimuth = dice((-math.pi, math.pi))
    travel = dice(habits.travel_mm)
    if kind is MoveKind.WITHDRAW:
        behind = (arc - plan.at(time + duration)) * dice(settings.pace_jitter)
        travel = -min(max(behind, 0.0), settings.fastest_mm_s * duration)
    elif kind is MoveKind.SLIP:
        travel = -dice(settings.slip_mm_s) * duration / PEAK_OVER_MEAN
    elif polyp is not None:
        # To where the polyp is seen from beside or from before it.
        travel = min(max(polyp.arc_mm - dice((4.0, 22.0)) - arc, -15.0), 15.0)
        azimuth = polyp.angle_rad
    arrived = min(max(arc + travel, plan.low_mm), plan.high_mm)
    if abs(arrived - arc) < _SHORTEST_TRAVEL_MM:
        arrived = arc
    return Move(
        kind=kind,
        start_s=time,
        duration_s=duration,
        from_mm=arc,
        to_mm=arrived,
        tilt_rad=math.radians(dice(habits.tilt_deg)),
        azimuth_rad=azimuth,
        sweep_rad=math.radians(dice.either(habits.sweep_deg_s)) * duration,
        share=dice(habits.share),
        gap_mm=dice(habits.gap_mm),
        roll_rad=math.radians(dice.either(habits.roll_deg)),
        rise=dice(habits.rise),
        polyp=label,
    )
