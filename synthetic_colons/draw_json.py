"""Draws as JSON and back: dataclasses of numbers, words, tuples and dataclasses.

Python's JSON keeps every bit of a float, so what is read back is equal to what was written.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from torch import Tensor

from colondepth.errors import DataError

Draw = TypeVar("Draw")

LARGEST_TENSOR = 64  # values; more is a map, which is not a number that was drawn


def to_json(draw: Any) -> Any:
    """Return what JSON holds of a draw.

    A tensor becomes lists; of one with more than `LARGEST_TENSOR` values only its shape is kept,
    as {"map": [1, 1, 256, 320]}.
    """
    if is_dataclass(draw):
        return {each.name: to_json(getattr(draw, each.name)) for each in fields(draw)}
    if isinstance(draw, Tensor):
        small = draw.numel() <= LARGEST_TENSOR
        return draw.tolist() if small else {"map": list(draw.shape)}
    if isinstance(draw, tuple | list):
        return [to_json(each) for each in draw]
    if draw is None or isinstance(draw, str | bool | int | float):
        return str(draw) if isinstance(draw, StrEnum) else draw
    raise DataError(f"a draw holds a {type(draw).__name__}, which has no form in JSON")


def from_json(kind: type[Draw], value: Mapping[str, Any]) -> Draw:
    """Return the draw that `to_json` wrote, such as a `ColonDraw` or a `PathDraw`."""
    return cast(Draw, _made(kind, value, kind.__name__))


def _made(kind: Any, value: Any, where: str) -> Any:
    try:
        if is_dataclass(kind):
            hints = get_type_hints(kind)
            if odd := sorted(hints.keys() ^ value.keys()):
                raise DataError(f"{where}: keys {odd} are missing or unknown")
            parts = {name: _made(hints[name], value[name], f"{where}.{name}") for name in hints}
            return cast(Any, kind)(**parts)
        if get_origin(kind) is tuple:
            kinds = get_args(kind)
            if kinds[-1] is Ellipsis:
                kinds = (kinds[0],) * len(value)
            pairs = enumerate(zip(kinds, value, strict=True))
            return tuple(_made(each, part, f"{where}[{k}]") for k, (each, part) in pairs)
        return kind(value)  # a number, a word, or a word of a StrEnum
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where} is {value!r}, expected {kind}") from error
