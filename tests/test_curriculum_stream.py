"""Caches, mixtures and makers: a step sees the same batch whoever makes it, and whenever."""

import json
from collections import Counter
from dataclasses import dataclass, replace

import pytest
import tiny_training
import torch
from scenes import cameras
from tiny_datasets import simcol3d
from torch.testing import assert_close

from colondepth.cameras import stack
from colondepth.errors import DataError
from colondepth.geometry import depth_from_distance
from curriculum.ahead import Maker, Order, Workshop, fitting_maker
from curriculum.cache import HELD_OUT_SEED, BatchCache, CacheKey, find_caches, write_cache
from curriculum.errors import CurriculumError
from curriculum.stages import Augmentation
from curriculum.stream import (
    CachedLevel,
    DatasetFolder,
    Mixture,
    RenderedLevel,
    Source,
    cached_batches,
    sources_for,
)

KEY = CacheKey(level="6", seed=4, size=(36, 48), batch=2)


def seen_through(lens: str, number: int):
    camera = cameras()[lens].to(torch.zeros((), dtype=torch.float32))
    generator = torch.Generator().manual_seed(number)
    normals = torch.randn(2, 3, 36, 48, generator=generator)
    return {
        "image": torch.rand(2, 3, 36, 48, generator=generator),
        "camera": stack([camera, replace(camera, centre=camera.centre + 0.7)]),
        "valid": torch.rand(2, 1, 36, 48, generator=generator) > 0.3,
        "distance_mm": 1 + 200 * torch.rand(2, 1, 36, 48, generator=generator),
        "normals": normals / normals.norm(dim=1, keepdim=True),
    }


@dataclass(frozen=True)
class Tubes(Source):
    """Batches that cost nothing; the number can be told from the picture."""

    words = "made up"
    fails_at: int = -1

    def open(self):
        def make(number):
            if number == self.fails_at:
                raise DataError(f"batch {number} cannot be made")
            return tiny_training.tubes(number)

        return make


def mixture(steps=100, sources=None, used=None) -> Mixture:
    stage = tiny_training.recipe(
        f"stage.1.steps={steps}", "stage.1.levels={1 = 0.2, 3 = 0.7, 5 = 0.1}"
    ).stages[0]
    sources = sources or dict.fromkeys(stage.levels, Tubes())
    return Mixture(stage, 0, sources=sources, seed=3, used=used or {})


@pytest.mark.parametrize("lens", ["brown", "fisheye", "omnidirectional"])
def test_a_cached_batch_is_the_rendered_one_but_for_rounding(lens, tmp_path):
    parts = ("image", "valid", "distance_mm", "normals")
    made = [seen_through(lens, number) for number in range(4)]
    own = write_cache(
        tmp_path, KEY, made.__getitem__, batches=4, shard_batches=2, parts=parts, made_with={}
    )
    cache = BatchCache(own)
    assert (cache.key, len(cache)) == (KEY, 4)
    for number in (3, 0):
        found, true = cache[number], made[number]
        assert_close(found["image"], true["image"], atol=0.5 / 255 + 1e-6, rtol=0)
        assert_close(found["distance_mm"], true["distance_mm"], rtol=2**-11, atol=0)
        assert_close(found["normals"], true["normals"], atol=0.008, rtol=0)
        assert torch.equal(found["valid"], true["valid"])
        for part in ("linear", "centre"):
            assert torch.equal(getattr(found["camera"], part), getattr(true["camera"], part))
        depth_mm = depth_from_distance(true["distance_mm"], true["camera"])
        assert_close(found["depth_mm"], depth_mm, rtol=2**-10, atol=1e-5)


def test_a_cache_that_was_stopped_is_gone_on_with_and_can_grow(tmp_path):
    asked: list[int] = []

    def make(number: int):
        asked.append(number)
        if number == 5 and asked.count(5) == 1:
            raise RuntimeError("power cut")
        return seen_through("brown", number)

    def write(batches: int):
        return write_cache(tmp_path, KEY, make, batches=batches, shard_batches=2, made_with={})

    with pytest.raises(RuntimeError):
        write(6)
    own = write(6)
    assert asked == [0, 1, 2, 3, 4, 5, 4, 5]
    write(8)
    assert asked[8:] == [6, 7]
    write(4)
    assert len(BatchCache(own)) == 8
    with pytest.raises(DataError, match="has shard_batches 2, asked for were 4"):
        write_cache(tmp_path, KEY, make, batches=8, shard_batches=4, made_with={})
    parts = ("image", "distance_mm")
    with pytest.raises(DataError, match="has parts"):
        write_cache(tmp_path, KEY, make, batches=8, shard_batches=2, parts=parts, made_with={})


def test_a_shard_that_is_damaged_or_never_comes_is_named_with_its_cure(tmp_path):
    own = tiny_training.make_cache(tmp_path) / "level-1_seed-3_32x48x2"
    (own / "00000000.safetensors").write_bytes(b"cut short")
    (own / "00000004.safetensors").unlink()
    cache = BatchCache(own, patience_s=0.0)
    with pytest.raises(DataError, match=r"00000000.safetensors is damaged .* delete it"):
        cache[1]
    with pytest.raises(DataError, match=r"00000004.safetensors is not there, and no shard"):
        cache[5]
    (own / "index.json").write_text(json.dumps({"format": "else"}))
    with pytest.raises(DataError, match="is not the index of a cache"):
        BatchCache(own)


def test_nothing_is_trained_on_what_is_held_out(tmp_path):
    key = CacheKey(level="1", seed=HELD_OUT_SEED, size=(32, 48), batch=2)
    write_cache(tmp_path, key, tiny_training.tubes, batches=2, shard_batches=2, made_with={})
    with pytest.raises(DataError, match="has no cache"):
        find_caches(tmp_path)


def test_a_cache_is_used_once_in_order_and_then_in_another_each_round(tmp_path):
    own = tiny_training.make_cache(tmp_path) / "level-1_seed-3_32x48x2"
    make = CachedLevel(folder=own, batches=8, seed=2).open()
    cache = BatchCache(own)
    images = [cache[number]["image"] for number in range(8)]

    def which(number: int) -> int:
        image = make(number)["image"]
        return next(k for k, other in enumerate(images) if torch.equal(image, other))

    rounds = [[which(8 * turn + k) for k in range(8)] for turn in range(3)]
    assert rounds[0] == list(range(8))
    assert rounds[1] != rounds[0] != rounds[2] != rounds[1]
    assert all(sorted(each) == rounds[0] for each in rounds)
    assert [which(k) for k in (9, 2, 17)] == [rounds[1][1], rounds[0][2], rounds[2][1]]


def test_a_run_uses_the_batches_that_it_began_with_however_a_cache_grows(tmp_path):
    own = tiny_training.make_cache(tmp_path) / "level-1_seed-3_32x48x2"
    stage = tiny_training.recipe().stages[0]
    found = sources_for(stage, seed=77, device="cpu", caches={str(own): 4})["1"]
    assert found == CachedLevel(folder=own, batches=4, seed=77)
    with pytest.raises(DataError, match="has 8 batches, this run began with 16"):
        CachedLevel(folder=own, batches=16, seed=1).open()


def test_a_level_without_a_cache_of_its_size_is_rendered(tmp_path):
    caches = cached_batches(tiny_training.make_cache(tmp_path))
    other = tiny_training.recipe("stage.1.size=[64, 48]").stages[0]
    found = sources_for(other, seed=3, device="cpu", caches=caches)["1"]
    key = CacheKey(level="1", seed=3, size=(64, 48), batch=2)
    assert found == RenderedLevel(key=key, device="cpu")
    assert fitting_maker([found]) is Maker.PROCESS
    assert fitting_maker([RenderedLevel(key=key, device="cuda")]) is Maker.INLINE
    assert fitting_maker([Tubes()]) is Maker.THREAD


def test_each_size_of_a_level_is_a_source_of_its_own(tmp_path):
    caches = cached_batches(tiny_training.make_cache(tmp_path))
    stage = tiny_training.recipe("stage.1.other_sizes={64x48x4 = 0.25}").stages[0]
    found = sources_for(stage, seed=3, device="cpu", caches=caches)
    assert isinstance(found["1"], CachedLevel)
    key = CacheKey(level="1", seed=3, size=(64, 48), batch=4)
    assert found["1 at 64x48x4"] == RenderedLevel(key=key, device="cpu")
    whole = Mixture(stage, 0, sources=dict.fromkeys(found, Tubes()), seed=3, used={})
    counts = Counter(whole.place(index)[0] for index in range(4000))
    assert abs(counts["1"] - 3000) < 4 * (4000 * 0.25 * 0.75) ** 0.5
    assert counts.total() == 4000


def test_a_mixture_keeps_its_shares_and_uses_each_source_in_order():
    whole = mixture()
    drawn = [whole.place(index) for index in range(4000)]
    counts = Counter(name for name, _ in drawn)
    for name, share in {"1": 0.2, "3": 0.7, "5": 0.1}.items():
        sigma = (4000 * share * (1 - share)) ** 0.5
        assert abs(counts[name] - 4000 * share) < 4 * sigma
        assert [number for other, number in drawn if other == name] == list(range(counts[name]))


def test_where_a_batch_comes_from_does_not_depend_on_who_asked_before_or_how_long_it_lasts():
    whole = mixture()
    drawn = [whole.place(index) for index in range(50)]
    assert mixture(steps=7).place(49) == drawn[49]
    late = mixture()
    assert [late.place(index) for index in (30, 3, 49)] == [drawn[k] for k in (30, 3, 49)]


def test_the_next_stage_goes_on_where_a_source_was_left():
    first = mixture()
    first.place(90)  # batches that were made ahead of the end do not count
    used = first.used(40)
    assert sum(used.values()) == 40
    following = mixture(used=used)
    firsts: dict[str, int] = {}
    for index in range(40):
        name, number = following.place(index)
        firsts.setdefault(name, number)
    assert firsts == used


@pytest.fixture(scope="module")
def other_process():
    with Workshop(Maker.PROCESS) as workshop:
        yield workshop


def order(**changes) -> Order:
    augmentation = Augmentation(gain=0.4, noise=0.03, flip_across=True, quarter_turns=True)
    made = mixture(sources=dict.fromkeys(("1", "3", "5"), Tubes(**changes)))
    return Order(made, augmentation, seed=3, stage_number=1)


@pytest.mark.parametrize("maker", [Maker.THREAD, Maker.PROCESS])
def test_whoever_makes_batches_makes_the_same(maker, other_process):
    expected = list(Workshop(Maker.INLINE).batches(order(), range(2, 9)))
    assert len({len(each["image"][0, 0]) for each in expected}) == 2  # some are turned
    workshop = other_process if maker is Maker.PROCESS else Workshop(maker)
    for batch in workshop.batches(order(), range(20)):  # left in the middle
        del batch
        break
    found = list(workshop.batches(order(), range(2, 9)))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one["source"] == other["source"]
        for name in ("image", "valid", "distance_mm"):
            assert torch.equal(one[name], other[name]), name
        assert torch.equal(one["camera"].linear, other["camera"].linear)


@pytest.mark.parametrize("maker", list(Maker))
def test_an_error_is_raised_where_its_batch_is_used(maker, other_process):
    workshop = other_process if maker is Maker.PROCESS else Workshop(maker)
    bad = next(index for index in range(60) if order().mixture.place(index)[1] == 2)
    batches = workshop.batches(order(fails_at=2), range(60))
    assert [len(next(batches)["image"]) for _ in range(bad)] == [2] * bad
    with pytest.raises(DataError, match="batch 2 cannot be made"):
        next(batches)
    assert len(list(workshop.batches(order(), range(3)))) == 3


def test_views_of_a_dataset_are_resized_and_made_again_by_number(tmp_path):
    simcol3d(tmp_path)
    source = DatasetFolder(path=tmp_path, size=(24, 32), batch=3, seed=1)
    make = source.open()
    batch = make(5)
    assert batch["image"].shape == (3, 3, 24, 32)
    assert (batch["camera"].height, batch["camera"].batch) == (24, (3,))
    assert batch["valid"].dtype == torch.bool
    assert torch.equal(source.open()(5)["depth_mm"], batch["depth_mm"])
    assert any(not torch.equal(make(k)["depth_mm"], batch["depth_mm"]) for k in range(5))


def test_a_folder_cannot_be_called_like_a_level():
    stage = tiny_training.recipe("stage.1.levels={1 = 0.5}", 'stage.1.folders={"1" = 0.5}').stages[
        0
    ]
    with pytest.raises(CurriculumError, match=r"write \./1"):
        sources_for(stage, seed=1, device="cpu", caches={})
