"""Each finding of the doctor can be bad, and then it names a cure."""

import hashlib
import sys

import pytest
from typer.testing import CliRunner

from colondepth import doctor
from colondepth.errors import DataError
from colondepth.weights import shipped


def finding(name: str) -> doctor.Finding:
    return next(found for found in doctor.examine() if found.name == name)


@pytest.fixture
def quick(monkeypatch):
    """Leave out the one check that takes seconds."""
    monkeypatch.setattr(doctor, "_rendering", lambda: doctor.Finding("off-screen", "", ok=True))


def test_a_fit_machine_has_no_cures(quick):
    assert [found.cure for found in doctor.examine() if found.ok and found.cure] == []


def test_an_old_python_is_told_which_to_install(quick, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    assert not finding("python").ok
    assert "3.11 to 3.13" in finding("python").cure


def test_a_broken_library_is_a_finding_and_not_a_crash(quick, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert not finding("video decoder").ok
    assert "ImportError" in finding("video decoder").found or "av" in finding("video decoder").found


def test_a_screenless_machine_that_cannot_draw_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(doctor, "_RENDER", "import sys; sys.exit('no GL here')")
    found = doctor._rendering()
    assert not found.ok
    assert found.found == "no GL here"
    assert "apt-get install" in found.cure


def test_a_driver_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(doctor, "_RENDER", "import threading; threading.Event().wait()")
    monkeypatch.setattr(doctor, "_RENDER_LIMIT_S", 0.5)
    assert "hangs" in doctor._rendering().found


def test_damaged_weights_are_found_out(tmp_path, monkeypatch, quick):
    (tmp_path / "net.safetensors").write_bytes(b"whole")
    digest = hashlib.sha256(b"whole").hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  net.safetensors\n")
    (weights,) = shipped(tmp_path)
    weights.check()
    (tmp_path / "net.safetensors").write_bytes(b"hole")
    with pytest.raises(DataError, match="damaged"):
        weights.check()
    monkeypatch.setattr(doctor, "shipped", lambda: (weights,))
    assert not finding("weights").ok
    assert "reinstall" in finding("weights").cure
    (tmp_path / "net.safetensors").unlink()
    with pytest.raises(DataError, match="missing"):
        weights.check()


@pytest.mark.parametrize("line", ["abc  net.safetensors", f"{'0' * 64}  ../net.safetensors", "x"])
def test_a_list_of_weights_that_is_damaged_names_its_line(tmp_path, line):
    (tmp_path / "SHA256SUMS").write_text(line + "\n")
    with pytest.raises(DataError, match="line 1"):
        shipped(tmp_path)


def test_the_command_exits_with_1_when_something_will_not_do(monkeypatch):
    import typer

    from colondepth.commands.doctor import doctor as command

    bad = (doctor.Finding("torch", "nothing", ok=False, cure="install it"),)
    monkeypatch.setattr(doctor, "examine", lambda: bad)
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 1
    assert "install it" in result.stdout
