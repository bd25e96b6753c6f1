"""Runs with ramps answer files, row by row at its own layer, and their policies are chosen again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_recipes import deep_in

import bertwright
from bertwright import files, pack
from bertwright.cli.main import call
from bertwright.encoder.models import Classifier
from bertwright.exits.measures import entropy
from bertwright.exits.policies import parse
from bertwright.stages.exiting import EXITS, load_exiting, read_calibration, read_choice
from bertwright.stages.fine_tuned import answering
from bertwright.stages.tune_exits import Wanted, tune_exits
from bertwright.training.precision import choose

Toy = Callable[..., Path]
EXITS_OF = {"epochs": 20, "learning_rate": 2e-2, "timed_rows": 3, "keep_back": "50 %"}


@pytest.fixture(scope="module")
def sealed(deep_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that left a whole model and a pack with ramps."""
    methods = [{"method": name, "exits": EXITS_OF} for name in ("full", "bitfit")]
    deep = deep_in(tmp_path_factory.mktemp("runs"), deep_folder)
    return bertwright.run(deep(finetune={"trainable": methods}, report=False)).folder


@pytest.fixture
def runs(sealed: Path, tmp_path: Path) -> dict[str, Path]:
    """Places: of the runs as they are sealed, of a copy of the whole one, of a plain run, and of rows to answer."""
    exits = sealed / "exits" / "height"
    shutil.copytree(exits / "given-full-two-stage" / "seed-0", tmp_path / "full")
    return {
        "full": tmp_path / "full",
        "sealed": exits / "given-full-two-stage" / "seed-0",
        "bitfit": exits / "given-bitfit-two-stage" / "seed-0",
        "plain": sealed / "tasks" / "height" / "given-full-two-stage" / "seed-0",
        "dev": sealed.parents[2] / "dev.jsonl",
    }


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return a jsonl file's rows."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def middle(run: Path) -> str:
    """Return the policy by which half of the calibration rows leave at the first ramp."""
    every, _ = read_calibration(run / "calibration.safetensors", "classification")
    return f"entropy:{np.median(entropy(every.logits[0])):.6f}"


def test_rows_leave_at_their_layers(runs: dict[str, Path], tmp_path: Path) -> None:
    """`never` is the plain model to the last digit; a threshold lets rows go; the layer stands last, in any format."""
    for name in ("full", "bitfit"):
        plain, never, early = (tmp_path / f"{name}-{kind}.jsonl" for kind in ("plain", "never", "early"))
        bertwright.predict(runs[name], runs["dev"], plain, precision="fp32")
        bertwright.predict(runs[name], runs["dev"], never, precision="fp32", exit="never")
        done = bertwright.predict(runs[name], runs["dev"], early, precision="fp32", exit=middle(runs[name]))
        assert [{**row, "exit_layer": 3} for row in rows_of(plain)] == rows_of(never)
        layers = [row["exit_layer"] for row in rows_of(early)]
        assert done.exits is not None
        assert [layers.count(layer) for layer in (1, 2, 3)] == list(done.exits.counts)
        assert done.exits.counts[0] > 0
        assert done.exits.saving == pytest.approx(1 - np.mean(layers) / 3)
    for suffix in ("csv", "parquet"):
        out = tmp_path / f"early.{suffix}"
        bertwright.predict(runs["full"], runs["dev"], out, precision="fp32", exit="confidence:0.5,0.7")
        assert out.is_file()
    assert "exit_layer" == (tmp_path / "early.csv").read_text().splitlines()[0].split(",")[-1]


def test_each_row_has_the_answer_of_its_ramp(runs: dict[str, Path]) -> None:
    """The Python model: named logits and layers, any batch, and the ramps' own products by hand."""
    model = load_exiting(runs["full"], middle(runs["full"]), precision="fp32")
    texts = [(row["text"],) for row in rows_of(runs["dev"])]
    rows = model.answering.encode(texts, 16)
    found = model.answer(rows)
    assert (24, 2) == found.logits.shape
    for row in range(24):
        ids = torch.from_numpy(rows.ids[row])[None]
        alone = model.model(ids, None, torch.from_numpy(rows.segments[row])[None])
        assert found.layers[row] == alone.layers[0] or found.near[row]
        layer = int(alone.layers[0])
        if layer < 3:
            whole: Classifier = answering(runs["full"], choose("cpu", "fp32")).model
            x = whole.encoder.embed(ids, None)
            states = list(whole.encoder.layers(x, whole.encoder.context(ids.shape[1], None, x.dtype, x.device)))
            (place,) = (n for n, own in enumerate(model.ramps.layers) if own == layer)
            pooled = states[layer - 1].mean(dim=1)
            logits = pooled @ model.ramps.output_weight[place].T + model.ramps.output_bias.view(-1, 2)[place]
            np.testing.assert_allclose(logits.detach().numpy(), alone.logits, atol=1e-5)


def test_the_calibrated_policy_and_text_that_is_not_like_it(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tuned` is what the run chose; where rows leave elsewhere than calibration rows did, the command warns."""
    choice = read_choice(runs["full"])
    assert choice is not None
    assert 24 == choice["rows"] == sum(choice["counts"])
    files.write_json(runs["full"] / EXITS, {**choice, "policy": middle(runs["full"]), "counts": [0, 0, 24]})
    out = tmp_path / "out.jsonl"
    assert 0 == call(["predict", str(runs["full"]), str(runs["dev"]), "-o", str(out), "--exit", "tuned"])
    said = capsys.readouterr().out
    assert "warning: " in said
    assert "this text is not like the calibration's" in said
    files.write_json(runs["full"] / EXITS, {**choice, "policy": "entropy:0", "counts": [0, 0, 24]})
    assert 0 == call(["predict", str(runs["full"]), str(runs["dev"]), "-o", str(out) + "2.jsonl", "--exit", "tuned"])
    said = capsys.readouterr().out
    assert "note: entropy:0 never lets a row leave" in said
    assert "drift: " in said


def test_a_policy_is_chosen_again(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By drop, by time, on rows kept back or one's own; written into a pack or a folder, never into what is sealed."""
    path = tmp_path / "task.pack"
    command = ["exits", "tune", str(runs["bitfit"]), "--max-drop", "20%", "-o", str(path), "--json"]
    assert 0 == call(command)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"entropy", "confidence", "patience"} == {one["policy"].split(":")[0] for one in told["options"]}
    made = pack.read(path).policy
    assert made is not None
    assert (told["options"][0]["policy"], 24, "rows kept back") == (made["policy"], made["rows"], made["calibrated_on"])
    assert pack.read(path).ramps
    every, _ = read_calibration(runs["full"] / "calibration.safetensors", "classification")
    done = tune_exits(runs["full"], Wanted(at_most=10.0, policies=("entropy",)), rows=runs["dev"])
    assert done.seconds is not None
    assert list(done.seconds) == sorted(done.seconds)
    choice = read_choice(runs["full"])
    assert choice is not None
    assert ("dev.jsonl", "bound", every.layers) == (choice["calibrated_on"], choice["basis"], tuple(choice["layers"]))
    assert load_exiting(runs["full"]).policy == parse(choice["policy"])


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            ["predict", "plain", "dev", "-o", "OUT", "--exit", "entropy:0.2"],
            "has no ramps, so no row can leave it early",
        ),
        (["predict", "full", "dev", "-o", "OUT", "--exit", "entropie:0.2"], "exit policy 'entropie:0.2' is not known"),
        (["predict", "full", "dev", "-o", "OUT", "--exit", "entropy:1,2,3"], "has 3 thresholds for 2 ramps"),
        (["predict", "full", "dev", "-o", "OUT", "--exit", "learned:0.9"], "needs ramps with a learned score"),
        (["exits", "tune", "full"], "give one of --max-drop"),
        (
            ["exits", "tune", "sealed", "--max-drop", "1%"],
            "finished stages stay as they are; name another place with -o",
        ),
        (["exits", "tune", "full", "--max-drop", "1%", "--policy", "learned"], "the policy learned does not go with"),
        (["exits", "tune", "full", "--max-drop", "much"], "--max-drop: found 'much'"),
        (["exits", "tune", "full", "--latency", "3 steps"], "--latency: found '3 steps'; write a time, such as 20ms"),
        (["exits", "tune", "full", "--latency", "1 ms", "-o", "x.pack"], "what is written is a folder, not a pack"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    runs: dict[str, Path], command: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with exit code 2 and what to do."""
    places = {name: str(path) for name, path in runs.items()} | {"OUT": str(tmp_path / "o.csv")}
    assert 2 == call([places.get(part, part) for part in command])
    assert told in " ".join(capsys.readouterr().err.split())
