"""The demo: a whole page, its figures, and nothing half-written."""

import json
from html.parser import HTMLParser

import pytest
from PIL import Image
from typer.testing import CliRunner

from colondepth.errors import DataError
from dashboards.commands import demo


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import typer

    folder = tmp_path_factory.mktemp("demo")
    app = typer.Typer()
    app.command()(demo)
    result = CliRunner().invoke(app, ["--out", str(folder)])
    assert result.exit_code == 0, result.output
    assert "index.html" in result.stdout
    return folder


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in {"src", "href"}]


def test_every_part_of_the_page_is_there_and_none_comes_from_elsewhere(folder):
    page = _Links()
    text = (folder / "index.html").read_text()
    page.feed(text)
    assert {"wall/viewer.html", "wall/index.html", "wall/fly_through.mp4"} <= set(page.links)
    pictures = [link for link in page.links if link.endswith(".png")]
    assert len(pictures) == 4
    for link in pictures:
        with Image.open(folder / link) as picture:
            low, high = picture.convert("L").getextrema()
            assert high - low > 100  # not blank
    assert all((folder / link).stat().st_size > 1000 for link in page.links)
    assert "http:" not in text
    assert "https:" not in text
    assert "not for diagnosis" in text


def test_the_figures_say_what_was_measured(folder):
    answer = json.loads((folder / "figures.json").read_text())
    value = {figure["name"]: figure["value"] for figure in answer["figures"]}
    assert 0 < value["AbsRel"] < 0.25
    assert value["AbsRel"] <= value["AbsRel, metric"]
    assert value["pixels within a factor of 1.25"] > 60
    assert 0 < value["Chamfer distance"] < 8
    assert value["coverage is off by"] < 25
    assert all(figure["made"] for figure in answer["figures"])


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        demo(tmp_path / "file")
