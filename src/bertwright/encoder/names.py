"""Names of tensors and settings, ours and the ordinary ones: one reversible table a family.

Ours are those of the modules (``blocks.0.attention.qkv.weight``). Where three ordinary tensors make one of ours, they
stand in the order in which they are joined. ``{i}`` is the layer's number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bertwright.encoder.config import EncoderConfig


@dataclass(frozen=True)
class Family:
    """How one family looks outside."""

    model_type: str
    class_stem: str
    prefix: str
    body: Mapping[str, tuple[str, ...]]
    layer: Mapping[str, tuple[str, ...]]
    masked_lm_head: Mapping[str, tuple[str, ...]]
    pooler: Mapping[str, tuple[str, ...]]
    classifier: Mapping[str, tuple[str, ...]]
    settings: Mapping[str, str]
    """Our config's fields by ordinary key."""
    fixed: Mapping[str, Any]
    """Ordinary keys that our modules give one value."""
    decoder: tuple[str, ...]
    """Ordinary names of the output matrix and bias that repeat what is stored elsewhere."""


def _pair(ours: str, *theirs: str) -> dict[str, tuple[str, ...]]:
    """Name weight and bias of a layer at once."""
    return {f"{ours}.{kind}": tuple(f"{name}.{kind}" for name in theirs) for kind in ("weight", "bias")}


def _tables(**tables: str) -> dict[str, tuple[str, ...]]:
    return {f"embeddings.{ours}.weight": (f"{theirs}.weight",) for ours, theirs in tables.items()}


_SELF = "encoder.layer.{i}.attention.self"
_BERT_MATRICES = {
    **_pair("attention.qkv", f"{_SELF}.query", f"{_SELF}.key", f"{_SELF}.value"),
    **_pair("attention.output", "encoder.layer.{i}.attention.output.dense"),
    **_pair("feed_forward.inner", "encoder.layer.{i}.intermediate.dense"),
    **_pair("feed_forward.outer", "encoder.layer.{i}.output.dense"),
}
_POST_NORMS = {
    **_pair("attention_norm", "encoder.layer.{i}.attention.output.LayerNorm"),
    **_pair("feed_forward_norm", "encoder.layer.{i}.output.LayerNorm"),
}
_BERT_TABLES = _tables(
    words="embeddings.word_embeddings",
    positions="embeddings.position_embeddings",
    segments="embeddings.token_type_embeddings",
)
_BERT_HEAD = {
    **_pair("dense", "cls.predictions.transform.dense"),
    **_pair("norm", "cls.predictions.transform.LayerNorm"),
    "bias": ("cls.predictions.bias",),
}
_BERT_SETTINGS = {
    "vocab_size": "vocabulary",
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "inner",
    "max_position_embeddings": "positions",
    "type_vocab_size": "segments",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "layer_norm_eps": "norm_eps",
    "pad_token_id": "pad_id",
}
_BERT_FIXED = {"hidden_act": "gelu", "is_decoder": False, "tie_word_embeddings": True}
_BERT_DECODER = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
_CLASSIFIER = _pair("output", "classifier")

NAMES: dict[str, Family] = {
    "bert": Family(
        model_type="bert",
        class_stem="Bert",
        prefix="bert.",
        body={**_BERT_TABLES, **_pair("embeddings.norm", "embeddings.LayerNorm")},
        layer={**_BERT_MATRICES, **_POST_NORMS},
        masked_lm_head=_BERT_HEAD,
        pooler=_pair("dense", "bert.pooler.dense"),
        classifier=_CLASSIFIER,
        settings=_BERT_SETTINGS,
        fixed=_BERT_FIXED,
        decoder=_BERT_DECODER,
    ),
    "bert-preln": Family(
        model_type="megatron-bert",
        class_stem="MegatronBert",
        prefix="bert.",
        body={**_BERT_TABLES, **_pair("final_norm", "encoder.ln")},
        layer={
            **_BERT_MATRICES,
            **_pair("attention_norm", "encoder.layer.{i}.attention.ln"),
            **_pair("feed_forward_norm", "encoder.layer.{i}.ln"),
        },
        masked_lm_head=_BERT_HEAD,
        pooler=_pair("dense", "bert.pooler.dense"),
        classifier=_CLASSIFIER,
        settings=_BERT_SETTINGS,
        fixed=_BERT_FIXED,
        decoder=_BERT_DECODER,
    ),
    "roberta": Family(
        model_type="roberta",
        class_stem="Roberta",
        prefix="roberta.",
        body={**_BERT_TABLES, **_pair("embeddings.norm", "embeddings.LayerNorm")},
        layer={**_BERT_MATRICES, **_POST_NORMS},
        masked_lm_head={
            **_pair("dense", "lm_head.dense"),
            **_pair("norm", "lm_head.layer_norm"),
            "bias": ("lm_head.bias",),
        },
        pooler={},
        classifier={**_pair("dense", "classifier.dense"), **_pair("output", "classifier.out_proj")},
        settings=_BERT_SETTINGS,
        fixed=_BERT_FIXED,
        decoder=("lm_head.decoder.weight", "lm_head.decoder.bias"),
    ),
    "distilbert": Family(
        model_type="distilbert",
        class_stem="DistilBert",
        prefix="distilbert.",
        body={
            **_tables(words="embeddings.word_embeddings", positions="embeddings.position_embeddings"),
            **_pair("embeddings.norm", "embeddings.LayerNorm"),
        },
        layer={
            **_pair("attention.qkv", *(f"transformer.layer.{{i}}.attention.{part}_lin" for part in "qkv")),
            **_pair("attention.output", "transformer.layer.{i}.attention.out_lin"),
            **_pair("feed_forward.inner", "transformer.layer.{i}.ffn.lin1"),
            **_pair("feed_forward.outer", "transformer.layer.{i}.ffn.lin2"),
            **_pair("attention_norm", "transformer.layer.{i}.sa_layer_norm"),
            **_pair("feed_forward_norm", "transformer.layer.{i}.output_layer_norm"),
        },
        masked_lm_head={
            **_pair("dense", "vocab_transform"),
            **_pair("norm", "vocab_layer_norm"),
            "bias": ("vocab_projector.bias",),
        },
        pooler={},
        classifier={**_pair("dense", "pre_classifier"), **_pair("output", "classifier")},
        settings={
            "vocab_size": "vocabulary",
            "dim": "width",
            "n_layers": "layers",
            "n_heads": "heads",
            "hidden_dim": "inner",
            "max_position_embeddings": "positions",
            "dropout": "dropout",
            "attention_dropout": "attention_dropout",
            "pad_token_id": "pad_id",
        },
        fixed={"activation": "gelu", "sinusoidal_pos_embds": False, "tie_word_embeddings": True},
        decoder=("vocab_projector.weight",),
    ),
    "modern": Family(
        model_type="modernbert",
        class_stem="ModernBert",
        prefix="model.",
        body={
            **_tables(words="embeddings.tok_embeddings"),
            **_pair("embeddings.norm", "embeddings.norm"),
            **_pair("final_norm", "final_norm"),
        },
        layer={
            **_pair("attention.qkv", "layers.{i}.attn.Wqkv"),
            **_pair("attention.output", "layers.{i}.attn.Wo"),
            **_pair("feed_forward.inner", "layers.{i}.mlp.Wi"),
            **_pair("feed_forward.outer", "layers.{i}.mlp.Wo"),
            **_pair("attention_norm", "layers.{i}.attn_norm"),
            **_pair("feed_forward_norm", "layers.{i}.mlp_norm"),
        },
        masked_lm_head={**_pair("dense", "head.dense"), **_pair("norm", "head.norm"), "bias": ("decoder.bias",)},
        pooler={},
        classifier={**_pair("dense", "head.dense"), **_pair("norm", "head.norm"), **_pair("output", "classifier")},
        settings={
            "vocab_size": "vocabulary",
            "hidden_size": "width",
            "num_hidden_layers": "layers",
            "num_attention_heads": "heads",
            "intermediate_size": "inner",
            "max_position_embeddings": "positions",
            "attention_dropout": "attention_dropout",
            "mlp_dropout": "dropout",
            "norm_eps": "norm_eps",
            "local_attention": "local_window",
            "global_attn_every_n_layers": "global_every",
            "global_rope_theta": "rope_base",
            "local_rope_theta": "local_rope_base",
            "classifier_pooling": "pooling",
            "pad_token_id": "pad_id",
        },
        fixed={
            "hidden_activation": "gelu",
            "classifier_activation": "gelu",
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "decoder_bias": True,
            "classifier_bias": True,
            "tie_word_embeddings": True,
        },
        decoder=("decoder.weight",),
    ),
}


def body_names(config: EncoderConfig) -> dict[str, tuple[str, ...]]:
    """Return the ordinary names, without the class's prefix, of every tensor of an encoder."""
    family = NAMES[config.family]
    names = dict(family.body)
    for number in range(config.layers):
        for ours, theirs in family.layer.items():
            if config.family == "modern" and number == 0 and ours.startswith("attention_norm."):
                continue  # the modern family's first block has no norm before attention
            names[f"blocks.{number}.{ours}"] = tuple(name.format(i=number) for name in theirs)
    return names


def head_names(config: EncoderConfig) -> dict[str, tuple[str, ...]]:
    """Return the ordinary names of every tensor of a classification head."""
    family = NAMES[config.family]
    return {**family.pooler, **family.classifier}
