"""From exposed light to a processor's picture: exposure control, noise, clipping, sharpening.

Exposed light is linear, 1 is what just saturates, shape (B, 3, H, W). All settings are one per
image, shape (B,), and 0 switches a step off and leaves that image exactly as it was.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from colondepth.shapes import require_shapes
from synthetic_colons.exposure import srgb_from_linear
from synthetic_colons.lens_blur import binomial, doubled, halved

# Light beyond this many times saturation does not bloom further: the well's drain takes it.
_BLOOM_LIMIT = 3.0
# Below this the gamma curve is a straight line: a power law's slope at 0 is infinite. 1/16 of the
# smallest 8-bit step in linear light.
_GAMMA_TOE = 1e-4


@dataclass(frozen=True, kw_only=True)
class ExposureState:
    """Where the exposure control of each image stands after a frame."""

    log_exposure: Tensor  # (B,), natural logarithm of the factor
    log_exposure_rate: Tensor  # (B,), per frame


def settle(
    target: Tensor, state: ExposureState | None, *, rate: Tensor, damping: Tensor
) -> ExposureState:
    """Move the exposure one frame towards its target, as a damped spring does.

    The loop that meters a frame and corrects a later one is a second-order system: with damping
    below 1 it overshoots by exp(-pi d / sqrt(1 - d^2)) of a step and swings ("hunting"). The
    step over one frame is exact, so it is stable at any rate.

    Args:
        target: the factor that the meter asks for, positive, shape (B,).
        state: after the previous frame; None for the first one, which is exposed as asked for.
        rate: natural frequency, rad/frame, shape (B,); 0 follows at once.
        damping: below 1, shape (B,).
    """
    require_shapes(target=(target, "B"), rate=(rate, "B"), damping=(damping, "B"))
    wanted = target.log()
    still = torch.zeros_like(wanted)
    if state is None:
        return ExposureState(log_exposure=wanted, log_exposure_rate=still)
    require_shapes(
        log_exposure=(state.log_exposure, "B"),
        log_exposure_rate=(state.log_exposure_rate, "B"),
        target=(target, "B"),
    )
    off, speed = state.log_exposure - wanted, state.log_exposure_rate
    swing = rate * (1 - damping.square()).sqrt()  # rad/frame
    decay = torch.exp(-damping * rate)
    # sin(w) / w, and the whole step, stay finite at rate 0.
    sine = torch.sinc(swing / torch.pi)
    pull = damping * rate
    off_next = decay * (off * swing.cos() + (speed + pull * off) * sine)
    speed_next = decay * (speed * swing.cos() - (rate.square() * off + pull * speed) * sine)
    at_once = rate == 0
    return ExposureState(
        log_exposure=wanted + torch.where(at_once, still, off_next),
        log_exposure_rate=torch.where(at_once, still, speed_next),
    )


def white_noise(seeds: Tensor, height: int, width: int, *, device: torch.device) -> Tensor:
    """Return unit Gaussian noise, one seed an image, shape (B, 1, H, W).

    Each image has its own generator, so it gets the same noise in any batch on one kind of device.
    """
    require_shapes(seeds=(seeds, "B"))
    generator = torch.Generator(device=device)
    planes = [
        torch.randn(1, height, width, generator=generator.manual_seed(seed), device=device)
        for seed in seeds.tolist()
    ]
    return torch.stack(planes) if planes else torch.zeros(0, 1, height, width, device=device)


def photosite_noise(
    exposed: Tensor, noise: Tensor, *, shot: Tensor, read: Tensor, gain: Tensor
) -> Tensor:
    """Return shot and read noise as a Bayer sensor (RGGB) has it after linear demosaicing.

    A photosite of colour c has the variance gain_c shot x + (gain_c read)^2: photons are counted
    before the colours are balanced (e.g. EMVA 1288, eq. 9). Only a quarter of the sites see red,
    the rest is interpolated: the noise is coarse in red and blue and finer in green.

    Args:
        exposed: x, shape (B, 3, H, W).
        noise: unit Gaussian, shape (B, 1, H, W).
        shot: 1 / full well in electrons, shape (B,).
        read: standard deviation as a share of the full well, shape (B,).
        gain: of red, green and blue before balancing, shape (B, 3).
    """
    size = require_shapes(
        exposed=(exposed, "B 3 H W"),
        noise=(noise, "B 1 H W"),
        shot=(shot, "B"),
        read=(read, "B"),
        gain=(gain, "B 3"),
    )
    per_signal = (shot[:, None] * gain)[..., None, None]  # (B, 3, 1, 1)
    floor = (read[:, None] * gain).square()[..., None, None]
    deviation = (exposed.clamp(0, 1) * per_signal + floor).sqrt()
    sites = deviation * noise * _bayer(size["H"], size["W"], like=exposed)
    return _demosaiced(sites)


def bloom(exposed: Tensor, strength: Tensor) -> Tensor:
    """Spread a share of the light beyond saturation over its surroundings, some 4 px at 320."""
    require_shapes(exposed=(exposed, "B 3 H W"), strength=(strength, "B"))
    half = halved((exposed - 1).clamp_(0, _BLOOM_LIMIT))
    spread = binomial(binomial(halved(half)))
    glow = doubled(doubled(spread, half.shape[-2:]), exposed.shape[-2:])
    return torch.addcmul(exposed, glow, strength[:, None, None, None])


def clipped(exposed: Tensor, knee: Tensor) -> Tensor:
    """Clip to [0, 1] with a soft shoulder above `knee`; a knee of 1 clips hard.

    The shoulder is a parabola that leaves the straight line at the knee with slope 1 and arrives
    at 1, with slope 0, for light of 2 - knee.
    """
    require_shapes(exposed=(exposed, "B 3 H W"), knee=(knee, "B"))
    exposed = exposed.clamp(min=0)
    if bool((knee >= 1).all()):
        return exposed.clamp_(max=1)
    start = knee[:, None, None, None]
    room = (1 - start).clamp(min=torch.finfo(exposed.dtype).eps)
    over = torch.minimum((exposed - start).clamp_(min=0), 2 * room)
    bend = over.square().mul_(-0.25 / room)
    return torch.minimum(exposed, start).add_(over).add_(bend).clamp_(max=1)


def coded(linear: Tensor, gamma: Tensor) -> Tensor:
    """Return linear values in [0, 1] on sRGB's curve where `gamma` is 0, else on a power law."""
    require_shapes(linear=(linear, "B 3 H W"), gamma=(gamma, "B"))
    power = gamma > 0
    if not bool(power.any()):
        return srgb_from_linear(linear)
    if bool(power.all()):
        return _power_law(linear, gamma)
    out = torch.empty_like(linear)
    out[~power] = srgb_from_linear(linear[~power])
    out[power] = _power_law(linear[power], gamma[power])
    return out


def sharpened(image: Tensor, amount: Tensor) -> Tensor:
    """Add `amount` of what a blur of 1 px takes away: edges overshoot visibly; clamped to [0, 1].

    Args:
        image: coded, in [0, 1], shape (B, 3, H, W).
        amount: 0 leaves the image, shape (B,).
    """
    require_shapes(image=(image, "B 3 H W"), amount=(amount, "B"))
    blurred = binomial(binomial(image))
    return torch.addcmul(image, image - blurred, amount[:, None, None, None]).clamp_(0, 1)


def _power_law(linear: Tensor, gamma: Tensor) -> Tensor:
    exponent = 1 / gamma[:, None, None, None]
    light = linear.clamp(0, 1)
    toe = light.clamp(max=_GAMMA_TOE) - _GAMMA_TOE  # a line through 0 and the law's own start
    power = light.clamp(min=_GAMMA_TOE).log_().mul_(exponent).exp_()
    return torch.addcmul(power, toe, _GAMMA_TOE ** (exponent - 1)).clamp_(0, 1)


def _bayer(height: int, width: int, *, like: Tensor) -> Tensor:
    """Return 1 at the sites of each colour, red at (0, 0), shape (3, H, W)."""
    sites = like.new_zeros(3, height, width)
    sites[0, ::2, ::2] = 1
    sites[1, ::2, 1::2] = 1
    sites[1, 1::2, ::2] = 1
    sites[2, 1::2, 1::2] = 1
    return sites


def _demosaiced(sites: Tensor) -> Tensor:
    """Interpolate the sites of each colour linearly, shape (B, 3, H, W), 0 elsewhere.

    Reflection about the border pixel continues the mosaic in its own colours.
    """
    grown = pad(sites, (1, 1, 1, 1), mode="reflect")
    outer = grown[:, ::2]  # red and blue, (B, 2, H + 2, W + 2)
    outer = (outer[..., :-2] + outer[..., 2:]).mul_(0.5).add_(outer[..., 1:-1])
    outer = (outer[..., :-2, :] + outer[..., 2:, :]).mul_(0.5).add_(outer[..., 1:-1, :])
    green = grown[:, 1]
    cross = green[..., 1:-1, :-2] + green[..., 1:-1, 2:]
    cross.add_(green[..., :-2, 1:-1]).add_(green[..., 2:, 1:-1])
    inner = cross.mul_(0.25).add_(green[..., 1:-1, 1:-1])
    return torch.stack([outer[:, 0], inner, outer[:, 1]], dim=1)
