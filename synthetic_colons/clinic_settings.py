"""What a clinic has in the lumen, as numbers: ranges with their sources, and what a clip holds.

`clinic_draws.py` draws the numbers, `clinic.py` and its neighbours use them. Times are seconds from
the clip's first frame. Places are wall coordinates, or millimetres in the world or camera frame.
"""

import math
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from colondepth.errors import DataError

Range = tuple[float, float]
Triplet = tuple[float, float, float]

# The tables' bounds are widened for so much (`peristalsis.contracted`).
BREATHING_MOST = 0.02


class Tool(StrEnum):
    """What comes out of the working channel."""

    FORCEPS = "forceps"
    SNARE = "snare"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicSettings:
    """Ranges of every effect; a chance is the share of clips that have it at all."""

    # Peristalsis; Rao 2001 and Dinning 2014 (manometry of the colon) for speeds and lengths
    wave_chance: float = 0.3
    wave_speed_mm_per_s: Range = (2.0, 20.0)  # propagating contractions
    wave_length_mm: Range = (30.0, 80.0)  # from open to open
    wave_narrowing: Range = (0.1, 0.45)  # of the radius; gas keeps the lumen from closing
    wave_apart_mm: float = 250.0  # at most one wave in so much colon at a time
    retrograde_chance: float = 0.3  # towards the caecum
    breathing_chance: float = 0.6
    breathing: Range = (0.01, 0.02)  # of the radius
    breathing_period_s: Range = (3.0, 5.0)  # 12 to 20 breaths a minute
    # Fluid; a good preparation leaves a pool now and then (Boston scale 2 and 3)
    pool_chance: float = 0.4
    pool_apart_mm: Range = (60.0, 200.0)  # between two pools of one clip
    pool_depth_mm: Range = (1.5, 10.0)  # a quarter of a lumen
    pool_length_max_mm: float = 140.0  # between two flexures
    turbidity_mm: Range = (2.5, 60.0)  # path that leaves 1/e of the green light; log-uniform
    ripple_slope: Range = (0.005, 0.05)  # of the waves that breath and water jet make
    foam_chance: float = 0.6  # of a pool: no simeticone was given
    foam_clusters: Range = (1.0, 5.99)
    foam_radius_mm: Range = (3.0, 14.0)  # of a cluster
    # Bubbles on the wall
    bubbles_chance: float = 0.3
    bubbles_apart_mm: Range = (15.0, 60.0)  # between two patches, along the colon
    patch_length_mm: Range = (6.0, 35.0)
    patch_half_angle_rad: Range = (0.2, 0.8)
    bubble_cell_mm: Range = (2.5, 6.0)  # the largest bubble of a cluster; foam is a quarter of it
    bubble_density: Range = (0.35, 1.0)  # share of cells with a bubble, in the middle
    # Instrument; makers' sheets: channel 2.8 to 3.7 mm, sheaths 1.8 to 2.5 mm, cups 2.2 to 3 mm
    instrument_chance: float = 0.12
    snare_share: float = 0.5  # of instruments
    clock_h: Range = (4.0, 6.5)  # where the channel lies; 5 to 6 h in common colonoscopes
    any_clock_chance: float = 0.2  # other makes, turned images
    channel_offset_mm: Range = (4.0, 6.0)  # from the lens to the channel's middle
    sheath_radius_mm: Range = (0.9, 1.25)
    inward_rad: Range = (0.02, 0.14)  # tilt towards the lens's axis
    reach_mm: Range = (10.0, 32.0)  # how far it stands out
    swing_mm: Range = (0.5, 5.0)  # to and fro
    swing_period_s: Range = (1.5, 6.0)
    thrust_s: Range = (0.5, 2.0)  # to come out, or to go in
    opening_rad: Range = (0.05, 0.6)  # half the angle between a forceps' cups
    loop_length_mm: Range = (12.0, 28.0)  # of a snare, half opened
    loop_share: Range = (0.35, 0.6)  # width over length

    def __post_init__(self) -> None:
        """Refuse ranges that are none."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and not 0 <= value[0] <= value[1]:
                raise DataError(f"{field.name} {value} is not a range of numbers from 0 up")
            share = field.name.endswith(("_chance", "_share")) and not isinstance(value, tuple)
            if share and not 0 <= value <= 1:
                raise DataError(f"{field.name} {value} is not a share in [0, 1]")
        if not (self.wave_narrowing[1] < 1 and self.breathing[1] <= BREATHING_MOST):
            raise DataError(
                f"wave_narrowing {self.wave_narrowing}, breathing {self.breathing}: expected less"
                f" than 1 and up to {BREATHING_MOST}; a lumen does not close"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveDraw:
    """One ring of contraction that travels."""

    arc_mm: float  # of its middle when the clip begins
    speed_mm_per_s: float  # negative towards the rectum
    length_mm: float
    narrowing: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BreathingDraw:
    """The whole lumen, slightly narrower and back."""

    narrowing: float
    period_s: float
    phase_rad: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDraw:
    """Foam on a pool, in the plane's coordinates (`fluid.plane_axes`)."""

    u_mm: float
    v_mm: float
    radius_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FoamDraw:
    """Bubbles of two sizes."""

    seed: int
    cell_mm: float  # as wide as the largest bubble
    density: float  # share of cells that hold one, in the middle of a cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDraw:
    """Fluid between two dams of the wall."""

    from_mm: float  # arc lengths
    to_mm: float
    level_mm: float  # height of the surface: of every point p on it, p . up
    albedo: Triplet  # linear reflectance of what makes it turbid
    turbidity_mm: Triplet  # path that leaves 1/e, of each primary
    ripple_slope: float
    ripple_phase_rad: float
    clusters: tuple[ClusterDraw, ...]
    foam: FoamDraw


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchDraw:
    """Bubbles on the wall."""

    arc_mm: float
    angle_rad: float
    length_mm: float
    half_angle_rad: float
    along: Triplet  # direction of the colon there, in the world
    foam: FoamDraw


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentDraw:
    """A catheter in the camera's frame, with what is at its end."""

    tool: Tool
    clock_rad: float  # place of the channel: from right (3 h), clockwise in the image
    channel_offset_mm: float
    inward_rad: float
    sheath_radius_mm: float
    sheath_albedo: Triplet
    reach_mm: float
    swing_mm: float
    swing_period_s: float
    swing_phase_rad: float
    thrust_s: float
    out_s: float  # when it begins to come out; before the clip if negative
    back_s: float  # when it is gone again
    roll_rad: float  # of what is at the end, around the catheter
    opening_rad: float
    loop_length_mm: float
    loop_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicDraw:
    """All of one clip; empty where it has none."""

    up: Triplet  # unit, in the world
    waves: tuple[WaveDraw, ...] = ()
    breathing: BreathingDraw | None = None
    pools: tuple[PoolDraw, ...] = ()
    patches: tuple[PatchDraw, ...] = ()
    instrument: InstrumentDraw | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain numbers, texts and lists."""
        return asdict(self)


def plane_axes(up: Triplet) -> tuple[Triplet, Triplet]:
    """Return two unit axes of the horizontal plane; a world point's u and v are its products."""
    x, y, z = up
    other = (0.0, 1.0, 0.0) if abs(y) < 0.8 else (1.0, 0.0, 0.0)
    u = _unit(
        (y * other[2] - z * other[1], z * other[0] - x * other[2], x * other[1] - y * other[0])
    )
    return u, (y * u[2] - z * u[1], z * u[0] - x * u[2], x * u[1] - y * u[0])


def _unit(v: Triplet) -> Triplet:
    size = math.sqrt(v[0] ** 2 + v[1] ** 2 + v[2] ** 2)
    return v[0] / size, v[1] / size, v[2] / size
