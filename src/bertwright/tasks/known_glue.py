"""The tasks of GLUE and SuperGLUE's classification tasks, as the hub, GLUE's own folders and jsonl files hold them.

The numbers of labels are those of the hub's files (`nyu-mll/glue`, `aps/super_glue`); GLUE's own TSV files use the same
ones, or words. QQP's own training file has a few lines that a stray line end broke.
"""

from __future__ import annotations

from bertwright.tasks.known import IDS, INFERENCE, PAIR, Known, anywhere
from bertwright.tasks.layout import ANY, Layout

_GLUE = "GLUE's TSV folder, hub parquet, jsonl"
_SUPER = "SuperGLUE's jsonl, hub parquet"
_NO = "not_entailment"
# A premise and a hypothesis have other names in SuperGLUE and on the hub.
_PREMISE = {"sentence1": ("premise",), "sentence2": ("hypothesis",)}
_THREE_TO_TWO = {"entailment": "entailment", "neutral": _NO, "contradiction": _NO}
_TRUTH = {ANY: {"0": "false", "1": "true", "False": "false", "True": "true"}}

GLUE: dict[str, Known] = {
    "cola": Known(
        "classification",
        ("sentence",),
        ("matthews", "accuracy"),
        layout=Layout(
            columns={"id": IDS},
            words=anywhere("unacceptable", "acceptable"),
            labels=("unacceptable", "acceptable"),
            headers=(("source", "label", "mark", "sentence"),),
        ),
        folders=("CoLA", "cola"),
        sizes={"train": 8551, "dev": 1043, "test": 1063},
        forms=_GLUE,
    ),
    "sst2": Known(
        "classification",
        ("sentence",),
        ("accuracy",),
        layout=Layout(columns={"id": IDS}, words=anywhere("negative", "positive"), labels=("negative", "positive")),
        folders=("SST-2", "sst2"),
        sizes={"train": 67_349, "dev": 872, "test": 1821},
        forms=_GLUE,
    ),
    "mrpc": Known(
        "classification",
        PAIR,
        ("f1", "accuracy"),
        positive="equivalent",
        layout=Layout(
            columns={
                "sentence1": ("#1 String",),
                "sentence2": ("#2 String",),
                "label": ("Quality",),
                "id": IDS,
            },
            words=anywhere("not_equivalent", "equivalent"),
            labels=("not_equivalent", "equivalent"),
            txt="tsv",
        ),
        becomes={"duplicate": "equivalent", "not_duplicate": "not_equivalent"}
        | {"paraphrase": "equivalent", "not_paraphrase": "not_equivalent"},
        folders=("MRPC", "mrpc"),
        sizes={"train": 3668, "dev": 408, "test": 1725},
        forms=f"{_GLUE}, Microsoft's msr_paraphrase_*.txt by name",
        dev_in_train=True,
    ),
    "stsb": Known(
        "regression",
        PAIR,
        ("spearman", "pearson"),
        layout=Layout(columns={"label": ("score",), "id": IDS}, span=(0.0, 5.0)),
        folders=("STS-B", "stsb"),
        sizes={"train": 5749, "dev": 1500, "test": 1379},
        forms=_GLUE,
    ),
    "qqp": Known(
        "classification",
        ("question1", "question2"),
        ("f1", "accuracy"),
        positive="duplicate",
        layout=Layout(
            columns={"label": ("is_duplicate",), "id": IDS},
            words=anywhere("not_duplicate", "duplicate"),
            labels=("not_duplicate", "duplicate"),
            broken_rows=True,
        ),
        becomes={"equivalent": "duplicate", "not_equivalent": "not_duplicate"}
        | {"paraphrase": "duplicate", "not_paraphrase": "not_duplicate"},
        folders=("QQP", "qqp"),
        sizes={"train": 363_846, "dev": 40_430, "test": 390_965},
        forms=_GLUE,
    ),
    "mnli": Known(
        "classification",
        ("premise", "hypothesis"),
        ("accuracy",),
        sets=("dev_matched", "dev_mismatched"),
        layout=Layout(
            columns={
                "premise": ("sentence1",),
                "hypothesis": ("sentence2",),
                "label": ("gold_label",),
                "id": IDS,
            },
            words=anywhere(*INFERENCE),
            labels=INFERENCE,
            left_out=("-", "-1"),
            txt="tsv",
        ),
        stems={part: (f"multinli_1.0_{part}",) for part in ("train", "dev_matched", "dev_mismatched")},
        folders=("MNLI", "mnli"),
        sizes={
            "train": 392_702,
            "dev_matched": 9815,
            "dev_mismatched": 9832,
            "test_matched": 9796,
            "test_mismatched": 9847,
        },
        forms=f"{_GLUE}, MultiNLI's own txt and jsonl",
    ),
    "qnli": Known(
        "classification",
        ("question", "sentence"),
        ("accuracy",),
        layout=Layout(columns={"id": IDS}, words=anywhere("entailment", _NO), labels=("entailment", _NO)),
        folders=("QNLI", "qnli"),
        sizes={"train": 104_743, "dev": 5463, "test": 5463},
        forms=_GLUE,
    ),
    "rte": Known(
        "classification",
        PAIR,
        ("accuracy",),
        layout=Layout(columns={**_PREMISE, "id": IDS}, words=anywhere("entailment", _NO), labels=("entailment", _NO)),
        becomes=_THREE_TO_TWO,
        folders=("RTE", "rte"),
        sizes={"train": 2490, "dev": 277, "test": 3000},
        forms=f"{_GLUE}, SuperGLUE's jsonl",
    ),
    "wnli": Known(
        "classification",
        PAIR,
        ("accuracy",),
        layout=Layout(columns={"id": IDS}, words=anywhere(_NO, "entailment"), labels=(_NO, "entailment")),
        becomes=_THREE_TO_TWO,
        folders=("WNLI", "wnli"),
        sizes={"train": 635, "dev": 71, "test": 146},
        forms=_GLUE,
    ),
    "ax": Known(
        "classification",
        ("premise", "hypothesis"),
        ("matthews", "accuracy"),
        sets=(),
        layout=Layout(
            columns={
                "premise": ("sentence1", "Premise"),
                "hypothesis": ("sentence2", "Hypothesis"),
                "label": ("Label",),
                "id": IDS,
            },
            words=anywhere(*INFERENCE),
            labels=INFERENCE,
        ),
        folders=("diagnostic", "AX", "ax"),
        sizes={"test": 1104},
        forms=f"{_GLUE} (GLUE publishes no labels; diagnostic-full.tsv has them)",
    ),
}

SUPERGLUE: dict[str, Known] = {
    "boolq": Known(
        "classification",
        ("question", "passage"),
        ("accuracy",),
        layout=Layout(columns={"id": IDS}, words=_TRUTH, labels=("false", "true")),
        folders=("BoolQ", "boolq"),
        sizes={"train": 9427, "dev": 3270, "test": 3245},
        forms=_SUPER,
    ),
    "cb": Known(
        "classification",
        ("premise", "hypothesis"),
        ("accuracy", "macro_f1"),
        layout=Layout(
            # Not in the order of the other inference tasks.
            columns={"id": IDS},
            words=anywhere("entailment", "contradiction", "neutral"),
            labels=INFERENCE,
        ),
        folders=("CB", "cb"),
        sizes={"train": 250, "dev": 56, "test": 250},
        forms=_SUPER,
    ),
    "wic": Known(
        "classification",
        ("{word}: {sentence1}", "sentence2"),
        ("accuracy",),
        layout=Layout(columns={"id": IDS}, words=_TRUTH, labels=("false", "true")),
        folders=("WiC", "wic"),
        sizes={"train": 5428, "dev": 638, "test": 1400},
        forms=_SUPER,
    ),
}
