"""Which lens a clip is seen through."""

import math

import torch

from colondepth.cameras import Camera
from colondepth.data.ruano import published_camera

FIELD_DEG = (60.0, 170.0)  # across the diagonal: gastroscopes of old to wide colonoscopes
PINHOLE_UNTIL_DEG = 100.0  # beyond, makers build fisheyes
DISTORTION = ((-0.06, 0.03), (-0.015, 0.01))  # Kannala-Brandt k1, k2 of calibrated colonoscopes
OFF_CENTRE = 0.04  # of the image's size: chips are glued by hand
ASPECT = (0.97, 1.03)  # of pixels; old recorders stretch


def draw_camera(
    generator: torch.Generator,
    *,
    height: int,
    width: int,
    any_lens: bool,
    fisheye: bool | None = None,
) -> Camera:
    """Draw a camera, float32.

    Args:
        generator: on the CPU.
        height: of the image.
        width: of the image.
        any_lens: from 60 to 170 degrees, pinhole or fisheye; else the pinhole of Ruano's database.
        fisheye: which of the two kinds; told from the drawn angle if absent.
    """
    if not any_lens:
        camera = published_camera(height, width)
        return camera.to(torch.zeros((), dtype=torch.float32))

    def among(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    limits = list(FIELD_DEG)
    if fisheye is not None:
        limits[0 if fisheye else 1] = PINHOLE_UNTIL_DEG
    half = math.radians(among(*limits)) / 2
    radius = math.hypot(height, width) / 2
    cx = (width - 1) / 2 + width * among(-OFF_CENTRE, OFF_CENTRE)
    cy = (height - 1) / 2 + height * among(-OFF_CENTRE, OFF_CENTRE)
    aspect = among(*ASPECT)
    if 2 * half <= math.radians(PINHOLE_UNTIL_DEG):
        focal = radius / math.tan(half)
        camera = Camera.pinhole(
            fx=focal, fy=focal * aspect, cx=cx, cy=cy, height=height, width=width
        )
    else:
        k1, k2 = (among(*bends) for bends in DISTORTION)
        focal = radius / (half * (1 + k1 * half**2 + k2 * half**4))
        camera = Camera.fisheye(
            fx=focal,
            fy=focal * aspect,
            cx=cx,
            cy=cy,
            height=height,
            width=width,
            distortion=(k1, k2, 0.0, 0.0),
        )
    return camera.to(torch.zeros((), dtype=torch.float32))
