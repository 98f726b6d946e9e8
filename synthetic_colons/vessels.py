"""Blood vessels in the colon's wall: trees that grow, lie at a depth, and darken the tissue.

Wall coordinates: arc length s along the centre line in millimetres, angle around it in radians.
Vessels grow in millimetres (s, R a) with the local lumen radius R, so their widths and lengths hold
wherever the lumen widens or narrows; the slope of a fold's flanks is not unrolled.
Absorbance is natural: light that comes back from the tissue is multiplied by exp(-absorbance).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.shapes import require_shapes

# Murray 1926: the cubes of the radii are kept at a branching, which costs the heart least.
MURRAY_POWER = 3.0
# Absorbance of a wide vessel at the surface, per channel (R, G, B): haemoglobin absorbs green and
# blue tens of times more than red; light scattered beside the vessel evens that out. Vessels in the
# frames we looked at return about 0.8, 0.5 and 0.5 of their surroundings' light.
SURFACE_ABSORBANCE = (0.20, 1.00, 0.80)
# Venous blood has lost oxygen and absorbs more red.
VEIN_ABSORBANCE = (0.36, 1.10, 0.80)
# How deep light of a channel sees before its contrast has fallen to 1 / e, mm: red goes deepest, so
# that a deep vein is dark in red alone and looks bluish or greenish.
CONTRAST_DEPTH_MM = (1.1, 0.55, 0.42)
# Width at which a vessel is dark enough to be 63 % of its full absorbance, mm.
FULL_WIDTH_MM = 0.35
# Scattering spreads a point by this much per mm of tissue above it, mm standard deviation.
SPREAD_PER_DEPTH = 0.30
# A straight piece of a vessel, mm: shorter than a bend, longer than the widest texel.
_PIECE_MM = 0.8
# Pieces from entry to tip: 160 mm is half the circumference of the widest caecum and more.
_MOST_PIECES = 200
# A branch runs this far, on average, before it divides, mm, when it is _USUAL_RADIUS_MM thick.
_RUN_MM, _USUAL_RADIUS_MM, _RUN_POWER, _SHORTEST_RUN_MM = 5.0, 0.45, 0.6, 1.0
# A trunk comes up through the muscle, from this much deeper, within this run, mm.
_PIERCING_MM, _PIERCING_RUN_MM = 1.5, 3.0
# Of the arteries this share keeps its vein in sight. Above this radius it runs beside them, 1.3
# times as wide and a little apart, mm.
_PAIRED_SHARE = 0.4
_PAIRED_RADIUS_MM, _VEIN_WIDER, _PAIR_GAP_MM, _PAIR_DEEPER_MM = 0.2, 1.3, 0.35, 0.1
# A Gaussian of half a texel is the narrowest that sampling still weighs to 1.5 %.
_SOFTNESS_TEXELS = 0.5
# At this many standard deviations beyond its edge a vessel has 0.6 % of its shade left.
_REACH_DEVIATIONS = 2.5
# Texels shaded at once: with this many a bake of 1.5 m peaks below 300 MB.
_BATCH_TEXELS = 2_000_000
# Windows are rounded up to this many texels, so that few sizes have to be shaded apart.
_WINDOW_TEXELS = 3
# Columns of the table of growing tips.
_S, _A, _TARGET, _WIGGLE, _R, _LEFT, _R0, _DEPTH0, _VEIN, _PAIRED, _AGE, _FIELDS = range(12)


@dataclass(frozen=True, kw_only=True)
class VesselDraw:
    """The numbers behind one colon's vessels; `draw_vessels` gives their ranges."""

    trunk_width_mm: tuple[float, float]
    thinnest_width_mm: float
    entry_spacing_mm: float
    entry_spread_mm: float
    entry_angles_rad: tuple[float, ...]
    deepest_mm: float
    shallowest_mm: float
    tortuosity_rad: float
    smaller_share: tuple[float, float]
    contrast: float


@dataclass(frozen=True, kw_only=True)
class Vessels:
    """Straight pieces of vessels on the wall."""

    start: Tensor  # (N, 2) arc length mm, angle rad
    end: Tensor  # (N, 2)
    radius_mm: Tensor  # (N,) half the vessel's own width
    depth_mm: Tensor  # (N,) of its middle under the surface
    vein: Tensor  # (N,) bool
    divisions_mm: Tensor  # (M, 3) radius before, larger and smaller radius after each division


def draw_vessels(generator: torch.Generator) -> VesselDraw:
    """Draw one colon's vessels."""

    def between(low: float, high: float) -> float:
        u = torch.rand((), generator=generator, device=generator.device).item()
        return low + (high - low) * u

    turn = between(0.0, 2 * math.pi)  # rad: how the colon lies is chance
    return VesselDraw(
        trunk_width_mm=(0.6, 1.2),  # mm: submucosal vessels beside an instrument of 2.8 mm
        thinnest_width_mm=between(0.16, 0.22),  # mm: thinner ones melt into the mucosa's red
        entry_spacing_mm=between(9.0, 18.0),  # mm along each taenia, vasa recta of a colon
        entry_spread_mm=between(2.0, 6.0),  # mm about the taenia: they pierce beside it
        entry_angles_rad=tuple(turn + i * 2 * math.pi / 3 for i in range(3)),  # three taeniae
        deepest_mm=between(0.6, 1.0),  # mm: the submucosa begins at 0.5 mm
        shallowest_mm=between(0.08, 0.2),  # mm: the net under the crypts
        tortuosity_rad=between(0.25, 0.55),  # rad about the course; more is disease
        smaller_share=(0.06, 0.5),  # of the cubed radius that the smaller branch takes
        contrast=between(0.25, 1.5),  # thick or swollen mucosa hides its vessels
    )


def grow_vessels(
    draw: VesselDraw, radius_mm: Tensor, *, step_mm: float, generator: torch.Generator
) -> Vessels:
    """Grow the trees of a colon from their entries to their tips.

    Args:
        draw: the numbers of this colon's vessels.
        radius_mm: lumen radius on the wall's grid, shape (S, A).
        step_mm: arc length between its rows.
        generator: on the device of `radius_mm`.
    """
    size = require_shapes(radius_mm=(radius_mm, "S A"))
    length_mm = (size["S"] - 1) * step_mm
    tips = _entries(draw, radius_mm, step_mm, generator)
    pieces, divisions = [], [tips.new_zeros(0, 3)]
    remember = math.exp(-_PIECE_MM / 4.0)  # a bend of 4 mm is what the eye calls tortuous
    for _ in range(_MOST_PIECES):
        if not len(tips):
            break
        wiggle = draw.tortuosity_rad * math.sqrt(1 - remember**2) * _normal(len(tips), generator)
        tips[:, _WIGGLE] = remember * tips[:, _WIGGLE] + wiggle
        heading = tips[:, _TARGET] + tips[:, _WIGGLE]
        start = tips[:, :2].clone()
        around_mm = local_radius(radius_mm, start, step_mm=step_mm)
        tips[:, _S] += _PIECE_MM * heading.cos()
        tips[:, _A] += _PIECE_MM * heading.sin() / around_mm
        share = (tips[:, _R] / tips[:, _R0]).clamp(max=1).sqrt()
        depth = draw.shallowest_mm + (tips[:, _DEPTH0] - draw.shallowest_mm) * share
        depth += _PIERCING_MM * torch.exp(-tips[:, _AGE] / _PIERCING_RUN_MM)
        tips[:, _AGE] += _PIECE_MM
        rest = torch.stack([tips[:, _R], depth, tips[:, _VEIN], tips[:, _PAIRED]], dim=1)
        pieces.append(torch.cat([start, tips[:, :2], rest], dim=1))  # (n, 8)
        tips[:, _LEFT] -= _PIECE_MM
        tips, divided = _divide(tips, draw, generator)
        divisions.append(divided)
        alive = (tips[:, _R] >= draw.thinnest_width_mm / 2) & (tips[:, _S] > -_RUN_MM)
        tips = tips[alive & (tips[:, _S] < length_mm + _RUN_MM)]
    table = torch.cat([*pieces, radius_mm.new_zeros(0, 8)])
    table = torch.cat([table, _companions(table, radius_mm, step_mm)])
    return Vessels(
        start=table[:, 0:2],
        end=table[:, 2:4],
        radius_mm=table[:, 4],
        depth_mm=table[:, 5],
        vein=table[:, 6] > 0.5,
        divisions_mm=torch.cat(divisions),
    )


def local_radius(radius_mm: Tensor, place: Tensor, *, step_mm: float) -> Tensor:
    """Return the lumen radius (N,) of the grid (S, A) nearest to places (N, 2)."""
    rows, columns = radius_mm.shape
    row = (place[:, 0] / step_mm).round().long().clamp(0, rows - 1)
    column = (place[:, 1] * (columns / (2 * math.pi))).round().long() % columns
    return radius_mm[row, column]


def absorbances(vessels: Vessels) -> Tensor:
    """Return the absorbance (N, 3) of every piece at its middle, before it is blurred."""
    artery, vein, depth = vessels.radius_mm.new_tensor(
        [SURFACE_ABSORBANCE, VEIN_ABSORBANCE, CONTRAST_DEPTH_MM]
    )
    surface = torch.where(vessels.vein[:, None], vein, artery)
    filled = 1 - torch.exp(-2 * vessels.radius_mm / FULL_WIDTH_MM)
    return filled[:, None] * surface * torch.exp(-vessels.depth_mm[:, None] / depth)


def stamp_vessels(
    vessels: Vessels,
    radius_mm: Tensor,
    *,
    step_mm: float,
    texel_mm: float,
    rows: int,
    columns: int,
) -> Tensor:
    """Shade the pieces into a map of absorbance, shape (3, rows, columns).

    A piece is a band of its width, blurred by the tissue above it and by the texel: the integral
    across it is absorbance times width at any lumen radius. Where pieces meet, the darkest counts.

    Args:
        vessels: the pieces; what lies beyond the rows is left out, angles wrap around.
        radius_mm: lumen radius on the wall's grid, shape (S, A).
        step_mm: arc length between the rows of that grid.
        texel_mm: arc length between the rows of the map.
        rows: of the map, starting at s = 0.
        columns: of the map; column j looks at the angle 2 pi j / columns.
    """
    require_shapes(radius_mm=(radius_mm, "S A"), start=(vessels.start, "N 2"))
    if min(step_mm, texel_mm) <= 0 or min(rows, columns) < 1:
        raise DataError(
            f"a map of {rows} x {columns} texels, {texel_mm} mm apart, on a grid of {step_mm} mm:"
            " all must be positive"
        )
    shade = radius_mm.new_zeros(3, rows * columns)
    middle = (vessels.start + vessels.end) / 2
    around_mm = local_radius(radius_mm, middle, step_mm=step_mm)  # (N,)
    column_mm = around_mm * (2 * math.pi / columns)
    run = vessels.end - vessels.start
    run_mm = torch.stack([run[:, 0], run[:, 1] * around_mm], dim=1)  # (N, 2)
    texel = _texel_across(run_mm, texel_mm, column_mm)
    soft = (SPREAD_PER_DEPTH * vessels.depth_mm).square() + (_SOFTNESS_TEXELS * texel).square()
    spread = soft.sqrt()
    reach = vessels.radius_mm + _REACH_DEVIATIONS * spread
    tall = (run_mm[:, 0].abs() + 2 * reach) / texel_mm
    wide = ((run_mm[:, 1].abs() + 2 * reach) / column_mm).clamp(max=columns - 1)
    window = torch.stack([tall, wide], dim=1).div(_WINDOW_TEXELS).ceil().long()
    first_row = ((middle[:, 0] - tall * texel_mm / 2) / texel_mm).ceil()
    first_column = (middle[:, 1] * (columns / (2 * math.pi)) - wide / 2).ceil()
    dark = absorbances(vessels)
    seen = (first_row < rows) & (first_row + tall >= 0)
    kind = window[:, 0] * columns + window[:, 1]  # one number for a size: quicker to sort
    for size in kind[seen].unique().tolist():
        height, width = divmod(size, columns)
        chosen = (seen & (kind == size)).nonzero()[:, 0]
        down = torch.arange(height * _WINDOW_TEXELS, device=shade.device)[:, None]
        right = torch.arange(min(width * _WINDOW_TEXELS, columns), device=shade.device)
        for some in chosen.split(max(1, _BATCH_TEXELS // (down.numel() * right.numel()))):
            row = first_row[some, None, None] + down  # (n, h, 1)
            column = first_column[some, None, None] + right  # (n, 1, w)
            s_mm = row * texel_mm - vessels.start[some, 0, None, None]
            angle = column * (2 * math.pi / columns) - vessels.start[some, 1, None, None]
            y_mm = angle * around_mm[some, None, None]
            away = _distance(s_mm, y_mm, run_mm[some])  # (n, h, w)
            band = _band(away, vessels.radius_mm[some], spread[some])
            band = torch.where((row >= 0) & (row < rows), band, 0).reshape(-1)
            where = row.long().clamp(0, rows - 1) * columns + column.long() % columns
            for channel in range(3):
                values = band.view(away.shape) * dark[some, channel, None, None]
                shade[channel].scatter_reduce_(0, where.reshape(-1), values.reshape(-1), "amax")
    return shade.view(3, rows, columns)


def _entries(
    draw: VesselDraw, radius_mm: Tensor, step_mm: float, generator: torch.Generator
) -> Tensor:
    """Return the tips (n, _FIELDS) where trunks enter beside the taeniae."""
    length_mm = (len(radius_mm) - 1) * step_mm
    lines = len(draw.entry_angles_rad)
    count = lines * math.ceil(length_mm / draw.entry_spacing_mm + 1)
    device = generator.device
    uniform = torch.rand(count, 7, generator=generator, device=device)
    tips = uniform.new_zeros(count, _FIELDS)
    tips[:, _S] = uniform[:, 0] * (length_mm + 2 * _RUN_MM) - _RUN_MM
    tips[:, _A] = uniform.new_tensor(draw.entry_angles_rad).repeat(count // lines)
    aside = draw.entry_spread_mm * _normal(count, generator)
    tips[:, _A] += aside / local_radius(radius_mm, tips[:, :2], step_mm=step_mm)
    # Round the wall to one side or the other, leaning up to 60 degrees along it.
    side = torch.where(uniform[:, 1] < 0.5, 0.5, -0.5) * math.pi
    tips[:, _TARGET] = side + (uniform[:, 2] - 0.5) * (2 * math.pi / 3)
    low, high = draw.trunk_width_mm
    tips[:, _R0] = (low + (high - low) * uniform[:, 3].square()) / 2  # most trunks are thin
    tips[:, _R] = tips[:, _R0]
    tips[:, _DEPTH0] = draw.deepest_mm * (0.5 + 0.5 * uniform[:, 4])
    tips[:, _VEIN] = (uniform[:, 5] < 0.4).to(tips.dtype)  # veins drain fewer, wider trees
    tips[:, _PAIRED] = (uniform[:, 6] < _PAIRED_SHARE).to(tips.dtype) * (1 - tips[:, _VEIN])
    tips[:, _LEFT] = _run(tips[:, _R], generator)
    return tips


def _divide(tips: Tensor, draw: VesselDraw, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Divide the tips whose run is over; return all tips and the divisions' radii (m, 3)."""
    over = tips[:, _LEFT] <= 0
    parent = tips[over]
    uniform = torch.rand(len(parent), 2, generator=generator, device=generator.device)
    low, high = draw.smaller_share
    share = low + (high - low) * uniform[:, 0]
    r0 = parent[:, _R]
    r1, r2 = r0 * (1 - share) ** (1 / MURRAY_POWER), r0 * share ** (1 / MURRAY_POWER)
    side = torch.where(uniform[:, 1] < 0.5, 1.0, -1.0)
    children = []
    for r, other, turn in ((r1, r2, side), (r2, r1, -side)):
        # Murray 1926, the angle that costs least for radii r0 -> r, other.
        cosine = (r0**4 + r**4 - other**4) / (2 * r0**2 * r**2)
        child = parent.clone()
        child[:, _TARGET] += turn * cosine.clamp(-1, 1).acos()
        child[:, _R] = r
        child[:, _LEFT] = _run(r, generator)
        children.append(child)
    return torch.cat([tips[~over], *children]), torch.stack([r0, r1, r2], dim=1)


def _run(radius_mm: Tensor, generator: torch.Generator) -> Tensor:
    """Draw how far branches run before they divide, mm."""
    uniform = torch.rand(len(radius_mm), generator=generator, device=generator.device)
    mean = _RUN_MM * (radius_mm / _USUAL_RADIUS_MM) ** _RUN_POWER
    return (mean * (0.4 + 1.2 * uniform)).clamp(min=_SHORTEST_RUN_MM)


def _companions(table: Tensor, radius_mm: Tensor, step_mm: float) -> Tensor:
    """Return the veins that run beside the larger arteries, (n, 8)."""
    wide = table[(table[:, 4] > _PAIRED_RADIUS_MM) & (table[:, 7] > 0.5)].clone()
    around_mm = local_radius(radius_mm, wide[:, :2], step_mm=step_mm)
    along, across = wide[:, 2] - wide[:, 0], (wide[:, 3] - wide[:, 1]) * around_mm
    length = torch.hypot(along, across).clamp(min=1e-6)
    aside = ((1 + _VEIN_WIDER) * wide[:, 4] + _PAIR_GAP_MM) / length
    shift = torch.stack([-across * aside, along * aside / around_mm], dim=1)
    wide[:, 0:2] += shift
    wide[:, 2:4] += shift
    wide[:, 4] *= _VEIN_WIDER
    wide[:, 5] += _PAIR_DEEPER_MM
    wide[:, 6] = 1
    return wide


def _texel_across(run_mm: Tensor, texel_mm: float, column_mm: Tensor) -> Tensor:
    """Return how far apart the texels lie across pieces (N, 2); a dot takes the mean."""
    along, around = run_mm.square().unbind(dim=1)
    square = along + around
    share = torch.where(square > 0, along / square.clamp(min=1e-12), 0.5)
    return (share * column_mm.square() + (1 - share) * texel_mm**2).sqrt()


def _distance(s_mm: Tensor, y_mm: Tensor, run_mm: Tensor) -> Tensor:
    """Return the distance (n, h, w) of texels (n, h, 1), (n, 1, w) to pieces from 0 to (n, 2)."""
    ds, dy = run_mm[:, 0, None, None], run_mm[:, 1, None, None]
    square = (ds * ds + dy * dy).clamp(min=1e-12)
    along = ((s_mm * (ds / square)) + (y_mm * (dy / square))).clamp_(0, 1)
    return torch.hypot(s_mm - along * ds, y_mm - along * dy)


def _band(away: Tensor, radius_mm: Tensor, spread: Tensor) -> Tensor:
    """Return a band of half width r, blurred by a Gaussian, at distances `away`."""
    scale = (math.sqrt(0.5) / spread)[:, None, None]
    edge = radius_mm[:, None, None]
    return 0.5 * (((edge - away) * scale).erf_() + ((edge + away) * scale).erf_())


def _normal(count: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, generator=generator, device=generator.device)
