"""The training loop: what it learns, when it stops, and what it leaves behind."""

import errno
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from math import inf, nan

import pytest
import tiny_training
import torch
from lightning_fabric import Fabric
from safetensors import safe_open
from torch.testing import assert_close

from colondepth.backbones.contract import Needs
from colondepth.console import InterruptedWorkError
from colondepth.errors import DataError, MissingExtraError, ShapeError
from colondepth.views import Prediction
from curriculum import checkpoints
from curriculum.cache import HELD_OUT_SEED, BatchCache
from curriculum.checkpoints import checkpoint_steps, read_checkpoint
from curriculum.errors import CurriculumError, TrainingStoppedError
from curriculum.learner import Learner
from curriculum.objective import objective
from curriculum.run_folder import begin, change_config, read_config, read_facts
from curriculum.run_log import read_rows
from curriculum.standing import Standing
from curriculum.supervised import Ways, require_fit, seeded, standing_of
from curriculum.validation import depth_scores, held_out, validate

SHORT = ("stage.1.steps=6", "stage.2.steps=4")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tiny_training.make_cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def done(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("done")
    follow = tiny_training.recipe("stage.1.steps=40", "stage.2.steps=20", "validate_every=15")
    return folder, tiny_training.go(folder, cache, follow=follow)


def at_step(step: int, act) -> Ways:
    def tick(standing, stage, figures):
        if standing.step == step:
            act()

    return Ways(tick=tick)


def weights_of(path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in list(file.keys())}, file.metadata()


def test_it_learns(done, cache):
    _, outcome = done
    untrained = seeded(tiny_training.TinyDepth, tiny_training.SEED)
    held = {"1": BatchCache(cache / "level-1_seed-2147483647_32x48x8")}
    before = validate(untrained, held, batches=1, device=torch.device("cpu"))
    assert outcome.scores["1"]["abs_rel"] < 0.7 * before["1"]["abs_rel"]
    assert outcome.scores["1"]["scaled_abs_rel"] < 0.7 * before["1"]["scaled_abs_rel"]


def test_the_terms_of_the_log_add_up_to_the_loss(done):
    folder, _ = done
    for row in read_rows(folder / "train.jsonl"):
        assert sum(row["terms"].values()) == pytest.approx(row["loss"], rel=1e-6)


def test_it_validates_on_time_and_at_the_end_of_a_stage(done):
    folder, outcome = done
    rows = read_rows(folder / "validation.jsonl")
    assert [row["step"] for row in rows] == [15, 30, 40, 45, 60]
    assert rows[-1]["scores"] == outcome.scores
    last = [row for row in rows if row["stage"] == rows[-1]["stage"]]
    best = min(last, key=lambda row: row["scores"]["1"]["abs_rel"])
    assert outcome.standing.best_step == best["step"]


def test_the_last_two_checkpoints_and_the_best_of_the_last_stage_are_kept(cache, tmp_path):
    scores = iter([0.5, 0.4, 0.6, 0.7, 0.8, 0.9])
    follow = tiny_training.recipe("stage.1.steps=20", "stage.2.steps=10")

    def score(prediction, batch):
        return {"abs_rel": torch.tensor([next(scores)])}

    outcome = tiny_training.go(tmp_path, cache, follow=follow, ways=Ways(score=score))
    assert outcome.standing.best_step == 25  # 0.4 was in the stage before
    assert checkpoint_steps(tmp_path / "checkpoints") == [25, 28, 30]


def test_the_weights_that_are_left_are_the_averaged_ones_of_the_best_step(done):
    folder, outcome = done
    best = outcome.standing.best_step
    checkpoint = read_checkpoint(folder / "checkpoints", best)
    tensors, metadata = weights_of(folder / "weights.safetensors")
    assert metadata["network"] == "tiny"
    assert metadata["step"] == str(best)
    for name, value in tensors.items():
        assert torch.equal(value, checkpoint.tensors[f"average.{name}"]), name
    tiny_training.TinyDepth().load_state_dict(tensors)


def test_a_step_moves_the_average_by_its_share_of_the_new_weights():
    network = seeded(tiny_training.TinyDepth, 1)
    learner = Learner(network, Fabric(accelerator="cpu", devices=1))
    stage = replace(tiny_training.recipe().stages[0], ema_decay=0.8)
    terms = objective({"log_depth": stage.losses["log_depth"]}, tiny_training.LOSSES.__getitem__)
    batch = tiny_training.tubes(1) | {"depth_mm": tiny_training.tubes(1)["distance_mm"]}
    before = learner.average.first.weight.clone()
    # At step 5 the average is young: its decay is 6 / 15, not 0.8.
    learner.step(batch, terms, stage, stage_step=5, step=5, seed=1)
    now = network.first.weight.detach()
    assert not torch.equal(now, before)
    assert_close(learner.average.first.weight, before + (now - before) * (1 - 6 / 15))


def test_the_gradient_is_clipped_and_its_norm_told():
    stage = tiny_training.recipe("stage.1.clip_norm=0.001").stages[0]
    terms = objective(stage.losses, tiny_training.LOSSES.__getitem__)
    batch = tiny_training.tubes(1) | {"depth_mm": tiny_training.tubes(1)["distance_mm"]}
    network = seeded(tiny_training.TinyDepth, 1)
    learner = Learner(network, Fabric(accelerator="cpu", devices=1))
    figures = learner.step(batch, terms, stage, stage_step=0, step=0, seed=1)
    left = torch.stack([each.grad.norm() for each in network.parameters()]).norm()
    assert figures.gradient_norm > 0.1
    assert left == pytest.approx(0.001, rel=1e-3)


def test_norms_and_biases_do_not_decay():
    network = seeded(tiny_training.TinyDepth, 1)
    learner = Learner(network, Fabric(accelerator="cpu", devices=1))
    stage = tiny_training.recipe(
        "stage.1.weight_decay=0.5", "stage.1.learning_rate=1.0", "stage.1.warm_up_steps=0"
    ).stages[0]
    batch = tiny_training.tubes(1) | {"depth_mm": tiny_training.tubes(1)["distance_mm"]}
    weight, bias = network.last.weight.clone(), network.last.bias.clone()

    def nothing(prediction, batch):
        return {"nothing": (prediction.depth_mm * 0).sum()}

    learner.step(batch, nothing, stage, stage_step=0, step=0, seed=1)
    assert_close(network.last.weight, weight * 0.5)
    assert torch.equal(network.last.bias, bias)


def test_a_stage_ends_early_when_validation_gains_nothing(cache, tmp_path):
    follow = tiny_training.recipe(
        "stage.1.patience=2", "stage.1.steps=100", "stage.2.steps=5", "validate_every=5"
    )
    flat = Ways(score=lambda prediction, batch: {"abs_rel": torch.ones(1)})
    outcome = tiny_training.go(tmp_path, cache, follow=follow, ways=flat)
    # The first validation, at step 5, is a gain; those at 10 and 15 are none.
    rows = read_rows(tmp_path / "train.jsonl")
    assert [row["stage"] for row in rows] == ["tubes"] * 15 + ["again"] * 5
    assert outcome.standing.used == {"1": 20}


def test_a_standing_comes_back_from_json():
    standing = Standing(step=7, stage=1, stage_step=2, used={"1": 5}, best_step=None)
    assert standing.best == inf
    assert Standing.from_table(json.loads(json.dumps(standing.table()))) == standing
    judged = standing.judged(0.3)
    assert Standing.from_table(json.loads(json.dumps(judged.table()))) == judged


def test_a_validation_that_gives_no_number_is_no_gain():
    standing = Standing(step=7, used={}).judged(nan)
    assert (standing.best, standing.best_step, standing.stage_waited) == (inf, None, 1)


def test_a_loss_without_a_number_stops_before_it_does_harm(cache, tmp_path):
    count = 0

    def breaks(prediction, batch):
        nonlocal count
        count += 1
        return prediction.depth_mm.mean() * (nan if count == 6 else 1)

    follow = tiny_training.recipe("stage.1.losses={breaks = 1.0}", *SHORT)
    losses = tiny_training.LOSSES | {"breaks": breaks}
    with pytest.raises(TrainingStoppedError) as error:
        tiny_training.go(tmp_path, cache, follow=follow, losses=losses)
    assert "the loss became nan at step 6, on a batch from '1'" in str(error.value)
    last = checkpoint_steps(tmp_path / "checkpoints")[-1]
    assert f"The last good checkpoint is that of step {last}" in str(error.value)
    good = read_checkpoint(tmp_path / "checkpoints", last)
    assert len(read_rows(tmp_path / "train.jsonl")) == 5
    assert all(value.isfinite().all() for value in good.tensors.values())


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(cache, tmp_path):
    ways = at_step(3, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(InterruptedWorkError, match=r"step 3 of 26; .* --resume"):
        tiny_training.go(tmp_path, cache, ways=ways)
    assert standing_of(tmp_path).step == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_full_disk_ends_it_and_the_checkpoint_before_still_stands(cache, tmp_path, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    ways = at_step(6, lambda: monkeypatch.setattr(checkpoints, "save_file", full))
    with pytest.raises(TrainingStoppedError) as error:
        tiny_training.go(tmp_path, cache, ways=ways)
    assert "No space left on device" in str(error.value)
    assert "--resume" in str(error.value)
    assert "that of step 5" in str(error.value)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-00000004.safetensors",
        "step-00000005.safetensors",
    ]


@pytest.mark.parametrize("harm", ["cut short", "one bit"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_offered(harm, cache, tmp_path):
    tiny_training.go(tmp_path, cache, follow=tiny_training.recipe(*SHORT))
    path = tmp_path / "checkpoints" / "step-00000010.safetensors"
    content = bytearray(path.read_bytes())
    if harm == "one bit":
        content[-5] ^= 1
    path.write_bytes(content if harm == "one bit" else content[:-9])
    with pytest.raises(CurriculumError, match=r"00000010.safetensors is damaged .* from step \d+"):
        tiny_training.go(tmp_path, cache, follow=tiny_training.recipe(*SHORT))
    path.unlink()
    tiny_training.go(tmp_path, cache, follow=tiny_training.recipe(*SHORT))
    assert checkpoint_steps(tmp_path / "checkpoints")[-1] == 10


def test_a_run_that_is_done_stays_as_it_is(done, cache):
    folder, outcome = done
    before = (folder / "train.jsonl").read_text()
    again = tiny_training.go(folder, cache, follow=read_config(folder))
    assert again.standing == outcome.standing
    assert (folder / "train.jsonl").read_text() == before


def test_a_folder_explains_itself_and_is_not_begun_twice(done):
    folder, _ = done
    facts = read_facts(folder)
    with pytest.raises(CurriculumError, match=r"holds a run; --resume"):
        begin(folder, facts, tiny_training.recipe())
    text = (folder / "README.txt").read_text()
    for path in folder.iterdir():
        if path.name != "README.txt":
            assert path.name in text, path.name


def test_what_a_run_has_been_through_cannot_change_and_what_comes_can(tmp_path):
    facts, old = tiny_training.facts(None), tiny_training.recipe()
    begin(tmp_path, facts, old)
    at = Standing(step=16, stage=1, stage_step=2, used={})

    def change(*changes: str, where: Standing = at) -> None:
        change_config(tmp_path, facts, old, tiny_training.recipe(*changes), at=where)

    with pytest.raises(CurriculumError, match=r"stage 1 'tubes' has begun .* steps cannot change"):
        change("stage.1.steps=15")
    with pytest.raises(CurriculumError, match="its batch cannot change"):
        change("stage.2.batch=4")
    with pytest.raises(CurriculumError, match="has taken 2 steps, more than the 1"):
        change("stage.2.steps=1")
    with pytest.raises(CurriculumError, match="network"):
        change("network.width=4")
    change("stage.2.steps=30")
    assert read_config(tmp_path) == tiny_training.recipe("stage.2.steps=30")
    change("stage.2.batch=4", where=replace(at, stage=0))
    change("stage.1.batch=4", where=Standing(used={}))


def test_a_network_or_loss_that_does_not_fit_is_refused_before_anything_begins():
    find = tiny_training.LOSSES.__getitem__

    class Pairs(tiny_training.TinyDepth):
        needs = Needs.PREVIOUS

    with pytest.raises(CurriculumError, match="needs 'image, previous'"):
        require_fit(Pairs(), tiny_training.recipe(), find)
    with pytest.raises(ShapeError, match="multiples of 4"):
        require_fit(tiny_training.TinyDepth(), tiny_training.recipe("stage.1.size=[32, 50]"), find)
    slip = tiny_training.recipe("stage.1.losses.magnitude.powr=1")
    with pytest.raises(CurriculumError, match="Did you mean 'power'"):
        require_fit(tiny_training.TinyDepth(), slip, find)


def test_a_checkpoint_of_another_network_is_refused(cache, tmp_path):
    tiny_training.go(tmp_path, cache, follow=tiny_training.recipe(*SHORT))
    learner = Learner(tiny_training.TinyDepth(width=4), Fabric(accelerator="cpu", devices=1))
    with pytest.raises(CurriculumError, match="is of another network"):
        learner.restore(read_checkpoint(tmp_path / "checkpoints", 10).tensors)


def test_the_seed_of_validation_is_no_seed_to_train_with(tmp_path):
    with pytest.raises(DataError, match="kept for validation"):
        held_out(
            tmp_path,
            ["1"],
            size=(32, 48),
            batches=1,
            seed=HELD_OUT_SEED,
            device="cpu",
            made_with={},
        )


def test_scores_of_depth_are_those_of_paper_and_pencil():
    true_mm = torch.tensor([10.0, 20, 40, 80, 0, 50]).reshape(1, 1, 2, 3).repeat(2, 1, 1, 1)
    found_mm = torch.tensor([12.0, 30, 40, 100, 7, 5]).reshape(1, 1, 2, 3).repeat(2, 1, 1, 1)
    found_mm[1] *= 2
    valid = torch.tensor([True, True, True, True, True, False]).reshape(1, 1, 2, 3)
    batch: Mapping[str, torch.Tensor] = {"depth_mm": true_mm, "valid": valid.repeat(2, 1, 1, 1)}
    scores = depth_scores(Prediction(depth_mm=found_mm), batch)
    # Ratios 1.2, 1.5, 1, 1.25: the last is not below 1.25. Medians (the lower of two) 20 and 30.
    assert_close(scores["delta_1"], torch.tensor([2 / 4, 0.0]))
    assert_close(scores["abs_rel"], torch.tensor([0.95 / 4, (1.4 + 2 + 1 + 1.5) / 4]))
    assert_close(scores["rmse_mm"][0], torch.tensor(((4 + 100 + 0 + 400) / 4) ** 0.5))
    scaled = torch.tensor([8 - 10.0, 0, 80 / 3 - 40, 200 / 3 - 80])
    for frame in range(2):
        assert_close(scores["scaled_rmse_mm"][frame], scaled.square().mean().sqrt())


def test_a_frame_without_truth_has_no_score():
    depth_mm = torch.rand(2, 1, 3, 4) + 1
    valid = torch.zeros(2, 1, 3, 4, dtype=torch.bool)
    valid[1] = True
    scores = depth_scores(Prediction(depth_mm=depth_mm), {"depth_mm": depth_mm, "valid": valid})
    assert scores["abs_rel"].isnan().tolist() == [True, False]
    assert scores["scaled_abs_rel"].isnan().tolist() == [True, False]


def test_tensorboard_that_is_not_installed_is_said_in_one_line(cache, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match="pip install tensorboard"):
        tiny_training.go(tmp_path, cache, ways=Ways(tensorboard=True))
