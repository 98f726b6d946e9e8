"""The loss of a stage: a weighted sum of losses that are known by name."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from colondepth.views import Prediction
from curriculum.errors import CurriculumError, unknown
from curriculum.stages import LossTerm

LossFunction = Callable[..., Tensor]  # of (prediction, batch, **options)
FindLoss = Callable[[str], LossFunction]  # as `colondepth.losses.names.named_loss`
Objective = Callable[[Prediction, Mapping[str, Any]], dict[str, Tensor]]


def objective(terms: Mapping[str, LossTerm], find_loss: FindLoss) -> Objective:
    """Return what gives each term's share of the loss, weighted; their sum is the loss.

    An option that a loss does not have is an error now, not at the first step.
    """
    weighted = {}
    for name, term in terms.items():
        function = find_loss(name)
        _require_options(name, function, term.options)
        if term.weight:
            weighted[name] = (term.weight, partial(function, **term.options))

    def shares(prediction: Prediction, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return {name: weight * loss(prediction, batch) for name, (weight, loss) in weighted.items()}

    return shares


def _require_options(name: str, function: LossFunction, options: Mapping[str, Any]) -> None:
    known = list(inspect.signature(function).parameters)[2:]
    for option in options:
        if option not in known:
            raise CurriculumError(unknown(option, known, what=f"option of the loss {name!r}"))
