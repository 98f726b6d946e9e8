"""Weights are loaded whole or not at all, and say where they come from."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from colondepth import weights
from colondepth.backbones.registry import create
from colondepth.backbones.single_view.sfsnet import Sfsnet
from colondepth.cameras import Camera
from colondepth.errors import DataError, UnknownNameError
from colondepth.weights import files
from colondepth.weights.files import Origin, load_weights, read_origin, save_weights

MADE = {"backbone": "sfsnet_lite", "commit": "a1b2c3d", "seed": 5, "recipe": "smoke"}


@pytest.fixture(scope="module")
def network() -> Sfsnet:
    torch.manual_seed(4)
    made = create("sfsnet_lite", shading=False)
    made.temperature.fill_(1.2345678)
    return made.eval()


@pytest.fixture(scope="module")
def file(network: Sfsnet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lite.safetensors"
    save_weights(network, path, options={"shading": False}, **MADE)
    return path


def lite() -> Sfsnet:
    return create("sfsnet_lite", shading=False).eval()


def rewritten(file: Path, path: Path, change) -> Path:
    """Write a changed copy of a file of weights, with the same header."""
    with safe_open(file, framework="pt") as opened:
        words = opened.metadata()
    state = load_file(file)
    change(state, words)
    save_file(state, path, metadata=words)
    return path


def test_what_was_saved_comes_back_to_half_precision(network, file):
    other = lite()
    assert load_weights(other, file) == Origin(
        **MADE, options={"shading": False}, temperature=network.temperature.item()
    )
    for (name, value), back in zip(
        network.state_dict().items(), other.state_dict().values(), strict=True
    ):
        assert back.dtype == value.dtype
        assert_close(back, value, rtol=2**-11, atol=2**-25, msg=name)
        if value.ndim < 2:
            assert torch.equal(back, value), name
    batch = {"image": torch.rand(2, 3, 40, 56), "camera": Camera.assumed(40, 56)}
    with torch.no_grad():
        assert_close(other(batch).depth_mm, network(batch).depth_mm, rtol=1e-3, atol=0)


def test_a_file_is_half_the_size_of_the_network(network, file):
    whole = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    assert file.stat().st_size < 0.52 * whole


def test_what_half_precision_cannot_hold_is_kept_whole(tmp_path):
    made = lite()
    with torch.no_grad():
        made.head.weight[0, 0, 0, 0] = 1e5
    save_weights(made, tmp_path / "a.safetensors", options={"shading": False}, **MADE)
    other = lite()
    load_weights(other, tmp_path / "a.safetensors")
    assert torch.equal(other.head.weight, made.head.weight)


def test_a_network_in_double_precision_stays_so(file, network):
    other = lite().double()
    load_weights(other, file)
    assert other.head.weight.dtype == torch.float64
    assert_close(other.head.weight.float(), network.head.weight, rtol=2**-11, atol=2**-25)


def test_the_weights_of_another_network_are_named_with_the_cure(file):
    other = create("sfsnet")
    before = other.head.weight.clone()
    with pytest.raises(DataError) as caught:
        load_weights(other, file)
    message = str(caught.value)
    assert "made for create('sfsnet_lite', shading=False), does not fit this Sfsnet" in message
    assert "it lacks encoder.net._conv_stem.weight" in message
    assert "it adds encoder.context.linear.bias" in message
    assert "more" in message
    assert len(message) < 1500
    assert torch.equal(other.head.weight, before)


def test_other_options_are_named_by_the_shapes_that_differ(file):
    with pytest.raises(DataError, match=r"has encoder\.stem\.0\.weight \(16, 7, 3, 3\) for \(16"):
        load_weights(create("sfsnet_lite"), file)


def test_one_tensor_too_few_or_too_many_is_an_error(file, tmp_path):
    def drop(state, _):
        del state["head.bias"]

    def add(state, _):
        state["tail.bias"] = torch.zeros(2)

    with pytest.raises(DataError, match=r"it lacks head\.bias\. Build"):
        load_weights(lite(), rewritten(file, tmp_path / "a.safetensors", drop))
    with pytest.raises(DataError, match=r"it adds tail\.bias\. Build"):
        load_weights(lite(), rewritten(file, tmp_path / "b.safetensors", add))


def test_damage_is_named_and_leaves_the_network_as_it_was(file, tmp_path):
    content = file.read_bytes()
    other = lite()
    before = {name: value.clone() for name, value in other.state_dict().items()}
    pieces = {
        "cut": content[:-100],
        "short": content[:40],
        "empty": b"",
        "pickle": b"\x80\x02" + b"}q\x00." * 300,
        "longer": content + b"x",
    }
    for name, piece in pieces.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(piece)
        with pytest.raises(DataError, match=rf"{name}\.safetensors cannot be read as safetensors"):
            load_weights(other, path)
    for name, value in other.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_nan_is_refused_in_both_directions(file, tmp_path):
    def poison(state, _):
        state["head.weight"][0, 0, 0, 0] = torch.nan

    with pytest.raises(DataError, match=r"head\.weight holds NaN or infinity; it is damaged"):
        load_weights(lite(), rewritten(file, tmp_path / "a.safetensors", poison))
    made = lite()
    torch.nn.init.constant_(made.head.bias, torch.inf)
    with pytest.raises(DataError, match=r"head\.bias holds NaN or infinity; training"):
        save_weights(made, tmp_path / "b.safetensors", options={"shading": False}, **MADE)
    assert not (tmp_path / "b.safetensors").exists()


def test_a_header_without_origin_is_refused(file, tmp_path):
    def forget(_, words):
        words.clear()

    def garble(_, words):
        words["seed"] = "many"

    def no_options(_, words):
        words["options"] = "{"

    with pytest.raises(DataError, match="nobody knows for which network"):
        read_origin(rewritten(file, tmp_path / "a.safetensors", forget))
    for change in (garble, no_options):
        with pytest.raises(DataError, match="lacks or garbles a part"):
            read_origin(rewritten(file, tmp_path / "b.safetensors", change))


def test_only_what_the_name_and_the_options_build_can_be_saved(network, tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(DataError, match="the network to save as 'sfsnet_lite' does not fit"):
        save_weights(network, path, options={}, **MADE)
    with pytest.raises(UnknownNameError, match="Did you mean 'sfsnet_lite'"):
        save_weights(network, path, options={}, **(MADE | {"backbone": "sfsnet_light"}))
    with pytest.raises(DataError, match=r"ends in \.safetensors"):
        save_weights(network, tmp_path / "a.pt", options={"shading": False}, **MADE)
    assert not list(tmp_path.iterdir())


def test_too_large_a_file_is_refused_and_the_old_one_stays(network, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_text("old")
    with pytest.raises(DataError, match=r"take 2\.6 MiB, expected at most 1\.0; pass most_bytes"):
        save_weights(network, path, options={"shading": False}, **MADE, most_bytes=2**20)
    assert path.read_text() == "old"
    assert files.MOST_BYTES == 16 * 2**20


def test_options_that_json_cannot_hold_are_refused(network, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "create", lambda *_, **__: lite())
    with pytest.raises(DataError, match="cannot be written as JSON"):
        save_weights(network, tmp_path / "a.safetensors", options={"device": {1}}, **MADE)


def test_shipped_weights_are_found_by_name_and_checked(file, tmp_path, monkeypatch):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "lite.safetensors").write_bytes(file.read_bytes())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (shelf / "SHA256SUMS").write_text(f"{digest}  lite.safetensors\n")
    monkeypatch.setattr(files, "FOLDER", shelf)
    monkeypatch.setattr(files, "shipped", lambda: weights.shipped(shelf))
    assert read_origin("lite").recipe == "smoke"
    with pytest.raises(UnknownNameError, match=r"no weights called 'lyte'.*Did you mean 'lite'"):
        read_origin("lyte")

    def other_seed(_, words):
        words["seed"] = "6"

    rewritten(file, shelf / "lite.safetensors", other_seed)
    for source in ("lite", shelf / "lite.safetensors"):
        with pytest.raises(DataError, match=r"SHA-256 .* reinstall"):
            load_weights(lite(), source)


def test_a_path_that_is_no_file_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist; expected a file of weights"):
        read_origin(tmp_path / "none.safetensors")
    with pytest.raises(DataError, match="is a folder; expected a file of weights"):
        read_origin(tmp_path)
    with pytest.raises(UnknownNameError, match="a file of your own is named with its suffix"):
        read_origin("none")


def test_every_shipped_file_fits_the_network_of_its_name():
    for each in weights.shipped():
        origin = read_origin(each.path.stem)
        load_weights(create(origin.backbone, **json.loads(json.dumps(origin.options))), each.path)
        assert each.path.stat().st_size <= files.MOST_BYTES
