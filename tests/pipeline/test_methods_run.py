"""Methods side by side through the whole road: packs, their scores, starts from packs, the smallest subset."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
import yaml

import bertwright
from bertwright import pack
from bertwright.cli.main import call
from bertwright.encoder import families
from bertwright.errors import DataError, InputError, RecipeError
from bertwright.pipeline.plan import plan
from bertwright.pipeline.smoke import smoke, stand_ins
from bertwright.recipe.reading import to_yaml
from bertwright.reports.methods_tables import methods_tables
from bertwright.stages.packs import encoder_of
from bertwright.text.tokenizer import Tokenizer
from bertwright.training import loop
from bertwright.training.checkpoint import State

Toy = Callable[..., Path]
THREE = {"baseline": False, "seeds": 2, "epochs": 2, "learning_rate": 1e-2, "trainable": ["full", "bitfit", "head"]}


def task(name: str = "height", **fields: Any) -> dict[str, Any]:
    """Return a task on the toy's rows."""
    return {"name": name, "train": "train.jsonl", "sets": {"dev": "dev.jsonl"}, "text": "text", **fields}


def digest(path: Path) -> str:
    """Return what tells a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_methods_stand_side_by_side(tuned: Toy, encoder_folder: Path, tmp_path: Path) -> None:
    """Three methods, two seeds: counts apart, a pack for each run that needs no more, paired scores, gaps, report."""
    path = tuned(finetune={**THREE, "score_train": True})
    result = bertwright.run(path)
    found = result.stages["evaluate/height"].record["results"]
    assert ["given-full", "given-bitfit", "given-head"] == [one["variant"] for one in found["variants"]]
    assert ["full", "bitfit", "head"] == [one["method"] for one in found["variants"]]
    assert {("given-full", "given-bitfit"), ("given-full", "given-head")} == {
        (one["a"], one["b"]) for one in found["comparisons"] if one["set"] == "dev"
    }
    gap = found["variants"][1]["gap"]
    pair = [found["variants"][1]["scores"][name]["accuracy"]["mean"] for name in ("rows learnt from", "dev")]
    assert gap["mean"] == pytest.approx(pair[0] - pair[1])
    runs = {method: result.stages[f"finetune/height/given-{method}/seed-0"] for method in ("full", "bitfit", "head")}
    # One layer of width 16 and inner 32: seven terms of 16, one of 32, and the norm behind the embeddings.
    counts = {method: run.record["results"]["counts"] for method, run in runs.items()}
    assert (7 * 16 + 32 + 16, 0) == (counts["bitfit"]["body"], counts["head"]["body"])
    assert counts["bitfit"]["head"] == counts["head"]["head"]
    assert (runs["full"].folder / "model").is_dir()
    assert not (runs["bitfit"].folder / "model").exists()
    tables = methods_tables(result.records, "height")
    assert ["What learns: height", "Generalisation gap: height", "How far biases moved: height"] == [
        one.title for one in tables if one.rows
    ]
    assert (result.folder / "figures" / "changes.png").is_file()


def test_a_packs_scores_are_those_of_what_is_in_the_file(tuned: Toy, tmp_path: Path) -> None:
    """Named with set, metric, precision and protocol; answering a file with the pack gives the same share right."""
    path = tuned(finetune={**THREE, "seeds": 1, "trainable": "bitfit"})
    result = bertwright.run(path)
    file = result.folder / "tasks" / "height" / "given" / "seed-0.pack"
    score = pack.read(file).scores[0]
    assert ("dev", "accuracy", "fp32", 0) == (score.set, score.metric, score.precision, score.seed)
    assert "own settings: one setting" in score.protocol
    assert 0 == call(["predict", str(file), str(path.parent / "dev.jsonl"), "-o", str(tmp_path / "out.jsonl"), "-q"])
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert score.value == pytest.approx(np.mean([row["label"] == row["prediction"] for row in rows]))


def test_a_pack_is_answered_with_only_with_its_encoder(
    tuned: Toy, encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied elsewhere it asks for the encoder, and takes the one that it was made for."""
    path = tuned(finetune={**THREE, "seeds": 1, "trainable": "head"})
    result = bertwright.run(path)
    copy = tmp_path / "alone" / "my.pack"
    copy.parent.mkdir()
    shutil.copy(result.folder / "tasks" / "height" / "given" / "seed-0.pack", copy)
    command = ["predict", str(copy), str(path.parent / "dev.jsonl"), "-o", str(tmp_path / "out.csv"), "-q"]
    assert 2 == call(command)
    assert "nothing beside it says where its encoder is; give --encoder FOLDER" in capsys.readouterr().err
    assert 0 == call([*command, "--encoder", str(encoder_folder)])
    model = result.folder.parent.parent / "stages"
    whole = next(model.glob("finetune-*"))
    assert 0 == call(["predict", str(whole), str(path.parent / "dev.jsonl"), "-o", str(tmp_path / "b.csv"), "-q"])
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_tasks_that_come_one_after_another_leave_earlier_packs_as_they_are(tuned: Toy) -> None:
    """A second task adds its own; the first one's run is not done again, and its file has the same bytes."""
    one = bertwright.run(tuned(finetune={**THREE, "trainable": "bitfit"}))
    name = "finetune/height/given/seed-0"
    before, folder = digest(one.stages[name].folder / "task.pack"), one.stages[name].folder
    began: list[str] = []
    two = bertwright.run(
        tuned(finetune={**THREE, "trainable": "bitfit"}, tasks=[task(), task("other", learning_rate=1e-3)]),
        listen=lambda stage, fields: began.append(stage) if fields["event"] == "begin" else None,
    )
    assert not [stage for stage in began if "height" in stage]
    assert (folder, before) == (two.stages[name].folder, digest(two.stages[name].folder / "task.pack"))


def test_a_task_starts_from_anothers_pack(tuned: Toy, encoder_folder: Path) -> None:
    """At a rate of nothing the second pack is the first one, but for the last layer; both are for the same encoder."""
    tasks = [task("second", start_from="height", learning_rate=1e-12), task()]
    result = bertwright.run(
        tuned(finetune={**THREE, "seeds": 1, "trainable": "bitfit", "schedule": "constant"}, tasks=tasks)
    )
    files = [result.stages[f"finetune/{name}/given/seed-0"].folder / "task.pack" for name in ("height", "second")]
    first, second = (pack.read(file) for file in files)
    assert first.backbone == second.backbone
    for name, value in first.biases.items():
        # A key's change has no effect and is left out where a pack is written into its encoder.
        assert name.endswith(".key") or np.allclose(value, second.biases[name], atol=1e-4)
    assert max(float(np.abs(value).max()) for value in second.biases.values()) > 1e-3
    assert np.allclose(first.head["dense.weight"], second.head["dense.weight"], atol=1e-3)
    assert not np.allclose(first.head["output.weight"], second.head["output.weight"], atol=1e-3)


def test_the_smallest_sufficient_subset_of_terms_is_taken(tuned: Toy) -> None:
    """Subsets of the terms that moved most are tried on kept-back rows; within 100 points one term is enough."""
    method = {"method": "bitfit", "within": 100}
    result = bertwright.run(tuned(finetune={**THREE, "seeds": 1, "trainable": method}))
    chosen = result.stages["choose/height/given/terms"].record["results"]
    terms = chosen["setting"]["terms"]
    assert "+" not in terms
    assert chosen["table"][0]["terms"] == terms
    whole = result.stages["choose/height/given"].record["results"]["changes"]
    means = {
        name: np.mean([one["change"] for one in whole if one["term"] == name]) for name in {c["term"] for c in whole}
    }
    assert terms == max((name for name in means if name != "key"), key=means.__getitem__)
    final = result.stages["finetune/height/given/seed-0"].record["results"]
    assert {terms} == {one["term"] for one in final["changes"]}
    table = methods_tables(result.records, "height")
    assert any(terms in row[0] for row in table[2].rows)


def test_the_subset_is_all_terms_where_none_is_enough(tuned: Toy) -> None:
    """A bound that no subset meets leaves the whole set in front."""
    method = {"method": "bitfit", "within": 0}
    result = bertwright.run(tuned(finetune={**THREE, "seeds": 1, "learning_rate": 3e-2, "trainable": method}))
    chosen = result.stages["choose/height/given/terms"].record["results"]
    scores = {row["terms"]: row["score"] for row in chosen["table"]}
    first = chosen["table"][0]["terms"]
    assert scores[first] >= scores["all"]
    assert (first == "all") == all(score < scores["all"] for terms, score in scores.items() if terms != "all")


@pytest.mark.parametrize("method", ["rand-uniform", "rand-row-col"])
def test_controls_leave_a_whole_model_in_which_that_many_numbers_changed(
    tuned: Toy, encoder_folder: Path, method: str
) -> None:
    """As many numbers of the encoder's body as bitfit has biases are other ones, and none else."""
    result = bertwright.run(tuned(finetune={**THREE, "seeds": 1, "trainable": method}))
    run = result.stages["finetune/height/given/seed-0"]
    before, now = (families.load(folder).encoder for folder in (encoder_folder, run.folder / "model"))
    changed = sum(int((a != b).sum()) for a, b in zip(before.parameters(), now.parameters(), strict=True))
    budget = run.record["results"]["counts"]["body"]
    assert 160 == budget
    assert budget * 0.6 <= changed <= budget  # a word that no row has does not learn


def test_methods_have_settings_of_their_own(tuned: Toy) -> None:
    """A grid, a rate or epochs of one method leave the others' alone; `sane` brings each its own rates."""
    methods = ["full", {"method": "bitfit", "epochs": 4, "grid": {"learning_rate": [1e-3, 1e-2]}}]
    stages = plan(bertwright.load_recipe(tuned(finetune={**THREE, "seeds": 1, "trainable": methods})))
    of = {stage.name: stage.options for stage in stages}
    assert [1e-3, 1e-2] == [of[f"search/height/given-bitfit/0{n}"]["learning_rate"] for n in (1, 2)]
    assert (2.0, 4.0) == (
        of["finetune/height/given-full/seed-0"]["epochs"],
        of["search/height/given-bitfit/01"]["epochs"],
    )
    assert 1e-2 == of["finetune/height/given-full/seed-0"]["learning_rate"]
    path = tuned(finetune=None)
    path.write_text(path.read_text() + "finetune: {protocol: sane, trainable: [full, bitfit]}\n")
    of = {stage.name: stage.options for stage in plan(bertwright.load_recipe(path))}
    assert [3e-5, 1e-4, 3e-4] == [of[f"search/height/given-full/0{n}"]["learning_rate"] for n in (1, 2, 3)]
    assert [1e-3, 3e-3, 1e-2] == [of[f"search/height/given-bitfit/0{n}"]["learning_rate"] for n in (1, 2, 3)]


def test_the_identity_of_a_full_run_does_not_hang_on_other_methods(tuned: Toy) -> None:
    """Methods that are added beside it leave what it did as it is."""
    alone, beside = (
        plan(bertwright.load_recipe(tuned(finetune={**THREE, "trainable": methods})))
        for methods in ("full", ["full", "bitfit"])
    )
    names = ("finetune/height/given/seed-0", "finetune/height/given-full/seed-0")
    found = [
        next(one.identity for one in stages if one.name == name)
        for stages, name in zip((alone, beside), names, strict=True)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("trainable", "told"),
    [
        ("bitfitt", "Input should be 'full', 'bitfit', 'head', 'rand-uniform' or 'rand-row-col'|did you mean"),
        ({"method": "bitfit", "terms": "querry"}, "found 'querry' where a bias term was expected; the terms are query"),
        ({"method": "bitfit", "layers": "4 to 7"}, "write the first and the last layer, such as 4-11, or one number"),
        (
            {"method": "head", "terms": "query"},
            "`terms` is for bias terms, which `head` does not choose; take `bitfit`",
        ),
        (["bitfit", "bitfit"], "two methods are called bitfit; give one of them a `name`"),
        (True, "found True; write a method's name, such as full or bitfit"),
        ([], "found no method; name one, such as full or bitfit"),
        ({"method": "bitfit", "layers": "5-2"}, "found '5-2'; write the lower layer first: 2-5"),
        ({"method": "bitfit", "terms": "query", "within": 1}, "`terms` names one term, query; name more, or all"),
    ],
)
def test_methods_that_cannot_be_are_told(tuned: Toy, trainable: Any, told: str) -> None:
    """With what was found and what is allowed."""
    with pytest.raises(RecipeError, match=told):
        bertwright.load_recipe(tuned(finetune={**THREE, "trainable": trainable}))


def test_methods_read_back_as_they_were_written(tuned: Toy) -> None:
    """The resolved recipe of a run means the same stages."""
    methods = ["full", {"method": "bitfit", "layers": "0-0", "terms": "query+value", "learning_rate": 0.001}]
    path = tuned(finetune={**THREE, "trainable": methods})
    recipe = bertwright.load_recipe(path)
    again = path.with_name("again.yaml")
    again.write_text(to_yaml(recipe))
    assert methods == yaml.safe_load(again.read_text())["finetune"]["trainable"]
    assert [one.identity for one in plan(recipe)] == [one.identity for one in plan(bertwright.load_recipe(again))]


def test_a_rate_for_whole_models_is_noticed(tuned: Toy) -> None:
    """Biases hardly move at it."""
    method = {"method": "bitfit", "learning_rate": 5e-5}
    result = bertwright.run(tuned(finetune={**THREE, "seeds": 1, "trainable": method}))
    (note,) = result.stages["finetune/height/given/seed-0"].record["results"]["notes"]
    assert "the learning rate 5e-05 is low for bitfit, which wants 0.0001 to 1e-3 and more" in note


def test_a_stop_changes_nothing_of_a_pack(tuned: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was cut off in its fourth step, and continued, leaves the bytes of one that was not."""
    settings = {**THREE, "seeds": 1, "trainable": "bitfit", "checkpoint_every": "1 step"}
    whole = bertwright.run(tuned(finetune=settings))
    judge, cuts = loop._judge, [3]

    def cut(state: State, *rest: Any) -> None:
        if cuts and state.step == cuts[0]:
            cuts.clear()
            raise KeyboardInterrupt
        judge(state, *rest)

    monkeypatch.setattr(loop, "_judge", cut)
    path = tuned(finetune=settings, store="other-store")
    with pytest.raises(KeyboardInterrupt):
        bertwright.run(path)
    assert not cuts
    name = "finetune/height/given/seed-0"
    again = bertwright.run(path).stages[name].folder
    assert digest(whole.stages[name].folder / "task.pack") == digest(again / "task.pack")


def test_an_encoder_without_biases_is_trained_by_bitfit(tuned: Toy, encoder_folder: Path, tmp_path: Path) -> None:
    """Its own stage adds them; the pack is for the folder that has them."""
    tokenizer = Tokenizer.load(encoder_folder)
    settings = transformers.ModernBertConfig(
        vocab_size=tokenizer.vocabulary,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        pad_token_id=tokenizer.pad_id,
        cls_token_id=tokenizer.cls_id,
        sep_token_id=tokenizer.sep_id,
        bos_token_id=tokenizer.cls_id,
        eos_token_id=tokenizer.sep_id,
    )
    bare = tmp_path / "bare"
    transformers.ModernBertForMaskedLM(settings).save_pretrained(bare)
    tokenizer.save(bare, max_length=32)
    path = tuned(finetune={**THREE, "seeds": 1, "trainable": "bitfit"})
    changes = [f"encoder.folder={bare}"]
    with pytest.raises(DataError, match=r"`encoder.add_missing: true` adds biases"):
        bertwright.run(bertwright.load_recipe(path, changes))
    result = bertwright.run(bertwright.load_recipe(path, [*changes, "encoder.add_missing=true"]))
    made = pack.read(result.stages["finetune/height/given/seed-0"].folder / "task.pack")
    assert "modern" == made.backbone.family
    assert not made.backbone.hash.startswith("0" * 8)
    assert made.biases["layers.1.query"].any()
    model = result.stages["with-biases"].folder / "model"
    check = ["pack", "verify", str(result.folder / "tasks/height/given/seed-0.pack"), "--encoder"]
    assert (0, 2) == (call([*check, str(model)]), call([*check, str(encoder_folder)]))


@pytest.mark.parametrize(
    "number", [pytest.param(1, marks=pytest.mark.long), 2, pytest.param(3, marks=pytest.mark.long)]
)
def test_papers_recipes_go_all_the_way_at_toy_size(number: int, tmp_path: Path) -> None:
    """With nothing of what they name: a toy encoder and made-up tasks stand in; every method leaves its runs."""
    path = Path(__file__).parents[2] / "recipes" / "papers" / f"bitfit-table{number}.yaml"
    tasks = yaml.safe_load(path.read_text())["tasks"]
    assert 8 == len(tasks)
    changes = [f"store={tmp_path / 's'}", "system.threads=1", "system.probe=false"]
    recipe = smoke(bertwright.load_recipe(path, changes, stand_ins=True))
    few = tuple(task for task in recipe.tasks if task.name in ("sst2", "stsb", "rte")[number % 3 :])
    result = bertwright.run(recipe.model_copy(update={"tasks": few}))
    methods = {1: ["bitfit", "full"], 2: ["bitfit", "bitfit", "full", "rand-uniform", "rand-row-col"]}
    for task in few:
        variants = result.stages[f"evaluate/{task.name}"].record["results"]["variants"]
        assert methods.get(number, methods[1]) == [one["method"] for one in variants]


def test_a_forecast_knows_what_a_method_leaves(tuned: Toy) -> None:
    """A pack is no model folder; terms and layers that are not there are told before any work."""
    path = tuned(finetune={**THREE, "seeds": 1})
    stages = bertwright.check(path).stages
    disk = {method: stages[f"finetune/height/given-{method}/seed-0"]["disk_bytes"] for method in ("full", "bitfit")}
    assert disk["bitfit"] <= disk["full"]
    with pytest.raises(InputError, match="layers 0-5 are not in an encoder of 1 layers, which are numbered 0-0"):
        bertwright.check(tuned(finetune={**THREE, "trainable": {"method": "bitfit", "layers": "0-5"}}))


def test_a_run_written_down_reads_back_to_the_same_stages(tuned: Toy) -> None:
    """A rate that a method brings is no rate that the recipe sets."""
    path = tuned(finetune={"baseline": False, "seeds": 1, "trainable": ["bitfit", "full"]})
    recipe = bertwright.load_recipe(path)
    again = path.with_name("again.yaml")
    again.write_text(to_yaml(recipe))
    found = [[one.identity for one in plan(bertwright.load_recipe(each))] for each in (path, again)]
    assert found[0] == found[1]


def test_subsets_are_held_against_all_terms_learnt_as_long(tuned: Toy) -> None:
    """With halving too; and what was tried and where is said of the score."""
    grid = {"learning_rate": [1e-3, 1e-2, 2e-2]}
    changes = {"seeds": 1, "halving": True, "grid": grid, "trainable": {"method": "bitfit", "within": 5}}
    settings = {**THREE, **changes}
    del settings["learning_rate"]
    result = bertwright.run(tuned(finetune=settings))
    table = result.stages["choose/height/given/terms"].record["results"]["table"]
    assert {2.0} == {row["epochs"] for row in table}
    (variant,) = result.stages["evaluate/height"].record["results"]["variants"]
    assert 8 == variant["settings_tried"]
    assert "the fewest bias terms within 5 points of all, of 8 settings on rows kept back" in variant["protocol"]


def test_training_rows_are_scored_whatever_columns_other_sets_have(tuned: Toy) -> None:
    """Groups of a set, and a set that is called train, are that set's own affair."""
    settings = {**THREE, "seeds": 1, "trainable": "head", "score_train": True}
    path = tuned(finetune=settings)
    rows = [json.loads(line) for line in (path.parent / "dev.jsonl").read_text().splitlines()]
    told = [json.dumps({**row, "site": "ab"[number % 2]}) for number, row in enumerate(rows)]
    (path.parent / "dev.jsonl").write_text("\n".join(told) + "\n")
    own = task(sets={"dev": "dev.jsonl", "train": "dev.jsonl"}, groups=["site"])
    result = bertwright.run(
        tuned(finetune={**THREE, "seeds": 1, "trainable": "head", "score_train": True}, tasks=[own])
    )
    found = result.stages["evaluate/height"].record["results"]
    assert (24, 48) == (found["sets"]["train"]["rows"], found["sets"]["rows learnt from"]["rows"])
    assert "gap" in found["variants"][0]


def test_runs_that_are_reused_have_the_names_of_this_recipe(tuned: Toy) -> None:
    """What ran alone as `given` is `given-full` beside another method."""
    bertwright.run(tuned(finetune={**THREE, "seeds": 1, "trainable": "full"}))
    result = bertwright.run(tuned(finetune={**THREE, "seeds": 1, "trainable": ["bitfit", "full"]}))
    (table, *_) = methods_tables(result.records, "height")
    assert ["given-bitfit", "given-full"] == [row[0] for row in table.rows]


def test_controls_have_the_budget_of_bitfit_behind_another_task_too(tuned: Toy) -> None:
    """What an earlier task learnt of a head is a head, for all of them."""
    tasks = [task(), task("second", start_from="height")]
    methods = ["bitfit", "rand-uniform", "rand-row-col"]
    result = bertwright.run(tuned(finetune={**THREE, "seeds": 1, "trainable": methods}, tasks=tasks))
    counts = [result.stages[f"finetune/second/given-{one}/seed-0"].record["results"]["counts"] for one in methods]
    assert 1 == len({one["total"] for one in counts})


def test_a_pack_is_listed_once_with_its_scores(tuned: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """However many names lead to it; one that leads nowhere is told."""
    result = bertwright.run(tuned(finetune={**THREE, "trainable": "head"}))
    (result.folder / "gone.pack").symlink_to("nowhere")
    assert 0 == call(["pack", "list", str(result.folder), "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (2, True) == (len(found["packs"]), all(one["scores"] for one in found["packs"]))
    assert "gone.pack is not there" in found["faults"][0]["message"]


@pytest.mark.parametrize("content", ["[1]", '{"x": 1}', "{nope"])
def test_a_foreign_note_beside_a_pack_is_told(tuned: Toy, tmp_path: Path, content: str) -> None:
    """Its name is an ordinary one, so that a copied pack may meet another."""
    path = tmp_path / "own" / "a.pack"
    path.parent.mkdir()
    path.touch()
    (path.parent / "encoder.json").write_text(content)
    with pytest.raises(InputError, match="is no note of an encoder .*; give --encoder FOLDER"):
        encoder_of(path)


def test_smoke_says_what_something_made_up_stands_in_for(tuned: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped path does not look as if it had been tried."""
    path = tuned(finetune={**THREE, "seeds": 1, "trainable": "head"}, tasks=[task(train="trian.jsonl")])
    assert 0 == call(["run", str(path), "--smoke", "-q"])
    out, err = capsys.readouterr()
    (note,) = (line for line in err.splitlines() if "made up" in line)
    assert note.startswith("note: made up for this smoke run: the rows of height (")
    assert note.endswith("trian.jsonl is not there)")
    assert "smoke: it went all the way; scores on made-up files mean nothing" in out


def test_what_is_not_there_is_told_in_one_line_and_by_plain_paths(tuned: Toy, tmp_path: Path) -> None:
    """A recipe of eight tasks without their files does not fill the screen, nor with `..`."""
    (tmp_path / "deep").mkdir()
    tasks = [task(name=name, train=f"deep/../gone/{name}.jsonl") for name in ("one", "two")]
    recipe = bertwright.load_recipe(tuned(tasks=tasks), stand_ins=True)
    (sentence,) = stand_ins(recipe, smoke(recipe))
    assert sentence.endswith(f"the rows of one, two (not there in {tmp_path / 'gone'}: one.jsonl, two.jsonl)")
    assert tmp_path / "gone" / "one.jsonl" == recipe.tasks[0].train


PAPERS = sorted((Path(__file__).parents[2] / "recipes" / "papers").glob("*.yaml"))


@pytest.mark.parametrize("path", PAPERS, ids=[path.stem for path in PAPERS])
def test_a_papers_smoke_says_what_is_made_up(path: Path, tmp_path: Path) -> None:
    """Text and encoders too, also where the recipe names no file that could be missing; in one line."""
    recipe = bertwright.load_recipe(path, [f"store={tmp_path}"], stand_ins=True)
    (sentence,) = stand_ins(recipe, smoke(recipe))
    assert sentence.startswith("made up for this smoke run: the text, a toy encoder")
    assert all(one.train is None or str(one.train.name) in sentence for one in recipe.tasks)
    assert ("a toy encoder of expert tiny" in sentence) == ("tiny" in recipe.finetune.experts)
    assert len(recipe.tasks) < 4 or f"all {len(recipe.tasks)} tasks" in sentence


def test_what_is_there_is_not_said_to_be_made_up(tuned: Toy, tmp_path: Path) -> None:
    """Neither rows nor an encoder; text is always another."""
    own = bertwright.load_recipe(tuned(), stand_ins=True)
    assert [] == stand_ins(own, smoke(own))
    prepare = {"sources": ["texts"], "row_length": 16}
    whole = bertwright.load_recipe(tuned(prepare=prepare, pretrain={"budget": "9 steps"}), stand_ins=True)
    assert ["made up for this smoke run: the text"] == stand_ins(whole, smoke(whole))


def test_a_path_through_a_link_stays_what_it_is(tuned: Toy, tmp_path: Path) -> None:
    """The folder above a linked one is not the one above the link."""
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "deep")
    (tmp_path / "far" / "own.jsonl").write_bytes((tmp_path / "train.jsonl").read_bytes())
    recipe = bertwright.load_recipe(tuned(tasks=[task(train="link/../own.jsonl")]))
    assert recipe.tasks[0].train.is_file()


def test_a_toy_encoder_takes_one_thread(tuned: Toy, tmp_path: Path) -> None:
    """Threads that other programs keep busy wait for each other; who says how many is obeyed."""
    read = bertwright.load_recipe(tuned(), stand_ins=True)
    there = read.model_copy(update={"system": read.system.model_copy(update={"threads": None})})
    assert smoke(there).system.threads is None
    gone = there.model_copy(update={"encoder": there.encoder.model_copy(update={"folder": tmp_path / "gone"})})
    assert 1 == smoke(gone).system.threads
    three = gone.model_copy(update={"system": gone.system.model_copy(update={"threads": 3})})
    assert 3 == smoke(three).system.threads
