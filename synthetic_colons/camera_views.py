"""Single views of a colon for training, and a second view a short motion away from each.

Camera frame: x right, y down, z forward; poses are rigid, in float32 on the colon's device.

Every number is drawn several times over; of these rounds a view takes the first that keeps the
clearance. So nothing loops over views, and the kind of a view does not depend on how much room
its place has.
"""

import math
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from colondepth.errors import DataError
from colondepth.motion import rigid_motion, so3_exp
from colondepth.shapes import require_shapes
from synthetic_colons.camera_path import polyp_middle
from synthetic_colons.clear_way import clearance_near
from synthetic_colons.colon import Colon
from synthetic_colons.wall_tables import COLUMNS, ROW_MM

Range = tuple[float, float]

_ROUNDS = 8  # were half of the places too narrow, 1 view in 256 would go to the centre line
_PARTNER_ROUNDS = 4
_PARTNER_LOOKS = 8  # places on the way to a partner: 1 mm apart or less
_ENDS_MM = 8.0  # of the colon, where the bowls leave no clearance
_RETROFLEXED_TILT = 0.5  # std of the axis, as a tangent: the wall behind, not the shaft alone
_LUMEN_TILT = 0.2
_FACE_TILT = 0.15
_FACE_SLANT = 0.45  # std of where the camera stands, as a tangent from straight above
_FORWARD = (1.0, 1.0, 1.6)  # a tip moves along its axis more than across


class ViewKind(StrEnum):
    """What a view looks at."""

    LUMEN_IN = "to the caecum"
    LUMEN_OUT = "to the rectum"
    OBLIQUE = "oblique to the wall"
    EN_FACE = "en face"
    POLYP = "polyp"
    CAECUM = "caecum end-on"
    FLEXURE = "flexure"
    RETROFLEXED = "retroflexed"


_KINDS = tuple(ViewKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSettings:
    """The mixture of views, and ranges of where they are.

    Weights are choices: clips of withdrawals look along the lumen most of the time, but a depth
    network is worst where it does not.
    """

    clearance_mm: float = 1.5  # of the lens from the surface: a bent tip's lens cannot come nearer
    weights: tuple[float, ...] = (0.26, 0.10, 0.18, 0.16, 0.12, 0.05, 0.07, 0.06)  # as `ViewKind`
    off_centre: Range = (0.0, 0.9)  # share of the lumen's radius
    retroflexed_off_centre: Range = (0.2, 0.8)  # a bent tip stands beside its shaft
    look_ahead_mm: Range = (15.0, 60.0)  # where on the centre line the axis points
    oblique_deg: Range = (25.0, 75.0)  # from the centre line
    face_mm: Range = (4.0, 25.0)  # log-uniform; below 3 no scope is sharp (data sheets)
    caecum_mm: Range = (12.0, 70.0)  # from the end of the colon

    def __post_init__(self) -> None:
        """Refuse ranges that are none."""
        if len(self.weights) != len(_KINDS) or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise DataError(
                f"weights {self.weights} are not {len(_KINDS)} numbers from 0 up, one positive"
            )
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and len(value) == 2 and not 0 <= value[0] <= value[1]:
                raise DataError(f"{field.name} {value} is not a range of numbers from 0 up")
        if self.clearance_mm <= 0 or self.face_mm[0] <= 0:
            raise DataError(f"{self.clearance_mm} and {self.face_mm} mm must be positive")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ViewDraw:
    """The numbers of B views in R rounds: uniform in [0, 1] unless said otherwise."""

    kind: Tensor  # (B,), number in `ViewKind`
    along: Tensor  # (R, B), where along the colon
    around: Tensor  # (R, B), on which side of the lumen
    out: Tensor  # (R, B), how far from the middle or from the wall
    look: Tensor  # (R, B), how far ahead the axis points
    side: Tensor  # (R, B), to which side it points
    which: Tensor  # (R, B), one way or the other; which polyp
    slant: Tensor  # (R, B, 2), standard normal: where an en-face camera stands
    tilt: Tensor  # (R, B, 2), standard normal: of the axis
    roll: Tensor  # (R, B)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MotionDraw:
    """Short motions of B cameras in R rounds, in the camera's own frame."""

    shift_mm: Tensor  # (R, B, 3)
    turn_rad: Tensor  # (R, B, 3), rotation vector


def draw_views(
    generator: torch.Generator, colon: Colon, count: int, settings: ViewSettings | None = None
) -> Tensor:
    """Draw independent views of a colon, world_from_camera (count, 4, 4)."""
    settings = settings or ViewSettings()
    draw = draw_view_numbers(generator, count, settings, polyps=bool(colon.draw.polyps))
    return place_views(draw, colon, settings)


def partner(
    generator: torch.Generator,
    world_from_camera: Tensor,
    colon: Colon,
    *,
    shift_mm: Range = (1.0, 8.0),
    turn_deg: Range = (0.0, 10.0),
    clearance_mm: float = 1.5,
) -> Tensor:
    """Draw a second view a short motion away from each, world_from_camera (B, 4, 4).

    Both the new place and eight on the straight way to it keep the clearance; where no such motion
    is found, the camera goes as far as it can, at worst it only turns.

    Args:
        generator: on any device.
        world_from_camera: (B, 4, 4), whose own places keep the clearance.
        colon: that they are in.
        shift_mm: between the two places.
        turn_deg: between the two orientations.
        clearance_mm: of the lens from the surface.
    """
    draw = draw_motions(generator, len(world_from_camera), shift_mm=shift_mm, turn_deg=turn_deg)
    return move_views(draw, world_from_camera, colon, clearance_mm=clearance_mm)


def draw_view_numbers(
    generator: torch.Generator, count: int, settings: ViewSettings, *, polyps: bool
) -> ViewDraw:
    """Draw the numbers of `count` views; without polyps those views look at the wall."""
    if count < 1:
        raise DataError(f"{count} views; expected 1 or more")
    device = generator.device
    weights = torch.tensor(settings.weights, dtype=torch.float32, device=device)
    kind = weights.multinomial(count, replacement=True, generator=generator)
    if not polyps:
        face = torch.full_like(kind, _number(ViewKind.EN_FACE))
        kind = torch.where(kind == _number(ViewKind.POLYP), face, kind)
    shape = (_ROUNDS, count)
    uniform = torch.rand(7, *shape, generator=generator, device=device)
    normal = torch.randn(2, *shape, 2, generator=generator, device=device).clamp(-2, 2)
    return ViewDraw(
        kind=kind,
        along=uniform[0],
        around=uniform[1],
        out=uniform[2],
        look=uniform[3],
        side=uniform[4],
        which=uniform[5],
        roll=uniform[6],
        slant=normal[0],
        tilt=normal[1],
    )


def draw_motions(
    generator: torch.Generator, count: int, *, shift_mm: Range, turn_deg: Range
) -> MotionDraw:
    """Draw short motions of `count` cameras."""
    device = generator.device
    shape = (_PARTNER_ROUNDS, count)
    direction = torch.randn(*shape, 3, generator=generator, device=device)
    direction = normalize(direction * torch.tensor(_FORWARD, device=device), dim=-1)
    axis = normalize(torch.randn(*shape, 3, generator=generator, device=device), dim=-1)
    far, wide = torch.rand(2, *shape, 1, generator=generator, device=device)
    return MotionDraw(
        shift_mm=direction * _within(far, shift_mm),
        turn_rad=axis * torch.deg2rad(_within(wide, turn_deg)),
    )


def place_views(draw: ViewDraw, colon: Colon, settings: ViewSettings) -> Tensor:
    """Return world_from_camera (B, 4, 4) of drawn numbers."""
    draw = ViewDraw(**{f.name: getattr(draw, f.name).to(colon.device) for f in fields(draw)})
    arc = _arcs(draw, colon, settings)  # (R, B)
    places = _face_places(draw, colon, arc, settings)
    looks = _lumen_places(draw, colon, arc, settings)
    faces = _is(draw, ViewKind.EN_FACE, ViewKind.POLYP)[..., None]
    place = torch.where(faces, places.place, looks.place)  # (R, B, 3)
    forward = torch.where(faces, places.forward, looks.forward)
    free = colon.clearance_mm(place.flatten(0, 1)).reshape(arc.shape)
    clear = free >= settings.clearance_mm  # (R, B)
    first = clear.int().argmax(dim=0)  # (B,)
    views = torch.arange(len(first), device=first.device)
    place, forward, arc = place[first, views], forward[first, views], arc[first, views]
    none = ~clear[first, views]
    if none.any():
        place = torch.where(none[:, None], _clear_nodes(colon, arc, settings.clearance_mm), place)
    return _looking(place, forward, draw.roll[first, views] * (2 * math.pi))


def move_views(
    draw: MotionDraw, world_from_camera: Tensor, colon: Colon, *, clearance_mm: float
) -> Tensor:
    """Return cameras (B, 4, 4) after the first of their motions that keeps the clearance."""
    require_shapes(world_from_camera=(world_from_camera, "B 4 4"))
    start = world_from_camera.to(colon.device, torch.float32)
    shift, turn = draw.shift_mm.to(start), draw.turn_rad.to(start)
    rounds, count, _ = shift.shape
    place = start[:, :3, 3]
    shift = (start[:, :3, :3] * shift[..., None, :]).sum(dim=-1)  # (R, B, 3), in the world
    part = torch.arange(1, _PARTNER_LOOKS + 1, device=start.device) / _PARTNER_LOOKS
    spots = place + part[:, None, None, None] * shift  # (looks, R, B, 3)
    arc = colon.coordinates(place)[0].expand(_PARTNER_LOOKS, rounds, count)
    free = clearance_near(colon, spots.reshape(-1, 3), arc.reshape(-1)).reshape(arc.shape)
    going = (free >= clearance_mm).int().cumprod(dim=0).sum(dim=0) / _PARTNER_LOOKS  # (R, B)
    # The first that goes all the way; if none does, the one that goes farthest.
    far = going * shift.norm(dim=-1)
    order = torch.arange(rounds, 0, -1, device=start.device)[:, None] * 1e3
    best = torch.where(going == 1, order, far).argmax(dim=0)  # (B,)
    views = torch.arange(count, device=start.device)
    moved = place + going[best, views, None] * shift[best, views]
    rotation = (start[:, :3, :3, None] * so3_exp(turn[best, views])[:, None]).sum(dim=-2)
    return rigid_motion(rotation, moved)


class _Stand(NamedTuple):
    place: Tensor  # (R, B, 3)
    forward: Tensor  # (R, B, 3)


def _arcs(draw: ViewDraw, colon: Colon, settings: ViewSettings) -> Tensor:
    """Return the arc length (R, B) of each view, or of what it looks at."""
    length, ends = colon.length_mm, colon.draw.segment_ends_mm
    arc = _within(draw.along, (_ENDS_MM, length - _ENDS_MM))
    caecum = length - _within(draw.along, settings.caecum_mm)
    arc = torch.where(_is(draw, ViewKind.CAECUM), caecum, arc)
    bend = colon.line.nodes[:, 6:9].square().sum(dim=-1).cumsum(dim=0)
    node = torch.searchsorted(bend, draw.along * bend[-1]).clamp(max=len(bend) - 1)
    node = node.to(arc).clamp(_ENDS_MM, length - _ENDS_MM)
    arc = torch.where(_is(draw, ViewKind.FLEXURE), node, arc)
    rectum = _within(draw.along, (2 * _ENDS_MM, ends[0]))
    pole = _within(draw.along, (ends[-2], length - 2 * _ENDS_MM))
    back = torch.where(draw.which < 0.5, rectum, pole)
    return torch.where(_is(draw, ViewKind.RETROFLEXED), back, arc)


def _lumen_places(draw: ViewDraw, colon: Colon, arc: Tensor, settings: ViewSettings) -> _Stand:
    """Return cameras in the lumen that look along it or aslant at the wall."""
    back = _is(draw, ViewKind.RETROFLEXED)
    angle = draw.around * (2 * math.pi)
    share = torch.where(
        back,
        _within(draw.out, settings.retroflexed_off_centre),
        _within(draw.out, settings.off_centre),
    )
    room = (_radius(colon, arc, angle) - settings.clearance_mm).clamp(min=0)
    place = colon.line.point(arc, angle, share * room)
    either = torch.where(draw.which < 0.5, -1.0, 1.0)
    sign = torch.where(_is(draw, ViewKind.FLEXURE, ViewKind.OBLIQUE), either, 1.0)
    sign = torch.where(back | _is(draw, ViewKind.LUMEN_OUT), -1.0, sign)
    ahead, _ = colon.line.at(arc + sign * _within(draw.look, settings.look_ahead_mm))
    along = normalize(ahead - place, dim=-1)
    slant = torch.deg2rad(_within(draw.look, settings.oblique_deg))
    frame = colon.line.at(arc)[1]
    aside = _aside(frame, draw.side * (2 * math.pi))
    aslant = slant.cos()[..., None] * sign[..., None] * frame[..., 2]
    aslant = aslant + slant.sin()[..., None] * aside
    forward = torch.where(_is(draw, ViewKind.OBLIQUE)[..., None], aslant, along)
    tilt = torch.where(back, _RETROFLEXED_TILT, _LUMEN_TILT)[..., None] * draw.tilt
    return _Stand(place, _tilted(forward, tilt))


def _face_places(draw: ViewDraw, colon: Colon, arc: Tensor, settings: ViewSettings) -> _Stand:
    """Return cameras that face the wall or a polyp."""
    angle = draw.around * (2 * math.pi)
    spot = colon.line.point(arc, angle, _radius(colon, arc, angle))
    low, high = (math.log(each) for each in settings.face_mm)
    away = _within(draw.out, (low, high)).exp()
    if colon.draw.polyps:
        polyps = colon.draw.polyps
        number = (draw.which * len(polyps)).long().clamp(max=len(polyps) - 1)
        table = torch.tensor([(p.arc_mm, p.angle_rad, p.height_mm / 2) for p in polyps]).to(arc)
        middle = torch.stack([polyp_middle(colon, n) for n in range(1, len(polyps) + 1)])
        own = _is(draw, ViewKind.POLYP)
        own_arc, own_angle, half = table[number].unbind(dim=-1)
        spot = torch.where(own[..., None], middle[number], spot)
        arc, angle = torch.where(own, own_arc, arc), torch.where(own, own_angle, angle)
        away = torch.where(own, away + half, away)
    frame = colon.line.at(arc)[1]
    inward = -_aside(frame, angle)
    inward = _tilted(inward, _FACE_SLANT * draw.slant)
    return _Stand(spot + away[..., None] * inward, _tilted(-inward, _FACE_TILT * draw.tilt))


def _clear_nodes(colon: Colon, arc: Tensor, clearance_mm: float) -> Tensor:
    """Return the nearest places on the centre line that are clear, (B, 3)."""
    places = colon.line.nodes[:, :3]
    free = colon.clearance_mm(places)
    own = torch.arange(len(places), device=arc.device).to(arc)
    away = (arc[:, None] - own).abs() + torch.where(free < clearance_mm, torch.inf, 0.0)
    best = away.argmin(dim=1)
    if bool((free[best] < clearance_mm).any()):
        raise DataError(
            f"nowhere on its centre line is this colon open for {clearance_mm:g} mm; ask for less"
        )
    return places[best]


def _looking(place: Tensor, forward: Tensor, roll: Tensor) -> Tensor:
    """Return cameras (B, 4, 4) at places that look forward, turned about the axis."""
    x, y = _beside(forward)
    c, s = roll.cos()[:, None], roll.sin()[:, None]
    return rigid_motion(torch.stack([c * x + s * y, c * y - s * x, forward], dim=-1), place)


def _beside(forward: Tensor) -> tuple[Tensor, Tensor]:
    """Return two unit vectors x, y (*B, 3) across unit vectors z, right-handed."""
    least = forward.abs().argmin(dim=-1)
    axis = torch.nn.functional.one_hot(least, 3).to(forward)
    x = normalize(torch.linalg.cross(axis, forward, dim=-1), dim=-1)
    return x, torch.linalg.cross(forward, x, dim=-1)


def _tilted(direction: Tensor, tangent: Tensor) -> Tensor:
    """Return unit vectors (*B, 3) turned aside by tangents (*B, 2) of angles."""
    x, y = _beside(direction)
    return normalize(direction + tangent[..., :1] * x + tangent[..., 1:] * y, dim=-1)


def _aside(frame: Tensor, angle: Tensor) -> Tensor:
    return angle.cos()[..., None] * frame[..., 0] + angle.sin()[..., None] * frame[..., 1]


def _radius(colon: Colon, arc: Tensor, angle: Tensor) -> Tensor:
    """Return the wall's radius in the nearest cell of the table."""
    table = colon.wall.radius_mm
    row = (arc / ROW_MM).round().long().clamp(0, len(table) - 1)
    return table[row, (angle * (COLUMNS / (2 * math.pi))).round().long() % COLUMNS]


def _is(draw: ViewDraw, *kinds: ViewKind) -> Tensor:
    """Return which views are of these kinds, (R, B)."""
    found = torch.zeros_like(draw.kind, dtype=torch.bool)
    for kind in kinds:
        found = found | (draw.kind == _number(kind))
    return found.expand(draw.along.shape)


def _number(kind: ViewKind) -> int:
    return _KINDS.index(kind)


def _within(share: Tensor, limits: Range) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * share
