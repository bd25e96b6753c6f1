"""The shape of an encoder, sizes by name, and what a shape costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from bertwright.errors import InputError

FAMILIES = ("bert", "bert-preln", "modern", "roberta", "distilbert")

# Size by name: layers N, width H, heads A, inner F.
SIZES = {
    "tiny": (2, 128, 2, 512),
    "mini": (4, 256, 4, 1024),
    "small": (4, 512, 8, 2048),
    "medium": (8, 512, 8, 2048),
    "base": (12, 768, 12, 3072),
    "large": (24, 1024, 16, 4096),
}


_KINDS: dict[str, Any] = {"str": str, "int": int, "float": (int, float)}
_EXPECTED = {"str": "a word", "int": "a whole number that a shape can have", "float": "a number"}
MODERN_ALONE = ("local_window", "global_every", "rope_base", "local_rope_base")
"""What of a shape only that family has; the others carry it unused."""
_AT_LEAST_ONE = ("vocabulary", "width", "layers", "heads", "inner", "positions", "local_window", "global_every")
_MOST = 1 << 31


@dataclass(frozen=True)
class EncoderConfig:
    """Everything that decides the tensors of an encoder and how they are used.

    ``positions`` counts the tokens of the longest row. ``segments`` is 0 where a family has no segment ids. The local
    window and the two RoPE bases belong to ``modern`` alone: every ``global_every``-th layer sees the whole row, the
    others ``local_window`` tokens around each.
    """

    family: str
    vocabulary: int
    width: int
    layers: int
    heads: int
    inner: int
    positions: int = 512
    segments: int = 2
    dropout: float = 0.1
    attention_dropout: float = 0.1
    norm_eps: float = 1e-12
    pad_id: int = 0
    local_window: int = 128
    global_every: int = 3
    rope_base: float = 160_000.0
    local_rope_base: float = 10_000.0
    pooling: str = "cls"

    def __post_init__(self) -> None:
        """Refuse a shape that cannot be built."""
        if self.family not in FAMILIES:
            raise InputError(f"encoder family {self.family!r} is not known; the families are {', '.join(FAMILIES)}")
        if self.width % self.heads:
            raise InputError(
                f"encoder.width {self.width} is not a multiple of encoder.heads {self.heads}; "
                f"choose heads that divide it, such as {max(1, self.width // 64)}"
            )
        if self.family == "modern" and self.width // self.heads % 2:
            raise InputError(f"a head of the modern family needs an even width, found {self.width // self.heads}")
        if self.pooling not in ("cls", "mean"):
            raise InputError(f"encoder pooling {self.pooling!r} is not known; it is cls or mean")
        if not 0 <= self.pad_id < self.vocabulary:
            raise InputError(
                f"the padding id {self.pad_id} is not in a vocabulary of {self.vocabulary}; "
                "take the tokenizer that came with the model"
            )

    @property
    def pre_norm(self) -> bool:
        """Whether a block normalises its input (and the stack its output) instead of its sums."""
        return self.family in ("bert-preln", "modern")

    @property
    def separators(self) -> int:
        """Separators between the two texts of a pair: RoBERTa's family has two."""
        return 2 if self.family == "roberta" else 1

    @property
    def position_rows(self) -> int:
        """Rows of the position table: RoBERTa's positions start behind the padding id, RoPE has no table."""
        return {"modern": 0, "roberta": self.positions + self.pad_id + 1}.get(self.family, self.positions)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderConfig:
        """Return the config that ``as_dict`` described; ``InputError`` where it is none."""
        for field in fields(cls):
            if field.name not in values and field.default is MISSING:
                raise InputError(f"an encoder's shape lacks {field.name!r}; take the file that names it once more")
            value, kinds = values.get(field.name, field.default), _KINDS[str(field.type)]
            size = isinstance(value, kinds) and not isinstance(value, bool)
            if size and not isinstance(value, str):
                size = (field.name in _AT_LEAST_ONE) <= value <= _MOST
            if not size:
                raise InputError(
                    f"an encoder's shape says {field.name} = {str(value)[:80]}; expected {_EXPECTED[str(field.type)]}"
                )
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})


def shape(family: str, size: str, *, vocabulary: int, pad_id: int, **overrides: Any) -> EncoderConfig:
    """Return a size by name in a family's manner; overrides that are ``None`` are left as the size says."""
    if size not in SIZES:
        raise InputError(f"encoder size {size!r} is not known; the sizes are {', '.join(SIZES)}")
    layers, width, heads, inner = SIZES[size]
    base = EncoderConfig(
        family=family,
        vocabulary=vocabulary,
        width=width,
        layers=layers,
        heads=heads,
        inner=inner,
        pad_id=pad_id,
        segments={"bert": 2, "bert-preln": 2, "roberta": 1}.get(family, 0),
        norm_eps=1e-5 if family in ("modern", "roberta") else 1e-12,
    )
    return replace(base, **{key: value for key, value in overrides.items() if value is not None})


def size_name(config: EncoderConfig) -> str | None:
    """Return the name of a shape, ``None`` where it has none."""
    shape_ = (config.layers, config.width, config.heads, config.inner)
    return next((name for name, known in SIZES.items() if known == shape_), None)


def body_weights(config: EncoderConfig) -> int:
    """Return the weights of the blocks' matrices: query, key, value, output, and the feed-forward layer."""
    gates = 2 if config.family == "modern" else 1
    return config.layers * (4 * config.width**2 + (gates + 1) * config.width * config.inner)


def flops_per_token(config: EncoderConfig, length: int, head_share: float) -> float:
    """Return the floating-point operations of training on one token, forward and backward.

    Six for each body weight, ``12 N H T`` for attention over rows of ``length`` tokens, and six for each weight of the
    prediction head times the share of rows that go through it. Looking up embeddings costs none.
    """
    head = config.width**2 + config.width * config.vocabulary
    attention = 12 * config.layers * config.width * length
    return 6 * body_weights(config) + attention + 6 * head * head_share
