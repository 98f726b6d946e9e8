"""Functions of flat lists of rays, compiled once for this machine and kept on disk.

On a CPU each is compiled ahead of time: it loads in milliseconds, and a call costs half of what
`torch.compile` asks for its checks. On a GPU `torch.compile` does it when it is first used.
Without a C++ compiler, or with COLONDEPTH_COMPILE=0, the same functions run as they are, some six
times slower.

A kernel takes tensors whose last axis may have any length, in nested tuples and dataclasses, and
returns what its annotation says. Tensors are contiguous, and of the kinds of `kernel_samples`.
"""

import ast
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints
from unittest.mock import patch
from warnings import warn

import torch
from torch import Tensor, nn

# gcc's third level takes three times as long and makes nothing faster: loops are vectors already.
_LEVEL = "O2"
_OPTIONS = {
    "assert_indirect_indexing": False,
    "cpp.dynamic_threads": True,  # as many threads as torch has when it runs
    "cpp.vec_isa_ok": True,  # compilers of this decade know the vectors; to ask them takes 8 s
    "aot_inductor.compile_wrapper_opt_level": "O0",  # it calls the loop, nothing else
}
_PACKAGE = "synthetic_colons"


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function compiled for wherever its tensors are, or as it is."""
    return _run(function) if can_compile() else function


def can_compile() -> bool:
    """Return whether kernels are compiled here."""
    if os.environ.get("COLONDEPTH_COMPILE", "1") == "0":
        return False
    return "CXX" in os.environ or _has_compiler()


@cache
def _has_compiler() -> bool:
    return torch.cuda.is_available() or shutil.which("g++") is not None


def kernels_folder() -> Path:
    """Return where kernels are kept: COLONDEPTH_CACHE, or the user's own cache."""
    own = os.environ.get("COLONDEPTH_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return (Path(own) if own else base / "colondepth") / "kernels"


def missing_kernels() -> tuple[str, ...]:
    """Return which kernels of the CPU have yet to be compiled, such as "marching.approach"."""
    from synthetic_colons.kernel_samples import KERNELS

    if not can_compile():
        return ()
    return tuple(name for name in KERNELS if not _package_of(name).is_file())


def build_kernels(names: Sequence[str]) -> None:
    """Compile kernels of the CPU, in as many processes as there are cores."""
    kernels_folder().mkdir(parents=True, exist_ok=True)
    cores = min(os.cpu_count() or 1, len(names))
    with ThreadPoolExecutor(cores or 1) as pool:
        shares = [names[first::cores] for first in range(cores)]
        failed = [each for each in pool.map(_build_in_a_process, shares) if each]
    if failed:
        warn(
            f"a kernel cannot be compiled and runs some six times slower: {failed[0]}", stacklevel=2
        )


def build(name: str, arguments: tuple[Any, ...], function: Callable[..., Any]) -> None:
    """Compile one kernel for arguments like these, into its place."""
    # As they come when it runs: strides are compiled in. Each is a tensor of its own: of arguments
    # that are one tensor in the sample (no light yet, in all channels) one would be compiled, and
    # stand for the others when they differ.
    flat = tuple(tensor.contiguous().clone() for tensor in _tensors(arguments))
    dynamic = tuple({one.ndim - 1: torch.export.Dim.AUTO} if one.ndim else None for one in flat)
    program = torch.export.export(
        _Flat(function, arguments), (flat,), dynamic_shapes=(dynamic,), strict=False
    )
    target = _package_of(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unfinished-") as folder:
        with _second_level():
            made = torch._inductor.aoti_compile_and_package(
                program,
                package_path=str(Path(folder) / "kernel.pt2"),
                inductor_configs=dict(_OPTIONS),
            )
        Path(made).replace(target)


class _Flat(nn.Module):
    """A function of nested tensors as one of a flat tuple of tensors."""

    def __init__(self, function: Callable[..., Any], example: tuple[Any, ...]) -> None:
        super().__init__()
        self._function, self._example = function, example

    def forward(self, flat: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the function's tensors, one after the other."""
        return tuple(_tensors(self._function(*_refilled(self._example, iter(flat)))))


@cache
def _run(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that sends its tensors to the kernel of their device."""
    known: dict[str, Callable[..., Any]] = {}

    def run(*arguments: Any) -> Any:
        device = next(_tensors(arguments)).device.type
        if device not in known:
            known[device] = _ahead_of_time(function) if device == "cpu" else _just_in_time(function)
        return known[device](*arguments)

    return run


def _ahead_of_time(function: Callable[..., Any]) -> Callable[..., Any]:
    package = _package_of(name_of(function))
    if not package.is_file():
        build_kernels(tuple(dict.fromkeys((*missing_kernels(), name_of(function)))))
    if not package.is_file():
        return function
    with torch._inductor.config.patch({"cpp.vec_isa_ok": True}):
        kernel = torch._inductor.aoti_load_package(str(package)).loader
    result = get_type_hints(function)["return"]

    def run(*arguments: Any) -> Any:
        flat = [tensor.contiguous() for tensor in _tensors(arguments)]
        return _shaped(result, iter(kernel.run(flat)))

    return run


def _just_in_time(function: Callable[..., Any]) -> Callable[..., Any]:
    kernel = torch.compile(function, fullgraph=True, options={"assert_indirect_indexing": False})
    first = [True]

    def run(*arguments: Any) -> Any:
        if first[0]:
            for tensor in _tensors(arguments):
                torch._dynamo.maybe_mark_dynamic(tensor, tensor.ndim - 1)
            first[0] = False
        return kernel(*arguments)

    return run


@contextmanager
def _second_level() -> Iterator[None]:
    """Have kernels compiled at `_LEVEL`; torch has no setting for it, and always asks for O3."""
    from torch._inductor import cpp_builder

    name = "_get_optimization_cflags"
    asked = getattr(cpp_builder, name, None)
    if asked is None:  # a torch that does it otherwise: slower to compile, no slower to run
        yield
        return

    def flags(*arguments: Any, **options: Any) -> tuple[list[str], list[str]]:
        compiler, linker = asked(*arguments, **options)
        return [_LEVEL if flag == "O3" else flag for flag in compiler], linker

    with patch.object(cpp_builder, name, flags):
        yield


def _build_in_a_process(names: Sequence[str]) -> str:
    """Compile kernels one after the other; return what went wrong, or nothing."""
    command = [sys.executable, "-W", "ignore", "-m", f"{_PACKAGE}.kernel_samples", *names]
    # One thread each: there are as many processes as cores.
    alone = os.environ | {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=alone)
    if done.returncode == 0:
        return ""
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return f"{', '.join(names)}: {last[0]}"


def _package_of(name: str) -> Path:
    """Return where a kernel belongs; another place after any change to what it is made of."""
    module = name.partition(".")[0]
    digest = hashlib.sha256(repr((_machine(), _LEVEL, _OPTIONS, _sources(module))).encode())
    return kernels_folder() / f"{name}-{digest.hexdigest()[:20]}.pt2"


@cache
def _machine() -> tuple[str, ...]:
    processor = platform.processor()
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        lines = listed.read_text(encoding="utf-8", errors="replace").splitlines()
        processor = "".join(
            sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
        )
    return torch.__version__, platform.machine(), processor, os.environ.get("CXX", "g++")


@cache
def _sources(module: str) -> str:
    """Return a digest of a module of this package and of all those of ours that it stands on."""
    root = Path(__file__).parent.parent
    samples = f"{_PACKAGE}.kernel_samples"
    found: dict[str, bytes] = {}
    left = [f"{_PACKAGE}.{module}", f"{_PACKAGE}.kernels", samples]
    while left:
        name = left.pop()
        path = root.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name in found or not path.is_file():
            continue
        found[name] = path.read_bytes()
        if name == samples:
            continue  # it makes examples; what it imports is no part of a kernel
        for node in ast.walk(ast.parse(found[name])):
            source = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if source.startswith((f"{_PACKAGE}.", "colondepth.")):
                left.append(source)
    whole = hashlib.sha256()
    for name in sorted(found):
        whole.update(found[name])
    return whole.hexdigest()


def name_of(function: Callable[..., Any]) -> str:
    """Return what a kernel is called, such as "marching.approach"."""
    return f"{function.__module__.removeprefix(f'{_PACKAGE}.')}.{function.__name__}"


def _tensors(value: Any) -> Iterator[Tensor]:
    """Give every tensor in nested tuples and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _tensors(each)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))


def _refilled(value: Any, tensors: Iterator[Tensor]) -> Any:
    """Return a copy of nested tuples and dataclasses with other tensors."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, tuple):
        parts = [_refilled(each, tensors) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if is_dataclass(value) and not isinstance(value, type):
        own = {each.name: _refilled(getattr(value, each.name), tensors) for each in fields(value)}
        return type(value)(**own)
    return value


def _shaped(wanted: Any, tensors: Iterator[Tensor]) -> Any:
    """Return tensors in the tuples that a type describes."""
    if wanted is Tensor:
        return next(tensors)
    if hasattr(wanted, "_fields"):
        hints = _hints(wanted)
        return wanted(*(_shaped(hints[name], tensors) for name in wanted._fields))
    return tuple(_shaped(each, tensors) for each in get_args(wanted))


@cache
def _hints(wanted: Any) -> dict[str, Any]:
    return get_type_hints(wanted)
