"""A colonoscope's way out: world_from_camera over time, never nearer to the wall than promised.

Camera frame: x right, y down, z forward; poses are rigid, in float64, translation in mm.

The tip's place is an arc length and an offset in the cross-section, both smooth functions of time
in closed form. Where the offset would take it too near to the surface, a share of it is taken:
a cubic B-spline over time, below what `reach` allows at every moment. So the place has two
continuous derivatives, and a distance to the surface is kept between the frames as well.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.motion import rigid_motion, so3_exp
from colondepth.shapes import require_float, require_shapes
from synthetic_colons.clear_way import (
    EDGE_MM,
    ClearWay,
    across,
    clear_way,
    reach,
    spline,
)
from synthetic_colons.colon import Colon
from synthetic_colons.path_moves import (
    Move,
    MoveKind,
    PathDraw,
    PathSettings,
    Wave,
    draw_moves,
)
from synthetic_colons.wall_tables import COLUMNS, ROW_MM

USUAL_GAP_MM = 2.0  # kept beyond the clearance where there is room: scopes are as wide as a finger
_LOOKS_MS = 10  # between two looks at what is free; 0.6 mm in the fastest slip
_LOOKS_A_KNOT = 25  # 0.25 s: a hand gives way about as fast
_CHECKS_A_LOOK = 2  # the finished path is looked at more often than it was planned
_CORRECTIONS = 8  # rounds in which the share of the offset is halved where it is still too much
_STEERED = (
    MoveKind.LOOK_AROUND,
    MoveKind.LOOP,
    MoveKind.TOUCH,
    MoveKind.INSPECT,
    MoveKind.RETROFLEX,
)


@dataclass(frozen=True, slots=True, eq=False)
class CameraPath:
    """A path and its frames."""

    draw: PathDraw
    way: ClearWay
    times_s: Tensor  # (T,), of the frames
    world_from_camera: Tensor  # (T, 4, 4), float64
    share: Tensor  # (K, 1), B-spline controls over time: how much of the offset is taken
    targets_mm: Tensor  # (M, 3), what each move is aimed at, if it is

    def at(self, times_s: Tensor) -> Tensor:
        """Return world_from_camera at any times within the path, (T,) -> (T, 4, 4)."""
        require_shapes(times_s=(times_s, "T"))
        require_float(times_s=times_s)
        times = times_s.double().cpu()
        wish = _wish(self.draw, self.way, times)
        return _motion(self.draw, self.way, wish, self._share(times), times, self.targets_mm)

    def arc_mm(self, times_s: Tensor) -> Tensor:
        """Return the tip's arc length at times (T,)."""
        require_shapes(times_s=(times_s, "T"))
        return _wish(self.draw, self.way, times_s.double().cpu()).arc_mm

    def moves_at(self, times_s: Tensor) -> list[Move]:
        """Return the move that is going on at each of the times (T,)."""
        require_shapes(times_s=(times_s, "T"))
        return [self.draw.moves[k] for k in _now(self.draw, times_s.double().cpu()).tolist()]

    def _share(self, times: Tensor) -> Tensor:
        return spline(self.share, times / _KNOT_S + _KNOTS_BEFORE)


_KNOT_S = _LOOKS_MS * _LOOKS_A_KNOT / 1000
_KNOTS_BEFORE = 2  # the spline's reach


def draw_path(
    generator: torch.Generator,
    colon: Colon,
    *,
    frames: int,
    frames_per_s: float,
    settings: PathSettings | None = None,
    way: ClearWay | None = None,
) -> CameraPath:
    """Draw a withdrawal through a colon, or the stretch of one that so many frames show.

    Args:
        generator: on the CPU.
        colon: on any device.
        frames: of the clip; more than a withdrawal's make it a slower one.
        frames_per_s: endoscopes have 25 to 60.
        settings: where the numbers come from.
        way: the colon's way for the clearance in the settings, if it has been found before.
    """
    settings = settings or PathSettings()
    way = way or clear_way(colon, clearance_mm=settings.clearance_mm)
    times = _times(frames, frames_per_s)
    draw = draw_moves(
        generator, colon, way.stretches_mm, duration_s=float(times[-1]), settings=settings
    )
    return follow(draw, colon, frames=frames, frames_per_s=frames_per_s, way=way)


def follow(
    draw: PathDraw,
    colon: Colon,
    *,
    frames: int,
    frames_per_s: float,
    way: ClearWay | None = None,
) -> CameraPath:
    """Make a path of its numbers; arguments as in `draw_path`."""
    times = _times(frames, frames_per_s)
    way = way or clear_way(colon, clearance_mm=draw.clearance_mm)
    if way.clearance_mm < draw.clearance_mm:
        raise DataError(
            f"the way keeps {way.clearance_mm:g} mm, expected the path's {draw.clearance_mm:g} mm"
            " or more"
        )
    if float(times[-1]) > draw.duration_s + 1e-6:
        raise DataError(
            f"{frames} frames at {frames_per_s:g}/s last {float(times[-1]):.2f} s, expected"
            f" {draw.duration_s:.2f} s or less, as the path was drawn"
        )
    share = _affordable_share(draw, colon, way)
    targets = _targets(draw, colon)
    blank = torch.zeros(0, 4, 4, dtype=torch.float64)
    path = CameraPath(draw, way, times, blank, share, targets)
    return CameraPath(draw, way, times, path.at(times), share, targets)


class _Wish(NamedTuple):
    """Where the tip would be if there were no wall."""

    arc_mm: Tensor  # (T,)
    offset_mm: Tensor  # (T, 2), from the way
    gap_mm: Tensor  # (T,), beyond the clearance
    steered: Tensor  # (T,), 1 in the middle of a move that has an aim
    aim_rad: Tensor  # (T, 2), tilt of that aim
    roll_rad: Tensor  # (T,)
    move: Tensor  # (T,), number of the move


def _wish(draw: PathDraw, way: ClearWay, times: Tensor) -> _Wish:
    now = _now(draw, times)
    m = _columns(draw.moves)
    speeds = _speeds(m)
    duration, start, end = m["duration_s"][now], m["from_mm"][now], m["to_mm"][now]
    part = ((times - m["start_s"][now]) / duration).clamp(0, 1)
    arc = _between(part, start, end, speeds[now] * duration, speeds[now + 1] * duration)
    arc = arc + _sum_waves(draw.breath, times)
    rise = m["rise"][now]
    swell = _ease(part / rise) * _ease((1 - part) / rise)
    steered = swell * m["steered"][now]
    azimuth = m["azimuth_rad"][now] + m["sweep_rad"][now] * _ease(part)
    side = torch.stack([azimuth.cos(), azimuth.sin()], dim=-1)  # (T, 2)
    own = (steered * m["share"][now])[:, None] * side
    offset = (1 - steered)[:, None] * _pair(draw.offset, times) + own
    offset = way.room(arc)[:, None] * offset + _pair(draw.tremor_mm, times)
    roll = draw.roll_rad + _sum_waves(draw.roll, times) + swell * m["roll_rad"][now]
    return _Wish(
        arc_mm=arc,
        offset_mm=offset,
        gap_mm=torch.lerp(torch.full_like(swell, USUAL_GAP_MM), m["gap_mm"][now], swell),
        steered=steered,
        aim_rad=m["tilt_rad"][now][:, None] * side,
        roll_rad=roll + _sum_waves(draw.tremor_rad[2], times),
        move=now,
    )


def _place(way: ClearWay, wish: _Wish, share: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tip's place (T, 3) and the line's frame there (T, 3, 3)."""
    here, frame = way.line.at(wish.arc_mm)
    return here + across(frame, way.offset(wish.arc_mm) + share * wish.offset_mm), frame


def _motion(
    draw: PathDraw, way: ClearWay, wish: _Wish, share: Tensor, times: Tensor, targets: Tensor
) -> Tensor:
    place, frame = _place(way, wish, share)
    ahead = _tilt_towards(way.points(wish.arc_mm + draw.look_ahead_mm) - place, frame)
    aimed = torch.tensor([bool(move.polyp) for move in draw.moves])[wish.move]
    own = _tilt_towards(targets[wish.move] - place, frame)
    aim = torch.where(aimed[:, None], own, wish.aim_rad)
    tilt = torch.lerp(ahead + _pair(draw.steer, times), aim, wish.steered[:, None])
    tilt = tilt + _pair((draw.tremor_rad[0], draw.tremor_rad[1]), times)
    none = torch.zeros_like(wish.roll_rad)
    bent = so3_exp(torch.stack([-tilt[:, 1], tilt[:, 0], none], dim=-1))  # z goes towards `tilt`
    rolled = so3_exp(torch.stack([none, none, wish.roll_rad], dim=-1))
    return rigid_motion(frame @ bent @ rolled, place)


def _affordable_share(draw: PathDraw, colon: Colon, way: ClearWay) -> Tensor:
    """Return controls (K, 1) of the share of the offset that keeps the clearance all the time."""
    knots = math.ceil(draw.duration_s / _KNOT_S) + 1 + 2 * _KNOTS_BEFORE
    looks = (knots - 1) * _LOOKS_A_KNOT + 1
    times = torch.arange(looks, dtype=torch.float64) * (_LOOKS_MS / 1000) - _KNOTS_BEFORE * _KNOT_S
    wish = _wish(draw, way, times)
    need = draw.clearance_mm + EDGE_MM + wish.gap_mm
    allowed = reach(colon, way, wish.arc_mm, wish.offset_mm, need)  # (looks,)
    side = _KNOTS_BEFORE * _LOOKS_A_KNOT
    # A B-spline is a mean of the controls in reach: below the least of what each may be.
    share = -torch.nn.functional.max_pool1d(
        -allowed[None], 2 * side + 1, stride=_LOOKS_A_KNOT, padding=side
    )[0]
    checks = (looks - 1) * _CHECKS_A_LOOK + 1
    times = torch.linspace(float(times[0]), float(times[-1]), checks, dtype=torch.float64)
    times = times[(times > -_KNOT_S) & (times < draw.duration_s + _KNOT_S)]
    wish, where = _wish(draw, way, times), times / _KNOT_S + _KNOTS_BEFORE
    for _ in range(_CORRECTIONS + 1):
        place, _ = _place(way, wish, spline(share[:, None], where))
        step = torch.nn.functional.pad(place.diff(dim=0).norm(dim=-1), (1, 1))
        need = draw.clearance_mm + torch.maximum(step[1:], step[:-1]) / 2
        short = way.clearance(colon, place, wish.arc_mm) < need
        if not short.any():
            return share[:, None]
        touched = torch.zeros_like(share)
        for k in range(-1, 3):
            touched[(where[short].floor().long() + k).clamp(0, len(share) - 1)] = 1
        share = share * (1 - 0.5 * touched)
    raise DataError(
        f"{int(short.sum())} moments of this path have less than {draw.clearance_mm:g} mm to the"
        " surface; the way belongs to another colon or to a smaller clearance"
    )


def _targets(draw: PathDraw, colon: Colon) -> Tensor:
    """Return what each move is aimed at in the world, (M, 3); 0 where it is aimed at nothing."""
    found = torch.zeros(len(draw.moves), 3, dtype=torch.float64)
    for row, move in enumerate(draw.moves):
        if move.polyp:
            found[row] = polyp_middle(colon, move.polyp).double().cpu()
    return found


def polyp_middle(colon: Colon, label: int) -> Tensor:
    """Return the middle of a polyp in the world, (3,)."""
    polyp = colon.polyp(label)
    if label in colon.stalked_numbers:
        return colon.stalked[colon.stalked_numbers.index(label), 3:6]
    rows = len(colon.wall.radius_mm)
    row = min(rows - 1, round(polyp.arc_mm / ROW_MM))
    column = round(polyp.angle_rad / (2 * math.pi) * COLUMNS) % COLUMNS
    top = colon.wall.radius_mm[row, column]  # the polyp's height has been taken off
    at = [torch.as_tensor(each).to(top) for each in (polyp.arc_mm, polyp.angle_rad)]
    return colon.line.point(at[0], at[1], top + polyp.height_mm / 2)


def _times(frames: int, frames_per_s: float) -> Tensor:
    if frames < 1 or not frames_per_s > 0:
        raise DataError(f"{frames} frames at {frames_per_s}/s; expected 1 or more at more than 0")
    return torch.arange(frames, dtype=torch.float64) / frames_per_s


def _now(draw: PathDraw, times: Tensor) -> Tensor:
    """Return the number of the move at every time."""
    starts = torch.tensor([move.start_s for move in draw.moves], dtype=torch.float64)
    return (torch.searchsorted(starts, times, right=True) - 1).clamp(min=0)


def _columns(moves: tuple[Move, ...]) -> dict[str, Tensor]:
    names = (
        *("start_s", "duration_s", "from_mm", "to_mm", "tilt_rad", "azimuth_rad", "sweep_rad"),
        *("share", "gap_mm", "roll_rad", "rise"),
    )
    found = {
        name: torch.tensor([getattr(move, name) for move in moves], dtype=torch.float64)
        for name in names
    }
    steered = [float(move.kind in _STEERED) for move in moves]
    return {**found, "steered": torch.tensor(steered, dtype=torch.float64)}


def _speeds(m: dict[str, Tensor]) -> Tensor:
    """Return the speed between moves (M + 1,): none where it turns, the harmonic mean else."""
    mean = (m["to_mm"] - m["from_mm"]) / m["duration_s"]
    before, after = mean[:-1], mean[1:]
    onward = before * after > 0
    total = torch.where(onward, before + after, 1.0)
    inner = torch.where(onward, 2 * before * after / total, 0.0)
    return torch.nn.functional.pad(inner, (1, 1))


def _between(part: Tensor, start: Tensor, end: Tensor, leave: Tensor, arrive: Tensor) -> Tensor:
    """Return the quintic with given ends and slopes there, and without curvature at either end."""
    p3, p4, p5 = part**3, part**4, part**5
    eased = 10 * p3 - 15 * p4 + 6 * p5
    return (
        start
        + (end - start) * eased
        + leave * (part - 6 * p3 + 8 * p4 - 3 * p5)
        + arrive * (-4 * p3 + 7 * p4 - 3 * p5)
    )


def _ease(part: Tensor) -> Tensor:
    part = part.clamp(0, 1)
    return part**3 * (10 - 15 * part + 6 * part**2)


def _tilt_towards(vector: Tensor, frame: Tensor) -> Tensor:
    """Return the tilt (T, 2) that turns the tangent towards a vector (T, 3)."""
    x, y, z = (vector[:, None] @ frame)[:, 0].unbind(dim=-1)
    off = torch.hypot(x, y)
    return torch.stack([x, y], dim=-1) * (torch.atan2(off, z) / off.clamp(min=1e-9))[:, None]


def _pair(waves: tuple[tuple[Wave, ...], tuple[Wave, ...]], times: Tensor) -> Tensor:
    return torch.stack([_sum_waves(each, times) for each in waves], dim=-1)


def _sum_waves(waves: tuple[Wave, ...], times: Tensor) -> Tensor:
    total = torch.zeros_like(times)
    for wave in waves:
        angle = (2 * math.pi * wave.frequency_hz) * times + wave.phase_rad
        total = total + wave.amplitude * angle.sin()
    return total
