"""Functions compiled ahead of time do what they do uncompiled, and are found again."""

import subprocess
import sys
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from synthetic_colons import kernels
from synthetic_colons.kernel_samples import KERNELS, sample_calls


class Ends(NamedTuple):
    near: tuple[Tensor, Tensor]
    far: Tensor


@dataclass(frozen=True)
class Table:
    values: Tensor
    columns: int


def both_ends(table: Table, length: Tensor) -> Ends:
    first = table.values[: table.columns].sum() * length
    return Ends((first, -first), length + 1)


@pytest.fixture(scope="module")
def calls():
    return sample_calls()


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("COLONDEPTH_CACHE", str(tmp_path))
    monkeypatch.setenv("COLONDEPTH_COMPILE", "1")
    monkeypatch.setattr(kernels, "can_compile", lambda: True)
    kernels._run.cache_clear()
    yield tmp_path
    kernels._run.cache_clear()


def test_the_samples_call_every_kernel(calls):
    assert set(KERNELS) <= set(calls)
    assert "ground_truth.flow_through_fisheye" in calls


def test_no_axis_of_the_samples_is_so_short_that_it_would_be_compiled_to_stay_so(calls):
    for name, (_, arguments) in calls.items():
        lengths = [tensor.shape[-1] for tensor in kernels._tensors(arguments) if tensor.ndim]
        assert min(lengths) > 1, name


def test_tensors_leave_nested_arguments_and_come_back_in_order():
    table = Table(torch.arange(3.0), 2)
    flat = list(kernels._tensors((table, (torch.ones(1), torch.zeros(2)))))
    assert [len(each) for each in flat] == [3, 1, 2]
    again = kernels._refilled((table, (flat[1], flat[2])), iter(each + 1 for each in flat))
    assert again[0].columns == 2
    torch.testing.assert_close(again[0].values, table.values + 1)
    torch.testing.assert_close(again[1][1], torch.ones(2))


def test_a_result_takes_the_shape_of_its_annotation():
    ends = kernels._shaped(Ends, iter([torch.zeros(1), torch.ones(2), torch.ones(3)]))
    assert isinstance(ends, Ends)
    assert [len(each) for each in (*ends.near, ends.far)] == [1, 2, 3]


def test_a_kernel_belongs_elsewhere_after_a_change_to_what_it_stands_on(monkeypatch, own_cache):
    before = kernels._package_of("marching.approach")
    assert kernels._package_of("marching.approach") == before
    assert before.is_relative_to(own_cache)
    assert kernels._package_of("marching.stride") != before
    monkeypatch.setattr(kernels, "_machine", lambda: ("another",))
    assert kernels._package_of("marching.approach") != before


def test_sources_follow_imports_to_the_tables_that_a_kernel_reads(monkeypatch, tmp_path):
    own, below = tmp_path / "synthetic_colons", tmp_path / "colondepth" / "lenses"
    for path, text in (
        (own / "kernels.py", ""),
        (own / "kernel_samples.py", ""),
        (own / "a.py", "from synthetic_colons.b import c"),
        (own / "b.py", "from colondepth.lenses import z"),
        (own / "d.py", "y = 1"),
        (below / "__init__.py", "z = 1"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(kernels, "__file__", str(own / "kernels.py"))

    def digest(module):
        kernels._sources.cache_clear()
        return kernels._sources(module)

    before = digest("a")
    (own / "d.py").write_text("y = 2")
    assert digest("a") == before
    (own / "b.py").write_text("from colondepth.lenses import z, w")
    changed = digest("a")
    assert changed != before
    (below / "__init__.py").write_text("z = 2")
    assert digest("a") not in (before, changed)
    kernels._sources.cache_clear()


def test_what_cannot_be_compiled_runs_as_it_is_and_says_why(monkeypatch, own_cache):
    monkeypatch.setattr(kernels, "_build_in_a_process", lambda names: f"{names[0]}: no space left")
    kernel = kernels.compiled(both_ends)
    table = Table(torch.arange(3.0), 2)
    # the device is asked of the first argument, as all kernels give a tensor first
    with pytest.warns(UserWarning, match="no space left"):
        run = kernels._ahead_of_time(both_ends)
    torch.testing.assert_close(run(table, torch.ones(2)).far, torch.full((2,), 2.0))
    assert kernel is not both_ends


def test_without_a_compiler_nothing_is_missing(monkeypatch):
    monkeypatch.setenv("COLONDEPTH_COMPILE", "0")
    assert kernels.missing_kernels() == ()
    assert kernels.compiled(both_ends) is both_ends


@pytest.mark.slow
def test_light_of_several_lamps_is_added_up_channel_by_channel(calls, own_cache):
    # In the sample there is no light before the first lamp: one tensor stands for all channels.
    name = "shading.shade"
    function, arguments = calls[name]
    before = arguments[-1]
    assert before.diffuse[0] is before.film[2]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "synthetic_colons.kernel_samples", name],
        check=True,
        capture_output=True,
    )
    kernel = kernels._ahead_of_time(function)
    generator = torch.Generator().manual_seed(0)
    lit = kernels._refilled(
        before,
        iter(torch.rand(each.shape, generator=generator) for each in kernels._tensors(before)),
    )
    expected = function(*arguments[:-1], lit)
    found = kernel(*arguments[:-1], lit)
    for own, other in zip(kernels._tensors(found), kernels._tensors(expected), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_kernel_gives_what_the_function_gives_for_any_length(calls, own_cache):
    name = "ground_truth.flow_through_pinhole"
    function, arguments = calls[name]
    assert not all(each.is_contiguous() for each in kernels._tensors(arguments))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "synthetic_colons.kernel_samples", name],
        check=True,
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    kernel = kernels._ahead_of_time(function)
    rays = len(arguments[0].length)
    for times in (1, 3):
        own = kernels._refilled(
            arguments,
            iter(
                torch.cat([each] * times, dim=-1) if each.shape[-1] == rays else each
                for each in kernels._tensors(arguments)
            ),
        )
        found, wanted = kernel(*own), function(*own)
        assert wanted.known.float().mean() > 0.2
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
