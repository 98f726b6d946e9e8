"""The look of the colon's wall: maps over its own coordinates, baked once per colon.

Wall maps: row i lies at the arc length i * texel_mm, column j at the angle 2 pi j / columns; the
columns close, the rows do not. Colours are linear-light reflectances (R, G, B), not sRGB.

Colour is the tissue's own times the blood in it: reflectance = pale * exp(-blood * absorption).
Haemoglobin absorbs blue and green far more than red, which is why every healthy hue lies on one
curve from cream (no blood) over salmon to dark red. Medians of the linear G / R and B / R over the
frames we looked at, white-balanced by their cameras: 0.36-0.53 and 0.34-0.38.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from colondepth.errors import DataError
from colondepth.shapes import require_finite, require_shapes
from synthetic_colons.noise import wall_noise
from synthetic_colons.sheet import laid_out, on_sheet_mm, rolled_up
from synthetic_colons.vessels import VesselDraw, Vessels, draw_vessels, grow_vessels, stamp_vessels

# Rows of the maps, mm: the thinnest vessel is half as wide, a pit pattern at least twice.
TEXEL_MM = 0.3
COLUMNS = 512
# Absorption of one unit of blood (R, G, B); 1 is a well perfused rectum. Blue less than green: a
# camera's blue is broad and includes 470 to 510 nm, where haemoglobin lets light through.
BLOOD_ABSORPTION = (0.22, 1.0, 0.75)
# Reflectances end here: nothing in the body is black or a mirror.
DARKEST, BRIGHTEST = 0.01, 0.97
# Folds are narrower than this, haustra wider, mm: radius minus its mean over it is the fold.
_FOLD_MM = 16.0
# A fold rising this far into the lumen is a full crest, mm.
_FULL_CREST_MM = 3.0
# A wave that the coarsest texel can still hold is this many texels long.
_FINEST_TEXELS = 2.2
# Melanin of melanosis coli (lipofuscin) takes light of all colours, blue most.
_MELANOSIS_ABSORPTION = (0.75, 1.0, 1.15)
# No living wall has less than this share of its usual blood: with none it looks like paper.
_LEAST_BLOOD = 0.4
# Haemorrhagic dots lie just under the surface, mm.
_DOT_DEPTH_MM = 0.03


@dataclass(frozen=True, kw_only=True)
class TissueSettings:
    """What a level asks of the wall."""

    coloured: bool  # False: one grey, no vessels
    relief: bool  # fine relief for the shading
    randomised: bool = False  # any colour and any contrast, far outside anatomy


@dataclass(frozen=True, kw_only=True)
class TissueDraw:
    """The numbers behind one colon's wall; `draw_tissue` gives their ranges."""

    settings: TissueSettings
    grey: float
    pale: tuple[float, float, float]
    absorption: tuple[float, float, float]
    blood: float
    blood_drift: float
    blotches: float
    mottling: float
    crest_paleness: float
    valley_redness: float
    erythema: float
    melanosis: float
    dots_per_m: float
    vessels: VesselDraw
    vessel_tint: tuple[float, float, float]
    pit_wavelength_mm: float
    pit_height_mm: float
    groove_depth_mm: float
    wrinkle_height_mm: float
    roughness: float
    mucus: float
    glow: float


@dataclass(frozen=True, kw_only=True)
class TissueMaps:
    """One colon's wall: 6 numbers a texel, 24 bytes; 61 MB for 1.5 m."""

    albedo: Tensor  # (3, S_t, A_t) linear-light reflectance in (0, 1)
    relief_mm: Tensor  # (1, S_t, A_t) towards the lumen, zero mean
    roughness: Tensor  # (1, S_t, A_t) of the wet GGX lobe, 0.1 to 0.4; its alpha is the square
    glow: Tensor  # (1, S_t, A_t) share of light that thin tissue lets through, 0 to 1
    texel_mm: float


def draw_tissue(generator: torch.Generator, settings: TissueSettings) -> TissueDraw:
    """Draw one colon's wall; numbers nobody has measured say what they were judged by."""

    def between(low: float, high: float) -> float:
        u = torch.rand((), generator=generator, device=generator.device).item()
        return low + (high - low) * u

    def seldom(chance: float, low: float, high: float) -> float:
        return between(low, high) * (between(0, 1) < chance)

    def colour(low: float, high: float) -> tuple[float, float, float]:
        return between(low, high), between(low, high), between(low, high)

    light = between(0.8, 1.0)
    pale = (0.80 * light, between(0.58, 0.70) * light, between(0.39, 0.48) * light)
    strange = settings.randomised
    return TissueDraw(
        settings=settings,
        grey=between(0.4, 0.7),  # reflectance: what mucosa returns in red
        pale=colour(0.1, 0.95) if strange else pale,  # bloodless: cream, yellow from fat and bile
        absorption=colour(-1.0, 2.0) if strange else BLOOD_ABSORPTION,
        blood=between(0.5, 1.05) + seldom(0.08, -0.3, -0.15),  # frames above; 8 % anaemic
        blood_drift=between(0.05, 0.25),  # share, over a hand's breadth: segments differ
        blotches=between(0.06, 0.2) * (4 if strange else 1),  # share, over 30 mm: by eye
        mottling=between(0.02, 0.06) * (6 if strange else 1),  # share, over 3 mm: by eye
        crest_paleness=between(0.05, 0.3),  # share of blood missing: stretched tissue
        valley_redness=between(0.0, 0.2),  # share more blood
        erythema=seldom(0.6, 0.15, 0.6),  # units of blood in a patch
        melanosis=seldom(0.03, 0.4, 1.2),  # 1-3 % of screening colonoscopies
        dots_per_m=seldom(0.15, 10, 150),  # haemorrhagic dots per metre of colon, in nests
        vessels=draw_vessels(generator),
        vessel_tint=colour(-1.5, 2.5) if strange else (1.0, 1.0, 1.0),
        pit_wavelength_mm=between(0.7, 1.6),  # mm: groups of crypts; single ones are 0.1 mm apart
        pit_height_mm=between(0.004, 0.02),  # mm, deviation: slopes of 2 to 10 degrees break lights
        groove_depth_mm=between(0.0, 0.04),  # mm: innominate grooves, seen at their best with dye
        wrinkle_height_mm=between(0.02, 0.09),  # mm, deviation, along folds, 4 mm apart
        roughness=between(
            0.15, 0.27
        ),  # GGX alpha 0.02 to 0.07: lights on mucus are small and sharp
        mucus=between(0.01, 0.05),  # of roughness that a film takes or adds
        glow=between(0.3, 1.0),  # a wall 3 mm thick transmits red, a crest is two of them
    )


def bake_tissue(
    draw: TissueDraw,
    radius_mm: Tensor,
    *,
    step_mm: float,
    generator: torch.Generator,
    texel_mm: float = TEXEL_MM,
    columns: int = COLUMNS,
    folded: bool = True,
) -> TissueMaps:
    """Bake the maps of a colon, or of a stretch of one.

    A stretch has tissue of its own: it is not cut out of the whole colon's.

    Args:
        draw: the numbers.
        radius_mm: lumen radius on the wall's grid, shape (S, A).
        step_mm: arc length between its rows.
        generator: on the device of `radius_mm`; the same state gives the same maps.
        texel_mm: arc length between the rows of the maps.
        columns: of the maps.
        folded: whether wrinkles run around, as where there are folds, or any way.
    """
    size = require_shapes(radius_mm=(radius_mm, "S A"))
    require_finite(radius_mm=radius_mm)
    if generator.device != radius_mm.device:
        raise DataError(
            f"tissue: the generator is on {generator.device}, the radii on {radius_mm.device};"
            " make the generator where the colon is"
        )
    if min(step_mm, texel_mm) <= 0 or float(radius_mm.min()) <= 0:
        raise DataError(
            f"tissue: step {step_mm} mm, texel {texel_mm} mm, smallest radius"
            f" {float(radius_mm.min()):.3g} mm: all must be positive"
        )
    rows = math.floor((size["S"] - 1) * step_mm / texel_mm + 1e-6) + 1
    sheet_mm = on_sheet_mm(radius_mm, step_mm=step_mm)
    at = to_texels(sheet_mm, step_mm, texel_mm, rows=range(rows), columns=columns)
    at.clamp_(min=0).div_(texel_mm)
    sheet = _Wall(
        generator=generator,
        lumen_mm=laid_out(radius_mm, sheet_mm.mean(dim=1), step_mm),
        step_mm=step_mm,
        texel_mm=texel_mm,
        rows=int(at.max()) + 2,
        columns=columns,
        radius_mm=float(radius_mm.mean()),
    )
    wall = replace(sheet, lumen_mm=radius_mm, rows=rows)
    fold = _fold_mm(radius_mm, step_mm)
    fold = to_texels(fold, step_mm, texel_mm, rows=range(rows), columns=columns)
    crest = _ramp(fold, 0.2 * _FULL_CREST_MM, _FULL_CREST_MM)
    stretch = 2.0 if folded else 1.0
    relief = wall.flat()
    if draw.settings.relief:
        relief = rolled_up(_relief(draw, sheet, stretch=stretch), at)
        relief -= relief.mean()
    film = wall.noise(18.0, octaves=3) if draw.settings.relief else wall.flat()[0]
    if draw.settings.coloured:
        fine = draw.blotches * sheet.noise(30.0, octaves=3)
        fine += draw.mottling * sheet.noise(3.0, octaves=2)
        maps = torch.cat([_vessel_shade(draw, sheet), fine[None]])
        *shade, fine = rolled_up(maps, at)
        absorbance = torch.stack(shade)
        # A stretched crest presses its vessels empty.
        absorbance *= 1 - 0.8 * crest
        _add_blood(absorbance, draw, wall, fine, fold, crest)
        _add_dots(absorbance, draw, sheet, at)
        albedo = absorbance.neg_().exp_()
        for channel, pale in zip(albedo, draw.pale, strict=True):
            channel.mul_(pale).clamp_(DARKEST, BRIGHTEST)
    else:
        albedo = wall.flat().expand(3, -1, -1) + draw.grey
    return TissueMaps(
        albedo=albedo,
        relief_mm=relief,
        roughness=(draw.roughness + draw.mucus * film).clamp_(0.1, 0.4)[None],
        glow=(draw.glow * crest.square())[None],
        texel_mm=texel_mm,
    )


def to_texels(
    field: Tensor, step_mm: float, texel_mm: float, *, rows: range, columns: int
) -> Tensor:
    """Look a field of the wall's grid (S, A) up at rows of texels, linearly, (rows, columns)."""
    count, around = field.shape
    column = torch.arange(columns, device=field.device) * (around / columns)
    left = column.floor().long()
    share = column - left
    field = field[:, left % around] * (1 - share) + field[:, (left + 1) % around] * share
    row = torch.arange(rows.start, rows.stop, device=field.device) * (texel_mm / step_mm)
    row = row.clamp(max=count - 1)
    above = row.floor().long().clamp(max=max(count - 2, 0))
    part = (row - above)[:, None]
    return torch.lerp(field[above], field[(above + 1).clamp(max=count - 1)], part)


@dataclass(frozen=True, kw_only=True)
class _Wall:
    """The maps' grid, the lumen that it lines, and the source of its noise."""

    generator: torch.Generator
    lumen_mm: Tensor  # (S, A)
    step_mm: float  # between its rows
    texel_mm: float
    rows: int
    columns: int
    radius_mm: float  # the lumen's mean

    def noise(self, wavelength_mm: float, *, octaves: int = 1, stretch: float = 1.0) -> Tensor:
        """Return a field (rows, columns); `stretch` makes it longer around than along."""
        column_mm = 2 * math.pi * self.radius_mm / stretch / self.columns
        finest = _FINEST_TEXELS * max(self.texel_mm, column_mm) * 2 ** (octaves - 1)
        return wall_noise(
            self.generator,
            self.rows,
            self.columns,
            step_mm=self.texel_mm,
            wavelength_mm=max(wavelength_mm, finest),
            mean_radius_mm=self.radius_mm / stretch,
            octaves=octaves,
        )

    def stamp(self, vessels: Vessels) -> Tensor:
        """Return the absorbance of vessels, (3, rows, columns)."""
        return stamp_vessels(
            vessels,
            self.lumen_mm,
            step_mm=self.step_mm,
            texel_mm=self.texel_mm,
            rows=self.rows,
            columns=self.columns,
        )

    def flat(self) -> Tensor:
        """Return zeros, (1, rows, columns)."""
        return torch.zeros(1, self.rows, self.columns, device=self.generator.device)


def _add_blood(
    absorbance: Tensor,
    draw: TissueDraw,
    wall: _Wall,
    fine: Tensor,
    fold: Tensor,
    crest: Tensor,
) -> None:
    """Add the absorbance of the tissue between its vessels to (3, rows, columns), in place."""
    blood = fine + draw.blood_drift * wall.noise(220.0)
    blood -= draw.crest_paleness * crest
    blood += draw.valley_redness * _ramp(-fold, 0.0, _FULL_CREST_MM)
    blood.add_(1).clamp_(min=_LEAST_BLOOD).mul_(draw.blood)
    if draw.erythema:
        blood += draw.erythema * _ramp(wall.noise(22.0, octaves=2), 1.7, 3.2)
    for channel, absorption in zip(absorbance, draw.absorption, strict=True):
        channel.add_(blood, alpha=absorption)
    if draw.melanosis:
        # Brown fields between pale lines, like the skin of a snake.
        fields = 1 - torch.exp(-(wall.noise(4.0) / 0.35).square_())
        brown = draw.melanosis * _ramp(wall.noise(120.0), -1.0, 0.5) * (0.4 + 0.6 * fields)
        for channel, absorption in zip(absorbance, _MELANOSIS_ABSORPTION, strict=True):
            channel.add_(brown, alpha=absorption)


def _vessel_shade(draw: TissueDraw, wall: _Wall) -> Tensor:
    """Return the absorbance of the vessels, (3, rows, columns)."""
    vessels = grow_vessels(
        draw.vessels, wall.lumen_mm, step_mm=wall.step_mm, generator=wall.generator
    )
    # Thickened or moist mucosa hides vessels for a stretch.
    clear = _ramp(wall.noise(60.0, octaves=2), -1.5, 0.6)
    clear *= draw.vessels.contrast
    shade = wall.stamp(vessels)
    for channel, tint in zip(shade, draw.vessel_tint, strict=True):
        channel.mul_(clear).mul_(tint)
    return shade


def _add_dots(absorbance: Tensor, draw: TissueDraw, wall: _Wall, at: Tensor) -> None:
    """Add haemorrhagic dots, vessels without a length, to (3, rows, columns), in place."""
    length_mm = (wall.rows - 1) * wall.texel_mm
    count = round(draw.dots_per_m * length_mm / 1000)
    if not count:
        return
    uniform = torch.rand(count, 3, generator=wall.generator, device=wall.generator.device)
    nests = uniform[:, 0] // 0.2 * 0.2  # five nests
    place = torch.stack(
        [nests * length_mm, nests * 31.0], dim=1
    )  # an angle far from its neighbours
    scatter = torch.randn(count, 2, generator=wall.generator, device=wall.generator.device)
    place += scatter * scatter.new_tensor([12.0, 12.0 / wall.radius_mm])  # mm: a nest of 5 cm
    dots = Vessels(
        start=place,
        end=place,
        radius_mm=0.25 + 0.5 * uniform[:, 1].square(),  # mm: petechiae are below 2 mm across
        depth_mm=torch.full_like(uniform[:, 2], _DOT_DEPTH_MM),
        vein=uniform[:, 2] < 0.5,
        divisions_mm=uniform.new_zeros(0, 3),
    )
    absorbance += rolled_up(wall.stamp(dots), at)


def _relief(draw: TissueDraw, wall: _Wall, *, stretch: float) -> Tensor:
    """Return pits, grooves and wrinkles, (1, rows, columns) mm."""
    relief = draw.pit_height_mm * wall.noise(draw.pit_wavelength_mm)
    swell = wall.noise(45.0, octaves=2)  # where the pattern is plain and where it is smooth
    relief *= (0.7 + 0.4 * swell).clamp_(min=0.1)
    if draw.groove_depth_mm:
        lines = torch.exp(-(wall.noise(2.6) / 0.3).square_())
        relief -= draw.groove_depth_mm * lines * _ramp(-swell, 0.0, 2.0)
    relief += draw.wrinkle_height_mm * wall.noise(4.0, octaves=2, stretch=stretch)
    return relief[None]


def _fold_mm(radius_mm: Tensor, step_mm: float) -> Tensor:
    """Return how far the wall rises above its surroundings along the line, (S, A)."""
    half = max(1, round(_FOLD_MM / step_mm / 2))
    mean = radius_mm
    for _ in range(2):  # two boxes make a tent: no edges
        padded = pad(mean.T[None], (half, half), mode="replicate")
        sums = torch.cumsum(pad(padded[0].double(), (1, 0)), dim=1)
        mean = ((sums[:, 2 * half + 1 :] - sums[:, : -2 * half - 1]) / (2 * half + 1)).T
        mean = mean.to(radius_mm.dtype)
    return mean - radius_mm


def _ramp(field: Tensor, low: float, high: float) -> Tensor:
    """Return 0 below `low`, 1 above `high`, smooth between."""
    share = ((field - low) / (high - low)).clamp_(0, 1)
    return share.square() * (3 - 2 * share)
