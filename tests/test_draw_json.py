"""Draws survive JSON bit by bit, and what does not fit is named."""

import json
import math
from dataclasses import dataclass, replace
from enum import StrEnum

import pytest
import torch
from torch import Tensor

from colondepth.errors import DataError
from synthetic_colons.draw_json import from_json, to_json


class Word(StrEnum):
    ROUND = "round"
    FLAT = "flat"


@dataclass(frozen=True)
class Inner:
    width_mm: float
    kind: Word


@dataclass(frozen=True)
class Outer:
    first: float
    parts: tuple[Inner, ...]
    pair: tuple[int, tuple[float, float]]


@dataclass(frozen=True)
class Maps:
    values: Tensor | None


ODD = Outer(math.pi / 7, (Inner(1e-300, Word.FLAT), Inner(0.1 + 0.2, Word.ROUND)), (3, (4.0, 5.0)))


def written() -> dict:
    return json.loads(json.dumps(to_json(ODD)))


def test_a_draw_comes_back_equal_bit_by_bit():
    again = from_json(Outer, written())
    assert again == ODD
    assert again.parts[0].kind is Word.FLAT


def test_small_tensors_are_lists_and_of_large_ones_the_shape_is_kept():
    assert to_json(Maps(torch.tensor([[1.5, 2.0]]))) == {"values": [[1.5, 2.0]]}
    assert to_json(Maps(torch.zeros(3, 40))) == {"values": {"map": [3, 40]}}
    assert to_json(Maps(None)) == {"values": None}


def test_what_does_not_fit_is_named():
    with pytest.raises(DataError, match="holds a set"):
        to_json(replace(ODD, pair={1}))
    for change, message in (
        ({"first": "long"}, r"Outer\.first is 'long'"),
        ({"more": 1}, r"Outer: keys \['more'\]"),
        ({"pair": [3]}, r"Outer\.pair is \[3\]"),
        ({"parts": [{"width_mm": 1}]}, r"Outer\.parts\[0\]: keys \['kind'\]"),
        ({"parts": [{"width_mm": 1, "kind": "x"}]}, r"Outer\.parts\[0\]\.kind is 'x'"),
        ({"parts": 5}, r"Outer\.parts is 5"),
    ):
        with pytest.raises(DataError, match=message):
            from_json(Outer, {**written(), **change})
