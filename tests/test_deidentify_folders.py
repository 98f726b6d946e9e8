"""Whole folders: nothing is skipped in silence, nothing is made twice, no name need be kept."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from films import film
from PIL import Image
from tissue import pil, tissue
from typer.testing import CliRunner

from colondepth.commands.deidentify import deidentify
from colondepth.data.reading import Opening
from colondepth.deidentified_folders import Kind, make_copy, plan_copies
from colondepth.errors import DataError

NAME = "Mustermann_Erika"
WALL = pil(tissue(1)[:, :120, :160])


@pytest.fixture
def ward(tmp_path) -> Path:
    """An archive that is sorted by patient, with a text file and a picture of no bytes."""
    root = tmp_path / "ward"
    for place in (f"{NAME}/day 2/a10.png", f"{NAME}/day 2/a9.JPG", "b/c/d/e/f/g/h/i.tif"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        WALL.save(root / place)
    pictures = [np.asarray(WALL)] * 3
    film(root / NAME / f"{NAME}.avi", pictures=pictures)
    (root / "letter.txt").write_text(NAME)
    (root / "b" / "empty.png").touch()
    return root


def run(*arguments: object):
    app = typer.Typer()
    app.command()(deidentify)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def made(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in files if path.suffix != ".json")


def test_a_folder_keeps_its_structure_however_deep(ward, tmp_path):
    result = run(ward, "--out", tmp_path / "out", "--skip-bad")
    assert result.exit_code == 0, result.output
    assert made(tmp_path / "out") == [
        f"{NAME}/{NAME}.mp4",
        f"{NAME}/day 2/a10.png",
        f"{NAME}/day 2/a9.png",
        "b/c/d/e/f/g/h/i.png",
    ]


def test_what_is_skipped_is_listed_and_without_the_option_an_error(ward, tmp_path):
    result = run(ward, "--out", tmp_path / "out", "--skip-bad")
    assert "letter.txt: is no video, image or DICOM file" in result.stderr
    assert "empty.png" in result.stderr
    assert "2 skipped" in result.stderr
    with pytest.raises(DataError, match=r"letter\.txt: is no video.*--skip-bad"):
        plan_copies([ward], tmp_path / "o", rename=False, opening=Opening())


def test_renamed_copies_carry_no_name_in_any_path_and_keep_their_order(ward, tmp_path):
    result = run(ward, "--out", tmp_path / "out", "--skip-bad", "--rename")
    assert result.exit_code == 0, result.output
    everything = [*(tmp_path / "out").rglob("*")]
    assert not [path for path in everything if NAME in str(path.relative_to(tmp_path))]
    assert not [path for path in everything if path.is_file() and NAME.encode() in _bytes(path)]
    sources = plan_copies([ward], tmp_path / "o", rename=True, opening=Opening(skip_bad=True))
    day = [job for job in sources if "day 2" in str(job.source)]
    assert [job.source.name for job in day] == ["a9.JPG", "a10.png"]  # 9 comes before 10
    assert [job.target.name for job in day] == ["0001.png", "0002.png"]


def test_a_second_run_makes_nothing_again_that_is_whole(ward, tmp_path):
    jobs = plan_copies([ward], tmp_path / "out", rename=True, opening=Opening(skip_bad=True))
    again = {}
    for job in jobs:
        make_copy(job, Opening(skip_bad=True))
    copies = [job for job in jobs if job.target.is_file()]
    first, second, third, whole = copies
    first.target.write_bytes(first.target.read_bytes()[:-1])  # cut off by a full disk
    second.target.with_name(second.target.name + ".removed.json").unlink()  # stopped before its log
    Image.new("RGB", (160, 120), "pink").save(third.source)  # another picture under this name
    for job in copies:
        outcome = make_copy(job, Opening())
        assert outcome is not None
        again[job.target] = outcome[1]
    assert again == {
        first.target: True,
        second.target: True,
        third.target: True,
        whole.target: False,
    }


def test_half_a_log_counts_as_none(ward, tmp_path):
    (job,) = plan_copies(
        [ward / NAME / "day 2" / "a9.JPG"], tmp_path, rename=False, opening=Opening()
    )
    make_copy(job, Opening())
    log = job.target.with_name(job.target.name + ".removed.json")
    assert json.loads(log.read_text())["frames"] == 1
    for damage in ("", "{", "[]", '{"version": "0"}'):
        log.write_text(damage)
        outcome = make_copy(job, Opening())
        assert outcome is not None
        assert outcome[1]


def test_files_that_would_get_one_name_are_told_and_numbers_solve_it(tmp_path):
    for name in ("x.png", "x.bmp"):
        WALL.save(tmp_path / name)
    paths = [tmp_path / "x.png", tmp_path / "x.bmp"]
    with pytest.raises(DataError, match=r"x\.png and x\.bmp would both become.*--rename"):
        plan_copies(paths, tmp_path / "o", rename=False, opening=Opening())
    jobs = plan_copies(paths, tmp_path / "o", rename=True, opening=Opening())
    assert [job.target.name for job in jobs] == ["0001.png", "0002.png"]


def test_copies_do_not_go_where_they_would_be_copied_themselves(ward):
    with pytest.raises(DataError, match="copied themselves"):
        plan_copies([ward], ward / "out", rename=False, opening=Opening(skip_bad=True))


def test_several_folders_get_one_each(ward, tmp_path):
    paths = [ward / NAME / "day 2", ward / "b" / "c"]
    jobs = plan_copies(paths, tmp_path / "o", rename=False, opening=Opening())
    assert {job.target.relative_to(tmp_path / "o").parts[0] for job in jobs} == {"day 2", "c"}


def test_links_that_lead_back_end(ward, tmp_path):
    (ward / "b" / "up").symlink_to(ward)
    opening = Opening(skip_bad=True)
    jobs = plan_copies([ward], tmp_path / "o", rename=False, opening=opening)
    assert len(jobs) == 5
    assert any("leads back" in each.reason for each in opening.skipped)


def test_a_dicom_file_without_a_suffix_is_known_by_its_first_bytes(tmp_path):
    (tmp_path / "IM0001").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 40)
    (job,) = plan_copies([tmp_path / "IM0001"], tmp_path / "o", rename=False, opening=Opening())
    assert job.kind is Kind.DICOM
    assert job.target.name == "IM0001.dcm"


def _bytes(path: Path) -> bytes:
    return path.read_bytes()
