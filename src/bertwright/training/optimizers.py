"""Optimizers, with fp32 master weights where the model's own are in bf16."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from bertwright.errors import RunError
from bertwright.training.sharding import like, whole

Named = list[tuple[str, nn.Parameter]]


@dataclass(frozen=True)
class Settings:
    """What an optimizer is made with; rates are peaks, which a schedule multiplies."""

    learning_rate: float
    weight_decay: float
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    hidden: frozenset[str] = frozenset()
    """Names of the matrices between embeddings and head; Muon's."""
    hidden_learning_rate: float = 0.0
    momentum: float = 0.9
    """SGD's."""


def _groups(named: Named, weight_decay: float) -> list[dict[str, Any]]:
    # Biases and the gains of norms are vectors: decay is for matrices.
    matrices = {"params": [w for _, w in named if w.dim() > 1], "weight_decay": weight_decay}
    vectors = {"params": [w for _, w in named if w.dim() <= 1], "weight_decay": 0.0}
    return [group for group in (matrices, vectors) if group["params"]]


def _adamw(named: Named, settings: Settings) -> list[torch.optim.Optimizer]:
    groups = _groups(named, settings.weight_decay)
    return [torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.eps, fused=True)]


def _sgd(named: Named, settings: Settings) -> list[torch.optim.Optimizer]:
    groups = _groups(named, settings.weight_decay)
    return [torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)]


def _muon(named: Named, settings: Settings) -> list[torch.optim.Optimizer]:
    """Hidden matrices by Muon (Jordan 2024: momentum, its singular values made equal), all else by AdamW."""
    rest = [(name, weight) for name, weight in named if name not in settings.hidden]
    others = _adamw(rest, settings) if rest else []
    hidden = [weight for name, weight in named if name in settings.hidden]
    if not hidden:
        return others
    return [
        torch.optim.Muon(hidden, lr=settings.hidden_learning_rate, weight_decay=settings.weight_decay),
        *others,
    ]


KINDS: dict[str, Callable[[Named, Settings], list[torch.optim.Optimizer]]] = {
    "adamw": _adamw,
    "muon": _muon,
    "sgd": _sgd,
}


def _scale_gradients(part: torch.optim.Optimizer, scale: float) -> None:
    """Multiply an optimizer's gradients; a fused one divides by ``grad_scale`` on its way, and saves a pass."""
    if part.defaults.get("fused"):
        device = part.param_groups[0]["params"][0].device
        part.grad_scale = torch.tensor(1 / scale, device=device)  # type: ignore[attr-defined]
    else:
        torch._foreach_mul_([weight.grad for group in part.param_groups for weight in group["params"]], scale)


class Optimizer:
    """Gradients of a whole step in fp32, then one update.

    A model in bf16 is trained through fp32 masters: bf16 keeps 8 bits of a number, so an update smaller than 1/256 of a
    weight would be lost. Gradients of micro-batches are summed in fp32 for the same reason. With ``dtype`` weights in
    fp32 are brought into that format; without, they stay what they are. Of the parameters in ``entries`` only these
    entries of the flattened tensor learn: they alone have masters and moments, and no other one changes by a bit.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        *,
        name: str,
        settings: Settings,
        dtype: torch.dtype | None = None,
        entries: Mapping[str, Tensor] | None = None,
    ) -> None:
        named = list(parameters)
        if not named:
            raise RunError("there is nothing to train: no parameter is chosen")
        self.names = [key for key, _ in named]
        self.weights = [weight for _, weight in named]
        partly = entries or {}
        self._entries = {weight: partly[name].to(weight.device) for name, weight in named if name in partly}
        # Masters are made before weights are rounded: what a training begins with keeps its last digits.
        self.masters = [
            nn.Parameter(self._of(weight, weight.detach()).float())
            if weight in self._entries or (dtype or weight.dtype) != torch.float32
            else weight
            for weight in self.weights
        ]
        for weight in self.weights:
            weight.data = weight.data.to(dtype or weight.dtype)
        self._copied = [
            (weight, master) for weight, master in zip(self.weights, self.masters, strict=True) if weight is not master
        ]
        self._copied_whole = [pair for pair in self._copied if pair[0] not in self._entries]
        self._copied_partly = [pair for pair in self._copied if pair[0] in self._entries]
        self.learning_rate = settings.learning_rate
        self._parts = KINDS[name](list(zip(self.names, self.masters, strict=True)), settings)
        self._groups = [(group, group["lr"]) for part in self._parts for group in part.param_groups]
        self._states = {
            master: part.state for part in self._parts for group in part.param_groups for master in group["params"]
        }

    def _of(self, weight: nn.Parameter, values: Tensor) -> Tensor:
        """Return of a tensor in a weight's shape what learns of it."""
        return values.reshape(-1)[self._entries[weight]] if weight in self._entries else values

    @torch.no_grad()
    def _to_weights(self) -> None:
        """Copy the masters into the model."""
        if self._copied_whole:
            weights, masters = zip(*self._copied_whole, strict=True)
            torch._foreach_copy_(weights, masters)
        for weight, master in self._copied_partly:
            weight.view(-1)[self._entries[weight]] = master.to(weight.dtype)

    @property
    def divided(self) -> bool:
        """Whether weights and gradients are divided among ranks, which then have summed them."""
        return isinstance(self.weights[0], DTensor)

    @torch.no_grad()
    def accumulate(self) -> None:
        """Add the weights' bf16 gradients of one micro-batch to the masters' and free them."""
        for weight, master in self._copied:
            if weight.grad is not None:
                gradient = self._of(weight, weight.grad)
                if master.grad is None:
                    master.grad = gradient.float()
                else:
                    master.grad.add_(gradient)
                weight.grad = None

    def gradients(self) -> list[Tensor]:
        """Return the summed gradients; a weight that took no part has zeros, so that all ranks hold the same list."""
        for master in self.masters:
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        return [master.grad for master in self.masters if master.grad is not None]

    def norm(self) -> Tensor:
        """Return the global norm of the summed gradients, fp32."""
        return whole(torch.nn.utils.get_total_norm(self.gradients()))

    @torch.no_grad()
    def step(self, *, scale: float, multiplier: float) -> None:
        """Update with the gradients times ``scale`` at ``multiplier`` times the peak learning rates, and clear them."""
        for group, peak in self._groups:
            group["lr"] = peak * multiplier
        for part in self._parts:
            _scale_gradients(part, scale)
            part.step()
        self.clear()
        self._to_weights()

    def clear(self) -> None:
        """Forget the gradients."""
        for weight in self.weights:
            weight.grad = None
        for master in self.masters:
            master.grad = None

    def master_weights(self) -> dict[str, Tensor]:
        """Return the weights in fp32 by name, whole; where they are divided among ranks, all have to ask."""
        return {name: whole(master.detach()) for name, master in zip(self.names, self.masters, strict=True)}

    @torch.no_grad()
    def give_back(self) -> None:
        """Make the masters the model's weights: what a training leaves is not rounded to the format it worked in.

        Of a weight that learnt in part the rest stays as it was rounded, so that part is to be read from the masters.
        """
        for weight, master in self._copied_whole:
            weight.data = master.data

    def state(self) -> dict[str, Tensor]:
        """Return all that an update depends on, by parameter name: fp32 weights and the optimizer's own tensors.

        Where weights are divided among ranks, all of them have to ask.
        """
        tensors = {}
        for name, master in zip(self.names, self.masters, strict=True):
            tensors[f"weight/{name}"] = whole(master.detach())
            own = self._states[master][master].items()
            # SGD's momentum is not there before the first update.
            tensors |= {f"{key}/{name}": whole(torch.as_tensor(value)) for key, value in own if value is not None}
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` gave; the weights become the masters' copies.

        ``RunError`` for the state of another model.
        """
        masters = dict(zip(self.names, self.masters, strict=True))
        found = {
            key.removeprefix("weight/"): value.shape for key, value in tensors.items() if key.startswith("weight/")
        }
        wanted = {name: master.shape for name, master in masters.items()}
        if found != wanted:
            name = min(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            shapes = [list(one[name]) if name in one else "nothing" for one in (found, wanted)]
            raise RunError(
                f"the checkpoint is that of another model: {name} has {shapes[0]} there and {shapes[1]} here. Remove "
                "the stage's .partial folder in the store and give the same command again"
            )
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            master = masters[name]
            if kind == "weight":
                master.copy_(like(value, master))
            else:
                # All of it follows the weights' device, AdamW's count of steps too: the fused one keeps it there.
                self._states[master][master][kind] = like(value.clone(), master)
        self._to_weights()
