"""`colondepth backbones` lists every network, and says which cannot be used."""

import json
import sys

import pytest

from colondepth import cli
from colondepth.backbones import description
from colondepth.backbones.contract import SizeRule
from colondepth.backbones.description import describe, describe_all, sizes_in_words
from colondepth.backbones.registry import backbones, create
from colondepth.weights import ShippedWeights


def answer(monkeypatch, capsys, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["colondepth", "backbones", *arguments])
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.fixture
def sad_package(tmp_path, monkeypatch):
    """A package whose two networks are broken, each in its own way."""
    info = tmp_path / "sad_net-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sad-net\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text(
        "[colondepth.backbones]\nabsent = no_such_module:make\nwrong = sad_net:make\n"
    )
    (tmp_path / "sad_net.py").write_text("def make():\n    return 'a [red] network'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sad_net", raising=False)


def test_every_network_is_listed_with_its_numbers(monkeypatch, capsys):
    rows = {row["name"]: row for row in json.loads(answer(monkeypatch, capsys, "--json"))}
    assert list(rows) == list(backbones.names())
    assert {name: row["fault"] for name, row in rows.items() if row["fault"]} == {}
    assert rows["monodepth2"] | {"weights": "", "weights_sha256": "", "weights_licence": ""} == {
        "name": "monodepth2",
        "owner": backbones.owner("monodepth2"),
        "parameters": 14_329_236,
        "needs": "image",
        "gives": "depth",
        "sizes": "multiples of 32 from 64x64",
        "metric": True,
        "weights": "",
        "weights_sha256": "",
        "weights_licence": "",
        "source": "Godard et al. 2019, Monodepth2, arXiv 1806.01260",
        "fault": "",
    }


def test_the_table_holds_every_name_and_count(monkeypatch, capsys):
    text = answer(monkeypatch, capsys)
    for name in backbones.names():
        assert name in text
    assert "99,807,310" in text
    assert "385x513 only" in text


def test_networks_that_cannot_be_built_are_rows_that_say_why(sad_package, monkeypatch, capsys):
    found = {each.name: each for each in describe_all()}
    assert "no_such_module" in found["absent"].fault
    assert "gave a str, expected a" in found["wrong"].fault
    assert found["wrong"].owner == "sad-net 0.3"
    assert found["wrong"].parameters is None
    assert found["eigen"].fault == ""
    text = " ".join(answer(monkeypatch, capsys).split())
    assert "cannot be used: PluginError" in text
    assert "(sad-net 0.3)" in text


def test_shipped_weights_stand_beside_their_network_with_their_licence(tmp_path, monkeypatch):
    weights = ShippedWeights(tmp_path / "eigen.safetensors", "ab" * 32)
    monkeypatch.setattr(description, "shipped", lambda: (weights,))
    found = {each.name: each for each in describe_all()}
    assert found["eigen"].weights == "eigen.safetensors"
    assert found["eigen"].weights_sha256 == "ab" * 32
    assert found["eigen"].weights_licence == "Apache-2.0"
    assert (found["dorn"].weights, found["dorn"].weights_licence) == ("", "")


def test_a_network_is_described_without_any_numbers_made(monkeypatch):
    built = []
    monkeypatch.setattr(description, "create", lambda name: built.append(create(name)) or built[0])
    assert describe("dorn", None).parameters == 99_807_310
    assert {each.device.type for each in built[0].parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (SizeRule(), "any"),
        (SizeRule(multiple=8), "multiples of 8"),
        (SizeRule(multiple=8, least=(8, 8)), "multiples of 8"),
        (SizeRule(least=(30, 40)), "any from 30x40"),
        (SizeRule(multiple=8, least=(128, 136)), "multiples of 8 from 128x136"),
        (SizeRule(exact=(30, 40)), "30x40 only"),
    ],
)
def test_sizes_are_said_in_words(rule, words):
    assert sizes_in_words(rule) == words
