"""The program: its help, its errors, its exit codes, and the door for other packages' commands."""

import json
import os
import resource
import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest

from colondepth import cli
from colondepth.backbones.registry import backbones
from colondepth.errors import DuplicateNameError, PluginError, UnknownNameError
from colondepth.plugins import Plugins

PROGRAM = [sys.executable, "-m", "colondepth"]
HEAVY = ("torch", "monai", "vtk", "vtkmodules", "pyvista", "streamlit", "av", "cv2", "numpy")
LIMIT_S = 0.5
COMMANDS = [
    [],
    ["doctor"],
    ["demo"],
    ["synth"],
    ["synth", "gallery"],
    ["synth", "mesh"],
    ["bench"],
    ["bench", "render"],
    ["bench", "infer"],
    ["predict"],
    ["reconstruct"],
    ["bench", "reconstruct"],
    ["bench", "polyp-sizes"],
    ["backbones"],
    ["cache"],
    ["ship"],
    ["train"],
    ["check-data"],
    ["deidentify"],
    ["quality"],
    ["camera"],
    ["camera", "show"],
    ["camera", "convert"],
    ["camera", "undistort"],
    ["trajectory"],
    ["trajectory", "show"],
    ["trajectory", "convert"],
    ["evaluate"],
    ["evaluate", "trajectory"],
    ["evaluate", "synthetic"],
    ["evaluate", "etis"],
    ["bench", "score"],
    ["bench", "curriculum"],
    ["compare"],
]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80", **environment},
    )


def ended(monkeypatch, *arguments: str) -> int:
    """Run the program in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["colondepth", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code


def test_the_list_of_commands_above_is_complete():
    assert {name for (name, *_) in COMMANDS[1:]} == set(cli.commands.names())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_imports_nothing_heavy(command):
    code = (
        "import sys; from colondepth import cli\n"
        f"sys.argv = ['colondepth', *{command!r}, '--help']\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
    assert "Usage" in done.stdout


@pytest.mark.parametrize("command", [[], ["camera", "show"], ["demo"]], ids=" ".join)
def test_help_takes_less_than_half_a_second_of_one_core(command):
    # Seconds of work, not of waiting, and the best of a few: other tests run beside this one.
    assert min(_seconds(*command, "--help") for _ in range(4)) < LIMIT_S


def test_the_version_is_the_packages():
    done = run("--version")
    assert done.stdout == f"colondepth {version('colondepth')}\n"


def test_help_names_every_command_and_says_what_it_is_not_for():
    text = run("--help").stdout
    for name in cli.commands.names():
        assert name in text
    assert "not for diagnosis" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["docter"], "Did you mean 'doctor'?"),
        (["doctor", "--jsn"], "--json"),
        (["camera", "show"], "camera show --help"),
        (["camera", "show", "nowhere.json"], "nowhere.json does not exist"),
        (["trajectory", "show", "nowhere.txt"], "nowhere.txt"),
        (["evaluate", "trajectory", "a", "b"], "--alignment"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("group", [[], ["camera"], ["evaluate"]])
def test_a_group_alone_shows_its_help_and_no_error(group):
    done = run(*group)
    assert done.returncode == 2
    assert "Usage" in done.stdout + done.stderr
    assert "error" not in done.stderr.lower()


def test_ctrl_c_says_what_can_be_taken_up_again_and_exits_130(monkeypatch, capsys):
    from colondepth.console import resumable

    def interrupted() -> None:
        with resumable("the same command goes on at frame 120 [of 300]"):
            raise KeyboardInterrupt

    monkeypatch.setattr(cli.commands, "load", lambda name: interrupted)
    assert ended(monkeypatch, "doctor") == 130
    assert "goes on at frame 120 [of 300]" in capsys.readouterr().err


def test_ctrl_c_elsewhere_exits_130_too(monkeypatch, capsys):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.commands, "load", lambda name: interrupted)
    assert ended(monkeypatch, "doctor") == 130
    assert "starts again" in capsys.readouterr().err


def test_a_bug_is_reported_with_the_versions_and_exit_code_1(monkeypatch, capsys):
    def broken() -> None:
        raise ZeroDivisionError("a [bracket] in the words")

    monkeypatch.setattr(cli.commands, "load", lambda name: broken)
    assert ended(monkeypatch, "doctor") == 1
    text = capsys.readouterr().err
    for words in ("Please report", "a [bracket] in the words", "Traceback", version("torch")):
        assert words in text


def test_a_reader_that_leaves_early_is_no_bug():
    pipe = subprocess.run(
        f"{sys.executable} -m colondepth trajectory show --help | head -1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "bug" not in pipe.stderr
    assert "Traceback" not in pipe.stderr


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package made of nothing but entry points, on the path of this process."""

    def install(name: str, group: str, lines: str, module: str = "") -> None:
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        (tmp_path / f"{name}.py").write_text(module)
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


def test_another_package_brings_its_own_command(package, monkeypatch, capsys):
    package(
        "hospital",
        "colondepth.commands",
        "ward = hospital:ward",
        'def ward() -> None:\n    """Say hello."""\n    print("hello from the ward")\n',
    )
    assert "ward" in cli.commands.names()
    assert ended(monkeypatch, "ward") == 0
    assert "hello from the ward" in capsys.readouterr().out


def test_a_command_that_cannot_be_imported_stops_nobody_else(package, monkeypatch, capsys):
    package("broken", "colondepth.commands", "scan = broken:scan", "import nowhere_to_be_found\n")
    assert ended(monkeypatch, "--version") == 0
    capsys.readouterr()
    assert ended(monkeypatch, "scan") == 2
    text = " ".join(capsys.readouterr().err.split())
    assert "'scan' of broken 1.2 cannot be loaded" in text
    assert "nowhere_to_be_found" in text


def test_two_packages_with_one_name_are_an_error(package, monkeypatch, capsys):
    package("rival", "colondepth.commands", "doctor = rival:doctor", "def doctor(): ...\n")
    with pytest.raises(DuplicateNameError, match="two packages bring a command called 'doctor'"):
        cli.commands.names()
    assert ended(monkeypatch, "--help") == 2
    assert "uninstall one" in capsys.readouterr().err


def test_another_package_brings_its_own_backbone(package):
    package(
        "hospital_net",
        "colondepth.backbones",
        "wardnet = hospital_net:make\nsad = hospital_net:gone",
        'def make():\n    return "a network"\n',
    )
    assert {"wardnet", "sad"} <= set(backbones.names())
    assert backbones.load("wardnet")() == "a network"
    assert backbones.owner("wardnet") == "hospital_net 1.2"
    with pytest.raises(UnknownNameError, match=r"Did you mean 'wardnet'\?"):
        backbones.load("wardnt")
    with pytest.raises(PluginError, match="AttributeError"):
        backbones.load("sad")


def test_a_group_that_nobody_fills_says_that_nothing_is_installed():
    empty = Plugins("colondepth.nothing", kind="thing")
    assert empty.names() == ()
    with pytest.raises(UnknownNameError, match="none is installed"):
        empty.load("x")


def test_every_command_of_this_project_is_an_entry_point():
    names = {entry.name for entry in entry_points(group="colondepth.commands")}
    assert {"doctor", "camera", "trajectory", "evaluate", "demo"} <= names


def test_doctor_finds_this_machine_fit_and_says_so_in_json():
    done = run("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert {"python", "torch", "device", "video decoder", "weights"} <= findings.keys()
    assert findings["off-screen rendering"]["ok"]


def _seconds(*arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run(*arguments).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
