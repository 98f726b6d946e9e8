"""The published single-view networks: their sizes, and what their numbers stand for."""

from math import e, log

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from colondepth.backbones.single_view.dispnet import DispNet
from colondepth.backbones.single_view.door import depth_from_log
from colondepth.backbones.single_view.dorn import Dorn, Layout
from colondepth.backbones.single_view.eigen import Eigen
from colondepth.backbones.single_view.hourglass import Form, Hourglass, block
from colondepth.backbones.single_view.monodepth2 import Monodepth2
from colondepth.backbones.single_view.ordinal_labels import Decode, Labels, beyond
from colondepth.backbones.single_view.residual import Depth, ResidualEncoder
from colondepth.errors import DataError, ShapeError

SMALL_DORN = {"size": (41, 57), "width": 8, "blocks": (1, 1, 1, 1), "labels": 7}


def on_paper(make, **options) -> nn.Module:
    """Build a network of shapes without numbers."""
    with torch.device("meta"):
        return make(**options)


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


@pytest.mark.parametrize(
    ("make", "options", "count"),
    [
        (Eigen, {}, 70_757_734 + 119_437),
        (DispNet, {}, 31_596_900),
        (Monodepth2, {}, 14_329_236),
        (Monodepth2, {"encoder": Depth.R50}, 32_522_132),
        (Hourglass, {}, 5_363_809),
        (Hourglass, {"form": Form.RELEASED}, 5_357_153),
        (Hourglass, {"form": Form.MANNEQUIN, "confidence": True}, 5_357_730),
        (Hourglass, {"form": Form.MANNEQUIN, "confidence": True, "channels": 6}, 5_376_546),
        (Hourglass, {"form": Form.MANNEQUIN, "confidence": True, "channels": 7}, 5_382_818),
        (Dorn, {}, 99_701_582 + 105_728),
        (Dorn, {"layout": Layout.NYU}, 110_175_048 + 105_728),
    ],
)
def test_a_network_has_the_published_number_of_parameters(make, options, count):
    assert parameters(on_paper(make, **options)) == count


def test_the_parts_of_eigen_and_dorn_have_the_published_numbers():
    eigen = on_paper(Eigen)
    assert parameters(eigen.coarse) == 70_757_734
    assert parameters(eigen.coarse.near) == 3_747_200
    assert parameters(eigen.fine) == 119_437
    norms = [each for each in on_paper(Dorn).modules() if isinstance(each, nn.BatchNorm2d)]
    assert sum(map(parameters, norms)) == 105_728


@pytest.mark.parametrize(
    ("letter", "count"),
    [
        *(("A", 210_176), ("B", 101_600), ("C", 395_584), ("D", 190_816)),
        *(("E", 211_296), ("F", 799_168), ("G", 117_984)),
    ],
)
def test_a_block_of_the_hourglass_has_the_published_number_of_parameters(letter, count):
    assert parameters(block(letter)) == count


def test_the_released_hourglass_differs_in_two_blocks():
    assert parameters(block("B", released=True)) == 198_976
    assert parameters(block("A", released=True)) == 106_144


def test_only_mannequins_hourglass_averages_and_interpolates_everywhere():
    for form, averages, ups in (
        (Form.PAPER, [True, True, False, False], {"nearest"}),
        (Form.RELEASED, [True, True, False, False], {"nearest"}),
        (Form.MANNEQUIN, [True] * 4, {"bilinear"}),
    ):
        parts = list(on_paper(Hourglass, form=form).modules())
        pools = [each for each in parts if isinstance(each, nn.AvgPool2d | nn.MaxPool2d)]
        # Modules are listed from outside to inside.
        assert [isinstance(each, nn.AvgPool2d) for each in pools] == averages[::-1]
        assert {each.mode for each in parts if isinstance(each, nn.Upsample)} == ups


def test_the_hourglass_reads_its_cues_and_says_what_is_missing():
    torch.manual_seed(0)
    network = Hourglass(form=Form.MANNEQUIN, channels=5, confidence=True).eval()
    image, cues = torch.rand(2, 3, 32, 48), torch.rand(2, 2, 32, 48)
    with pytest.raises(DataError, match=r"lacks cues \(B, 2, H, W\)"):
        network({"image": image})
    with pytest.raises(ShapeError, match="cues has shape"):
        network({"image": image, "cues": cues[:, :1]})
    with torch.no_grad():
        log_depth, confidence = network.log_depth_and_confidence({"image": image, "cues": cues})
        other, _ = network.log_depth_and_confidence({"image": image, "cues": 1 - cues})
    assert confidence.shape == log_depth.shape == (2, 1, 32, 48)
    assert 0 < confidence.min() < confidence.max() < 1
    assert not torch.equal(log_depth, other)


@pytest.mark.parametrize("depth", Depth)
def test_the_residual_encoder_agrees_with_monais(depth):
    from monai.networks.nets import resnet

    torch.manual_seed(depth)
    make = {Depth.R18: resnet.resnet18, Depth.R50: resnet.resnet50}[depth]
    other = make(
        spatial_dims=2,
        n_input_channels=3,
        conv1_t_stride=2,
        feed_forward=False,
        shortcut_type="B",
        bias_downsample=False,
    )
    ours = ResidualEncoder(depth)
    for mine, theirs in zip(ours.parameters(), other.parameters(), strict=True):
        mine.data.copy_(theirs.data)
    image = torch.rand(2, 3, 64, 96)
    ours.eval(), other.eval()
    with torch.no_grad():
        levels = ours(image)
        pooled = other(image)
    assert [tuple(each.shape[-2:]) for each in levels] == [
        *((32, 48), (16, 24), (8, 12), (4, 6), (2, 3))
    ]
    assert_close(levels[-1].mean(dim=(2, 3)), pooled.reshape(2, -1))


def test_eigens_maps_are_those_of_the_paper_and_cover_the_image():
    torch.manual_seed(0)
    network = Eigen(hidden=8).eval()
    with torch.no_grad():
        network.fine.out.weight.zero_()
        network.fine.out.bias.fill_(log(2))
        network.coarse.out.weight.zero_()
        network.coarse.out.bias.copy_(torch.linspace(-1, 1, 4070))
        said = network({"image": torch.rand(2, 3, 228, 304)})
    fine, coarse = said.coarser_depth_mm
    assert fine.shape == coarse.shape == (2, 1, 55, 74)
    assert_close(said.depth_mm, torch.full((2, 1, 228, 304), 60.0))
    assert coarse[0, 0, 0, 0].item() == pytest.approx(30 / e, rel=1e-5)
    assert coarse[0, 0, -1, -1].item() == pytest.approx(30 * e, rel=1e-5)
    assert coarse[0, 0, 0, -1] < coarse[0, 0, 1, 0]  # row by row


def test_eigens_coarse_answer_reaches_the_fine_one():
    torch.manual_seed(0)
    network = Eigen(size=(116, 152), hidden=8).eval()
    image = torch.rand(1, 3, 116, 152)
    with torch.no_grad():
        before = network({"image": image}).depth_mm
        network.coarse.out.bias += 3
        after = network({"image": image}).depth_mm
    assert (after - before).abs().min() > 0


def test_log_depth_0_is_one_unit_and_the_exponential_stays_finite():
    log_depth = torch.tensor([0, 1, -1e4, 1e4], requires_grad=True)
    depth_mm = depth_from_log(log_depth, 30.0)
    assert depth_mm[:2].tolist() == pytest.approx([30, 30 * e])
    depth_mm.sum().backward()
    assert log_depth.grad.isfinite().all()
    assert 0 < depth_mm[2] < 0.02
    assert depth_mm[3] < 1e5


def test_monodepth2s_disparity_spans_the_published_depths():
    sigma = torch.tensor([0, 0.5, 1])
    published = Monodepth2(unit_mm=1000).depth_mm(sigma)
    assert published.tolist() == pytest.approx([100e3, 199.80, 100], rel=1e-5)
    assert Monodepth2().depth_mm(sigma).tolist() == pytest.approx([1000, 1.9980, 1], rel=1e-4)


def test_dispnets_disparity_spans_the_published_depths():
    depth = 1 / DispNet().disparity(torch.tensor([0, 0.5, 1]))
    assert depth.tolist() == pytest.approx([100, 0.19960, 0.099900], rel=1e-4)


def test_the_sigmoid_is_what_monodepth2_and_dispnet_make_depth_of():
    image = torch.rand(2, 3, 64, 96)
    for network in (Monodepth2(), DispNet()):
        for head in network.heads:
            head[0].weight.data.zero_()
            head[0].bias.data.zero_()
        with torch.no_grad():
            said = network.eval()({"image": image})
        expected = {Monodepth2: 1.9980, DispNet: 1.9960}[type(network)]
        for depth_mm in (said.depth_mm, *said.coarser_depth_mm):
            assert_close(depth_mm, torch.full_like(depth_mm, expected), rtol=1e-4, atol=0)


def test_dispnet_takes_its_authors_images_which_7_halvings_do_not_divide():
    torch.manual_seed(0)
    with torch.no_grad():
        said = DispNet().eval()({"image": torch.rand(1, 3, 128, 416)})
    assert said.depth_mm.shape == (1, 1, 128, 416)


def test_thresholds_are_those_of_80_labels_from_1_to_80():
    labels = Labels(count=80, nearest=1, farthest=80, unit_mm=1000)
    thresholds = labels.thresholds(torch.zeros((), dtype=torch.float64))
    assert len(thresholds) == 81
    assert thresholds[[0, 1, 40, 80]].tolist() == pytest.approx([1, 1.0563, 8.9443, 80], abs=5e-5)
    # One with a shift: nearest + shift is 1, and depths come back without it.
    shifted = Labels(count=10, nearest=0.02, farthest=10, unit_mm=1000)
    assert shifted.thresholds(torch.zeros(()))[[0, 10]].tolist() == pytest.approx([1, 10.98])
    assert shifted.depth_mm(torch.tensor(0.0), Decode.PAPER).item() == pytest.approx(
        1000 * ((1 + 10.98**0.1) / 2 - 0.98), rel=1e-5
    )


def test_a_label_holds_the_depth_it_was_made_of():
    labels = Labels(count=71, nearest=1, farthest=250, unit_mm=1)
    depth_mm = torch.logspace(0.001, log(249) / log(10), 999, dtype=torch.float64)
    label = labels.label(depth_mm)
    thresholds = labels.thresholds(depth_mm)
    assert (thresholds[label] <= depth_mm).all()
    assert (depth_mm < thresholds[label + 1]).all()
    assert labels.label(torch.tensor([0, 0.5, 1000.0])).tolist() == [0, 0, 70]
    middle_mm = labels.depth_mm(label.double(), Decode.PAPER)
    assert_close(middle_mm, (thresholds[label] + thresholds[label + 1]) / 2)


def test_released_labels_decode_to_the_released_depths():
    kitti = Labels(count=71, nearest=1, farthest=80, unit_mm=1000)
    ends = torch.tensor([1.0, 71])
    assert kitti.depth_mm(ends, Decode.KITTI).tolist() == pytest.approx([4953, 81450], rel=1e-3)
    ends = torch.tensor([1.0, 68])
    assert kitti.depth_mm(ends, Decode.NYU).tolist() == pytest.approx([697.7, 10176], rel=1e-3)


def test_dorn_counts_the_odds_of_one_to_one_or_better():
    network = Dorn(**SMALL_DORN, farthest=128)  # thresholds 1, 2, 4, ... 128
    odds = torch.full((2, 7, 3, 4), -1.0)
    odds[0, :3] = torch.tensor([0.0, 0.1, 9])[:, None, None]
    odds[1] = 5
    depth_mm = network.depth_mm(odds)
    assert_close(depth_mm[0], torch.full((1, 3, 4), 12.0))  # label 3: from 8 to 16
    assert_close(depth_mm[1], torch.full((1, 3, 4), 96.0))  # beyond all of them: the last label


def test_dorns_value_is_the_whole_labels_and_its_gradient_the_soft_counts():
    network = Dorn(**SMALL_DORN, farthest=128)
    odds = torch.randn(1, 7, 2, 3, requires_grad=True)
    depth_mm = network.depth_mm(odds)
    assert torch.equal(depth_mm, network.depth_mm(odds.detach()))
    (gradient,) = torch.autograd.grad(depth_mm.sum(), odds)
    probable = odds.detach().sigmoid()
    soft = 1.5 * 2 ** probable.sum(dim=1, keepdim=True)
    assert_close(gradient, log(2) * soft * probable * (1 - probable))


def test_the_second_of_two_channels_says_beyond():
    logits = torch.randn(2, 14, 3, 4)
    probable = logits.unflatten(1, (7, 2)).softmax(dim=2)[:, :, 1]
    assert_close(beyond(logits).sigmoid(), probable)


def test_dorns_cells_sit_on_every_eighth_pixel():
    torch.manual_seed(0)
    network = Dorn(**SMALL_DORN).eval()
    with torch.no_grad():
        said = network({"image": torch.rand(2, 3, 41, 57)})
        cells = network.depth_mm(beyond(said.label_logits))
    assert said.label_logits.shape == (2, 14, 6, 8)
    assert len(cells.unique()) > 1
    assert_close(said.depth_mm[..., ::8, ::8], cells)


def test_dorns_deep_stages_and_its_ways_look_as_wide_as_published():
    for layout, wide in ((Layout.KITTI, [6, 12, 18]), (Layout.NYU, [4, 8, 12])):
        network = on_paper(Dorn, layout=layout)
        stages = [part for part in network.encoder if isinstance(part, nn.Sequential)]
        dilations = [
            {
                part.dilation[0]
                for part in stage.modules()
                if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)
            }
            for stage in stages
        ]
        assert dilations == [{1}, {1}, {2}, {4}]
        assert [way[0].dilation[0] for way in network.ways] == [1, *wide]


def test_dorn_looks_at_the_whole_image_from_every_cell():
    torch.manual_seed(0)
    network = Dorn(**(SMALL_DORN | {"size": (385, 513)})).eval()
    image = torch.rand(1, 3, 385, 513)
    with torch.no_grad():
        before = network({"image": image}).label_logits
        image[..., -40:, -40:] = 0
        after = network({"image": image}).label_logits
    # Three convolutions dilated by 1, 2 and 4 and one by 18 see less far than the image is wide.
    assert (after - before)[..., 0, 0].abs().min() > 0


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (Eigen, {"size": (230, 304)}, ShapeError, "multiples of 4"),
        (Eigen, {"size": (72, 304)}, ShapeError, "76 or more"),
        (Eigen, {"unit_mm": 0}, DataError, "unit_mm is 0"),
        (Dorn, {"size": (384, 513)}, ShapeError, "8 n . 1"),
        (Dorn, {"nearest": 300}, DataError, "71 labels from 300 to 250.0"),
        (Hourglass, {"channels": 2}, DataError, "channels is 2"),
        (Monodepth2, {"farthest": 0.1}, DataError, "expected a range"),
        (DispNet, {"least": 0}, DataError, "least is 0"),
    ],
)
def test_options_that_make_no_network_are_refused(make, options, error, message):
    with pytest.raises(error, match=message):
        on_paper(make, **options)


def test_an_image_that_is_none_is_refused():
    network = on_paper(Monodepth2)
    with pytest.raises(DataError, match="Monodepth2 needs an image; the batch has"):
        network({"camera": None})
    with pytest.raises(DataError, match="uint8"):
        network({"image": torch.zeros(2, 3, 64, 96, dtype=torch.uint8)})
    with pytest.raises(ShapeError, match=r"image has shape \(3, 64, 96\)"):
        network({"image": torch.zeros(3, 64, 96)})
