"""What the documents say can be done can be done."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from colondepth.cameras import from_file

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


def test_the_readmes_python_runs_as_it_stands(tmp_path):
    from scenes import cameras

    from colondepth.cameras import to_file

    to_file(cameras()["fisheye"], tmp_path / "camera.yaml")
    (block,) = blocks(ROOT / "README.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_documents_compiles(page):
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


def test_the_camera_that_the_how_to_writes_can_be_read(tmp_path):
    (block,) = blocks(ROOT / "docs/how-to/own-camera.md", "json")
    json.loads(block)
    (tmp_path / "camera.json").write_text(block)
    assert from_file(tmp_path / "camera.json").height == 480


def test_every_command_of_the_reference_exists_and_the_other_way_round():
    text = (ROOT / "docs/reference/command-line.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    written = {row.split("`")[1].split()[0] for row in rows}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert written == set(project["entry-points"]["colondepth.commands"])


def test_every_module_has_its_place_in_the_architecture():
    text = (ROOT / "docs/architecture.md").read_text()
    for file in (ROOT / "colondepth").glob("*.py"):
        if not file.stem.startswith("__"):
            assert file.name in text, file.name


def test_the_constraints_pin_what_the_project_asks_for():
    pins = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    asked = [*project["dependencies"], *(name for extra in extras for name in extra)]
    for requirement in asked:
        name = re.split(r"[\[<>=,]", requirement)[0].lower().replace("_", "-")
        assert name in pins or name == "colondepth", name
