"""Which pixels of an endoscope image may be used: inside the aperture, not glare, not burnt in.

Images are RGB in [0, 1], shape (*B, 3, H, W); a mask is bool, shape (*B, 1, H, W), and its name
says what True means. Each image is judged alone unless the docstring says otherwise. A length
named SIDE is a share of the image's shorter side, so that a mask does not depend on the
resolution; brightness is the largest of the three channels, whiteness the smallest.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool2d

from colondepth.errors import DataError, ShapeError
from colondepth.hulls import draw_polygon, roundest_hull
from colondepth.morphology import (
    Map,
    Mask,
    closed_mask,
    grown,
    opened,
    opened_mask,
    pooled,
    spread,
    touching,
    widely_opened,
)
from colondepth.shapes import require_bool, require_finite, require_float, require_shapes
from colondepth.text_rows import in_text_rows

# --- the aperture; brightness in [0, 1]
BLACK_BORDER_MAX = 0.15  # a limited-range video holds black at 16/255, compression lifts it
LIT_CONTRAST_SHARE = 0.1  # of the image's contrast: a lit pixel is that much above the border ...
LIT_STEP_MIN, LIT_STEP_MAX = 0.02, 0.05  # ... within these: above 5/255 of noise, below dim tissue
LIT_SPREADS = 3.0  # and above this many standard deviations of the border's noise
CORNER_SIDE = 0.02  # ETIS-Larib's black corners, the smallest we know, are 0.1 wide
LINE_SIDE = 0.025  # strokes of text and the lines of detector boxes are thinner
CAPTION_SIDE = 0.06  # a caption's filled bar is lower, every aperture is wider
WHOLE_AREA = 0.985  # of the image; what is cut off beyond is vignetting
APERTURE_LONG_PX = 256  # the search is done at this size or below, the answer drawn at full size
EDGE_BLOCKS = 1.0  # of that size: measured overshoot, as a tenth of a block's light makes it lit
SHARED_FRAMES = 16  # of a clip are looked at, evenly spaced
SHARED_RANK = 3  # the third brightest value of a pixel: a moving caption visits it less often

# --- burnt-in text and graphics
STROKE_SIDE = 0.035  # letters' strokes and their outlines; wider is not text
GRAPHIC_SIDE = 0.07  # box lines and the bars behind a label; wider coloured areas may be dye
PURE_EXCESS = 0.5  # of a colour no light from mucosa has; indigo carmine reaches 0.35
YELLOW_WEIGHT = 0.6  # highlights have yellow fringes, up to 0.5
INK_EXCESS = 0.35  # as PURE_EXCESS, above the surroundings, for thin marks
INK_EDGE_PX = 2  # compression blurs the colour of a drawn edge this far, a pool of dye is softer
INK_EXCESS_WEAK = 0.12  # beside such a mark: compression halves the colour of a thin line
WHITE_STEP = 0.2  # whiteness of a letter above the wall behind it
WHITE_SATURATION_MAX = 0.35  # white on pink, its colour smeared by compression
BORDER_STEP = 0.12  # above black: compression ripples reach half of it
RIM_SIDE = 0.015  # the blurred edge of the aperture is neither inside nor text
TEXT_GROWTH_SIDE = 0.006  # the dark outline of a letter: 2 pixels at 360

# --- what stands still in a clip
STILL_STEP = 0.06  # an edge's strength per pixel, four times the coding noise ...
STILL_SPREADS = 2.0  # ... after taking off this many standard deviations over time
MOTION_MIN = 0.01  # mean change of a pixel; in a clip that moves less, everything stands still

# --- highlights
EXPOSURE_PERCENTILE = 99.9  # of brightness: how bright this image's brightest tissue is
GLINT_SIDE = 0.05  # most highlights are narrower; so are few shapes of the wall's shading
GLARE_SIDE = 0.15  # wider white areas are over-exposed wall, not a mirror image of the lamp
GLARE_WHITE = 0.85  # of the exposure: between these widths only what is all but clipped counts
GLARE_STEP = 0.15  # whiteness above the surrounding wall, as a share of the exposure
GLARE_STEP_MIN = 0.06  # the same as a difference: three times the noise of a dark video frame
GLARE_SATURATION_MAX = 0.4  # mucosa: 0.4 to 0.8; a highlight with yellow fringes: up to 0.35
GLARE_GROWTH_SIDE = 0.004  # the blurred rim: 1 pixel at 360, 4 at 966


def find_aperture(images: Tensor, *, shared: bool = False) -> Tensor:
    """Return `inside`: True inside the scope's round, octagonal or clipped aperture.

    The area lit in red (no wall is without, green and blue labels are) is cleaned of everything
    as thin as text; the convex hull of its largest piece and of the pieces that make this hull
    rounder is the aperture. So a dark lumen stays inside, a second picture beside the view does
    not. Where no corner is black there is no border and all is inside. In a dark frame it is the
    hull of what is lit at all; an image with nothing above black has nothing inside.

    Args:
        images: RGB in [0, 1], shape (*B, 3, H, W).
        shared: look at all images together, as the frames of one clip in which the aperture
            does not move; a part that is dark in one frame may be lit in another.

    Returns:
        bool, shape (*B, 1, H, W), or (1, H, W) if `shared`.
    """
    frames = _checked(images)
    if not shared:
        return _per_image(images, lambda rgb: _aperture(rgb[0]))
    if len(frames) == 0:
        raise DataError(f"images has shape {tuple(images.shape)}: no frame to find an aperture in")
    chosen = np.linspace(0, len(frames) - 1, min(len(frames), SHARED_FRAMES)).round().astype(int)
    redness = frames[torch.from_numpy(chosen).to(frames.device), 0]  # (T, H, W)
    rank = min(SHARED_RANK, 1 + len(chosen) // 4)  # of few frames, take the brightest
    combined = redness.topk(rank, dim=0).values[-1]  # (H, W)
    inside = _aperture(combined.float().cpu().numpy())  # (H, W)
    return torch.from_numpy(inside)[None].to(images.device)


def find_specular(images: Tensor, *, inside: Tensor | None = None) -> Tensor:
    """Return `specular`: True on mirror images of the lamp, with their blurred rim.

    A highlight is the lamp's white added to the wall's red, so it stands out in the smallest of
    the three channels. Like Arnold et al., "Automatic segmentation and inpainting of specular
    highlights for endoscopic imaging" (2010), a pixel is compared with the wall around it, here
    by a morphological opening: what is as wide as `GLARE_SIDE` is wall, however bright, so an
    over-exposed wall is not specular. The step is relative to the image's exposure.

    Args:
        images: RGB in [0, 1], shape (*B, 3, H, W).
        inside: the aperture, see `find_text`; its edge and what lies outside are not specular.
    """
    return _per_image(images, _specular, _aperture_of(images, inside))


def find_text(images: Tensor, *, inside: Tensor | None = None) -> Tensor:
    """Return `overlay`: True on burnt-in text, boxes, lines and icons.

    Three signs are joined: thin marks in colours that lit mucosa never has (green, cyan, blue,
    yellow, magenta), crisp white marks of letter size that stand in rows, and anything bright
    outside the aperture. Red graphics, lone white letters and semi-transparent logos are missed;
    for these, see `find_static_overlay`.

    Args:
        images: RGB in [0, 1], shape (*B, 3, H, W).
        inside: the aperture, from `find_aperture`, shape (*B, 1, H, W) or broadcasting to it;
            found in each image where it is not given.
    """
    return _per_image(images, _text, _aperture_of(images, inside))


def find_static_overlay(clip: Tensor) -> Tensor:
    """Return `overlay`: True on marks that stand still while the rest of the clip moves.

    An edge of the wall is never at the same pixel throughout a moving clip; an edge of a burnt-in
    mark is. The edge of the aperture is left out. A clip that hardly moves proves nothing and
    gives an empty mask; so does a single frame.

    Args:
        clip: consecutive frames, RGB in [0, 1], shape (T, 3, H, W). A caption that is shown for
            a part of a clip is found in that part alone.

    Returns:
        bool, shape (1, H, W), for all frames.
    """
    require_shapes(clip=(clip, "T 3 H W"))
    inside = find_aperture(clip, shared=True)  # (1, H, W)
    height, width = clip.shape[-2:]
    if _motion(clip, inside) < MOTION_MIN:
        return torch.zeros_like(inside)
    still = np.zeros((height, width), dtype=bool)
    for axis in (-1, -2):
        if clip.shape[axis] < 2:
            continue  # no neighbour, no edge
        edge = clip.diff(dim=axis)  # (T, 3, H, W) less one row or column
        deviation, mean = torch.std_mean(edge, dim=0, correction=0)  # (3, ...)
        lasting = (mean.abs() - STILL_SPREADS * deviation).amax(dim=0) > STILL_STEP
        rows, columns = lasting.cpu().numpy().nonzero()
        still[rows, columns] = True
        still[rows + (axis == -2), columns + (axis == -1)] = True
    still &= ~_rim(inside[0].cpu().numpy())
    still = closed_mask(still, STROKE_SIDE * min(height, width))
    still = grown(still, TEXT_GROWTH_SIDE * min(height, width))
    return torch.from_numpy(still)[None].to(clip.device)


def _aperture_of(images: Tensor, inside: Tensor | None) -> Tensor:
    """Check the images and return the aperture of each, found where it is not given."""
    _checked(images)
    if inside is None:
        return find_aperture(images)
    require_bool(inside=inside)
    require_shapes(images=(images, "*B 3 H W"), inside=(inside, "*B 1 H W"))
    one_each = (*images.shape[:-3], 1, *images.shape[-2:])
    if torch.broadcast_shapes(inside.shape, one_each) != one_each:
        raise ShapeError(f"inside has shape {tuple(inside.shape)}, expected at most {one_each}")
    return inside.expand(one_each)


def _specular(rgb: Map, inside: Mask) -> Mask:
    side = min(inside.shape)
    white, brightness = rgb.min(axis=0), rgb.max(axis=0)
    exposure = float(np.percentile(brightness[::2, ::2], EXPOSURE_PERCENTILE))
    step = max(GLARE_STEP * exposure, GLARE_STEP_MIN)
    outside = grown(~inside, RIM_SIDE * side)
    # Beside a black border all wall would stand out; beside a white one none does.
    bordered = np.where(outside, np.float32(1), white)
    glint = white - widely_opened(bordered, GLINT_SIDE * side) > step
    glare = white - widely_opened(bordered, GLARE_SIDE * side) > step
    glare &= white > GLARE_WHITE * exposure
    pale = brightness - white <= GLARE_SATURATION_MAX * brightness
    return grown((glint | glare) & pale & ~outside, GLARE_GROWTH_SIDE * side) & inside


def _text(rgb: Map, inside: Mask) -> Mask:
    side = min(inside.shape)
    red, green, blue = rgb
    white, brightness = rgb.min(axis=0), rgb.max(axis=0)
    cool = np.maximum(green, blue) - red  # green, cyan, blue
    yellow = np.minimum(red, green) - blue - 0.5 * np.abs(red - green)  # bile is more orange
    magenta = np.minimum(red, blue) - green - np.abs(red - blue)
    excess = np.maximum.reduce([cool, YELLOW_WEIGHT * yellow, magenta, np.zeros_like(red)])
    thin = excess - opened(excess, GRAPHIC_SIDE * side)
    seeds = thin > INK_EXCESS
    if seeds.any():  # most frames have none and save the time
        seeds &= spread(excess, INK_EDGE_PX) > INK_EXCESS
    ink = touching(thin > INK_EXCESS_WEAK, seeds) | (excess > PURE_EXCESS)
    strokes = white - opened(white, STROKE_SIDE * side) > WHITE_STEP
    strokes &= brightness - white <= WHITE_SATURATION_MAX * brightness
    level, _ = _corner_level(brightness)
    outside = ~grown(inside, RIM_SIDE * side) & (brightness > level + BORDER_STEP)
    return grown(
        ink | in_text_rows(strokes | (thin > INK_EXCESS_WEAK)) | outside, TEXT_GROWTH_SIDE * side
    )


def _aperture(redness: Map) -> Mask:
    height, width = redness.shape
    pool = -(-max(height, width) // APERTURE_LONG_PX)
    small = pooled(redness, pool)
    side = min(small.shape)
    level, noise = _corner_level(small)
    if level > BLACK_BORDER_MAX:
        return np.ones((height, width), dtype=bool)
    contrast = float(np.percentile(small, 99)) - level
    step = float(np.clip(LIT_CONTRAST_SHARE * contrast, LIT_STEP_MIN, LIT_STEP_MAX))
    lit = small > level + max(step, LIT_SPREADS * noise)
    lit = ndimage.uniform_filter(lit.astype(np.float32), 3, mode="nearest") > 0.5  # majority
    lit = opened_mask(lit, LINE_SIDE * side)
    lit = opened_mask(ndimage.binary_fill_holes(lit), CAPTION_SIDE * side)
    edges = roundest_hull(lit)
    if edges is None:
        return np.zeros((height, width), dtype=bool)
    edges[:, 2] = (edges[:, 2] + EDGE_BLOCKS) * pool
    inside = draw_polygon(edges, height, width)
    return np.ones_like(inside) if inside.mean() >= WHOLE_AREA else inside


def _corner_level(brightness: Map) -> tuple[float, float]:
    """Return the brightness of the darkest image corner and its standard deviation."""
    n = max(1, round(CORNER_SIDE * min(brightness.shape)))
    ends = (np.s_[:n], np.s_[-n:])
    corners = [brightness[rows, columns] for rows in ends for columns in ends]
    darkest = min(corners, key=lambda corner: float(np.median(corner)))
    return float(np.median(darkest)), float(darkest.std())


def _motion(clip: Tensor, inside: Tensor) -> float:
    """Return the mean standard deviation over time inside, of 4x4 blocks to calm the noise."""
    pool = min(4, *clip.shape[-2:])
    change = avg_pool2d(clip.amax(dim=1), pool).std(dim=0, correction=0)  # (H/4, W/4)
    share = avg_pool2d(inside.to(clip.dtype), pool)[0]
    return float((change * share).sum() / share.sum().clamp(min=1))


def _rim(inside: Mask) -> Mask:
    """Return the band along the aperture's edge, and along the image's where that cuts it."""
    reach = RIM_SIDE * min(inside.shape)
    framed = np.pad(~inside, 1, constant_values=True)
    return grown(inside, reach) & grown(framed, reach)[1:-1, 1:-1]


def _per_image(images: Tensor, judge: Callable[..., Mask], *more: Tensor) -> Tensor:
    """Apply `judge` to every image, with its part of the masks in `more`."""
    height, width = images.shape[-2:]
    frames = images.detach().reshape(-1, 3, height, width).float().cpu().contiguous().numpy()
    masks = [mask.reshape(-1, height, width).cpu().numpy() for mask in more]
    found = np.zeros((len(frames), 1, height, width), dtype=bool)
    for i, frame in enumerate(frames):
        found[i, 0] = judge(frame, *(mask[i] for mask in masks))
    return torch.from_numpy(found).reshape(*images.shape[:-3], 1, height, width).to(images.device)


def _checked(images: Tensor) -> Tensor:
    """Check that these are images in [0, 1] and return them with one batch axis."""
    size = require_shapes(images=(images, "*B 3 H W"))
    if size["H"] == 0 or size["W"] == 0:
        raise ShapeError(f"images has shape {tuple(images.shape)}: it has no pixel")
    require_float(images=images)
    require_finite(images=images)
    if images.numel() and not (images.amin() >= 0 and images.amax() <= 1):
        raise DataError(
            f"images reaches from {float(images.amin()):g} to {float(images.amax()):g}, expected"
            " values in [0, 1]; divide 8-bit images by 255, clamp what a resampling overshot"
        )
    return images.detach().reshape(-1, 3, size["H"], size["W"])
