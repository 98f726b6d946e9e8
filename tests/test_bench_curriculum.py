"""Ways to train, held against each other."""

import sys
from statistics import stdev

import pytest
import tiny_training

from colondepth import cli
from colondepth.backbones import registry
from curriculum import comparison
from curriculum.comparison import WAYS, Spread, Way
from curriculum.recipe_files import read_recipe


def test_every_way_is_a_recipe_of_the_same_budget_and_the_same_end():
    recipes = {name: read_recipe(way.recipe, changes=way.changes) for name, way in WAYS.items()}
    assert len({recipe.steps for recipe in recipes.values()}) == 1
    ends = [(each.stages[-1].steps, each.stages[-1].levels) for each in recipes.values()]
    assert all(end == ends[0] for end in ends)
    assert recipes["climbing, without rays"].network == {"rays": False}
    changed = recipes["climbing, with edges and curvature"].stages
    assert all("edges_and_curvature" in stage.losses for stage in changed)
    assert "edges_and_curvature" not in recipes["climbing"].stages[0].losses


def test_a_spread_is_that_of_the_sample():
    spread = Spread.of([0.1, 0.2, 0.6])
    assert spread.mean == pytest.approx(0.3)
    assert spread.deviation == pytest.approx(stdev([0.1, 0.2, 0.6]))
    assert Spread.of([0.1]).deviation != Spread.of([0.1]).deviation  # nan: one run has none


def test_ways_are_compared_and_a_stopped_comparison_reads_what_is_there(
    monkeypatch, capsys, tmp_path
):
    recipe = tmp_path / "tiny.toml"
    known = "losses = { silog = 1.0 }"
    lines = tiny_training.RECIPE.splitlines()
    recipe.write_text("\n".join(known if line.startswith("losses") else line for line in lines))
    ways = {
        "slow": Way(recipe=str(recipe), changes=("every_stage.learning_rate=1e-9",)),
        "quick": Way(recipe=str(recipe)),
    }
    monkeypatch.setattr(comparison, "WAYS", ways)
    monkeypatch.setattr(registry, "create", lambda name, **options: tiny_training.TinyDepth())
    cache = tiny_training.make_cache(tmp_path / "cache")

    def call(*words) -> tuple[int, str, str]:
        line = ("bench", "curriculum", "--out", tmp_path / "out", "--cache", cache, *words)
        monkeypatch.setattr(sys, "argv", ["colondepth", *map(str, line)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    code, first, notes = call("--network", "sfsnet_lite", "--seeds", 2)
    assert code == 0, notes
    assert (tmp_path / "out" / "curves.png").stat().st_size > 1000
    assert "2 seeds, 26 steps" in first
    rows = {line.split(" | ")[0]: line for line in first.splitlines() if "±" in line}
    assert rows.keys() == {"| slow", "| quick"}
    runs = comparison.compare(
        "sfsnet_lite", tmp_path / "out", ways=list(ways), seeds=[1, 2], cache=cache, threads=1
    )
    assert [(run.way, run.seed) for run in runs] == [
        ("slow", 1),
        ("quick", 1),
        ("slow", 2),
        ("quick", 2),
    ]
    slow, quick = (
        [run.last("abs_rel") for run in runs if run.way == name] for name in ("slow", "quick")
    )
    assert max(quick) < min(slow)
    assert call("--network", "sfsnet_lite", "--seeds", 2)[1] == first
    code, _, notes = call("--ways", "quik")
    assert code == 2
    assert "Did you mean 'quick'?" in notes
