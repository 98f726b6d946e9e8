"""Recipes as TOML: read strictly, changed by `--set`, written back.

    validate_every = 500            # and the other keys of `stages.Recipe`
    [network]                       # options of the network, if any
    [every_stage]                   # what holds for each stage that does not say otherwise
    [[stage]]                       # one table a stage, in order

A stage's own key takes the place of the one of `every_stage`, whole tables included. Then every
stage has exactly the keys of `stages.Stage`. A loss is a weight, or a table of `weight` and
options.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from colondepth.errors import UnknownNameError
from curriculum.errors import CurriculumError, unknown
from curriculum.stages import Augmentation, LossTerm, Precision, Recipe, Schedule, Stage

Table = dict[str, Any]
_Made = TypeVar("_Made")
_SIZE_KEY = re.compile(r"([0-9]{1,6})x([0-9]{1,6})x([0-9]{1,6})")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_COMMON, _STAGES = "every_stage", "stage"


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
    found = (entry.name for entry in files("curriculum").joinpath("recipes").iterdir())
    return tuple(sorted(name[: -len(".toml")] for name in found if name.endswith(".toml")))


def read_recipe(name_or_file: str | Path, *, changes: Iterable[str] = ()) -> Recipe:
    """Read a recipe of the package by its name, or a file.

    Args:
        name_or_file: what ends in .toml or has a folder before it is a file.
        changes: as in "stage.3.steps=2000"; see `changed`.
    """
    text = str(name_or_file)
    if text.endswith(".toml") or Path(text).name != text:
        try:
            content = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CurriculumError(f"the recipe {text} cannot be read: {error}") from error
        return parse_recipe(content, where=Path(text).name, changes=changes)
    if text not in recipe_names():
        raise UnknownNameError(
            unknown(text, recipe_names(), what="recipe") + " A file's name ends in .toml."
        )
    content = files("curriculum").joinpath("recipes", f"{text}.toml").read_text(encoding="utf-8")
    return parse_recipe(content, where=f"{text}.toml", changes=changes)


def parse_recipe(text: str, *, where: str, changes: Iterable[str] = ()) -> Recipe:
    """Read the text of a recipe; `where` is what messages call it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CurriculumError(f"{where} is not TOML: {error}") from error
    for change in changes:
        document = changed(document, change)
    own = {field.name for field in fields(Recipe)} - {"stages"}
    _require_keys(document, {*own, _COMMON, _STAGES}, {*own, _STAGES} - {"network"}, where=where)
    rows = document[_STAGES]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise CurriculumError(f"{where}: stage is not a list of tables; write [[stage]]")
    common = _read(document, _COMMON, _table, where) if _COMMON in document else {}
    _require_keys(common, _STAGE_KEYS, (), where=f"{where}, [{_COMMON}]")
    stages = tuple(
        _stage(
            {"folders": {}, "other_sizes": {}, **common, **row}, where=f"{where}, stage {number}"
        )
        for number, row in enumerate(rows, start=1)
    )
    numbers = {name: _read(document, name, _whole, where) for name in own - {"network"}}
    network = _read(document, "network", _table, where) if "network" in document else {}
    return _checked(Recipe, where, stages=stages, network=network, **numbers)


def changed(document: Table, change: str) -> Table:
    """Return a document with one value replaced.

    Args:
        document: as TOML gives it; left as it was.
        change: PATH=VALUE. The path's parts are keys with dots between; after `stage` comes the
            stage's number, from 1, or its name. The value is TOML; a bare word is a string.
    """
    path, equals, text = change.partition("=")
    parts = [part.strip() for part in path.split(".")]
    if not equals or not all(parts):
        raise CurriculumError(
            f"--set {change!r} is not PATH=VALUE, as in stage.3.steps=2000 or validate_every=100"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    if parts[0] != _STAGES:
        return _with(document, parts, value, f"--set {path}")
    rows = document.get(_STAGES, [])
    number = _stage_number(rows, parts, path)
    row = _with(rows[number], parts[2:], value, f"--set {path}", base=document.get(_COMMON, {}))
    return {**document, _STAGES: [*rows[:number], row, *rows[number + 1 :]]}


def recipe_text(recipe: Recipe) -> str:
    """Return a recipe as TOML that `parse_recipe` reads back as the same recipe."""
    lines = [
        f"{field.name} = {_toml(getattr(recipe, field.name))}"
        for field in fields(Recipe)
        if field.name not in ("stages", "network")
    ]
    lines.append(f"network = {_toml(recipe.network)}")
    for stage in recipe.stages:
        lines += ["", "[[stage]]"]
        lines += [f"{field.name} = {_toml(getattr(stage, field.name))}" for field in fields(Stage)]
    return "\n".join(lines) + "\n"


def recipe_table(recipe: Recipe) -> Table:
    """Return a recipe as plain values, for JSON and for comparing."""
    return tomllib.loads(recipe_text(recipe))


class _WrongTypeError(Exception):
    """What was expected in the place of a value."""


def _stage(row: Table, *, where: str) -> Stage:
    if isinstance(row.get("name"), str):
        where = f"{where} {row['name']!r}"
    _require_keys(row, _STAGE_KEYS, _STAGE_KEYS, where=where)
    values = {name: _read(row, name, reader, where) for name, reader in _READERS.items()}
    values["losses"] = {
        name: _loss(term, f"{where}, losses.{name}")
        for name, term in _read(row, "losses", _table, where).items()
    }
    values["augmentation"] = _augmentation(
        _read(row, "augmentation", _table, where), f"{where}, augmentation"
    )
    return _checked(Stage, where, **values)


def _loss(term: Any, where: str) -> LossTerm:
    if isinstance(term, dict):
        _require_keys(term, None, ("weight",), where=where)
        options = {name: value for name, value in term.items() if name != "weight"}
        weight = _read(term, "weight", _number, where)
    else:
        weight, options = _read({"weight": term}, "weight", _number, where), {}
    return _checked(LossTerm, where, weight=weight, options=options)


def _augmentation(table: Table, where: str) -> Augmentation:
    kinds = {field.name: field.type for field in fields(Augmentation)}
    _require_keys(table, kinds, (), where=where)
    values = {
        name: _read(table, name, _switch if kinds[name] in (bool, "bool") else _number, where)
        for name in table
    }
    return _checked(Augmentation, where, **values)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _WrongTypeError("a whole number")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _WrongTypeError("a number")
    return float(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _WrongTypeError("true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _WrongTypeError("a text")
    return value


def _table(value: Any) -> Table:
    if not isinstance(value, dict):
        raise _WrongTypeError("a table")
    return value


def _size(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise _WrongTypeError("[height, width]")
    return _whole(value[0]), _whole(value[1])


def _shares(value: Any) -> dict[str, float]:
    return {name: _number(share) for name, share in _table(value).items()}


def _levels(value: Any) -> dict[str, float]:
    from synthetic_colons.levels import level

    return {level(name).name: share for name, share in _shares(value).items()}


def _other_sizes(value: Any) -> dict[tuple[int, int, int], float]:
    found = {}
    for name, share in _shares(value).items():
        if not (numbers := _SIZE_KEY.fullmatch(name)):
            raise _WrongTypeError("a table such as { 256x320x4 = 0.25 }: rows, columns, views")
        height, width, batch = (int(number) for number in numbers.groups())
        found[height, width, batch] = share
    return found


def _choice(kind: type[Schedule] | type[Precision]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value not in list(kind):
            raise _WrongTypeError(" or ".join(repr(str(each)) for each in kind))
        return kind(value)

    return read


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "name": _text,
    "levels": _levels,
    "folders": _shares,
    "steps": _whole,
    "patience": _whole,
    "size": _size,
    "batch": _whole,
    "other_sizes": _other_sizes,
    "learning_rate": _number,
    "schedule": _choice(Schedule),
    "final_share": _number,
    "warm_up_steps": _whole,
    "weight_decay": _number,
    "clip_norm": _number,
    "ema_decay": _number,
    "precision": _choice(Precision),
}
_STAGE_KEYS = {field.name for field in fields(Stage)}


def _read(table: Table, name: str, reader: Callable[[Any], Any], where: str) -> Any:
    try:
        return reader(table[name])
    except _WrongTypeError as expected:
        raise CurriculumError(f"{where}: {name} is {table[name]!r}, expected {expected}") from None
    except UnknownNameError as error:
        raise CurriculumError(f"{where}, {name}: {error}") from error


def _checked(kind: Callable[..., _Made], where: str, **values: Any) -> _Made:
    try:
        return kind(**values)
    except CurriculumError as error:
        raise CurriculumError(f"{where}: {error}") from error


def _require_keys(
    table: Table, known: Iterable[str] | None, needed: Iterable[str], *, where: str
) -> None:
    if known is not None:
        for name in table.keys() - set(known):
            raise CurriculumError(f"{where}: {unknown(name, known, what='key')}")
    if lacking := sorted(set(needed) - table.keys()):
        raise CurriculumError(f"{where}: keys {lacking} are missing")


def _stage_number(rows: list[Table], parts: list[str], path: str) -> int:
    if len(parts) < 3:
        raise CurriculumError(f"--set {path}: after 'stage' come its number or name, and a key")
    names = [str(row.get("name", "")) for row in rows]
    if parts[1] in names:
        return names.index(parts[1])
    if parts[1].isdecimal() and 1 <= int(parts[1]) <= len(rows):
        return int(parts[1]) - 1
    numbers = [str(number) for number in range(1, len(rows) + 1)]
    raise CurriculumError(f"--set {path}: {unknown(parts[1], names + numbers, what='stage')}")


def _with(
    table: Table, parts: list[str], value: Any, where: str, *, base: Table | None = None
) -> Table:
    """Return a table with one value set, deep inside; what it lacks starts as in `base`."""
    name, rest = parts[0], parts[1:]
    if not rest:
        return {**table, name: value}
    inner = table.get(name, (base or {}).get(name, {}))
    if not isinstance(inner, dict):
        raise CurriculumError(f"{where}: {name} is {inner!r}, which has no {'.'.join(rest)}")
    return {**table, name: _with(inner, rest, value, where)}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)  # repr of a float is the shortest text that reads back as the same
    if isinstance(value, str):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(each) for each in value)}]"
    if isinstance(value, LossTerm):
        return _toml({"weight": value.weight, **value.options})
    if isinstance(value, Augmentation):
        value = {field.name: getattr(value, field.name) for field in fields(Augmentation)}
    if isinstance(value, Mapping):
        named = ((_key(key), inner) for key, inner in value.items())
        pairs = (f"{_toml_key(name)} = {_toml(inner)}" for name, inner in named)
        return f"{{ {', '.join(pairs)} }}"
    raise CurriculumError(f"a recipe cannot hold {value!r}, a {type(value).__name__}")


def _key(key: str | tuple[int, ...]) -> str:
    return key if isinstance(key, str) else "x".join(map(str, key))


def _toml_key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)
