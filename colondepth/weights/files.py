"""Files of weights: safetensors, half the size of what is in memory, with where they come from.

Kernels are stored in float16 and everything of one axis or none - norms, biases, the temperature -
in float32. The header names the network, the options it is built with, the commit, the seed and
the recipe. Nothing is loaded in part: a name or a shape that differs is an error.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from colondepth.atomic import written_whole
from colondepth.backbones.contract import Backbone
from colondepth.backbones.registry import create
from colondepth.errors import DataError, UnknownNameError
from colondepth.weights import FOLDER, shipped

MOST_BYTES = 16 * 2**20  # what comes in the package stays small enough for a repository
_FORMAT = "colondepth weights 1"
_NAMED = 4  # how many of the tensors that differ are named in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a file of weights says about itself."""

    backbone: str  # its registered name
    options: Mapping[str, Any]  # what `create` is called with
    commit: str
    seed: int
    recipe: str
    temperature: float  # of the standard deviations; 1 where they were not calibrated


def save_weights(
    network: Backbone,
    path: Path | str,
    *,
    backbone: str,
    options: Mapping[str, Any],
    commit: str,
    seed: int,
    recipe: str,
    most_bytes: int = MOST_BYTES,
) -> Origin:
    """Write the weights of a network, whole or not at all, and return what the header says.

    Args:
        network: must have the tensors that `create(backbone, **options)` has.
        path: ends in ".safetensors".
        backbone: the registered name.
        options: numbers, words and truths that JSON can hold.
        commit: of the code that trained it.
        seed: of the run.
        recipe: name of the recipe, or how it was trained in a few words.
        most_bytes: refuse a larger file; the default is the limit for weights that are shipped.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise DataError(f"{path} is to hold weights, expected a name that ends in .safetensors")
    with torch.device("meta"):  # shapes without numbers
        promised = create(backbone, **options)
    _require_same(network.state_dict(), promised, f"the network to save as {backbone!r}")
    state = {name: _small(name, value) for name, value in network.state_dict().items()}
    size = sum(value.numel() * value.element_size() for value in state.values())
    if size > most_bytes:
        raise DataError(
            f"the weights of {backbone!r} take {size / 2**20:.1f} MiB, expected at most"
            f" {most_bytes / 2**20:.1f}; pass most_bytes for a file that is not to be shipped"
        )
    origin = Origin(
        backbone=backbone,
        options=dict(options),
        commit=commit,
        seed=seed,
        recipe=recipe,
        temperature=float(state.get("temperature", torch.tensor(1.0))),
    )
    with written_whole(path) as temporary:
        save_file(state, temporary, metadata=_as_words(origin))
    return origin


def load_weights(network: Backbone, source: Path | str) -> Origin:
    """Put the weights of a file into a network, in the network's own precision.

    Args:
        network: as `create` made it; it is changed only if the whole file fits.
        source: a file, or the name of weights that come in the package.
    """
    path = found(source)
    origin, state = _read(path, with_tensors=True)
    options = ", ".join(f"{name}={value!r}" for name, value in origin.options.items())
    made = f"create({origin.backbone!r}{', ' + options if options else ''})"
    _require_same(state, network, f"{path}, made for {made},")
    network.load_state_dict(state, strict=True)  # copies into float32, or whatever is there
    return origin


def read_origin(source: Path | str) -> Origin:
    """Return what a file of weights, or weights of the package by name, say about themselves."""
    return _read(found(source), with_tensors=False)[0]


def found(source: Path | str) -> Path:
    """Return the file that a path or the name of shipped weights means; shipped ones are checked.

    A word without a folder and a suffix is a name, anything else a path.
    """
    path = Path(source)
    ours = {weights.path.stem: weights for weights in shipped()}
    if path.parent == Path() and not path.suffix:
        if path.name not in ours:
            close = get_close_matches(path.name, ours, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            known = ", ".join(sorted(ours)) or "none in this version"
            raise UnknownNameError(
                f"no weights called {path.name!r} come with colondepth.{hint} Known: {known};"
                " a file of your own is named with its suffix"
            )
        path = ours[path.name].path
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {state}; expected a file of weights")
    if path.resolve().parent == FOLDER.resolve() and path.stem in ours:
        ours[path.stem].check()
    return path


def _read(path: Path, *, with_tensors: bool) -> tuple[Origin, dict[str, Tensor]]:
    """Return the header and, if asked for, the tensors, all finite."""
    try:
        with safe_open(path, framework="pt") as file:
            words = file.metadata() or {}
            names = file.keys() if with_tensors else []
            state = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as safetensors ({error}); it is damaged or something else:"
            " fetch it again, or write it with colondepth.weights.files.save_weights"
        ) from error
    for name, value in state.items():
        if not bool(value.isfinite().all()):
            raise DataError(f"{path}: {name} holds NaN or infinity; it is damaged, fetch it again")
    return _from_words(words, path), state


def _as_words(origin: Origin) -> dict[str, str]:
    """Return what safetensors can hold in its header: words only."""
    try:
        options = json.dumps(origin.options, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the options {origin.options} cannot be written as JSON: {error}; expected numbers,"
            " words and truths"
        ) from error
    return {
        "format": _FORMAT,
        "backbone": origin.backbone,
        "options": options,
        "commit": origin.commit,
        "seed": str(origin.seed),
        "recipe": origin.recipe,
        "temperature": repr(origin.temperature),
    }


def _from_words(words: Mapping[str, str], path: Path) -> Origin:
    if words.get("format") != _FORMAT:
        raise DataError(
            f"{path} holds tensors, but its header does not say {_FORMAT!r}, so that nobody knows"
            " for which network; write it with colondepth.weights.files.save_weights"
        )
    try:
        return Origin(
            backbone=words["backbone"],
            options=dict(json.loads(words["options"])),
            commit=words["commit"],
            seed=int(words["seed"]),
            recipe=words["recipe"],
            temperature=float(words["temperature"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the header of {path} lacks or garbles a part: {error}; fetch the file again"
        ) from error


def _small(name: str, value: Tensor) -> Tensor:
    """Return a tensor as it is stored: kernels in half, the rest as they are."""
    if not bool(value.isfinite().all()):
        raise DataError(f"{name} holds NaN or infinity; training went wrong before this was saved")
    value = value.detach().cpu()
    if value.is_floating_point():
        half = value.to(torch.float16)
        fits = value.ndim > 1 and bool(half.isfinite().all())
        value = half if fits else value.to(torch.float32)
    return value.contiguous()


def _require_same(state: Mapping[str, Tensor], network: nn.Module, what: str) -> None:
    """Raise one error that names the tensors which `network` has otherwise."""
    expected = network.state_dict()
    lacking = [name for name in expected if name not in state]
    strange = [name for name in state if name not in expected]
    misshapen = [
        f"{name} {tuple(state[name].shape)} for {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    faults = [
        f"{word} {_some(names)}"
        for word, names in (("lacks", lacking), ("adds", strange), ("has", misshapen))
        if names
    ]
    if faults:
        raise DataError(
            f"{what} does not fit this {type(network).__name__}: it {'; it '.join(faults)}. Build"
            " the network with the name and the options that its weights were made for"
        )


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
