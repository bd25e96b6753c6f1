"""An encoder and its packs as they are read, brought into the arrays that a deployed folder is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bertwright.deploy.graphs import Source
from bertwright.deploy.layout import Layout
from bertwright.encoder.biases import locate
from bertwright.encoder.families import Loaded
from bertwright.encoder.packed import backbone_of, head_tensors
from bertwright.pack import Backbone

BIASES = "biases"


@dataclass(frozen=True)
class Deployable:
    """What graphs and the folder's arrays are made of; ``own`` has ``biases`` (all terms), ``final_norm.weight`` and
    the head's layers that came with the encoder, ``head/dense.weight`` ..."""

    backbone: Backbone
    source: Source
    own: dict[str, np.ndarray]


def deployable(loaded: Loaded, tokenizer: str) -> Deployable:
    """Return an encoder's arrays; ``tokenizer`` is ``Tokenizer.identity()``."""
    backbone = backbone_of(loaded, tokenizer)
    layout = Layout(backbone)
    arrays = {name: value.detach().cpu().numpy() for name, value in loaded.encoder.state_dict().items()}
    head = {f"head.{name}": value.detach().cpu().numpy() for name, value in head_tensors(loaded).items()}
    named = {f"encoder.{name}": value for name, value in arrays.items()} | head
    biases = np.empty(layout.total, dtype=np.float32)
    for term in layout.terms:
        place, at = layout.places[term.key], locate(term, loaded.config)
        biases[place.start : place.stop] = named[at.name][at.start : at.stop]
    own = {BIASES: biases}
    own |= {name.replace(".", "/", 1): value for name, value in head.items() if name.endswith("weight")}
    if "final_norm.weight" in arrays:
        own["final_norm.weight"] = arrays["final_norm.weight"]
    return Deployable(backbone, Source(loaded.config, arrays, layout), own)
