"""Depth of one image by the name of a network."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import colondepth
from colondepth.backbones.contract import Backbone, Needs
from colondepth.backbones.registry import create
from colondepth.cameras import Camera, stack
from colondepth.errors import DataError, ShapeError, UnknownNameError
from colondepth.images import write_image
from colondepth.inference import Predictor
from colondepth.views import Prediction
from colondepth.weights.files import Origin, save_weights

H, W = 45, 70


@pytest.fixture(scope="module")
def trained() -> Backbone:
    """Return a network that tells images apart; it did not learn to."""
    torch.manual_seed(6)
    made = create("sfsnet_lite", shading=False)
    with torch.no_grad():
        for _ in range(10):
            made({"image": torch.rand(2, 3, 64, 64), "camera": Camera.assumed(64, 64)})
        made.head.weight *= 30
    return made.eval()


@pytest.fixture(scope="module")
def file(trained: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_weights(
        *(trained, path),
        backbone="sfsnet_lite",
        options={"shading": False},
        commit="0",
        seed=1,
        recipe="none",
    )
    return path


@pytest.fixture(scope="module")
def predictor(file: Path) -> Predictor:
    return colondepth.load("sfsnet_lite", weights=file, device="cpu")


def picture() -> Tensor:
    """Return 8 bits, (3, H, W)."""
    shape = (3, H, W)
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(3)).to(torch.uint8)


def camera() -> Camera:
    return Camera.pinhole(fx=60, fy=55, cx=30, cy=25, height=H, width=W)


def test_the_answer_is_that_of_the_network_on_the_images_own_pixels(predictor, trained):
    said = predictor.predict(picture(), camera())
    batch = {"image": picture()[None] / 255, "camera": camera()}
    with torch.no_grad():
        expected = trained(batch)
    assert expected.depth_mm.log().std() > 0.1
    assert said.depth_mm.shape == said.valid.shape == said.log_depth_std.shape == (H, W)
    assert_close(said.depth_mm, expected.depth_mm[0, 0], rtol=1e-2, atol=1e-2)  # half precision
    assert_close(said.log_depth_std, expected.log_depth_std[0, 0], rtol=1e-2, atol=1e-2)
    assert said.valid.all()
    assert said.origin == Origin(
        backbone="sfsnet_lite",
        options={"shading": False},
        commit="0",
        seed=1,
        recipe="none",
        temperature=1.0,
    )


def test_every_kind_of_picture_gives_the_same(predictor, tmp_path):
    write_image(picture() / 255, tmp_path / "a.png")
    array = picture().movedim(0, -1).numpy()
    kinds = {
        "8-bit array": array,
        "float array": array / 255,  # float64
        "array of turned memory": np.asfortranarray(array),
        "float tensor": picture() / 255,
        "path": tmp_path / "a.png",
        "word": str(tmp_path / "a.png"),
    }
    expected = predictor.predict(picture(), camera()).depth_mm
    for kind, given in kinds.items():
        said = predictor.predict(given, camera()).depth_mm
        assert_close(said, expected, rtol=1e-4, atol=1e-4, msg=kind)


def test_an_image_without_a_camera_says_that_its_lengths_are_a_guess(predictor):
    said = predictor.predict(picture())
    assert not said.calibrated
    assumed = Camera.assumed(H, W)
    assert_close(said.camera.linear, assumed.linear)
    assert_close(said.depth_mm, predictor.predict(picture(), assumed).depth_mm)
    with_camera = predictor.predict(picture(), camera())
    assert with_camera.calibrated
    assert not torch.allclose(with_camera.depth_mm, said.depth_mm, rtol=1e-2)


def test_the_picture_is_left_as_it_was(predictor):
    array = picture().movedim(0, -1).numpy()
    before = array.copy()
    predictor.predict(array)
    assert (array == before).all()


def test_a_damaged_pixel_is_not_valid(predictor):
    image = picture() / 255
    image[1, 7, 9] = torch.nan
    said = predictor.predict(image, camera())
    assert not said.valid[7, 9]
    assert said.valid.sum() == H * W - 1


def test_pictures_of_other_kinds_are_refused_with_the_cure(predictor):
    for given, words in (
        (np.zeros((H, W), np.uint8), "expected an array"),
        (np.zeros((H, W, 4), np.uint8), "drops transparency"),
        (torch.zeros(H, W, 3), "expected a tensor"),
        (torch.zeros(1, 3, H, W), "expected a tensor"),
    ):
        with pytest.raises(ShapeError, match=words):
            predictor.predict(given)
    for given, words in (
        (picture().int(), "holds int32, expected 8 bits"),
        (picture().float(), "divide 8 bits by 255"),
        ([[1.0]], "image is a list"),
        ("nowhere.png", "does not exist"),
    ):
        with pytest.raises(DataError, match=words):
            predictor.predict(given)


def test_a_camera_that_is_not_the_images_is_refused(predictor):
    with pytest.raises(ShapeError, match=r"camera\.resized"):
        predictor.predict(picture(), camera().resized(90, 140))
    with pytest.raises(ShapeError, match=r"batch \(2,\), expected that of one image"):
        predictor.predict(picture(), stack([camera()] * 2))


def test_names_that_do_not_fit_are_answered_with_the_right_ones(file):
    with pytest.raises(UnknownNameError, match="Did you mean 'sfsnet_lite'"):
        colondepth.load("sfsnet_light", weights=file)
    with pytest.raises(DataError, match="are those of 'sfsnet_lite', not of 'sfsnet'"):
        colondepth.load("sfsnet", weights=file)
    with pytest.raises(UnknownNameError, match="no weights called 'eigen' come with colondepth"):
        colondepth.load("eigen")


def test_a_network_that_wants_more_than_an_image_is_refused():
    class Flow(Backbone):
        needs = Needs.PREVIOUS

        def forward(self, batch) -> Prediction:
            raise NotImplementedError

    with pytest.raises(DataError, match="Flow needs image, previous"):
        Predictor(Flow())


def test_a_network_without_uncertainty_or_validity_answers_too(trained):
    class Plain(Backbone):
        def forward(self, batch) -> Prediction:
            said = trained(batch)
            return replace(said, log_depth_std=None, valid=None)

    said = Predictor(Plain(), device="cpu").predict(picture())
    assert said.log_depth_std is None
    assert said.origin is None
    assert torch.equal(said.valid, said.depth_mm > 0)


def test_the_network_may_go_on_training(trained):
    made = Predictor(trained, device="cpu")
    before = made.predict(picture()).depth_mm
    with torch.no_grad():
        trained.head.bias += 1
    after = made.predict(picture()).depth_mm
    with torch.no_grad():
        trained.head.bias -= 1
    assert torch.equal(before, after)


def test_importing_the_package_imports_no_torch():
    script = (
        "import sys, colondepth; assert 'torch' not in sys.modules, 'torch';"
        " assert not hasattr(colondepth, 'lod'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
