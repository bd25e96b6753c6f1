"""Losses against a shortcut through the whole road: experts, their signals, runs, records, and what is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from toy_recipes import WORDS, sentence

import bertwright
from bertwright.cli.main import call
from bertwright.encoder import families
from bertwright.errors import BertwrightError, DataError, InputError, RecipeError
from bertwright.pipeline.check import check
from bertwright.pipeline.forecast_training import TrainingForecast
from bertwright.pipeline.plan import plan
from bertwright.pipeline.smoke import smoke
from bertwright.recipe.reading import to_yaml
from bertwright.reports.closer_tables import settings_tables
from bertwright.reports.debias_tables import debias_tables
from bertwright.stages import debiasing, examples, expert_scores, measure
from bertwright.stages import expert as expert_stage
from bertwright.tasks import readers

Toy = Callable[..., Path]
CLAIM = {"claim-only": {"kind": "partial-input", "columns": ["claim"], "folds": 3}}
ONE = {"baseline": False, "seeds": 1, "epochs": 1, "learning_rate": 1e-2}


@pytest.fixture
def pairs(tuned: Toy, tmp_path: Path) -> Callable[..., Path]:
    """As ``tuned``, on pairs whose claim gives the label away in train and dev, and not in ``odd``."""
    draw = random.Random(2)
    for name, count in (("train", 48), ("dev", 24), ("odd", 24)):
        rows = []
        for number in range(count):
            label = ("no", "yes")[number % 2]
            part = 24 * ((number % 2) if name != "odd" else draw.randrange(2))
            rows.append({"evidence": sentence(draw, 0, 48), "claim": sentence(draw, part, part + 24), "label": label})
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(trainable: Any, experts: Any = CLAIM, *, task: Any = None, **fields: Any) -> Path:
        own = {
            "name": "facts",
            "train": "train.jsonl",
            "sets": {"dev": "dev.jsonl", "odd": "odd.jsonl"},
            "text": ["evidence", "claim"],
            **(task or {}),
        }
        changes = {"finetune": {**ONE, **fields, "trainable": trainable, "experts": experts}, "tasks": [own]}
        return tuned(**changes)

    return write


EVERY = [
    "full",
    *(
        {"method": "full", "loss": loss, "expert": "claim-only"}
        for loss in ("poe", "poe-ce", "reweight", "confidence", "guided", "guide-the-learner-fever")
    ),
    {"method": "full", "loss": {"name": "poe-e2e", "columns": "claim"}},
    {"method": "bitfit", "loss": {"name": "dfl-e2e", "columns": "claim"}},
]


def test_every_loss_goes_all_the_way(pairs: Toy) -> None:
    """A run of each, its examples, an ordinary model without a bias head, scores beside plain cross entropy."""
    result = bertwright.run(pairs(EVERY))
    found = result.stages["evaluate/facts"].record["results"]
    assert 9 == len(found["variants"])
    assert "given-full-guided" in [one["variant"] for one in found["variants"]]
    runs = {name.split("/")[2]: one for name, one in result.stages.items() if name.startswith("finetune/")}
    assert "against" not in runs["given-full"].record["results"]
    told = runs["given-full-guided"].record["results"]["against"]
    assert 48 == told["rows"]
    assert 0 < told["rho"] < 1
    table = pq.read_table(runs["given-full-guided"].folder / "examples.parquet")
    assert 48 == table.num_rows
    assert {"id", "text", "gold", "p_main", "p_expert", "rho", "weight", "loss", "loss_poe", "loss_ce"} <= set(
        table.column_names
    )
    own, expert, rho = (table[name].to_numpy() for name in ("p_main", "p_expert", "rho"))
    product = own * expert / (own * expert + (1 - own) * (1 - expert))
    weight = rho**product
    by_hand = -weight * np.log(product) - (1 - weight) * np.log(own)
    assert by_hand == pytest.approx(table["loss"].to_numpy(), abs=1e-5)
    assert told["losses"]["loss"] == pytest.approx(np.mean(table["loss"].to_numpy()), rel=1e-5)
    for name in ("given-full-guided", "given-full-poe", "given-full-poe-e2e"):
        _check_words(runs[name].record["results"]["against"], of_expert=name != "given-full-poe-e2e")
    for name in ("given-full-poe-e2e", "given-full-guided"):
        assert (runs[name].folder / "model" / "config.json").is_file()
    assert (runs["given-bitfit-dfl-e2e"].folder / "task.pack").is_file()
    titles = {table.title: table for table in debias_tables(result.records, "facts")}
    assert 10 == len(titles["In and out of distribution: facts"].rows) - 1
    assert ("given/claim-only", "partial-input", "claim", "3") == titles["Experts: facts"].rows[0][:4]
    assert titles["Examples that count least: facts"].rows
    assert (result.folder / "figures" / "guidance.png").is_file()
    assert '<span class="word" style="--main: 1.00' in (result.folder / "report.html").read_text()


def _check_words(told: dict[str, Any], *, of_expert: bool) -> None:
    """Both columns' words have the model's share, and the claim's alone the expert's; one of each row has the most."""
    for one in (*told["down_weighted"], *told["rescued"]):
        shown = {column: [one["text"][column][a:b] for c, a, b, *_ in one["words"] if c == column] for column in (0, 1)}
        assert shown == {column: one["text"][column].split() for column in (0, 1)}
        main, claim = ([word[place] for word in one["words"]] for place in (3, 4))
        assert 1.0 == max(share for share in main if share is not None)
        read = [share for (column, *_), share in zip(one["words"], claim, strict=True) if column == 1]
        assert claim.count(None) == len(claim) - len(read) * of_expert
        assert not of_expert or 1.0 == max(read)


def test_plain_cross_entropy_is_what_it_was(pairs: Toy) -> None:
    """Its identity does not hang on methods beside it, and its options have no new key."""
    alone, named, beside = (
        {one.name: one for one in plan(bertwright.load_recipe(pairs(methods, experts)))}
        for methods, experts in (("full", {}), ({"method": "full", "loss": "ce"}, {}), (EVERY, CLAIM))
    )
    plain = alone["finetune/facts/given/seed-0"]
    assert plain.identity == beside["finetune/facts/given-full/seed-0"].identity
    assert plain.identity == named["finetune/facts/given/seed-0"].identity
    assert not {"loss", "expert", "attributing", "bias_columns", "experts", "shortcuts"} & set(plain.options)
    assert {"encoder", "tokenizer"} == set(plain.inputs)
    assert alone["evaluate/facts"].identity == named["evaluate/facts"].identity


def poe(**fields: Any) -> dict[str, Any]:
    """Return the smallest method with an expert."""
    return {"method": "full", "loss": "poe", "expert": "claim-only", **fields}


def watched(monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> list[Any]:
    """Return a list that takes the rows of each model that an expert fits; the one numbered ``stop_at`` is cut off."""
    seen: list[Any] = []
    real = expert_stage.learn

    def learn(work: Any, options: Any, task: Any, rows: Any, labels: Any, *, epochs: float) -> Any:
        if stop_at is not None and len(seen) == stop_at:
            raise KeyboardInterrupt
        seen.append(rows)
        return real(work, options, task, rows, labels, epochs=epochs)

    monkeypatch.setattr(expert_stage, "learn", learn)
    return seen


def test_cross_fitting_scores_no_row_by_a_model_that_saw_it(pairs: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row is scored once, by the model whose rows have neither it nor its claim; empty claims are apart."""
    path = pairs(poe(), seeds=2)
    rows = [json.loads(line) for line in (path.parent / "train.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["claim"] = "" if number < 9 else rows[number - number % 3]["claim"]
    (path.parent / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen, said = watched(monkeypatch), []
    real = expert_stage._say
    monkeypatch.setattr(expert_stage, "_say", lambda *given: said.append(given) or real(*given))
    result = bertwright.run(path)
    assert 3 == len(seen) == len(said)  # two seeds share the expert
    scored: list[str] = []
    for learnt, (_, whole, _, chosen, _) in zip(seen, said, strict=True):
        own = whole.some(chosen.tolist())
        scored += own.ids
        assert set() == set(learnt.ids) & set(own.ids)
        assert set() == (set(learnt.texts) & set(own.texts)) - {("",)}
    assert [str(n) for n in range(1, 49)] == sorted(scored, key=int)
    empty = {
        number for number, given in enumerate(said) for text in given[1].some(given[3].tolist()).texts if text == ("",)
    }
    assert len(empty) > 1
    record = result.stages["expert/facts/given/claim-only"].record["results"]
    assert (48, ["claim"], 3) == (record["rows"], record["columns"], record["folds"])


def test_a_fold_that_is_finished_is_not_fitted_again(pairs: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off in its second fold, an expert continues there and leaves the bytes of one that was not."""
    name = "expert/facts/given/claim-only"
    whole = bertwright.run(pairs(poe())).stages[name].folder / "signals.parquet"
    path = pairs(poe())
    path.write_text(path.read_text() + "store: other-store\n")
    with monkeypatch.context() as context:
        assert not watched(context, stop_at=1).clear()
        with pytest.raises(KeyboardInterrupt):
            bertwright.run(path)
    seen = watched(monkeypatch)
    again = bertwright.run(path).stages[name].folder
    assert 2 == len(seen)
    assert whole.read_bytes() == (again / "signals.parquet").read_bytes()
    assert {0, 1, 2} == {json.loads(line)["fold"] for line in (again / "metrics.jsonl").read_text().splitlines()}


def test_the_sets_are_not_opened_before_the_scores(pairs: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experts, searches, choices and runs read the training rows alone, and a search by hold-out no dev either."""
    path = pairs([poe(grid={"learning_rate": [1e-3, 1e-2]})], seeds=1)
    now, opened = ["before"], []
    real = readers.rows_in

    def rows_in(file: Path, *rest: Any) -> Any:
        opened.append((now[-1], file.name))
        return real(file, *rest)

    monkeypatch.setattr(readers, "rows_in", rows_in)
    bertwright.run(path, listen=lambda _, fields: now.append(fields["kind"]) if fields["event"] == "begin" else None)
    for kind in ("expert", "search", "finetune"):
        assert {"train.jsonl"} == {name for at, name in opened if at == kind}
    assert {"choose"} & set(now)
    assert {"train.jsonl", "dev.jsonl", "odd.jsonl"} == {name for at, name in opened if at == "evaluate"}


def test_alpha_and_beta_are_chosen_on_rows_kept_back(pairs: Toy) -> None:
    """By the mean of what is right where the expert is right and where it is wrong; the run has what was chosen."""
    swept = poe(loss="guided", grid={"alpha": [0.1, 2], "beta": 0.3})
    result = bertwright.run(pairs(["full", swept], select_by="both-sides", holdout=0.4))
    chosen = result.stages["choose/facts/given-full-guided"].record["results"]
    assert (["alpha"], "both-sides", 2) == (chosen["varied"], chosen["select_by"], chosen["tried"])
    signals = debiasing.signals.read(result.stages["expert/facts/given/claim-only"].folder / "signals.parquet")
    gold = np.array([("no", "yes").index(("no", "yes")[n % 2]) for n in range(48)])
    known = signals.logits.argmax(-1) == gold[[int(one) - 1 for one in signals.ids]]
    for row in chosen["table"]:
        sides = row["sides"]
        assert chosen["rows"] == sum(side["rows"] for side in sides.values())
        assert 0 < sides["expert_wrong"]["rows"] <= int((~known).sum())
        assert row["score"] == pytest.approx(np.mean([side["accuracy"] for side in sides.values()]))
    assert chosen["table"][0]["score"] >= chosen["table"][1]["score"]
    best = chosen["table"][0]["alpha"]
    run = result.stages["finetune/facts/given-full-guided/seed-0"].record["results"]
    assert (best, 0.3) == (run["settings"]["alpha"], run["settings"]["beta"])
    assert (best, best) == (
        run["against"]["alpha"],
        result.stages["evaluate/facts"].record["results"]["figure"]["alpha"],
    )
    variant = result.stages["evaluate/facts"].record["results"]["variants"][1]
    assert "by the mean of accuracies where the expert is right and where it is wrong" in variant["protocol"]
    (table,) = settings_tables(result.records, "facts")
    assert ("alpha", "mean of both sides", "accuracy, expert right", "accuracy, expert wrong") == table.columns[:4]


def test_the_papers_grid_has_a_name(pairs: Toy) -> None:
    """Guide the Learner's six alphas and four betas, as 24 settings; written down, it reads back to the same."""
    recipe = bertwright.load_recipe(pairs([poe(loss="guide-the-learner-fever", grid="guide-the-learner")]))
    losses = [one.options["loss"] for one in plan(recipe) if one.kind == "search"]
    assert {(a, b) for a in (0.01, 0.1, 0.2, 0.3, 0.5, 1.0) for b in (0.1, 0.3, 0.5, 1.0)} == {
        (one["alpha"], one["beta"]) for one in losses
    }
    assert 24 == len(losses)
    assert recipe.finetune == type(recipe.finetune).model_validate(recipe.finetune.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("methods", "fields", "told"),
    [
        (["full"], {"learning_rate": None, "grid": {"learning_rate": [1e-3, 1e-2]}}, "the method has no expert"),
        ([poe(grid={"learning_rate": [1e-3, 1e-2]})], {"select_on": "dev"}, "on dev, whose rows the expert has not"),
    ],
)
def test_both_sides_need_an_expert_that_scored_the_rows(pairs: Toy, methods: Any, fields: Any, told: str) -> None:
    """A method without one, and rows of another set, are refused before any work."""
    path = pairs(methods, CLAIM if "expert" in methods[0] else {}, select_by="both-sides", **fields)
    document = yaml.safe_load(path.read_text())
    document["finetune"] = {key: value for key, value in document["finetune"].items() if value is not None}
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(InputError, match=told):
        plan(bertwright.load_recipe(path))


@pytest.mark.parametrize(
    ("method", "experts", "told"),
    [
        (poe(grid={"alpha": [0.1, 1]}), CLAIM, r"the grid: found the option alpha with the loss poe, which does not"),
        (poe(loss="guided", grid={"alpha": [0.1, 101]}), CLAIM, r"the grid: alpha: found 101.0, expected a number"),
        (poe(loss="guided", grid="guide-the-lerner"), CLAIM, r"found the grid 'guide-the-lerner'; there are guide-the"),
        (
            poe(loss={"name": "guided", "beta": 1}, grid={"beta": [0.1, 1]}),
            CLAIM,
            r"the loss has beta 1, and the grid tries several; remove one of the two",
        ),
        ({"method": "full", "grid": {"alpha": [0.1, 1]}}, {}, r"the grid tries `alpha`, and cross entropy has none"),
        (poe(loss={"name": "guided", "alpha": -1}), CLAIM, r"alpha: found -1.0, expected a number from 0 to 100"),
        (poe(loss={"name": "guided", "beta": 101}), CLAIM, r"beta: found 101.0, expected a number from 0 to 100"),
        (poe(loss={"name": "poe", "alpha": 1}), CLAIM, r"the option alpha with the loss poe, which does not use it"),
        (poe(loss={"name": "poe", "target": "gold"}), CLAIM, r"looks at no attributions; remove it, or choose guided"),
        (poe(loss={"name": "guided", "dropout": False}), CLAIM, r"found dropout: off with passes: one"),
        (poe(loss="giuded"), CLAIM, r"found the loss 'giuded'; there are ce, .*; did you mean guided\?"),
        (
            poe(expert="claim-onyl"),
            CLAIM,
            r"names the expert 'claim-onyl', which is not there; did you mean 'claim-only'",
        ),
        ({"loss": "poe"}, {}, r"the loss poe needs an `expert`; name one of finetune.experts"),
        ({"expert": "claim-only"}, CLAIM, r"found the expert 'claim-only', and cross entropy uses none"),
        ({"loss": "poe-e2e"}, {}, r"`poe-e2e` has a bias head; name the `columns` that it reads"),
        ("full", CLAIM, r"no method uses the expert claim-only; name it as a method's `expert`, or remove it"),
        (poe(), {"claim-only": {"kind": "partial-input"}}, r"`partial-input` reads some columns alone; name them"),
        (poe(), {"claim-only": {"kind": "file"}}, r"`kind: file` needs `file`, where the logits are"),
        (
            poe(),
            {"claim-only": {"kind": "weak", "depth": 2}},
            r"`depth` is for `kind: ramp`, and this is weak",
        ),
        (
            poe(),
            {"claim-only": {"kind": "weak", "layers": 2}},
            r"`layers` is for `kind: small-model`, and this is weak",
        ),
    ],
)
def test_what_cannot_be_is_told_with_its_line(pairs: Toy, method: Any, experts: Any, told: str) -> None:
    """Every value of a loss and of an expert is checked when the recipe is read."""
    with pytest.raises(RecipeError, match=told) as fault:
        bertwright.load_recipe(pairs(method, experts))
    assert all(problem.line for problem in fault.value.problems)


@pytest.mark.parametrize(
    ("method", "experts", "task", "told"),
    [
        (poe(), {"claim-only": {"kind": "partial-input", "columns": "clam"}}, {}, "reads the column 'clam'"),
        (
            poe(),
            {"claim-only": {"kind": "partial-input", "columns": ["evidence", "claim"]}},
            {},
            "is all that there is",
        ),
        ({"loss": {"name": "poe-e2e", "columns": "premise"}}, {}, {}, "reads the column 'premise'"),
        (poe(), CLAIM, {"kind": "regression"}, "is for one class a row, and this is a regression task"),
        (poe(), CLAIM, {"window_stride": 4}, "is of whole rows, and `window_stride` cuts long ones into windows"),
    ],
)
def test_a_task_that_does_not_go_with_a_loss_is_refused(
    pairs: Toy, method: Any, experts: Any, task: Any, told: str
) -> None:
    """Before any work."""
    with pytest.raises(InputError, match=told):
        plan(bertwright.load_recipe(pairs(method, experts, task=task)))


def logits_file(folder: Path, ids: list[int], labels: tuple[str, str] = ("no", "yes"), sure: float = 3.0) -> Path:
    """Write logits that are right about every row."""
    rows = [
        {"id": i, **{label: sure * (("no", "yes").index(label) == (i - 1) % 2) for label in ("no", "yes")}} for i in ids
    ]
    renamed = [{labels[("no", "yes").index(k)] if k != "id" else k: v for k, v in row.items()} for row in rows]
    path = folder / "logits.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in renamed))
    return path


MINE = {"mine": {"kind": "file", "file": "logits.jsonl"}}
ALL = list(range(1, 49))


@pytest.mark.parametrize(
    ("ids", "labels", "told"),
    [
        (ALL[1:], ("no", "yes"), r"1 row\(s\) have no signals \(ids 1\).*: write the file anew"),
        ([*ALL, 77], ("no", "yes"), r"1 row\(s\) are not in the training set \(ids 77\)"),
        (ALL, ("no", "maybe"), r"found the columns id, no, maybe, and yes is missing; expected a row"),
    ],
)
def test_a_file_of_logits_has_every_row_and_label(
    pairs: Toy, tmp_path: Path, ids: list[int], labels: tuple[str, str], told: str
) -> None:
    """Rows that are missing or too many, or another set of labels, are refused by name before any work."""
    logits_file(tmp_path, ids, labels)
    path = pairs(poe(expert="mine"), MINE)
    with pytest.raises(BertwrightError, match=told):
        bertwright.run(path)
    with pytest.raises(RecipeError, match=told):
        check(path)
    assert [] == list((tmp_path / "bertwright-store" / "stages").glob("*"))


def test_more_folds_than_claims_are_told_before_any_work(pairs: Toy) -> None:
    """The rows of one claim are one group, so that there are fewer groups than rows."""
    path = pairs(poe(), {"claim-only": {"kind": "partial-input", "columns": ["claim"], "folds": 40}})
    rows = [json.loads(line) for line in (path.parent / "train.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["claim"] = rows[number - number % 4]["claim"]
    (path.parent / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = r"the expert's `folds`: found 40 folds for 12 rows, or groups of them"
    with pytest.raises(RecipeError, match=told):
        check(path)
    with pytest.raises(InputError, match=told):
        bertwright.run(path)


def test_rows_with_nothing_to_compare_are_told_of(pairs: Toy) -> None:
    """A claim that is empty in some rows has similarity 0 there, and the run says in how many."""
    path = pairs(poe(loss="guided"))
    rows = [json.loads(line) for line in (path.parent / "train.jsonl").read_text().splitlines()]
    for row in rows[:8]:
        row["claim"] = ""
    (path.parent / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = bertwright.run(path, until="finetune")
    run = result.stages["finetune/facts/given/seed-0"].record["results"]
    assert pytest.approx(8 / 48) == run["against"]["empty"]
    first, second = run["notes"]
    assert first.startswith("8 of 48 rows looked at have nothing that both models look at")
    assert second == f"{run['against']['lost_units']} words were cut from one model's text alone, and are not compared"


def test_an_expert_that_is_better_than_the_model_is_told_of(pairs: Toy, tmp_path: Path) -> None:
    """What it knows is more than a shortcut; its labels stand in the file in another order, and are found by name."""
    path = logits_file(tmp_path, ALL[::-1])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    order = [{name: row[name] for name in ("yes", "id", "no")} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in order))
    result = bertwright.run(pairs(["full", poe(expert="mine", batch=1)], MINE))
    record = result.stages["expert/facts/given/mine"].record["results"]
    assert 1.0 == record["train"]["accuracy"]
    notes = result.stages["evaluate/facts"].record["results"]["notes"]
    assert any("no less than the model without it" in note for note in notes)
    # Batches of one row have one class each.
    assert 48 == result.stages["finetune/facts/given-full-poe/seed-0"].record["results"]["steps"]


def test_attributions_need_an_expert_with_an_inside(pairs: Toy, tmp_path: Path) -> None:
    """A file of logits has none."""
    logits_file(tmp_path, ALL)
    with pytest.raises(InputError, match="the expert mine is a file of logits, which has none; take poe"):
        plan(bertwright.load_recipe(pairs(poe(expert="mine", loss="guided"), MINE)))


def test_rows_that_changed_since_the_signals_are_refused(pairs: Toy) -> None:
    """Another text or label under the same id, or a row that the expert did not see."""
    result = bertwright.run(pairs(poe()), until="expert")
    path = result.stages["expert/facts/given/claim-only"].folder / "signals.parquet"
    rows = readers.read(
        result.folder.parents[2] / "train.jsonl", text=["evidence", "claim"], label="label", kind="classification"
    )
    assert 48 == len(debiasing.joined(path, rows, ("no", "yes")).ids)
    part = debiasing.joined(path, rows.some([7, 2]), ("no", "yes"))
    assert ("8", "3") == part.ids
    with pytest.raises(DataError, match="1 row\\(s\\) have another text or label than the expert read"):
        debiasing.joined(path, replace(rows, texts=(("x", "y"), *rows.texts[1:])), ("no", "yes"))
    with pytest.raises(DataError, match="1 row\\(s\\) have no signals"):
        debiasing.joined(path, replace(rows, ids=("new", *rows.ids[1:])), ("no", "yes"))


def test_small_and_weak_experts_and_methods_of_one_task(
    pairs: Toy, encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drawn small model, a folder's, one on few rows; a task with methods of its own; classes that weigh; a pack."""
    experts = {
        "drawn": {"kind": "small-model", "layers": 1, "width": 8, "inner": 16, "folds": 2},
        "folder": {"kind": "small-model", "encoder": str(encoder_folder), "folds": 1},
        "few": {"kind": "weak", "rows": 12, "epochs": 1, "folds": 2},
    }
    methods = [
        poe(expert="drawn", loss={"name": "guided", "specials": "in", "compare": "words"}),
        poe(expert="folder", loss="guide-the-learner-mnli", method="bitfit"),
        poe(expert="few", loss={"name": "reweight", "lowest_theta": 0.8}),
    ]
    path = pairs("full", experts, task={"trainable": methods, "class_weights": "balanced"})
    recipe = bertwright.load_recipe(path)
    again = path.with_name("again.yaml")
    again.write_text(to_yaml(recipe))
    assert [one.identity for one in plan(recipe)] == [one.identity for one in plan(bertwright.load_recipe(again))]
    told = lambda home, reached: f"{home} of {[(name, one.rows) for name, one in sorted(reached.items())]}"  # noqa: E731
    monkeypatch.setattr(expert_scores, "not_biased", told)
    result = bertwright.run(path)
    records = {name.split("/")[-1]: one.record["results"] for name, one in result.stages.items() if "expert/" in name}
    assert {"drawn", "folder", "few"} == set(records)
    assert [12, 12] == records["few"]["learnt_from"]
    assert any("scored by the model that was fitted on it" in note for note in records["folder"]["notes"])
    found = result.stages["evaluate/facts"].record["results"]
    assert {"dev", "odd"} == set(found["experts"][0]["sets"])
    assert "expert given/drawn: dev of [('dev', 24), ('odd', 24)]" in found["notes"]
    assert "given-full" not in [one["variant"] for one in found["variants"]]


def test_passes_behind_a_training_have_its_precision(pairs: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expert's signals and the examples are computed as fast as the training was; what is kept is fp32."""
    asked: list[str] = []

    def noted(real: Any) -> Any:
        def attribute(model: Any, *given: Any, **rest: Any) -> Any:
            asked.append(str(next(model.parameters()).dtype))
            return real(model, *given, **rest)

        return attribute

    for module in (expert_stage, examples):
        monkeypatch.setattr(module, "attribute", noted(module.attribute))
    path = pairs(poe(loss="guided"))
    result = bertwright.run(bertwright.load_recipe(path, ["system.precision=bf16"]))
    assert {"torch.bfloat16"} == set(asked)
    kept = [one.folder / "model" for name, one in result.stages.items() if name.startswith(("expert/", "finetune/"))]
    assert 2 == len(kept)
    assert all({torch.float32} == {p.dtype for p in families.load(one).encoder.parameters()} for one in kept)


def test_a_low_ramp_is_an_expert(pairs: Toy, deep_folder: Path) -> None:
    """It has the encoder's lowest blocks as they came; more blocks than there are is told before any work."""
    guided = poe(expert="low", loss="guided")
    path = pairs(guided, {"low": {"kind": "ramp", "depth": 2, "folds": 2, "learning_rate": 1e-12}})
    document = yaml.safe_load(path.read_text())
    document["encoder"]["folder"] = str(deep_folder)
    path.write_text(yaml.safe_dump(document))
    result = bertwright.run(path)
    (name,) = (name for name in result.stages if name.startswith("expert/"))
    found = families.load(result.stages[name].folder / "model").encoder.state_dict()
    whole = families.load(deep_folder).encoder.state_dict()
    assert {"0", "1"} == {key.split(".")[1] for key in found if key.startswith("blocks.")}
    assert all(torch.allclose(value, whole[key], atol=1e-6) for key, value in found.items())
    document["finetune"]["experts"]["low"]["depth"] = 4
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(InputError, match="`depth` is 4, and the encoder has 3 layers"):
        bertwright.check(path)


def test_a_forecast_takes_an_expert_for_as_long_as_what_it_reads(pairs: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim alone, and not the pair: a step of fewer tokens is measured for it."""
    lengths: list[int] = []
    real = measure.measure_finetuning

    def watch(*given: Any, length: int, **rest: Any) -> Any:
        lengths.append(length)
        return real(*given, length=length, **rest)

    monkeypatch.setattr(measure, "measure_finetuning", watch)
    bertwright.check(pairs(poe()))
    assert min(lengths) < 0.7 * max(lengths)


def test_a_forecast_takes_each_small_expert_in_its_own_shape(pairs: Toy) -> None:
    """Also where the name of one begins that of another."""
    small = {"kind": "small-model", "heads": 2, "folds": 2}
    experts = {"low-deep": {**small, "layers": 3, "width": 16}, "low": {**small, "layers": 1, "width": 32}}
    methods = [{"name": name, "loss": "poe", "expert": name} for name in experts]
    recipe = bertwright.load_recipe(pairs(methods, experts))
    forecaster = TrainingForecast(recipe, {})
    shapes = {stage.name: forecaster._config_of(stage) for stage in plan(recipe) if stage.kind == "expert"}
    assert {("low-deep", 3, 16), ("low", 1, 32)} == {
        (name.split("/")[-1], shape.layers, shape.width) for name, shape in shapes.items()
    }


def test_shortcuts_are_searched_before_any_training(pairs: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """By `check --shortcuts`, as text and as JSON, and as a stage whose table is in the report."""
    path = pairs("full", {}, shortcuts=True)
    rows = [
        {"evidence": "ba", "claim": ("mi ", "so ")[n % 2] + WORDS[n // 2], "label": ("no", "yes")[n % 2]}
        for n in range(60)
    ]
    (path.parent / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert 0 == call(["check", str(path), "--shortcuts", "--json"])
    (found,) = json.loads(capsys.readouterr().out.splitlines()[-1])["tasks"]
    assert "a claim-only expert fits" in found["advice"]
    result = bertwright.run(path, until="shortcuts")
    assert found == json.loads(json.dumps(result.stages["shortcuts/facts"].record["results"]))
    assert "Shortcuts in the training rows: facts" in [one.title for one in debias_tables(result.records, "facts")]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("mnli", [1, 5]),
        pytest.param("mnli", range(6), marks=pytest.mark.long),
        pytest.param("fever", range(6), marks=pytest.mark.long),
    ],
)
def test_the_papers_table_goes_all_the_way_at_toy_size(name: str, rows: Sequence[int], tmp_path: Path) -> None:
    """With nothing of what it names, every row of the table leaves its runs."""
    path = Path(__file__).parents[2] / "recipes" / "papers" / "guide-the-learner-table1.yaml"
    recipe = smoke(bertwright.load_recipe(path, [f"store={tmp_path / 's'}", "system.threads=1"], stand_ins=True))
    (task,) = (one for one in recipe.tasks if one.name == name)
    methods = tuple((task.trainable or ())[place] for place in rows)
    assert 6 == len(task.trainable or ())
    finetune = recipe.finetune.model_copy(update={"seeds": 1})
    own = task.model_copy(update={"trainable": methods})
    result = bertwright.run(recipe.model_copy(update={"tasks": (own,), "finetune": finetune}))
    variants = result.stages[f"evaluate/{name}"].record["results"]["variants"]
    assert [one.label for one in methods] == [one["variant"].removeprefix("pretrained-") for one in variants]
    assert len(rows) - (0 in rows) == sum("loss" in one for one in variants)
