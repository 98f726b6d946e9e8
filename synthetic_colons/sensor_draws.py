"""What is random about the sensor of level 6: settings with their ranges, drawn numbers, maps.

A `SensorSettings` holds ranges; `draw_sensor` draws from them what stays for a clip (`ClipDraw`)
and `draw_frames` what changes with every frame (`FrameDraw`). `sensor.apply_sensor` uses them.
Draws hold everything that is random, so the same draw always gives the same pixels. For draws
that do not depend on the batch, draw each clip from its own generator and `join` them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor

from colondepth.errors import DataError
from synthetic_colons.exposure import TARGET_LUMINANCE
from synthetic_colons.lens_dirt import Dirt, draw_dirt
from synthetic_colons.on_screen_text import TextLayout, TextLine, draw_lines, text_cover
from synthetic_colons.scope_border import (
    BorderShape,
    Window,
    draw_window,
    from_centre_px,
    window_share,
)

Range = tuple[float, float]  # least and greatest

_SHAPES = (BorderShape.OCTAGON, BorderShape.CIRCLE, BorderShape.CUT_CORNERS, BorderShape.FULL)
_LAYOUTS = (TextLayout.COLUMN, TextLayout.CORNERS, TextLayout.CAPTION, TextLayout.NONE)
_TEXT_COLOURS = ((0.92, 0.92, 0.92), (0.35, 0.95, 0.4))  # white, and the green of old processors
# The meter's centre zone: standard deviation as a share of half the shorter side.
_CENTRE_ZONE = 0.5
_SEED_END = 2**31  # seeds that every torch generator takes


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorSettings:
    """Ranges of every effect; a chance is the share of clips (or frames) that have it at all.

    "Measured" stands for ETIS-Larib and other real frames looked at pixel by pixel.
    """

    # Lens
    field_of_view_deg: Range = (130.0, 170.0)  # diagonal-free width; colonoscopes' data sheets
    vignetting_power: Range = (0.2, 1.2)  # cos^n; 4 is a thin lens, fisheyes are built for less
    focal_mm: Range = (1.0, 1.6)  # 1/6 to 1/4 inch chips at those fields of view
    focus_mm: Range = (5.0, 12.0)  # sheets: sharp from 3 to 100; the middle of 1/3 and 1/100 is 6
    pupil_mm: Range = (0.02, 0.08)  # keeps 3-100 mm within about 2 px of 320, as in real frames
    # Movement
    shutter_share: Range = (0.2, 1.0)  # of the frame time; auto shutters are open long in the dark
    interlaced_chance: float = 0.15  # recordings of standard-definition processors
    # Exposure control
    target_luminance: Range = (0.33, 0.52)  # metered, linear; measured 0.36 to 0.5
    centre_weight: Range = (0.0, 0.9)  # "average" and "peak/auto" metering; 1 sees the middle only
    exposure_rate: Range = (0.15, 0.9)  # rad/frame; a quarter swing takes 2 to 10 frames
    exposure_damping: Range = (0.35, 0.95)  # overshoots of 31 % to nothing
    exposure_jitter_stops: Range = (0.0, 0.06)  # std per frame; lamps and iris flutter by 4 %
    # Sensor
    full_well_electrons: Range = (4000.0, 15000.0)  # 1 to 2 um pixels; measured 1.2 counts: 12000
    read_noise_electrons: Range = (2.0, 12.0)  # CMOS to old CCDs
    red_gain: Range = (1.0, 1.6)  # relative to green, xenon to LED; blue noise was measured ...
    blue_gain: Range = (1.3, 2.2)  # ... at 2 to 3 times the green one
    knee: Range = (0.7, 1.0)  # start of the shoulder, of saturation
    bloom: Range = (0.0, 0.08)  # of the light beyond saturation, spread over its surroundings
    # Colour
    white_balance_stops: float = 0.1  # std of red and blue; caps are balanced by hand
    colour_mixing: float = 0.03  # std of the off-diagonal terms of the matrix; rows add up to 1
    gamma: Range = (1.8, 2.6)  # where a power law stands in for sRGB's curve
    gamma_chance: float = 0.4
    sharpening: Range = (0.0, 1.4)  # "enhance" off to 8: halos of up to 15 % were measured
    # Recording
    subsampled_chance: float = 0.8  # all consumer video is 4:2:0
    jpeg_quality: Range = (30.0, 95.0)  # libjpeg's scale; below 30 wall texture is gone
    jpeg_chance: float = 0.85
    # Border and text
    border_weights: tuple[float, float, float, float] = (0.4, 0.3, 0.2, 0.1)  # as `_SHAPES`
    border_level: Range = (0.0, 0.06)  # coded; 0 in ETIS-Larib, 14/255 in limited-range video
    border_noise: Range = (0.0, 0.006)  # coded std; measured 0 to 0.4 counts, analogue ones more
    edge_px: Range = (1.0, 2.0)
    text_weights: tuple[float, float, float, float] = (0.3, 0.2, 0.1, 0.4)  # as `_LAYOUTS`
    letter_side: Range = (0.03, 0.05)  # of the shorter side, as on processors' screens
    # Dirt
    smear: Range = (0.2, 0.95)  # share of light that the middle of a smear blurs
    smear_chance: float = 0.25
    haze: Range = (0.05, 0.4)  # share of light replaced; steam and fog in bad stretches
    haze_chance: float = 0.25
    drops: int = 4  # most on a lens
    drops_chance: float = 0.2
    drop_radius_side: Range = (0.03, 0.12)  # of the shorter side

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            is_range = isinstance(value, tuple) and len(value) == 2
            if is_range and not 0 <= value[0] <= value[1]:
                raise DataError(f"{field.name} {value} is not a range of numbers from 0 up")
            if field.name.endswith("_chance") and not 0 <= value <= 1:
                raise DataError(f"{field.name} {value} is not a chance in [0, 1]")
            if field.name.endswith("_weights") and (min(value) < 0 or sum(value) <= 0):
                raise DataError(f"{field.name} {value} are not weights: one must be positive")
        if self.focus_mm[0] <= self.focal_mm[1]:
            raise DataError(
                f"focus_mm {self.focus_mm} reaches the focal length {self.focal_mm}, expected a"
                " focus in front of it"
            )

    @classmethod
    def off(cls) -> Self:
        """Return settings under which the sensor is automatic exposure and sRGB, nothing else."""
        zero = (0.0, 0.0)
        return cls(
            vignetting_power=zero,
            pupil_mm=zero,
            shutter_share=zero,
            interlaced_chance=0,
            target_luminance=(TARGET_LUMINANCE, TARGET_LUMINANCE),
            centre_weight=zero,
            exposure_rate=zero,
            exposure_jitter_stops=zero,
            full_well_electrons=(torch.inf, torch.inf),
            read_noise_electrons=zero,
            red_gain=(1, 1),
            blue_gain=(1, 1),
            knee=(1, 1),
            bloom=zero,
            white_balance_stops=0,
            colour_mixing=0,
            gamma_chance=0,
            sharpening=zero,
            subsampled_chance=0,
            jpeg_chance=0,
            border_weights=(0, 0, 0, 1),
            border_noise=zero,
            text_weights=(0, 0, 0, 1),
            smear_chance=0,
            haze_chance=0,
            drops_chance=0,
        )


@dataclass(frozen=True, kw_only=True)
class ClipDraw:
    """What stays for a clip, one row for each; 0 switches an effect off. Units as in settings."""

    focal_px: Tensor  # (B,), of an equidistant lens with the field of view; rays override it
    vignetting_power: Tensor  # (B,)
    focal_mm: Tensor  # (B,)
    focus_mm: Tensor  # (B,)
    pupil_mm: Tensor  # (B,)
    interlaced: Tensor  # (B,), bool
    target_luminance: Tensor  # (B,)
    meter_weight: Tensor  # (B, 1, H, W), in [0, 1]
    exposure_rate: Tensor  # (B,)
    exposure_damping: Tensor  # (B,)
    exposure_jitter_stops: Tensor  # (B,)
    shot: Tensor  # (B,), 1 / full well in electrons
    read: Tensor  # (B,), share of the full well
    gain: Tensor  # (B, 3), of red, green and blue before balancing
    knee: Tensor  # (B,)
    bloom: Tensor  # (B,)
    white_balance: Tensor  # (B, 3)
    colour_matrix: Tensor  # (B, 3, 3)
    gamma: Tensor  # (B,), 0 for sRGB
    sharpening: Tensor  # (B,)
    subsampled: Tensor  # (B,), bool
    jpeg_quality: Tensor  # (B,)
    window: Window
    picture_share: Tensor  # (B, 1, H, W), 1 in the picture, 0 on the border
    border_colour: Tensor  # (B, 3), coded
    border_noise: Tensor  # (B,), coded
    text: tuple[tuple[TextLine, ...], ...]  # one row for each
    text_share: Tensor  # (B, 1, H, W), covered by letters
    text_colour: Tensor  # (B, 3), coded
    dirt: Dirt


@dataclass(frozen=True, kw_only=True)
class FrameDraw:
    """What changes with every frame."""

    noise_seed: Tensor  # (B,), int64
    exposure_jitter: Tensor  # (B,), unit Gaussian
    shutter_share: Tensor  # (B,)


@dataclass(frozen=True, kw_only=True)
class SensorDraw:
    """Everything random about a batch of frames."""

    clip: ClipDraw
    frame: FrameDraw

    def take(self, index: Tensor) -> Self:
        """Return the rows at `index`, (N,): repeat a clip's row for each of its frames."""
        rows = index.tolist()
        return self._mapped(
            lambda tensor: tensor[index.to(tensor.device)],
            lambda text: tuple(text[row] for row in rows),
        )

    def rows(self, which: slice) -> Self:
        """Return some of the rows without copying them."""
        return self._mapped(lambda tensor: tensor[which], lambda text: text[which])

    def to(self, device: torch.device | str) -> Self:
        """Return the draw on a device."""
        return self._mapped(lambda tensor: tensor.to(device), lambda text: text)

    def with_frame(self, frame: FrameDraw) -> Self:
        """Return the draw for another frame of the same clips."""
        return replace(self, frame=frame)

    def _mapped(self, tensor: Callable[[Tensor], Tensor], text: Callable[[Any], Any]) -> Self:
        mapped: Self = _walk(
            [self], lambda values: tensor(values[0]), lambda values: text(values[0])
        )
        return mapped


def join(draws: Sequence[SensorDraw]) -> SensorDraw:
    """Return the rows of several draws as one batch."""
    if not draws:
        raise DataError("no draws to join; give one or more")
    joined: SensorDraw = _walk(
        draws, lambda tensors: torch.cat(list(tensors)), lambda texts: tuple(chain(*texts))
    )
    return joined


def draw_sensor(
    generator: torch.Generator, batch: int, height: int, width: int, settings: SensorSettings
) -> SensorDraw:
    """Draw the sensors of `batch` clips and their first frames; on the generator's device."""
    clip = draw_clips(generator, batch, height, width, settings)
    return SensorDraw(clip=clip, frame=draw_frames(generator, batch, settings))


def draw_frames(generator: torch.Generator, batch: int, settings: SensorSettings) -> FrameDraw:
    """Draw what changes with every frame, for `batch` frames."""
    device = generator.device
    return FrameDraw(
        noise_seed=torch.randint(_SEED_END, (batch,), generator=generator, device=device),
        exposure_jitter=torch.randn(batch, generator=generator, device=device),
        shutter_share=_within(generator, batch, settings.shutter_share),
    )


def draw_clips(
    generator: torch.Generator, batch: int, height: int, width: int, settings: SensorSettings
) -> ClipDraw:
    """Draw what stays for a clip, for `batch` clips of height x width pixels."""
    if batch < 1 or height < 2 or width < 2:
        raise DataError(f"{batch} clips of {height}x{width} pixels: expected 1 or more of 2x2 up")
    device = generator.device

    def within(limits: Range) -> Tensor:
        return _within(generator, batch, limits)

    def happens(chance: float) -> Tensor:
        return torch.rand(batch, generator=generator, device=device) < chance

    def chosen(weights: tuple[float, ...]) -> list[int]:
        shares = torch.tensor(weights, dtype=torch.float32, device=device)
        found: list[int] = shares.multinomial(batch, replacement=True, generator=generator).tolist()
        return found

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator, device=device)

    view_rad = torch.deg2rad(within(settings.field_of_view_deg))
    full_well = within(settings.full_well_electrons)
    ones = torch.ones(batch, device=device)
    stops = settings.white_balance_stops * normal(2)
    mixing = settings.colour_mixing * normal(3, 3) * (1 - torch.eye(3, device=device))
    mixing = mixing - torch.diag_embed(mixing.sum(dim=-1))  # grey stays grey
    window = draw_window(
        generator,
        height,
        width,
        shapes=[_SHAPES[i] for i in chosen(settings.border_weights)],
        edge_px=within(settings.edge_px),
    )
    letters = within(settings.letter_side).tolist()
    text = tuple(
        draw_lines(generator, height, width, layout=_LAYOUTS[i], letter_side=letter)
        for i, letter in zip(chosen(settings.text_weights), letters, strict=True)
    )
    drops = torch.randint(1, settings.drops + 1, (batch,), generator=generator, device=device)
    colours = torch.tensor(_TEXT_COLOURS, device=device)
    return ClipDraw(
        focal_px=width / view_rad,
        vignetting_power=within(settings.vignetting_power),
        focal_mm=within(settings.focal_mm),
        focus_mm=within(settings.focus_mm),
        pupil_mm=within(settings.pupil_mm),
        interlaced=happens(settings.interlaced_chance),
        target_luminance=within(settings.target_luminance),
        meter_weight=_meter_weight(window, within(settings.centre_weight), height, width),
        exposure_rate=within(settings.exposure_rate),
        exposure_damping=within(settings.exposure_damping),
        exposure_jitter_stops=within(settings.exposure_jitter_stops),
        shot=1 / full_well,
        read=within(settings.read_noise_electrons) / full_well,
        gain=torch.stack([within(settings.red_gain), ones, within(settings.blue_gain)], dim=1),
        knee=within(settings.knee),
        bloom=within(settings.bloom),
        white_balance=torch.stack([stops[:, 0].exp2(), ones, stops[:, 1].exp2()], dim=1),
        colour_matrix=torch.eye(3, device=device) + mixing,
        gamma=within(settings.gamma) * happens(settings.gamma_chance),
        sharpening=within(settings.sharpening),
        subsampled=happens(settings.subsampled_chance),
        jpeg_quality=within(settings.jpeg_quality).round() * happens(settings.jpeg_chance),
        window=window,
        picture_share=window_share(window, height, width),
        border_colour=(within(settings.border_level)[:, None] * (1 + 0.1 * normal(3))).clamp(0, 1),
        border_noise=within(settings.border_noise),
        text=text,
        text_share=torch.stack([text_cover(lines, height, width) for lines in text]).to(device),
        text_colour=colours[chosen((0.75, 0.25))],
        dirt=draw_dirt(
            generator,
            height,
            width,
            smear=within(settings.smear) * happens(settings.smear_chance),
            haze=within(settings.haze) * happens(settings.haze_chance),
            drops=drops * happens(settings.drops_chance),
            drop_radius_side=settings.drop_radius_side,
        ),
    )


def _meter_weight(window: Window, centre_weight: Tensor, height: int, width: int) -> Tensor:
    """Return the weight of every pixel for the light meter, shape (B, 1, H, W)."""
    away = from_centre_px(window, height, width) / (min(height, width) / 2)
    zone = torch.exp(-0.5 * (away / _CENTRE_ZONE).square())
    return torch.lerp(torch.ones_like(zone), zone, centre_weight[:, None, None, None])


def _within(generator: torch.Generator, batch: int, limits: Range) -> Tensor:
    low, high = limits
    share = torch.rand(batch, generator=generator, device=generator.device)
    return torch.full_like(share, low) if low == high else low + (high - low) * share


def _walk(
    values: Sequence[Any],
    tensors: Callable[[Sequence[Tensor]], Tensor],
    texts: Callable[[Sequence[Any]], Any],
) -> Any:
    """Rebuild a nest of dataclasses from the tensors and texts of several such nests."""
    first = values[0]
    if isinstance(first, Tensor):
        return tensors(values)
    if isinstance(first, tuple):
        return texts(values)
    names = [field.name for field in fields(first)]
    parts = {name: _walk([getattr(v, name) for v in values], tensors, texts) for name in names}
    return type(first)(**parts)
