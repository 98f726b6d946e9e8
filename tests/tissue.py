"""Synthetic endoscope frames (3, H, W) with apertures, highlights and captions of known shape."""

import io
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from torch import Tensor

H, W = 300, 410
Map = NDArray[np.float64]
Mask = NDArray[np.bool_]
V, U = np.mgrid[:H, :W]

APERTURES = {
    "circle": np.hypot(U - 215, V - 141) <= 132,
    "circle cut off by the image": np.hypot(U - 222, V - 152) <= 168,
    "octagon": np.maximum(abs(U - 228) / 145, abs(V - 148) / 136) <= 1,
    "octagon cut off by the image": (abs(U - 290) <= 160) & (abs(V - 150) <= 170),
    "rectangle": (abs(U - 232) <= 143) & (abs(V - 147) <= 131),
}
APERTURES["octagon"] &= abs(U - 228) + abs(V - 148) <= 145 + 136 - 50
APERTURES["octagon cut off by the image"] &= abs(U - 290) + abs(V - 150) <= 270


@cache
def tissue(seed: int = 0, *, gain: float = 1.0, height: int = H, width: int = W) -> Map:
    """Pink wall (3, H, W) with soft texture, a black lumen off the centre and vignetting."""
    rng = np.random.default_rng(seed)
    texture = sum(
        share * size * ndimage.gaussian_filter(rng.standard_normal((height, width)), size)
        for share, size in ((0.5, height / 25), (0.25, height / 80))
    )
    v, u = np.mgrid[:height, :width]
    off = np.hypot(u / width - 0.57, v / height - 0.44)
    light = (1.03 - np.exp(-((off / 0.2) ** 2))) * (1 - 0.5 * off**2)
    colour = np.array([[0.78, 0.42, 0.36], [0.12, 0.12, 0.1]])[:, :, None, None]
    return np.clip(gain * light * (colour[0] + colour[1] * texture), 0, 1)


def pil(image: Map) -> Image.Image:
    return Image.fromarray((image.clip(0, 1).transpose(1, 2, 0) * 255).round().astype(np.uint8))


def write(image: Map, *lines: tuple[int, int, str], size: int, colour: str) -> tuple[Map, Mask]:
    """Draw lines of (column, row, words) and return the image and the pixels of the letters."""
    drawn, letters = pil(image), Image.new("L", image.shape[:0:-1])
    for u, v, words in lines:
        font = ImageFont.load_default(size=size)
        ImageDraw.Draw(drawn).text((u, v), words, font=font, fill=colour)
        ImageDraw.Draw(letters).text((u, v), words, font=font, fill=255)
    return np.asarray(drawn).transpose(2, 0, 1) / 255, np.asarray(letters) > 127


def recorded(image: Map, *, quality: int = 75, noise: float = 0.012) -> Tensor:
    """What a frame grabber keeps of an image: noise, then JPEG."""
    noisy = image + noise * np.random.default_rng(1).standard_normal(image.shape)
    stream = io.BytesIO()
    pil(noisy).save(stream, "JPEG", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(stream)).transpose(2, 0, 1) / 255).float()


def behind(aperture: Mask, image: Map, *, border: float = 0.04) -> Map:
    light = ndimage.gaussian_filter(aperture.astype(float), 0.7)
    return image * light + border * (1 - light)


def overlap(found: Tensor, truth: Mask) -> float:
    """Intersection over union."""
    return float((found.numpy() & truth).sum() / (found.numpy() | truth).sum())


@cache
def glints(count: int = 60) -> Map:
    """Share of lamp light (H, W): Gaussian highlights of known place and width."""
    rng = np.random.default_rng(5)
    light = np.zeros((H, W))
    for _ in range(count):
        u, v = rng.uniform(70, 350), rng.uniform(30, 270)
        wide, thin = rng.uniform(1.5, 3.5, size=2)
        light = np.maximum(light, np.exp(-(((U - u) / wide) ** 2) - ((V - v) / thin) ** 2))
    return light


def glinting(image: Map) -> Map:
    return image * (1 - glints(150)) + glints(150)
