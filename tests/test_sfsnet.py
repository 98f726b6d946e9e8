"""The house's networks: what they promise for any image, any size and any camera."""

from math import log, pi

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from tubes import average_view, learn, log_error, tube_views

from colondepth.backbones.sight import Sight, sight
from colondepth.backbones.single_view.sfsnet import STD_LIMITS, UNTRAINED_MM, Sfsnet, sfsnet
from colondepth.backbones.single_view.sfsnet_lite import PlainEncoder, sfsnet_lite
from colondepth.backbones.single_view.sfsnet_paper import SfsnetPaper
from colondepth.cameras import Camera, stack
from colondepth.errors import ShapeError
from colondepth.views import Prediction

H, W = 40, 72
# EfficientNet-B0 has 5 288 548 weights, of which 409 600 + 2 560 are the convolution and the norm
# at its top, and 1 281 000 the classifier's (Tan & Le 2019; torchvision counts the same).
B0, B0_TOP, B0_CLASSIFIER = 5_288_548, 409_600 + 2_560, 1_281_000


@pytest.fixture(scope="module", params=["sfsnet", "sfsnet_lite"])
def network(request: pytest.FixtureRequest) -> Sfsnet:
    """Return an untrained network that has something to say about each image."""
    torch.manual_seed(3)
    made = {"sfsnet": sfsnet, "sfsnet_lite": sfsnet_lite}[request.param]()
    made.train()
    with torch.no_grad():  # the norms learn what is usual, or an untrained network would explode
        for _ in range(20):
            made({"image": images(64, 96), "camera": Camera.assumed(64, 96)})
        made.head.weight *= 30
    return made.eval()


def images(height: int = H, width: int = W) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(7))


def fisheye(*, focal: float, height: int = H, width: int = W) -> Camera:
    """Make an equidistant camera, its centre a little off the image's."""
    return Camera.fisheye(
        fx=focal, fy=focal, cx=width / 2 - 2, cy=height / 2 + 1, height=height, width=width
    )


def angles_rad(camera: Camera) -> Tensor:
    """Return the angle between each pixel's ray and the axis of an equidistant camera, (H, W)."""
    v, u = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    cx, cy = camera.centre.tolist()
    return torch.hypot(u - cx, v - cy) / camera.linear[0, 0].item()


def say(network: torch.nn.Module, image: Tensor, camera: Camera) -> Prediction:
    with torch.no_grad():
        said: Prediction = network({"image": image, "camera": camera})
    return said


def saying(distance_mm: float) -> Sfsnet:
    """Return a network that says one distance, whatever it sees."""
    made = sfsnet_lite().eval()
    torch.nn.init.zeros_(made.head.weight)
    channels = made.head.bias.detach().view(2, -1)
    channels[0] = log(distance_mm / UNTRAINED_MM)
    return made


def test_the_encoder_is_a_b0_without_its_head():
    for rays, shading, planes in ((False, False, 3), (False, True, 4), (True, True, 8)):
        made = sfsnet(rays=rays, shading=shading)
        rest = B0 - B0_TOP - B0_CLASSIFIER + 32 * 9 * (planes - 3)
        assert sum(weight.numel() for weight in made.encoder.parameters()) == rest
    paper = SfsnetPaper().encoder
    assert sum(weight.numel() for weight in paper.parameters()) == B0 - B0_CLASSIFIER


def test_the_lite_network_has_at_most_a_million_and_a_half_weights():
    assert sum(weight.numel() for weight in sfsnet_lite().parameters()) <= 1_500_000


def test_the_deepest_level_of_the_lite_network_sees_431_pixels():
    encoder = PlainEncoder(1, stem=4, channels=(4, 4, 4, 6)).eval()
    for name, weight in encoder.named_parameters():
        weight.detach().abs_()  # all positive, so that no activation cuts a path
        if name.startswith("context"):
            torch.nn.init.zeros_(weight)
    image = torch.ones(1, 1, 32, 512, requires_grad=True)
    encoder(image)[-1][0, :, 0, 8].sum().backward()
    assert int((image.grad[0, 0].abs().sum(dim=0) > 0).sum()) == 431


def test_drop_connect_skips_blocks_in_training_only():
    dropping, whole = sfsnet(drop_connect=0.5), sfsnet()
    whole.load_state_dict(dropping.state_dict())
    image = images(64, 64)
    batch = {"image": image, "camera": Camera.assumed(64, 64)}
    same = [say(made.eval(), image, batch["camera"]).depth_mm for made in (dropping, whole)]
    assert_close(*same, rtol=0, atol=0)
    torch.manual_seed(0)
    trained = [made.train()(batch).depth_mm for made in (dropping, whole)]
    assert not torch.allclose(*trained)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (64, 96), (50, 35)])
def test_any_size_gives_maps_of_that_size(network, height, width):
    said = say(network, images(height, width), Camera.assumed(height, width))
    assert said.depth_mm.shape == said.log_depth_std.shape == said.valid.shape
    assert said.depth_mm.shape == (2, 1, height, width)
    assert said.depth_mm.isfinite().all()
    assert said.valid.all()


def test_what_is_missing_to_a_whole_step_is_filled_with_what_stands_at_the_border():
    # One colour stays one colour when it is filled up from 55x90 to 64x96.
    blind = sfsnet_lite(rays=False).eval()
    image = torch.tensor([0.8, 0.5, 0.3])[:, None, None].expand(2, 3, 64, 96)
    whole, part = (
        blind.log_distance(*_seen(each, fisheye(focal=50.0, height=height, width=width)))[0]
        for each, height, width in ((image, 64, 96), (image[..., :55, :90], 55, 90))
    )
    assert_close(part, whole[..., :55, :90], rtol=0, atol=0)


def test_an_image_that_is_too_small_is_refused(network):
    with pytest.raises(ShapeError, match="32x32 or more, got 31x40"):
        network({"image": images(31, 40), "camera": Camera.assumed(31, 40)})


def test_an_untrained_network_speaks_of_30_mm():
    for made in (sfsnet(), sfsnet_lite(), SfsnetPaper()):
        # The middle of an image with a pinhole of long focal length, where z is the distance.
        camera = Camera.pinhole(fx=900, fy=900, cx=47, cy=31, height=64, width=96)
        said = say(made.eval(), images(64, 96), camera)
        assert said.depth_mm.log().mean().exp() == pytest.approx(UNTRAINED_MM, rel=0.1)


def test_depth_is_distance_times_the_cosine():
    pinhole = Camera.pinhole(fx=41, fy=37, cx=33.2, cy=18.1, height=H, width=W)
    v, u = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    cosine = (1 + ((u - 33.2) / 41) ** 2 + ((v - 18.1) / 37) ** 2) ** -0.5
    said = say(saying(12.5), images(), pinhole)
    assert_close(said.depth_mm, (12.5 * cosine).expand(2, 1, H, W), rtol=1e-5, atol=0)


def test_rays_that_look_backwards_have_no_depth():
    camera = fisheye(focal=W / 2 / (130 * pi / 180))
    angle = angles_rad(camera)
    ahead = angle < pi / 2
    assert 0.2 < ahead.double().mean() < 0.9
    said = say(saying(80.0), images(), camera)
    assert torch.equal(said.valid, ahead.expand(2, 1, H, W))
    assert_close(
        said.depth_mm, (80 * angle.cos() * ahead).float().expand(2, 1, H, W), rtol=1e-4, atol=1e-4
    )


def test_gradients_are_finite_where_there_is_no_depth(network):
    camera = fisheye(focal=W / 2 / (130 * pi / 180))
    image = images()
    image[0, :, 5, 7] = torch.nan
    image[1] = 0
    said = network({"image": image, "camera": camera})
    (said.depth_mm.sum() + said.log_depth_std.sum()).backward()
    for name, weight in network.named_parameters():
        assert weight.grad.isfinite().all(), name
    network.zero_grad()


def test_the_camera_tells_which_way_and_how_finely_a_pixel_looks(network):
    wide, narrow = fisheye(focal=30.0), fisheye(focal=300.0)
    one, other = (network.log_distance(*_seen(images(), camera))[0] for camera in (wide, narrow))
    assert not torch.allclose(one, other, atol=1e-2)
    blind = sfsnet_lite(rays=False).eval()
    one, other = (blind.log_distance(*_seen(images(), camera))[0] for camera in (wide, narrow))
    assert_close(one, other, rtol=0, atol=0)


def test_one_camera_and_a_batch_of_it_are_the_same(network):
    camera = fisheye(focal=50.0)
    one = say(network, images(), camera).depth_mm
    assert_close(one, say(network, images(), stack([camera] * 2)).depth_mm)


def test_a_damaged_pixel_harms_itself_alone(network):
    image = images()
    black = image.clone()
    black[0, :, 20, 30] = 0
    for bad in (torch.nan, torch.inf, -torch.inf):
        damaged = black.clone()
        damaged[0, 1, 20, 30] = bad
        said, known = (say(network, each, fisheye(focal=60.0)) for each in (damaged, black))
        wrong = ~said.valid
        assert wrong.sum() == 1
        assert wrong[0, 0, 20, 30]
        assert said.depth_mm[0, 0, 20, 30] == 0
        assert torch.equal(said.depth_mm[said.valid], known.depth_mm[said.valid])


def test_a_black_image_has_no_depth_and_leaves_its_neighbour_alone(network):
    image = images()
    image[1] = 3 / 255  # what JPEG leaves of black
    said = say(network, image, fisheye(focal=60.0))
    assert not said.valid[1].any()
    assert not said.depth_mm[1].any()
    alone = say(network, image[:1], fisheye(focal=60.0))
    assert_close(said.depth_mm[:1], alone.depth_mm, rtol=1e-4, atol=1e-4)


def test_temperature_multiplies_the_standard_deviation_alone(network):
    before = say(network, images(), fisheye(focal=60.0))
    lowest, highest = STD_LIMITS
    assert (before.log_depth_std >= lowest * 0.999).all()
    assert (before.log_depth_std <= highest * 1.001).all()
    assert "temperature" in network.state_dict()
    network.temperature.fill_(2.5)
    after = say(network, images(), fisheye(focal=60.0))
    network.temperature.fill_(1.0)
    assert_close(after.log_depth_std, 2.5 * before.log_depth_std)
    assert torch.equal(after.depth_mm, before.depth_mm)


def test_the_lite_network_learns_tubes():
    torch.manual_seed(0)
    views = tube_views(4, (32, 64), seed=1)
    said = learn(sfsnet_lite(), views, steps=60, rate=3e-3)
    best_guess = log_error(average_view(views["depth_mm"]).expand_as(said), views["depth_mm"])
    assert log_error(said, views["depth_mm"]) < 0.5 * best_guess


def test_the_published_network_answers_with_inverse_distance_at_half_the_size():
    made = SfsnetPaper().eval()
    image = images(64, 96)
    with torch.no_grad():
        assert made.normalised_inverse(image).shape == (2, 1, 32, 48)
        torch.nn.init.zeros_(made.head.weight)
        for answer, distance_mm in ((5.0, 50.0), (0.2, 250.0), (2000.0, 1.0)):
            torch.nn.init.constant_(made.head.bias, answer)
            camera = fisheye(focal=60.0, height=64, width=96)
            expected = (distance_mm * angles_rad(camera).cos()).float().expand(2, 1, 64, 96)
            assert_close(say(made, image, camera).depth_mm, expected, rtol=1e-4, atol=1e-4)


def test_the_published_network_has_the_widths_of_densedepth():
    widths = [(up.first.in_channels, up.first.out_channels) for up in SfsnetPaper().ups]
    assert widths == [(1280 + 112, 640), (640 + 40, 320), (320 + 24, 160), (160 + 16, 80)]


def _seen(image: Tensor, camera: Camera) -> tuple[Tensor, Sight]:
    return image, sight(camera, *image.shape[-2:], like=image)
