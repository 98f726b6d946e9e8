"""One network that learns: a step forth, its averaged weights, and all that a checkpoint keeps."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from colondepth.backbones.contract import Backbone
from colondepth.views import Prediction
from curriculum.checkpoints import optimiser_tensors, restore_optimiser
from curriculum.errors import CurriculumError, TrainingStoppedError
from curriculum.objective import Objective
from curriculum.stages import Precision, Stage

_NO_LIMIT = float("inf")
# The average follows faster while it is young: at step n its decay is at most (1 + n) / (10 + n).
_YOUNG = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFigures:
    """What a step gave."""

    loss: float
    terms: Mapping[str, float]
    gradient_norm: float  # before clipping
    learning_rate: float


class Learner:
    """A network, its averaged weights and its optimiser, on the device of a Fabric."""

    def __init__(self, network: Backbone, fabric: Fabric) -> None:
        self.fabric = fabric
        self.average = deepcopy(network).to(fabric.device).requires_grad_(False).eval()
        decayed = [each for each in network.parameters() if each.ndim > 1]
        others = [each for each in network.parameters() if each.ndim <= 1]  # biases and norms
        groups = [{"params": decayed, "decays": True}, {"params": others, "decays": False}]
        optimiser = torch.optim.AdamW([each for each in groups if each["params"]], fused=True)
        self._trained, self._optimiser = fabric.setup(_Trained(network), optimiser)
        self._network = network.train()

    def step(
        self,
        batch: Mapping[str, Any],
        objective: Objective,
        stage: Stage,
        *,
        stage_step: int,
        step: int,
        seed: int,
    ) -> StepFigures:
        """Learn from a batch.

        Args:
            batch: on the right device.
            objective: gives the terms of the loss.
            stage: how to learn.
            stage_step: steps taken in this stage before.
            step: steps taken in all before.
            seed: for what the network itself draws, as dropout does.
        """
        # Not `torch.manual_seed`, which takes 2 ms for a look at where it was called from.
        torch.default_generator.manual_seed(seed)
        if self.fabric.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        rate = stage.learning_rate_at(stage_step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
            group["weight_decay"] = stage.weight_decay if group["decays"] else 0.0
        low = _is_low(stage.precision, self.fabric.device)
        terms = self._trained(_Parcel(batch, objective, low=low))
        loss = torch.stack(list(terms.values())).sum()
        shares = {name: value.item() for name, value in terms.items()}
        _require_finite("the loss", loss.item(), step, batch, shares)
        self._optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        limit = stage.clip_norm or _NO_LIMIT
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), limit).item()
        _require_finite("the gradient", norm, step, batch, shares)
        self._optimiser.step()
        self._follow(min(stage.ema_decay, (1 + step) / (_YOUNG + step)))
        return StepFigures(loss=loss.item(), terms=shares, gradient_norm=norm, learning_rate=rate)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that `restore` needs."""
        parts = {"network": self._network.state_dict(), "average": self.average.state_dict()}
        named = {
            f"{part}.{name}": value
            for part, state in parts.items()
            for name, value in state.items()
        }
        return named | optimiser_tensors(self._optimiser)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        for part, module in (("network", self._network), ("average", self.average)):
            own = {
                name.removeprefix(f"{part}."): value
                for name, value in tensors.items()
                if name.startswith(f"{part}.")
            }
            try:
                module.load_state_dict(own)
            except RuntimeError as error:
                raise CurriculumError(
                    f"the checkpoint is of another network ({' '.join(str(error).split())[:300]});"
                    " train this one into a folder of its own"
                ) from error
        restore_optimiser(self._optimiser, tensors)

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        for mean, now in zip(self.average.parameters(), self._network.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)
        for held, current in zip(self.average.buffers(), self._network.buffers(), strict=True):
            if held.is_floating_point():
                held.lerp_(current, 1 - decay)
            else:
                held.copy_(current)


class _Parcel:
    """What a step needs; Fabric passes it on without a look inside."""

    def __init__(self, batch: Mapping[str, Any], objective: Objective, *, low: bool) -> None:
        self.batch, self.objective, self.low = batch, objective, low


class _Trained(nn.Module):
    """The network with its loss behind it: what several devices do together."""

    def __init__(self, network: Backbone) -> None:
        super().__init__()
        self.network = network

    def forward(self, parcel: _Parcel) -> dict[str, Tensor]:
        """Return the terms of the loss, computed in float32."""
        kind = parcel.batch["image"].device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=parcel.low):
            prediction = self.network(parcel.batch)
        return parcel.objective(_float32(prediction), parcel.batch)


def _float32(prediction: Prediction) -> Prediction:
    parts = {part.name: getattr(prediction, part.name) for part in fields(prediction)}
    for name, value in parts.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            parts[name] = value.float()
        elif isinstance(value, tuple):
            parts[name] = tuple(each.float() for each in value)
    return Prediction(**parts)


def _is_low(precision: Precision, device: torch.device) -> bool:
    if precision is Precision.AUTOMATIC:
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision is Precision.BFLOAT16


def _require_finite(
    what: str, value: float, step: int, batch: Mapping[str, Any], terms: Mapping[str, float]
) -> None:
    if abs(value) < _NO_LIMIT:  # False for nan
        return
    listed = ", ".join(f"{name} {share:.4g}" for name, share in terms.items())
    raise TrainingStoppedError(
        f"{what} became {value} at step {step + 1}, on a batch from {batch.get('source', '?')!r}"
        f" ({listed}); nothing was learnt from it"
    )
