"""Recipes: read strictly, changed, written back."""

from math import cos, pi

import pytest
import tiny_training

from colondepth.errors import UnknownNameError
from curriculum.errors import CurriculumError
from curriculum.recipe_files import parse_recipe, read_recipe, recipe_names, recipe_text
from curriculum.stages import LossTerm, Schedule

CLIMBERS = ["sfsnet", "sfsnet_lite"]


@pytest.fixture(params=recipe_names())
def packaged(request):
    return read_recipe(request.param)


def test_a_recipe_of_the_package_written_back_reads_as_the_same(packaged):
    assert parse_recipe(recipe_text(packaged), where="copy") == packaged


def test_what_toml_must_quote_is_written_back_too():
    changes = [
        'stage.1.levels={"1"=0.5}',
        'stage.1.folders={"a b/c.d\\\\e"=0.5}',
        "network.width=4",
    ]
    recipe = tiny_training.recipe(*changes)
    assert recipe.stages[0].folders == {"a b/c.d\\e": 0.5}
    assert parse_recipe(recipe_text(recipe), where="copy") == recipe


def test_every_level_and_folder_of_a_stage_comes_in_all_of_its_sizes():
    change = "stage.1.other_sizes={64x48x4 = 0.25, 16x32x1 = 0.5}"
    recipe = tiny_training.recipe(
        change, "stage.1.levels={1 = 0.6, 3 = 0.2}", "stage.1.folders={clips = 0.2}"
    )
    assert parse_recipe(recipe_text(recipe), where="copy") == recipe
    stage = recipe.stages[0]
    shares = {(draw.origin, draw.size, draw.batch): draw.share for draw in stage.draws}
    parts = {((32, 48), 2): 0.25, ((64, 48), 4): 0.25, ((16, 32), 1): 0.5}
    origins = {"1": 0.6, "3": 0.2, "clips": 0.2}
    assert shares == pytest.approx(
        {(o, *shape): a * b for o, a in origins.items() for shape, b in parts.items()}
    )
    assert stage.views_a_step == pytest.approx(0.25 * 2 + 0.25 * 4 + 0.5 * 1)
    # A run goes on by these names: the main size's must not change when others come and go.
    assert [draw.name for draw in stage.draws][:4] == ["1", "3", "clips", "1 at 64x48x4"]
    assert stage.shapes_text == "2 views of 32x48 (25%: 4 of 64x48, 50%: 1 of 16x32)"


@pytest.mark.parametrize("name", CLIMBERS)
def test_a_curriculum_climbs_and_keeps_a_share_of_earlier_levels(name):
    stages = read_recipe(name).stages
    for number, stage in enumerate(stages[:6], start=1):
        assert max(stage.levels, key=stage.levels.__getitem__) == str(number)
        assert number == 1 or str(number - 1) in stage.levels
    assert len(stages) > 6
    assert all({"5", "6", "randomised"} <= set(stage.levels) for stage in stages[6:])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "stage.2.stepz=3",
            "tiny, stage 2 'again': no key is called 'stepz'. Did you mean 'steps'?",
        ),
        ("stage.2.steps=3.5", "tiny, stage 2 'again': steps is 3.5, expected a whole number"),
        ("stage.2.steps=true", "steps is True, expected a whole number"),
        ("stage.2.steps=0", "steps is 0, expected 1 or more"),
        ("stage.agian.steps=3", "no stage is called 'agian'. Did you mean 'again'?"),
        ("stage.3.steps=3", "no stage is called '3'"),
        ("stage.2=3", "after 'stage' come its number or name, and a key"),
        ("validate_evry=3", "no key is called 'validate_evry'. Did you mean 'validate_every'?"),
        ("stage.1.levels={7 = 1.0}", "no level is called '7'"),
        ("stage.1.levels={1 = 0.7}", "add up to 1; they add up to 0.7"),
        ("stage.1.schedule=cosin", "schedule is 'cosin', expected 'cosine' or 'constant'"),
        ("stage.1.augmentation={gian = 1}", "no key is called 'gian'. Did you mean 'gain'?"),
        ("stage.1.augmentation.flip_down=1", "flip_down is 1, expected true or false"),
        ("stage.1.losses={log_depth = -1}", "losses.log_depth: weight is -1.0"),
        ("stage.1.losses={log_depth = {power = 2}}", "keys ['weight'] are missing"),
        ("stage.1.size=[8, 48]", "expected [height, width] of 16 pixels or more"),
        ("stage.1.other_sizes={64x48 = 0.5}", "a table such as { 256x320x4 = 0.25 }"),
        ("stage.1.other_sizes={8x48x2 = 0.5}", "size is [8, 48], expected [height, width] of 16"),
        ("stage.1.other_sizes={64x48x2 = 1.5}", "shares of 0 or more that add up to at most 1"),
        ("stage.1.other_sizes={64x48x0 = 0.5}", "expected batches of 1 or more"),
        ("stage.1.other_sizes={32x48x2 = 0.5}", "size and batch of the stage itself"),
        ("stage.1.name=again", "two stages are called 'again'"),
        ("steps", "is not PATH=VALUE"),
    ],
)
def test_a_slip_is_answered_with_its_place_and_the_nearest_right_word(change, words):
    with pytest.raises(CurriculumError) as error:
        tiny_training.recipe(change)
    assert words in str(error.value)


def test_a_recipe_that_lacks_a_key_says_which():
    with pytest.raises(CurriculumError, match=r"stage 1 'tubes': keys \['batch'\] are missing"):
        parse_recipe(tiny_training.RECIPE.replace("batch = 2\n", ""), where="tiny")


def test_a_recipe_that_nobody_knows_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'sfsnet_lite'"):
        read_recipe("sfsnet_light")
    with pytest.raises(CurriculumError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")


def test_a_change_touches_its_own_stage_alone():
    plain = tiny_training.recipe()
    changed = tiny_training.recipe("stage.2.steps=99", "stage.again.losses.magnitude.weight=0.5")
    assert changed.stages[0] == plain.stages[0]
    assert changed.stages[1].steps == 99
    # What a stage has from [every_stage] is changed in the stage, and the rest of it stays.
    assert changed.stages[1].losses == {
        "log_depth": LossTerm(weight=1.0),
        "magnitude": LossTerm(weight=0.5, options={"power": 2.0}),
    }
    assert plain.stages[1].losses["magnitude"].weight == 0.01


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    stage = tiny_training.recipe("stage.1.steps=22", "stage.1.final_share=0.25").stages[0]
    assert stage.warm_up_steps == 2
    rates = [stage.learning_rate_at(step) / stage.learning_rate for step in range(22)]
    assert rates[:2] == pytest.approx([1 / 3, 2 / 3])
    falling = [0.25 + 0.75 * (1 + cos(pi * step / 20)) / 2 for step in range(20)]
    assert rates[2:] == pytest.approx(falling)


def test_a_constant_learning_rate_stays():
    stage = tiny_training.recipe().stages[1]
    assert stage.schedule is Schedule.CONSTANT
    assert {stage.learning_rate_at(step) for step in range(2, 12)} == {0.01}
