"""The house's networks: what they promise for any image, any size and any camera."""

from math import pi

import pytest
import torch
from torch import Tensor

from colondepth.backbones.single_view.sfsnet import Sfsnet, sfsnet
from colondepth.backbones.single_view.sfsnet_lite import sfsnet_lite
from colondepth.cameras import Camera
from colondepth.errors import ShapeError

H, W = 40, 72


@pytest.fixture(scope="module", params=["sfsnet", "sfsnet_lite"])
def network(request: pytest.FixtureRequest) -> Sfsnet:
    torch.manual_seed(3)
    made = {"sfsnet": sfsnet, "sfsnet_lite": sfsnet_lite}[request.param]()
    torch.nn.init.normal_(made.head.weight, std=0.2)  # so that it says something about the image
    return made.eval()


def images(height: int = H, width: int = W, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(7))


def wide_fisheye(height: int = H, width: int = W) -> Camera:
    """See 130 degrees to either side at the left and right edges: some rays look backwards."""
    focal = width / 2 / (130 * pi / 180)
    return Camera.fisheye(
        fx=focal, fy=focal, cx=width / 2 - 1.5, cy=height / 2 + 1, height=height, width=width
    )


def test_the_encoder_is_a_b0_without_its_head():
    # EfficientNet-B0 has 5 288 548 weights, of which 409 600 + 2 560 are the head's convolution
    # and norm, and 1 281 000 the classifier's (Tan & Le 2019; torchvision counts the same).
    for rays, shading, planes in ((False, False, 3), (True, True, 8)):
        network = sfsnet(rays=rays, shading=shading)
        rest = 5_288_548 - 409_600 - 2_560 - 1_281_000 + 32 * 9 * (planes - 3)
        assert sum(weight.numel() for weight in network.encoder.parameters()) == rest


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (64, 96), (50, 35)])
def test_any_size_gives_a_map_of_that_size(network, height, width):
    with torch.no_grad():
        said = network({"image": images(height, width), "camera": Camera.assumed(height, width)})
    assert said.depth_mm.shape == said.log_depth_std.shape == (2, 1, height, width)
    assert said.depth_mm.isfinite().all()


def test_an_image_that_is_too_small_is_refused(network):
    with pytest.raises(ShapeError, match="32x32 or more, got 31x40"):
        network({"image": images(31, 40), "camera": Camera.assumed(31, 40)})
