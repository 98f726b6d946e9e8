"""`colondepth train` and `colondepth cache` from the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_training

from colondepth import cli
from colondepth.backbones import registry
from curriculum.cache import SHARD_BATCHES, BatchCache
from curriculum.run_log import read_rows
from curriculum.stream import RenderedLevel

SHORT = ("--set", "stage.1.steps=6", "--set", "stage.2.steps=4", "--set", "stage.2.losses={l1 = 1}")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the program in this process, with the tiny network under the name `tiny`."""

    def create(name, **options):
        return tiny_training.TinyDepth(**options) if name == "tiny" else registry_create(name)

    registry_create = registry.create
    monkeypatch.setattr(registry, "create", create)

    def call(*words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["colondepth", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    known = "losses = { silog = 1.0, smoothness = { weight = 0.1, order = 2 } }"
    lines = tiny_training.RECIPE.splitlines()
    path.write_text("\n".join(known if line.startswith("losses") else line for line in lines))
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tiny_training.make_cache(tmp_path_factory.mktemp("cache"))


def test_a_run_is_begun_gone_on_with_and_refused_a_second_time(run, recipe, cache, tmp_path):
    out = tmp_path / "run"
    begin = ("train", "tiny", "--out", out, "--recipe", recipe, "--cache", cache, "--threads", 1)
    code, answer, notes = run(*begin, *SHORT, "--seed", 3)
    assert code == 0, notes
    assert answer.startswith("10 steps, best at ")
    assert "level 1: delta_1 " in answer
    assert "stage 2 'again': batches of 1 from a cache" in notes
    assert json.loads((out / "run.json").read_text())["seed"] == 3

    code, _, notes = run(*begin, *SHORT)
    assert (code, notes.strip().count("\n")) == (2, 0)
    assert "holds a run; --resume goes on with it" in notes

    more = ("train", "tiny", "--out", out, "--resume")
    code, answer, notes = run(*more, "--set", "stage.2.steps=7")
    assert code == 2  # its stage is over
    code, _, notes = run(*more, "--seed", 4)
    assert code == 2
    assert "--seed stands beside --resume" in notes
    code, _, notes = run("train", "sfsnet", "--out", out, "--resume")
    assert code == 2
    assert "trains 'tiny', not 'sfsnet'" in notes
    code, answer, _ = run(*more)
    assert (code, len(read_rows(out / "train.jsonl"))) == (0, 10)


def test_a_run_that_is_asked_for_more_goes_on(run, recipe, cache, tmp_path, monkeypatch):
    out = tmp_path / "run"
    begin = ("train", "tiny", "--out", out, "--recipe", recipe, "--cache", cache, "--threads", 1)

    def cut(standing, *rest):
        if standing.step == 8:
            raise KeyboardInterrupt

    from curriculum import supervised

    whole = supervised.Ways
    monkeypatch.setattr(supervised, "Ways", lambda **ways: whole(**ways | {"tick": cut}))
    code, _, _ = run(*begin, *SHORT)
    assert code == 130
    monkeypatch.setattr(supervised, "Ways", whole)
    code, answer, notes = run("train", "tiny", "--out", out, "--resume", "--set", "stage.2.steps=9")
    assert code == 0, notes
    assert answer.startswith("15 steps")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--recipe", "smok"), "no recipe is called 'smok'. Did you mean 'smoke'?"),
        (("--set", "stage.1.stepz=3"), "Did you mean 'steps'?"),
        (("--set", "stage.1.losses={slog = 1}"), "no loss is called 'slog'. Did you mean 'silog'?"),
        (("--set", "network.wide=3"), "tiny does not take the options ['wide']"),
        (("--set", "stage.1.size=[30, 50]"), "multiples of 4"),
        (("--device", "cuda:9"), "--device cuda:9 cannot be used"),
        (("--cache", "nowhere"), "is not a folder; colondepth cache --out"),
        (("--resume",), "holds no run"),
    ],
)
def test_a_slip_is_one_line_and_leaves_no_folder(words, said, run, recipe, tmp_path):
    given = () if "--recipe" in words else ("--recipe", recipe)
    code, _, notes = run("train", "tiny", "--out", tmp_path / "run", *given, *words)
    assert (code, notes.strip().count("\n")) == (2, 0), notes
    assert said in notes
    assert not (tmp_path / "run").exists()


def test_batches_are_cached_for_several_levels(run, tmp_path, monkeypatch):
    monkeypatch.setattr(RenderedLevel, "open", lambda self: tiny_training.tubes)
    words = ("--level", "1, 3", "--batches", 1, "--size", "32x48", "--batch", 2, "--seed", 5)
    code, answer, notes = run("cache", "--out", tmp_path, *words)
    assert code == 0, notes
    folders = [Path(line.split(" -> ")[1]) for line in answer.splitlines()]
    assert [folder.name for folder in folders] == [
        "level-1_seed-5_32x48x2",
        "level-3_seed-5_32x48x2",
    ]
    assert [len(BatchCache(folder)) for folder in folders] == [SHARD_BATCHES] * 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--level", "7"), "no level is called '7'"),
        (("--level", "1", "--size", "32"), "expected HEIGHTxWIDTH such as 128x160"),
        (("--level", "1", "--parts", "valid"), "lack ['distance_mm']"),
        (("--level", "1", "--parts", "distance_mm,dept"), "batches have no 'dept'"),
    ],
)
def test_a_slip_of_a_cache_is_one_line(words, said, run, tmp_path, monkeypatch):
    monkeypatch.setattr(RenderedLevel, "open", lambda self: tiny_training.tubes)
    code, _, notes = run("cache", "--out", tmp_path, "--batches", 1, *words)
    assert (code, notes.strip().count("\n")) == (2, 0), notes
    assert said in notes


def test_a_network_without_a_recipe_of_its_own_is_told_what_there_is(run, tmp_path):
    code, _, notes = run("train", "tiny", "--out", tmp_path / "run")
    assert code == 2
    assert "no recipe is called 'tiny'" in notes
    assert "smoke" in notes


@pytest.mark.parametrize("command", ["train", "cache"])
def test_help_imports_no_torch(command):
    program = (
        "import sys; from colondepth.cli import main\n"
        f"sys.argv = ['colondepth', '{command}', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    sys.exit('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.slow
def test_a_run_on_rendered_colons_hangs_together(run, recipe, tmp_path):
    tiny_training.make_cache(tmp_path / "run" / "validation")
    words = ("--set", "stage.1.steps=2", "--set", "stage.2.steps=1", "--threads", 1)
    code, answer, notes = run(
        "train", "tiny", "--out", tmp_path / "run", "--recipe", recipe, *words
    )
    assert code == 0, notes
    assert answer.startswith("3 steps")
    assert "batches of 1 rendered" in notes
