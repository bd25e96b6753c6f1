"""Known tasks beside GLUE: sets that test robustness, inference, claims, paraphrases, and classes of single texts."""

from __future__ import annotations

from bertwright.tasks.known import IDS, INFERENCE, PAIR, Known, anywhere, numbered
from bertwright.tasks.layout import Layout

_PREMISE = {"premise": ("sentence1",), "hypothesis": ("sentence2",), "label": ("gold_label",), "id": IDS}
_TOPICS = ("World", "Sports", "Business", "Sci/Tech")
_ANSWERS = ("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM")
_CLAIM = {"evidence": ("evidence_sentence",), "label": ("gold_label",)}
_CONDITIONS = (
    "neoplasms",
    "digestive system diseases",
    "nervous system diseases",
    "cardiovascular diseases",
    "general pathological conditions",
)
_HALLMARKS = (
    "activating invasion and metastasis",
    "avoiding immune destruction",
    "cellular energetics",
    "enabling replicative immortality",
    "evading growth suppressors",
    "genomic instability and mutation",
    "inducing angiogenesis",
    "resisting cell death",
    "sustaining proliferative signaling",
    "tumor promoting inflammation",
)

OTHERS: dict[str, Known] = {
    "hans": Known(
        "classification",
        ("premise", "hypothesis"),
        ("accuracy",),
        sets=("eval",),
        layout=Layout(
            columns=_PREMISE,
            words=anywhere("entailment", "non-entailment"),
            labels=("entailment", "non-entailment"),
            txt="tsv",
        ),
        groups=("heuristic x label", "subcase"),
        # McCoy et al. 2019: the best of three labels first, then both that are no entailment are one.
        becomes={"neutral": "non-entailment", "contradiction": "non-entailment", "not_entailment": "non-entailment"},
        stems={"train": ("heuristics_train_set",), "eval": ("heuristics_evaluation_set",)},
        folders=("HANS", "hans"),
        sizes={"eval": 30_000, "train": 30_000},
        forms="heuristics_evaluation_set.txt and .jsonl, hub parquet, jsonl",
    ),
    "snli": Known(
        "classification",
        ("premise", "hypothesis"),
        ("accuracy",),
        sets=("dev", "test"),
        layout=Layout(columns=_PREMISE, words=anywhere(*INFERENCE), labels=INFERENCE, left_out=("-", "-1"), txt="tsv"),
        stems={part: (f"snli_1.0_{part}",) for part in ("train", "dev", "test")},
        folders=("snli_1.0", "SNLI", "snli"),
        sizes={"train": 549_367, "dev": 9842, "test": 9824},
        forms="snli_1.0_*.txt and .jsonl, hub parquet, tsv, jsonl",
    ),
    "fever": Known(
        "classification",
        ("claim", "evidence"),
        ("accuracy",),
        layout=Layout(columns=_CLAIM, labels=("SUPPORTS", "REFUTES", "NOT ENOUGH INFO"), brackets=True),
        stems={"train": ("fever.train",), "dev": ("fever.dev",)},
        forms="fever.train.jsonl, fever.dev.jsonl",
    ),
    "fever-symmetric": Known(
        "classification",
        ("claim", "evidence"),
        ("accuracy",),
        sets=("dev", "test"),
        layout=Layout(columns=_CLAIM, labels=("SUPPORTS", "REFUTES"), brackets=True),
        merge="wrong",
        stems={"dev": ("fever_symmetric_dev",), "test": ("fever_symmetric_test", "fever_symmetric_generated")},
        sizes={"v0.1": 717, "v0.2 dev": 708, "v0.2 test": 712},
        forms="fever_symmetric_*.jsonl; a set for a model of fever",
    ),
    "paws": Known(
        "classification",
        PAIR,
        ("accuracy", "f1"),
        sets=("dev", "test"),
        positive="paraphrase",
        layout=Layout(
            columns={"id": IDS},
            words=anywhere("not_paraphrase", "paraphrase"),
            labels=("not_paraphrase", "paraphrase"),
        ),
        becomes={"equivalent": "paraphrase", "not_equivalent": "not_paraphrase"}
        | {"duplicate": "paraphrase", "not_duplicate": "not_paraphrase"},
        folders=("final", "labeled_final", "PAWS", "paws"),
        sizes={"train": 49_401, "dev": 8000, "test": 8000},
        forms="PAWS-Wiki's tsv, hub parquet, jsonl",
    ),
    "trec": Known(
        "classification",
        ("text",),
        ("accuracy", "macro_f1"),
        sets=("test",),
        layout=Layout(
            columns={"label": ("coarse_label", "label-coarse"), "id": IDS},
            words={
                "coarse_label": numbered(*_ANSWERS),
                # The hub's first version of these files counted in the order of their first rows.
                "label-coarse": numbered("DESC", "ENTY", "ABBR", "HUM", "NUM", "LOC"),
            },
            labels=_ANSWERS,
        ),
        sizes={"train": 5452, "test": 500},
        forms="hub parquet, jsonl",
    ),
    "ag_news": Known(
        "classification",
        ("text",),
        ("accuracy", "macro_f1"),
        sets=("test",),
        layout=Layout(
            columns={"text": ("description", "Description"), "label": ("class", "Class Index"), "id": IDS},
            # The hub counts from 0, the authors' own file from 1.
            words={"label": numbered(*_TOPICS)}
            | {name: numbered(*_TOPICS, first=1) for name in ("class", "Class Index")},
            labels=_TOPICS,
            headers=(("class", "title", "description"),),
        ),
        folders=("ag_news_csv",),
        sizes={"train": 120_000, "test": 7600},
        forms="ag_news_csv without header (description only), hub parquet (title and description), jsonl",
    ),
    "hoc": Known(
        "multi-label",
        ("sentence",),
        ("micro_f1", "macro_f1", "document_micro_f1"),
        sets=("dev", "test"),
        label="labels",
        none_label="none",
        layout=Layout(columns={"id": IDS}, labels=_HALLMARKS),
        documents="doc",
        sizes={"train": 12_119, "dev": 1798, "test": 3547},
        forms="jsonl with sentence, labels (a list) and doc",
    ),
    "medical_abstracts": Known(
        "classification",
        ("text",),
        ("macro_f1", "accuracy"),
        sets=("test",),
        layout=Layout(
            columns={"text": ("medical_abstract",), "label": ("condition_label",), "id": IDS},
            words={"condition_label": numbered(*_CONDITIONS, first=1)},
            labels=_CONDITIONS,
        ),
        stems={"train": ("medical_tc_train",), "test": ("medical_tc_test",)},
        sizes={"train": 11_550, "test": 2888},
        forms="medical_tc_*.csv, jsonl",
    ),
}
