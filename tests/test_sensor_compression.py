"""JPEG and chroma subsampling, against Pillow's codec and laws of the cosine transform."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn
from torch.testing import assert_close

from synthetic_colons.compression import (
    block_transform,
    compress,
    inverse_block_transform,
    quantisation_table,
)

H, W = 72, 56  # whole blocks of 8, and not of 16: chroma needs half a block more


def picture(height: int = H, width: int = W) -> torch.Tensor:
    """Return two smooth pictures with texture and an edge, in whole 1/255."""
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grey = 0.5 + 0.2 * torch.sin(0.13 * u + 0.05 * v) + 0.1 * torch.sin(0.9 * v - 0.4 * u)
    colour = torch.stack([grey + 0.15, grey * 0.8, grey * 0.6 + 0.1 * torch.cos(0.07 * v)])
    edge = (u + 2 * v < 90).float() * 0.3
    noise = 0.02 * torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(2))
    both = torch.stack([colour, colour.flip(-1) * 0.7 + edge]) + noise
    return (both.clamp(0, 1) * 255).round() / 255


def by_pillow(image: torch.Tensor, quality: int, *, subsampled: bool) -> torch.Tensor:
    rows = []
    for one in image:
        array = (one * 255).round().byte().permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(array).save(
            file, "JPEG", quality=quality, subsampling=2 if subsampled else 0
        )
        rows.append(np.asarray(Image.open(file)).astype(np.float32) / 255)
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("quality", [30, 50, 77, 95])
@pytest.mark.parametrize("subsampled", [True, False])
def test_decoded_pictures_are_pillows_within_a_few_counts(quality, subsampled):
    image = picture()
    ours = compress(
        image,
        quality=torch.full((2,), float(quality)),
        subsampled=torch.tensor([subsampled, subsampled]),
    )
    off = (ours - by_pillow(image, quality, subsampled=subsampled)).abs() * 255
    # libjpeg computes in whole numbers: a coefficient near the middle of a step may fall to the
    # other side. The losses themselves are 4 to 6 counts in the mean.
    assert off.mean().item() < 1
    assert off.flatten().quantile(0.99).item() <= 7.01
    assert off.max().item() <= 13


def test_tables_are_those_in_pillows_files():
    for quality in (10, 42, 88):
        Image.new("RGB", (16, 8)).save(file := io.BytesIO(), "JPEG", quality=quality)
        tables = Image.open(file).quantization
        for chroma in (False, True):
            ours = quantisation_table(torch.tensor([float(quality)]), chroma=chroma)
            # Pillow lists them row by row since 8.3.
            assert ours.flatten().tolist() == list(tables[int(chroma)])


def test_the_block_transform_is_scipys_and_comes_back():
    plane = torch.rand(2, 24, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    blocks = block_transform(plane)
    one = dctn(plane[1, 8:16, 24:32].numpy(), norm="ortho")
    assert_close(blocks[1, 1, :, 3, :], torch.from_numpy(one))
    assert_close(inverse_block_transform(blocks), plane)


def test_quality_100_changes_nothing_but_rounding():
    grey = picture()[:, 1:2].expand(-1, 3, -1, -1)
    both = torch.tensor([100.0, 100.0]), torch.tensor([False, False])
    for image, counts in ((grey, 1.01), (picture(), 4.01)):  # colours: rounded in Cb and Cr too
        out = compress(image, quality=both[0], subsampled=both[1])
        assert ((out - image).abs() * 255).max().item() <= counts


@pytest.mark.parametrize("quality", [0.0, 95.0])
def test_subsampling_leaves_a_flat_colour(quality):
    colour = torch.tensor([[180, 90, 70], [60, 140, 200]]) / 255
    image = colour[:, :, None, None].expand(2, 3, 37, 43)
    out = compress(image, quality=torch.full((2,), quality), subsampled=torch.tensor([True, True]))
    assert ((out - image).abs() * 255).max().item() <= 2.01


def test_subsampling_blurs_colour_and_keeps_brightness():
    image = torch.zeros(2, 3, H, W)
    image[:, 0, :, : W // 2 + 1] = 0.8  # red beside a grey as bright, the edge within a pair
    image[:, :, :, W // 2 + 1 :] = 0.8 * 0.299
    out = compress(image, quality=torch.zeros(2), subsampled=torch.tensor([True, False]))
    assert bool((out[1] == image[1]).all())
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    inner = slice(W // 2 - 3, W // 2 + 5)
    assert ((out[0] - image[0]).abs()[0, :, inner] * 255).max().item() > 20
    assert (((out[0] - image[0]) * luma).sum(dim=0).abs() * 255).max().item() < 12


def test_rows_of_one_batch_are_coded_as_if_alone():
    image = torch.cat([picture(37, 43), picture(37, 43).flip(-1)])
    quality = torch.tensor([0.0, 60.0, 35.0, 0.0])
    subsampled = torch.tensor([False, True, False, True])
    before = image.clone()
    together = compress(image, quality=quality, subsampled=subsampled)
    for row in range(4):
        one = slice(row, row + 1)
        alone = compress(image[one], quality=quality[one], subsampled=subsampled[one])
        assert bool((together[one] == alone).all())
    assert bool((together[0] == image[0]).all())
    assert bool((image == before).all())
