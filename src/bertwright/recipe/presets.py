"""Settings by name: the published systems', and ours. A preset fills in what a recipe leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# 24 layers of width 1024, pre-LN: "base" and "large" are budgets in ExtremeBERT (its paper's section 3, and its code).
_LARGE_PRE_NORM: dict[str, Any] = {"family": "bert-preln", "size": "large"}
# Academic-budget BERT (Izsak et al. 2021): 4,096 rows of 128 tokens, AdamW without clipping.
_BUDGET_BERT: dict[str, Any] = {
    "batch": 4096,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "warmup": 0.06,
    "clip": None,
    "mask_rate": 0.15,
}
_TEXT: dict[str, dict[str, Any]] = {
    "prepare": {"row_length": 128},
    "tokenizer": {"kind": "wordpiece", "vocabulary": 30_528, "lowercase": True},
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # What trials at five minutes of two CPU cores chose (docs/experiments.md).
    "bertwright": {
        "encoder": {"family": "modern", "size": "mini"},
        "pretrain": {
            "optimizer": "muon",
            "muon_learning_rate": 2e-2,
            "learning_rate": 2e-3,
            "mask_rate": 0.3,
            "schedule": "linear",
        },
    },
    "extremebert-base": {
        **_TEXT,
        "encoder": _LARGE_PRE_NORM,
        "pretrain": {**_BUDGET_BERT, "budget": "23000 steps", "schedule": "esd"},
    },
    "extremebert-large": {
        **_TEXT,
        "encoder": _LARGE_PRE_NORM,
        "pretrain": {**_BUDGET_BERT, "budget": "57500 steps", "schedule": "esd"},
    },
    "24hbert": {
        **_TEXT,
        "encoder": _LARGE_PRE_NORM,
        "pretrain": {
            **_BUDGET_BERT,
            "budget": "24 h",
            "schedule": "linear",
            "give_up_after": "180 min",
            "give_up_loss": 6.0,
        },
    },
}

# What a section brings with it in place of a preset's choices: a folder has its shape, ready rows their length.
_BRINGS_ITS_OWN = {"encoder": ("folder",), "tokenizer": ("folder", "extend"), "prepare": ("ready",)}


def with_preset(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's document with its preset's choices wherever it makes none; an unknown name fills in nothing.

    Sections that the document switches off, or that bring their own (a model folder, ready rows), stay as they are. A
    text section is not made up: there is no text without sources.
    """
    preset = document.get("preset")
    filled = dict(document)
    for name, choices in PRESETS.get(preset, {}).items() if isinstance(preset, str) else ():
        own = document.get(name, {} if _wanted(name, document) else None)
        if isinstance(own, Mapping) and not any(own.get(key) for key in _BRINGS_ITS_OWN.get(name, ())):
            filled[name] = {**choices, **own}
    return filled


def _wanted(name: str, document: Mapping[str, Any]) -> bool:
    """Return whether a section that a document lacks has a place in it."""

    def brings(section: str, key: str) -> bool:
        own = document.get(section)
        return isinstance(own, Mapping) and bool(own.get(key))

    if name == "tokenizer":
        return "prepare" in document and not brings("encoder", "folder") and not brings("prepare", "ready")
    return name == "encoder" or (name == "pretrain" and "prepare" in document)
