"""What happens between the light at the scope's lens and the file on disk, for level 6.

Light is linear RGB >= 0, shape (B, 3, H, W), exposure not yet applied. The steps run in the order
of a real scope: lens, dirt on it, movement under the shutter, exposure, sensor, colour, curve,
sharpening, border, text, compression. What is random comes in as a `SensorDraw`; a row that draws
an effect as 0 is passed through it untouched, whatever the other rows do.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from colondepth.shapes import require_float, require_shapes
from synthetic_colons.compression import compress
from synthetic_colons.electronics import (
    ExposureState,
    bloom,
    clipped,
    coded,
    photosite_noise,
    settle,
    sharpened,
    white_noise,
)
from synthetic_colons.exposure import automatic_exposure, vignetting
from synthetic_colons.lens_blur import (
    along_motion,
    circle_of_confusion_px,
    continued,
    defocus,
)
from synthetic_colons.lens_dirt import look_through
from synthetic_colons.scope_border import from_centre_px
from synthetic_colons.sensor_draws import SensorDraw

# Of a letter's rim: fainter than this it is lost in the noise.
_COVERED = 0.05


@dataclass(frozen=True, kw_only=True)
class SensorResult:
    """A batch of frames as a reader of the file sees them, and what is known about them."""

    image: Tensor  # (B, 3, H, W), coded, in [0, 1]
    inside: Tensor  # (B, 1, H, W), bool, True inside the aperture
    overlay: Tensor  # (B, 1, H, W), bool, True where letters cover
    saturated: Tensor  # (B, 1, H, W), bool, True where a colour of the sensor was full
    state: ExposureState  # for the next frame


def expose(light: Tensor, draw: SensorDraw, *, state: ExposureState | None = None) -> ExposureState:
    """Return where the exposure control stands after it has seen this frame.

    For several frames of one clip in a batch, meter them at once with `wanted_exposure`, then
    `settle` from frame to frame and hand the factors to `apply_sensor`.

    Args:
        light: linear, shape (B, 3, H, W).
        draw: for these frames.
        state: after the previous frame of each; None for the first.
    """
    return settle(
        wanted_exposure(light, draw),
        state,
        rate=draw.clip.exposure_rate,
        damping=draw.clip.exposure_damping,
    )


def wanted_exposure(light: Tensor, draw: SensorDraw) -> Tensor:
    """Return the factor (B,) that the centre-weighted meter inside the aperture asks for."""
    clip = draw.clip
    require_shapes(light=(light, "B 3 H W"), meter_weight=(clip.meter_weight, "B 1 H W"))
    return automatic_exposure(
        light,
        inside=clip.picture_share > 0.5,
        weight=clip.meter_weight,
        target=clip.target_luminance,
    )


def apply_sensor(
    light: Tensor,
    draw: SensorDraw,
    *,
    depth_mm: Tensor,
    flow_px: Tensor | None = None,
    camera_rays: Tensor | None = None,
    state: ExposureState | None = None,
    exposure: Tensor | None = None,
) -> SensorResult:
    """Take the light of a batch of frames through the scope to the file.

    Args:
        light: linear, >= 0, shape (B, 3, H, W).
        draw: for these frames, on the light's device.
        depth_mm: z-depth, 0 where unknown (stays sharp), shape (B, 1, H, W).
        flow_px: forward flow to the next frame, shape (B, 2, H, W); none: nothing moves.
        camera_rays: unit rays, shape (B, H, W, 3) or (1, H, W, 3); without them the angles are
            those of an equidistant lens with the drawn field of view.
        state: of the exposure control after the previous frame of each; None for the first.
        exposure: factors (B,) that replace what the control would do, e.g. from `settle`.
    """
    clip = draw.clip
    size = require_shapes(
        light=(light, "B 3 H W"),
        depth_mm=(depth_mm, "B 1 H W"),
        picture_share=(clip.picture_share, "B 1 H W"),
    )
    require_float(light=light)
    if exposure is None:
        state = expose(light, draw, state=state)
        exposure = state.log_exposure.exp()
    else:
        require_shapes(exposure=(exposure, "B"), light=(light, "B 3 H W"))
        state = ExposureState(
            log_exposure=exposure.log(), log_exposure_rate=torch.zeros_like(exposure)
        )
    if light.device.type != "cpu" or size["B"] < 2:
        maps = _record(light, draw, depth_mm, flow_px, camera_rays, exposure)
    else:  # one by one: a frame's maps then stay in the processor's cache, twice as quick
        rows = []
        for row in range(size["B"]):
            one = slice(row, row + 1)
            flow = None if flow_px is None else flow_px[one]
            rays = camera_rays
            if rays is not None and len(rays) > 1:
                rays = rays[one]
            rows.append(
                _record(light[one], draw.rows(one), depth_mm[one], flow, rays, exposure[one])
            )
        maps = tuple(torch.cat(row) for row in zip(*rows, strict=True))
    image, saturated = maps
    inside = clip.picture_share > 0.5
    return SensorResult(
        image=image,
        inside=inside,
        overlay=clip.text_share > _COVERED,
        saturated=saturated & inside,
        state=state,
    )


def _record(
    light: Tensor,
    draw: SensorDraw,
    depth_mm: Tensor,
    flow_px: Tensor | None,
    camera_rays: Tensor | None,
    exposure: Tensor,
) -> tuple[Tensor, ...]:
    """Return the image (B, 3, H, W) and where the sensor was full (B, 1, H, W)."""
    clip, frame = draw.clip, draw.frame
    height, width = light.shape[-2:]
    seen = _through_lens(light, draw, depth_mm, flow_px, camera_rays)

    jitter = (clip.exposure_jitter_stops * frame.exposure_jitter).exp2()
    factor = (exposure * jitter)[:, None] * clip.white_balance  # (B, 3)
    exposed = seen * factor[:, :, None, None]
    saturated = (exposed >= 1).any(dim=1, keepdim=True)
    if _any(clip.bloom):
        exposed = bloom(exposed, clip.bloom)
    noisy = _any(clip.shot) or _any(clip.read)
    if noisy or _any(clip.border_noise):
        noise = white_noise(frame.noise_seed, height, width, device=light.device).to(light)
    if noisy:
        exposed = exposed + photosite_noise(
            exposed, noise, shot=clip.shot, read=clip.read, gain=clip.gain
        )
    linear = clipped(exposed, clip.knee)
    if bool((clip.colour_matrix != torch.eye(3, device=light.device)).any()):
        linear = (clip.colour_matrix @ linear.flatten(start_dim=2)).view_as(linear)
    image = coded(linear, clip.gamma)
    if _any(clip.sharpening):
        image = sharpened(image, clip.sharpening)

    border = clip.border_colour[:, :, None, None]
    if _any(clip.border_noise):
        border = border + clip.border_noise[:, None, None, None] * noise
    share = clip.picture_share
    if bool((share < 1).any()):
        image = torch.lerp(border.expand_as(image).clamp(0, 1), image, share)
    if _any(clip.text_share):
        image = torch.lerp(image, clip.text_colour[:, :, None, None], clip.text_share)
    return compress(image, quality=clip.jpeg_quality, subsampled=clip.subsampled), saturated


def _through_lens(
    light: Tensor,
    draw: SensorDraw,
    depth_mm: Tensor,
    flow_px: Tensor | None,
    camera_rays: Tensor | None,
) -> Tensor:
    clip, dirt = draw.clip, draw.clip.dirt
    height, width = light.shape[-2:]
    # Rays behind the border are not followed. Light that is there, a caller's, stays.
    light = continued(light, (clip.picture_share > 0.5) | (light > 0).any(dim=1, keepdim=True))
    focal_px = clip.focal_px
    if camera_rays is not None:
        require_shapes(camera_rays=(camera_rays, "N H W 3"), depth_mm=(depth_mm, "B 1 H W"))
        focal_px = _focal_px(camera_rays).to(focal_px).expand_as(focal_px)
    if _any(clip.vignetting_power):
        if camera_rays is None:
            angle = from_centre_px(clip.window, height, width) / focal_px[:, None, None, None]
            power = clip.vignetting_power[:, None, None, None]
            share = angle.clamp(max=torch.pi / 2).cos().clamp(min=0) ** power
        else:
            share = vignetting(camera_rays, clip.vignetting_power)
        light = light * share
    if _any(clip.pupil_mm):
        circle_px = circle_of_confusion_px(
            depth_mm,
            focus_mm=clip.focus_mm,
            pupil_mm=clip.pupil_mm,
            focal_mm=clip.focal_mm,
            focal_px=focal_px,
        )
        light = defocus(light, circle_px)
    shift_px = dirt.shift_px if _any(dirt.shift_px) else None
    if flow_px is not None or shift_px is not None:
        if flow_px is None:
            flow_px = torch.zeros_like(light[:, :2])
        light = along_motion(
            light,
            flow_px,
            shutter_share=draw.frame.shutter_share,
            interlaced=clip.interlaced,
            shift_px=shift_px,
        )
    if _any(dirt.veil):
        light = look_through(light, dirt.blurred, dirt.veil)
    return light


def _focal_px(rays: Tensor) -> Tensor:
    """Return pixels per radian between the two middle columns, shape (B,)."""
    row, column = rays.shape[1] // 2, rays.shape[2] // 2
    step = (rays[:, row, column] - rays[:, row, column - 1]).norm(dim=-1)
    focal_px: Tensor = 1 / step.clamp(min=torch.finfo(rays.dtype).eps)
    return focal_px


def _any(strength: Tensor) -> bool:
    return bool((strength != 0).any())
