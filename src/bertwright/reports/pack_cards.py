"""The card of a pack, from its header alone."""

from __future__ import annotations

from bertwright.pack import Pack, Score
from bertwright.pack_card import UNKNOWN, SeedScores
from bertwright.reports.card import Card, CardScore
from bertwright.reports.loading import load_classifier, load_pack
from bertwright.reports.words import plural

ONLY_HERE = "Nothing is known of other text, other languages, or groups of people that the sets do not tell apart."


def pack_card(pack: Pack, *, whole: bool = False) -> Card:
    """Return the card of a pack or, ``whole``, of the ordinary folder that it makes with its encoder."""
    about, task, method = pack.card, pack.task, pack.method.name
    over = {(one.set, one.metric): one for one in about.scores} if about else {}
    loading = load_classifier(task.text, task.kind, task.max_length) if whole else load_pack(task.text)
    return Card(
        title=f"{task.name}: {'a model' if whole else 'a pack'} by {method}",
        summary=f"{'A classifier' if whole else 'Biases and a head for a frozen encoder'}: the task `{task.name}`.",
        license=about.license if about else UNKNOWN,
        library="transformers" if whole else "bertwright",
        pipeline="text-classification",
        tags=("bertwright", pack.backbone.family, method),
        facts=_facts(pack),
        data=tuple((one.name, _use(one.use), plural(one.rows, "row")) for one in about.data) if about else (),
        settings={**(about.settings if about else {}), "numbers": pack.dtype},
        identity=pack.recipe or "not named",
        limits=_limits(pack, whole),
        loading=loading,
        task=task.name,
        protocol=", ".join(dict.fromkeys(one.protocol for one in pack.scores)),
        unscored="Not measured: this pack was not scored, or was made of others.",
        scores=tuple(_score(one, over.get((one.set, one.metric))) for one in pack.scores),
    )


def _facts(pack: Pack) -> dict[str, str]:
    task, shape, counts = pack.task, pack.backbone.shape, pack.method.counts
    return {
        "task": f"{task.name}, {task.kind}",
        "text": ", ".join(task.text),
        "labels": ", ".join(task.labels),
        "encoder": f"{pack.backbone.family}, {plural(shape['layers'], 'layer')} x {shape['width']}",
        "method": f"{pack.method.name}, terms {pack.method.terms or 'none: the head alone'}",
        "numbers": f"{counts.total:,} beside the encoder's {counts.of:,}",
    }


def _limits(pack: Pack, whole: bool) -> tuple[str, ...]:
    backbone, policy = pack.backbone, pack.policy or {}
    fits = f"It fits one encoder, to the byte: {backbone.hash[:12]}, with the tokenizer {backbone.tokenizer[:12]}."
    said = [
        *([] if whole else [fits]),
        f"It reads at most {pack.task.max_length} tokens of a row; longer ones are cut or become windows.",
        *([f"Early exits: {policy['sentence']}"] if "sentence" in policy and not whole else []),
        ONLY_HERE,
    ]
    return tuple(said)


def _use(use: str) -> str:
    return use if use == "training" else f"scored on, as {use}"


def _score(one: Score, seeds: SeedScores | None) -> CardScore:
    if seeds is None:
        return CardScore(one.set, one.metric, None, one.value, 1, None, None, None)
    told = (seeds.seeds, seeds.mean, seeds.deviation, seeds.interval)
    return CardScore(one.set, one.metric, seeds.rows, one.value, *told)
