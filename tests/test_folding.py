"""A folded network answers as the whole one does."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from colondepth.backbones.folding import folded
from colondepth.backbones.registry import create
from colondepth.cameras import Camera

H, W = 64, 96


@pytest.mark.parametrize("name", ["sfsnet", "sfsnet_lite"])
def test_the_answers_are_the_same_and_no_norm_is_left(name):
    torch.manual_seed(2)
    network = create(name)
    batch = {"image": torch.rand(2, 3, H, W), "camera": Camera.assumed(H, W)}
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
        for _ in range(5):
            network.train()(batch)
        network.head.weight *= 30
        before = {key: value.clone() for key, value in network.state_dict().items()}
        quick = folded(network)
        said, whole = quick(batch), network.eval()(batch)
    assert whole.depth_mm.log().std() > 0.1
    assert_close(said.depth_mm, whole.depth_mm, rtol=1e-3, atol=1e-3)
    assert_close(said.log_depth_std, whole.log_depth_std, rtol=1e-3, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
    assert not any(weight.requires_grad for weight in quick.parameters())
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_a_norm_that_does_not_follow_a_convolution_stays():
    network = create("sfsnet_lite")
    network.odd = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3))
    assert [type(part) for part in folded(network).odd] == [type(part) for part in network.odd]
