"""Which frames of a video are worth measuring?

Every number is taken inside the scope's aperture on a small copy of the frame, so that resolution
matters little and two cores keep ahead of a video. Limits are where a frame stops being `usable`;
they are named constants with a reason, and a settings object changes them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from colondepth.errors import DataError
from colondepth.masks import find_aperture
from colondepth.shapes import require_bool, require_finite, require_float, require_shapes

WORKING_HEIGHT = 192  # rows of the small copy: folds and blur still show, and it is quick
_LUMA = (0.299, 0.587, 0.114)  # Rec. 601
_TINY = 1e-4
_RIM = 5  # pixels of the small copy: the farthest lookup reaches 4


class Fault(StrEnum):
    """Why a frame is not worth measuring."""

    BLURRED = "blurred"
    DARK = "dark"
    BRIGHT = "over-exposed"
    GLARE = "glare"
    HAZE = "fluid or haze"
    EN_FACE = "wall only, no lumen"
    OUTSIDE = "out of body"
    FROZEN = "frozen or repeated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where a frame stops being usable."""

    sharpness_min: float = 0.09  # bend of brightness over change, blurriest way; clear: 0.10 up
    brightness_min: float = 0.08  # median luma: below, JPEG steps are as tall as folds
    clipped_max: float = 0.20  # share of pixels at white
    glare_max: float = 0.12  # share of pixels in highlights
    haze_max: float = 0.72  # dark channel over brightness (He, Sun and Tang 2009)
    lumen_min: float = 0.02  # share of pixels far darker than the wall
    tissue_min: float = 0.55  # share of lit pixels as red as mucosa
    change_min: float = 0.0008  # mean absolute difference to the frame before


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What was measured of one frame, and what is wrong with it."""

    sharpness: float
    brightness: float
    clipped: float
    glare: float
    haze: float
    lumen: float
    tissue: float
    change: float  # to the frame before; infinite for the first
    faults: tuple[Fault, ...]

    @property
    def usable(self) -> bool:
        """Whether nothing is wrong; a view of the wall alone can still be measured."""
        return not set(self.faults) - {Fault.EN_FACE}


def judge_frames(
    images: Iterable[Tensor],
    *,
    inside: Tensor | None = None,
    limits: Limits | None = None,
) -> Iterator[Quality]:
    """Judge frames (3, H, W) in the order of a video, one at a time and without keeping them.

    Args:
        images: RGB in [0, 1].
        inside: the aperture (1, H, W); by default found in the first frame that shows anything.
        limits: where a frame stops being usable.
    """
    limits = limits or Limits()
    field = None if inside is None else _field(inside)
    before: Tensor | None = None
    for image in images:
        require_shapes(image=(image, "3 H W"))
        require_float(image=image)
        require_finite(image=image)
        if field is None or not field.pixels:
            field = _field(find_aperture(image))
        if field.frame != tuple(image.shape[-2:]):
            raise DataError(
                f"a frame has {tuple(image.shape[-2:])} pixels, the aperture {field.frame}; judge"
                " clips of one size one by one"
            )
        small = interpolate(image[None], field.kept.shape, mode="area")[0]
        yield _judged(small, field, before, limits)
        before = small


def usable_share(qualities: Sequence[Quality]) -> float:
    """Return which part of the frames is usable, in [0, 1]; of none at all it is 0."""
    return sum(quality.usable for quality in qualities) / max(1, len(qualities))


def fault_counts(qualities: Sequence[Quality]) -> dict[Fault, int]:
    """Return how many frames have each fault; a frame may have several."""
    return {fault: sum(fault in q.faults for q in qualities) for fault in Fault}


def measured_names() -> tuple[str, ...]:
    """Return the names of the numbers in a `Quality`, in order."""
    return tuple(field.name for field in fields(Quality) if field.name != "faults")


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """The part of the small copies that is looked at; the same for every frame of a clip."""

    frame: tuple[int, ...]  # (height, width) of the frames
    kept: Tensor  # (h, w) bool
    index: Tensor  # where `kept` is True, in the flat map
    pixels: int

    def of(self, values: Tensor) -> Tensor:
        """Return the kept values of a map (..., h, w), shape (..., P)."""
        return values.flatten(start_dim=-2).index_select(-1, self.index)


def _field(inside: Tensor) -> _Field:
    require_shapes(inside=(inside, "1 H W"))
    require_bool(inside=inside)
    height, width = inside.shape[-2:]
    scale = min(1.0, WORKING_HEIGHT / height)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    whole = interpolate(inside[None].float(), size, mode="area") > 1 - _TINY
    # The aperture's own edge is sharp and bright: keep two pixels away from it.
    kept = (max_pool2d((~whole).float(), 5, stride=1, padding=2) == 0)[0, 0]
    if min(size) > 4 * _RIM:  # lookups beyond the image's edge would come back at the other
        kept[:_RIM] = kept[-_RIM:] = False
        kept[:, :_RIM] = kept[:, -_RIM:] = False
    index = kept.flatten().nonzero()[:, 0]
    return _Field((height, width), kept, index, len(index))


def _judged(small: Tensor, field: _Field, before: Tensor | None, limits: Limits) -> Quality:
    if not field.pixels:
        nothing = dict.fromkeys(measured_names(), 0.0)
        return Quality(**nothing, faults=(Fault.DARK,))
    red, green, blue = small
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    pixels = field.of(small)  # (3, P)
    darkest, lightest = pixels.amin(dim=0), pixels.amax(dim=0)
    brightness = float(field.of(luma).median())
    clipped = float((darkest > 0.96).float().mean())
    number = {
        "sharpness": _sharpness(luma, field),
        "brightness": brightness,
        "clipped": clipped,
        "glare": _glare(luma, darkest, lightest, field),
        "haze": _haze(small, lightest, field),
        "lumen": _lumen(luma, field),
        "tissue": _tissue(pixels, darkest, lightest),
        "change": float("inf") if before is None else _change(small, before, field),
    }
    wrong = {
        Fault.BLURRED: number["sharpness"] < limits.sharpness_min,
        Fault.DARK: brightness < limits.brightness_min,
        Fault.BRIGHT: clipped > limits.clipped_max,
        Fault.GLARE: number["glare"] > limits.glare_max,
        Fault.HAZE: number["haze"] > limits.haze_max,
        Fault.EN_FACE: number["lumen"] < limits.lumen_min,
        Fault.OUTSIDE: number["tissue"] < limits.tissue_min,
        Fault.FROZEN: number["change"] < limits.change_min,
    }
    return Quality(**number, faults=tuple(fault for fault, holds in wrong.items() if holds))


def _sharpness(luma: Tensor, field: _Field) -> float:
    """Return the bend of brightness within 3 pixels over its change across 8: blur takes bends.

    Of rows, columns and both diagonals the blurriest counts: motion blurs one way alone.
    """
    ways = []
    for way in ((1, 0), (0, 1), (1, 1), (1, -1)):
        back = (-way[0], -way[1])
        bend = (luma.roll(way, (0, 1)) - 2 * luma + luma.roll(back, (0, 1))).abs()
        ahead, behind = (4 * way[0], 4 * way[1]), (4 * back[0], 4 * back[1])
        change = (luma.roll(ahead, (0, 1)) - luma.roll(behind, (0, 1))).abs()
        ways.append(field.of(bend).mean() / field.of(change).mean().clamp(min=_TINY))
    return float(min(ways))


def _glare(luma: Tensor, darkest: Tensor, lightest: Tensor, field: _Field) -> float:
    """Return the share of highlights: white, and brighter than what surrounds them."""
    around, light = field.of(_smooth(luma, 15)), field.of(luma)
    white = darkest > 0.75 * lightest
    return float((white & (light > 0.7) & (light > 1.15 * around)).float().mean())


def _haze(small: Tensor, lightest: Tensor, field: _Field) -> float:
    """Return the dark channel over the brightness: clear tissue has hardly any blue or green."""
    lightness = -small.amin(dim=0)[None, None]
    tall = max_pool2d(lightness, (7, 1), stride=1, padding=(3, 0))  # rows, then columns: quicker
    dark = -max_pool2d(tall, (1, 7), stride=1, padding=(0, 3))[0, 0]
    return float((field.of(dark).mean() / lightest.mean().clamp(min=_TINY)).clamp(max=1))


def _lumen(luma: Tensor, field: _Field) -> float:
    """Return the share of pixels that are, smoothed, far darker than the wall."""
    smooth = field.of(_smooth(luma, 9))
    wall = smooth.kthvalue(max(1, int(0.8 * field.pixels))).values
    return float((smooth < 0.45 * wall).float().mean())


def _tissue(pixels: Tensor, darkest: Tensor, lightest: Tensor) -> float:
    """Return the share of lit pixels in which red leads, as it does in mucosa."""
    red, green, blue = pixels
    leads = (red > 1.08 * green) & (red > 1.02 * blue)
    told = (lightest > 0.12) & (darkest < 0.7)  # shadows and highlights have no colour to tell
    return float((leads & told).sum() / told.sum()) if bool(told.any()) else 1.0


def _change(small: Tensor, before: Tensor, field: _Field) -> float:
    return float(field.of(small - before).abs().mean())


def _smooth(luma: Tensor, width: int) -> Tensor:
    """Return the mean over a square, taken along rows and then along columns."""
    half = width // 2
    tall = avg_pool2d(
        luma[None, None], (width, 1), stride=1, padding=(half, 0), count_include_pad=False
    )
    return avg_pool2d(tall, (1, width), stride=1, padding=(0, half), count_include_pad=False)[0, 0]
