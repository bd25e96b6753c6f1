"""Optimizers, with fp32 master weights where the model's own are in bf16."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bertwright.errors import RunError


def _adamw(groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)


KINDS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adamw": _adamw}


class Optimizer:
    """Gradients of a whole step in fp32, then one update.

    A model in bf16 is trained through fp32 masters: bf16 keeps 8 bits of a number, so an update smaller than 1/256 of a
    weight would be lost. Gradients of micro-batches are summed in fp32 for the same reason.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        *,
        name: str,
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        named = list(parameters)
        if not named:
            raise RunError("there is nothing to train: no parameter is chosen")
        self.names = [key for key, _ in named]
        self.weights = [weight for _, weight in named]
        self.masters = [
            weight if weight.dtype == torch.float32 else nn.Parameter(weight.detach().float())
            for weight in self.weights
        ]
        self._copied = [
            (weight, master) for weight, master in zip(self.weights, self.masters, strict=True) if weight is not master
        ]
        self.learning_rate = learning_rate
        # Biases and the gains of norms are vectors: decay is for matrices.
        groups = [
            {"params": [m for m in self.masters if m.dim() > 1], "weight_decay": weight_decay},
            {"params": [m for m in self.masters if m.dim() <= 1], "weight_decay": 0.0},
        ]
        self.inner = KINDS[name]([g for g in groups if g["params"]], learning_rate, betas, eps)

    @torch.no_grad()
    def accumulate(self) -> None:
        """Add the weights' bf16 gradients of one micro-batch to the masters' and free them."""
        for weight, master in self._copied:
            if weight.grad is not None:
                if master.grad is None:
                    master.grad = weight.grad.float()
                else:
                    master.grad.add_(weight.grad)
                weight.grad = None

    def gradients(self) -> list[Tensor]:
        """Return the summed gradients; a weight that took no part has zeros, so that all ranks hold the same list."""
        for master in self.masters:
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        return [master.grad for master in self.masters if master.grad is not None]

    def norm(self) -> Tensor:
        """Return the global norm of the summed gradients, fp32."""
        return torch.nn.utils.get_total_norm(self.gradients())

    @torch.no_grad()
    def step(self, *, scale: float, multiplier: float) -> None:
        """Update with the gradients times ``scale`` at ``multiplier`` times the peak learning rate, and clear them."""
        torch._foreach_mul_(self.gradients(), scale)
        for group in self.inner.param_groups:
            group["lr"] = self.learning_rate * multiplier
        self.inner.step()
        self.clear()
        if self._copied:
            torch._foreach_copy_([w for w, _ in self._copied], [m for _, m in self._copied])

    def clear(self) -> None:
        """Forget the gradients."""
        for weight in self.weights:
            weight.grad = None
        for master in self.masters:
            master.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return all that an update depends on, by parameter name: fp32 weights and the optimizer's own tensors."""
        tensors = {}
        for name, master in zip(self.names, self.masters, strict=True):
            tensors[f"weight/{name}"] = master.detach()
            tensors |= {f"{key}/{name}": torch.as_tensor(value) for key, value in self.inner.state[master].items()}
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` gave; the weights become the masters' copies."""
        masters = dict(zip(self.names, self.masters, strict=True))
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            master = masters[name]
            if kind == "weight":
                master.copy_(value)
            else:
                # The count of steps stays where the optimizer keeps it; moments follow the weights' device.
                self.inner.state[master][kind] = value.clone().to(master.device)
        if self._copied:
            torch._foreach_copy_([w for w, _ in self._copied], [m for _, m in self._copied])
