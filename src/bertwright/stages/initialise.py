"""Encoders that are not trained here: drawn ones, and given ones that get what they lack."""

from __future__ import annotations

from typing import Any

from bertwright.encoder import families
from bertwright.encoder.model_folder import facts, save_model
from bertwright.encoder.models import Classifier, MaskedLM, build_masked_lm
from bertwright.errors import DataError
from bertwright.stages.starting import fresh_config
from bertwright.stages.work import MODEL, Work
from bertwright.text.tokenizer import Tokenizer


def initialise_encoder(work: Work) -> dict[str, Any]:
    """Draw an untrained encoder. Sealed: ``model/``, an ordinary folder."""
    tokenizer = Tokenizer.load(work.inputs["tokenizer"])
    seed = work.options["seed"]
    if "like" in work.inputs:
        config = families.load(work.inputs["like"]).config
    else:
        config = fresh_config(work.options["encoder"], tokenizer)
    model = build_masked_lm(config, seed=seed)
    return {**facts(config, model), "proof": save_model(work.folder / MODEL, model, tokenizer)}


def add_missing_biases(work: Work) -> dict[str, Any]:
    """Give an encoder without biases zeros in their place. Sealed: ``model/``, an ordinary folder."""
    tokenizer = Tokenizer.load(work.inputs["tokenizer"])
    loaded = families.load(work.inputs["given"], add_missing=True)
    if loaded.classifier is not None:
        model: MaskedLM | Classifier = Classifier(loaded.encoder, loaded.classifier)
    elif loaded.masked_lm_head is not None:
        model = MaskedLM(loaded.encoder, loaded.masked_lm_head, loaded.pooler)
    else:
        raise DataError(
            f"{work.inputs['given']}: found an encoder alone, and `encoder.add_missing` needs a folder with a "
            "masked-word head or a classifier, as the ordinary classes save it; save it as "
            "`AutoModelForMaskedLM`, or leave `add_missing` out where the encoder has its biases"
        )
    proof = save_model(work.folder / MODEL, model, tokenizer, labels=loaded.labels if loaded.classifier else None)
    return {**facts(loaded.config, model), "notes": list(loaded.notes), "proof": proof}
