"""Weights, gradients and moments divided among ranks (PyTorch's FSDP), for encoders that one GPU cannot hold."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(model: nn.Module, blocks: Iterable[nn.Module], *, world: int, device: str, dtype: torch.dtype) -> None:
    """Divide a model's fp32 weights among ``world`` ranks, block by block; passes work in ``dtype``.

    Gradients are summed over the ranks, in fp32 and not averaged: the loop divides by the count of all labels.
    """
    if isinstance(model, FSDPModule):
        return
    mesh = init_device_mesh(device, (world,))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for part in (*blocks, model):
        unit: FSDPModule = fully_shard(part, mesh=mesh, mp_policy=policy)
        unit.set_force_sum_reduction_for_comms(True)
        unit.set_gradient_divide_factor(1.0)


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor whole; one that is divided comes to the CPU, where there is room, and all ranks have to ask."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def like(value: Tensor, other: Tensor) -> Tensor:
    """Divide a whole tensor as another one of its shape is divided, on that one's device."""
    value = value.to(other.device)
    if isinstance(other, DTensor) and value.shape == other.shape:
        return distribute_tensor(value, other.device_mesh, other.placements)
    return value
