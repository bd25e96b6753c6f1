"""How a pretraining finds what to work with: the probe, the batch, presets, and what is refused."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bertwright
from bertwright import store
from bertwright.cli.main import call
from bertwright.encoder import stack
from bertwright.encoder.config import shape
from bertwright.encoder.models import build_masked_lm
from bertwright.errors import InputError, RecipeError
from bertwright.pipeline.prediction import Prediction, RowsAtOnce, refuse
from bertwright.recipe.presets import PRESETS, with_preset
from bertwright.recipe.reading import to_yaml
from bertwright.recipe.sections import Pretrain, Recipe
from bertwright.stages import pretrain, setup
from bertwright.stages.setup import find_setup
from bertwright.stages.starting import begin_at_frequencies
from bertwright.stages.training_choices import batch_of, default_batch
from bertwright.stages.work import Machine, Work
from bertwright.text.shards import Shards
from bertwright.text.tokenizer import Tokenizer
from bertwright.units import Amount

Toy = Callable[..., Path]
CONFIG = shape("bert", "tiny", vocabulary=100, pad_id=0)


def work(folder: Path, **machine: Any) -> Work:
    """Return a pretraining's job on this machine."""
    (folder / store.SCRATCH).mkdir(parents=True, exist_ok=True)
    place = Machine(threads=2, **machine)
    return Work("pretrain", "pretrain", {}, {}, {}, {}, folder, place)


def speeds(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Let each candidate of the probe take given seconds; one that is not named takes one."""
    monkeypatch.setattr(setup, "_seconds", lambda _config, one, *_: seconds.get(one.name.replace(" ", "_"), 1.0))


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back PyTorch's threads, which the probe sets."""
    before = torch.get_num_threads()
    yield  # type: ignore[misc]
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_the_probe_needs_a_clear_margin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth faster is noise and the usual choice stands; half the time wins, and all that was timed is kept."""
    choice = Pretrain(budget=Amount("steps", 100), batch=8)
    speeds(monkeypatch, sdpa=0.9)
    found = find_setup(work(tmp_path / "a", precision="bf16"), choice, CONFIG, row_length=16, rows=100)
    assert ("bf16", "matmul", 2, 8, 8) == (
        found.precision,
        found.attention,
        found.threads,
        found.batch,
        found.micro_batch,
    )
    assert ["usual", "sdpa", "1 of the threads"] == [one["name"] for one in found.tried]
    speeds(monkeypatch, sdpa=0.5)
    found = find_setup(work(tmp_path / "b", precision="bf16"), choice, CONFIG, row_length=16, rows=100)
    assert "sdpa" == found.attention
    assert "attention by sdpa" in found.sentence()
    speeds(monkeypatch, **{"1_of_the_threads": 0.4, "sdpa": 0.5})
    found = find_setup(work(tmp_path / "c", precision="fp32"), choice, CONFIG, row_length=16, rows=100)
    assert (1, "matmul") == (found.threads, found.attention)
    fixed = work(tmp_path / "d", precision="fp32", fixed_threads=True, attention="matmul")
    assert ["usual"] == [one["name"] for one in find_setup(fixed, choice, CONFIG, row_length=16, rows=100).tried]
    off = find_setup(work(tmp_path / "e", precision="fp32", probe=False), choice, CONFIG, row_length=16, rows=100)
    assert (2, "matmul", ()) == (off.threads, off.attention, off.tried)


@pytest.mark.usefixtures("two_threads")
def test_a_continued_training_goes_on_as_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another mood of the machine changes nothing; another wish of the user does, but never the batch."""
    choice = Pretrain(budget=Amount("seconds", 600.0))
    job = work(tmp_path, precision="fp32")
    speeds(monkeypatch, sdpa=0.5)
    first = find_setup(job, choice, CONFIG, row_length=16, rows=100)
    speeds(monkeypatch, usual=0.001)
    assert first == find_setup(job, choice, CONFIG, row_length=16, rows=100)
    again = find_setup(work(tmp_path, precision="fp32", devices=2), choice, CONFIG, row_length=16, rows=100)
    assert (first.batch, 1) == (again.batch, again.threads)
    micro = choice.model_copy(update={"micro_batch": 3})
    assert 3 == find_setup(work(tmp_path, precision="fp32"), micro, CONFIG, row_length=16, rows=100).micro_batch


def test_the_batch_follows_the_budget() -> None:
    """32 rows where 80,000 are seen, academic-budget BERT's 4,096 where its 94 million are, whatever the unit."""
    assert [32, 32, 4096, 4096] == [default_batch(rows) for rows in (100, 80_000, 94.2e6, 1e9)]
    assert [32, 32, 4096] == [default_batch(None, steps) for steps in (1, 2500, 23_000)]
    sizes = [default_batch(10.0**power) for power in range(4, 9)]
    assert sizes == sorted(sizes) and all(size & (size - 1) == 0 for size in sizes)
    how = {"row_length": 128, "rows": 10_000_000, "tokens_per_second": 1e6}
    budgets = (Amount("seconds", 12_058.0), Amount("tokens", 12.058e9), Amount("epochs", 9.42), Amount("steps", 23_000))
    assert {4096} == {batch_of(Pretrain(budget=budget), **how) for budget in budgets}
    assert 48 == batch_of(Pretrain(budget=budgets[0], batch=48), **how)


def test_presets_fill_in_what_a_recipe_leaves_out(toy: Toy) -> None:
    """The published shape and settings; the recipe's own words win; a given folder keeps its shape."""
    base = with_preset({"preset": "extremebert-base", "prepare": {"sources": ["a"]}, "pretrain": {"batch": 64}})
    assert {"row_length": 128, "sources": ["a"]} == base["prepare"]
    assert ("bert-preln", "large") == (base["encoder"]["family"], base["encoder"]["size"])
    assert (64, "esd", "23000 steps", None) == tuple(
        base["pretrain"][k] for k in ("batch", "schedule", "budget", "clip")
    )
    large = with_preset({"preset": "extremebert-large", "prepare": {"sources": ["a"]}})
    assert "57500 steps" == large["pretrain"]["budget"]
    day = with_preset({"preset": "24hbert", "prepare": {"ready": "rows"}})
    assert ("24 h", "linear") == (day["pretrain"]["budget"], day["pretrain"]["schedule"])
    assert ({"ready": "rows"}, None) == (day["prepare"], day.get("tokenizer"))
    given = with_preset(
        {"preset": "24hbert", "encoder": {"folder": "m"}, "prepare": {"sources": ["a"]}, "pretrain": False}
    )
    assert ({"folder": "m"}, False) == (given["encoder"], given["pretrain"])
    assert {"preset", "encoder"} == set(with_preset({"preset": "24hbert"}))
    for name in PRESETS:
        recipe = bertwright.load_recipe(toy(), [f"preset={name}"])
        assert name == recipe.preset
    with pytest.raises(RecipeError, match=r"preset: found 'extremebert'; allowed are .*did you mean extremebert-"):
        bertwright.load_recipe(toy(), ["preset=extremebert"])


@pytest.mark.parametrize(
    "changes",
    [
        ["preset=24hbert", "pretrain.give_up_after=off", "pretrain.give_up_loss=off"],
        ["preset=24hbert", "pretrain=off"],
        ["preset=extremebert-base", "pretrain.clip=2"],
        ["pretrain.save_at=[25%, 50%]", "system.trackers=tensorboard"],
        ["pretrain.save_at=off", "system.trackers=off"],
        ["tokenizer={extend: 5}", "encoder={folder: model}"],
        ["preset=24hbert", "tokenizer={extend: 5}", "encoder={folder: model}"],
    ],
    ids=lambda changes: changes[0] + changes[-1],
)
def test_a_resolved_recipe_reads_back_to_the_same_one(toy: Toy, tmp_path: Path, changes: list[str]) -> None:
    """What lies beside a result gives that result again, whatever a preset filled in and the user took out."""
    (tmp_path / "model").mkdir()
    first = bertwright.load_recipe(toy(tasks=[]), changes)
    (tmp_path / "again.yaml").write_text(to_yaml(first))
    again = bertwright.load_recipe(tmp_path / "again.yaml")
    assert first.model_copy(update={"preset": None}) == again


def test_saves_that_would_never_come_are_told(toy: Toy) -> None:
    """Behind the stop, twice, or in a training that may be given up before."""
    for change, told in (
        (["pretrain.save_at=[50%]", "pretrain.stop_at=25%"], r"write shares between 0 and `stop_at` \(0.25\)"),
        (["pretrain.save_at=[50%, 50%]"], "a share stands twice"),
        (["pretrain.save_at=[1.0]"], "at the end all is saved"),
        (["pretrain.give_up_after=5 steps", "pretrain.give_up_loss=3", "finetune.at_checkpoints=true"], "given up"),
    ):
        with pytest.raises(RecipeError, match=told):
            bertwright.load_recipe(toy(), change)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            ["cycles=3"],
            r"`cycles` is 3, and only `schedule: cosine` reads it \(schedule is linear\); remove it, or",
        ),
        (["power=3", "schedule=wsd"], r"`power` is 3.0, and only `schedule: polynomial` reads it \(schedule is wsd\)"),
        (["decay=0.5"], r"only `schedule: wsd` reads it"),
        (["momentum=0.5"], r"only `optimizer: sgd` reads it \(optimizer is adamw\)"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_numbers_that_nothing_reads_are_refused(toy: Toy, changes: list[str], told: str) -> None:
    """They would change no training, and have it done anew; where their choice is made they are taken."""
    given = [f"pretrain.{change}" for change in changes]
    with pytest.raises(RecipeError, match=told):
        bertwright.load_recipe(toy(), given)
    (switch,) = re.findall(r"(\w+: \w+)` reads", told)
    bertwright.load_recipe(toy(), [*given, f"pretrain.{switch.replace(': ', '=')}"])


@pytest.mark.parametrize("name", ["base", "large"])
def test_papers_recipes_go_all_the_way_at_toy_size(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With no network, in seconds: made-up text, the family and schedule of the paper, twenty updates."""
    path = Path(__file__).parents[2] / "recipes" / "papers" / f"extremebert-{name}.yaml"
    whole = bertwright.load_recipe(path)
    assert (24, "bert-preln", 4096) == (
        shape_of(whole).layers,
        whole.encoder.family,
        whole.pretrain and whole.pretrain.batch,
    )
    assert 0 == call(["run", str(path), "--smoke", "--json", "--quiet", f"store={tmp_path / 's'}"])
    out, err = capsys.readouterr()
    assert "note: made up for this smoke run: the text, a toy encoder\n" in err
    found = json.loads(out.splitlines()[-1])["stages"]["pretrain"]["results"]
    assert ("bert-preln", 20, "esd", 64) == (
        found["family"],
        found["steps"],
        found["schedule"],
        found["shape"]["width"],
    )


def shape_of(recipe: Recipe) -> Any:
    """Return the shape that a recipe's size means."""
    return shape(recipe.encoder.family, recipe.encoder.size, vocabulary=100, pad_id=0)


def test_encoders_on_the_way_are_saved_and_scored(toy: Toy) -> None:
    """At a quarter and a half: ordinary folders with human names, each a variant of the task."""
    path = toy(pretrain={"save_at": ["25 %", "50 %"]}, finetune={"at_checkpoints": True, "seeds": 1, "baseline": False})
    result = bertwright.run(bertwright.load_recipe(path))
    assert (result.folder / "encoder-25" / "model.safetensors").is_file()
    assert (result.folder / "encoder-50" / "tokenizer.json").is_file()
    variants = [one["variant"] for one in result.stages["evaluate/height"].record["results"]["variants"]]
    assert ["pretrained", "pretrained-25", "pretrained-50"] == variants
    assert "pretrained-25" in (result.report.read_text() if result.report else "")
    stopped = bertwright.pretrain(bertwright.load_recipe(path, ["pretrain.save_at=[]", "pretrain.stop_at=25 %"]))
    weights = [folder / "model.safetensors" for folder in (result.folder / "encoder-25", stopped.folder / "encoder")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_fp16_trains_on_a_cpu(toy: Toy) -> None:
    """Slower than the rest there, but the same road: a scaled loss, and masters in fp32."""
    result = bertwright.pretrain(bertwright.load_recipe(toy(tasks=[]), ["system.precision=fp16"]))
    found = result.stages["pretrain"].record["results"]
    assert "fp16" == found["precision"]
    assert found["held_out_loss"] < found["first_held_out_loss"]


def test_activation_checkpointing_changes_no_bit(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed twice is the same twice, and it is computed twice."""
    calls: list[Any] = []
    whole = stack.checkpoint

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return whole(*arguments, **named)

    monkeypatch.setattr(stack, "checkpoint", counted)
    folders = [
        bertwright.pretrain(
            bertwright.load_recipe(
                toy(tasks=[]), [f"store={tmp_path / value}", f"system.activation_checkpointing={value}"]
            )
        ).folder
        for value in ("false", "true")
    ]
    plain, again = [(folder / "encoder" / "model.safetensors").read_bytes() for folder in folders]
    assert plain == again
    assert calls


def test_compile_without_a_compiler_is_told(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any work: what was looked for, and how to go on."""
    monkeypatch.setenv("PATH", str(Path(os.__file__).parent))
    with pytest.raises(InputError, match=r"no C\+\+ compiler on the PATH .*system\.compile=false"):
        bertwright.pretrain(bertwright.load_recipe(toy(tasks=[]), ["system.compile=true"]))


def test_an_update_whose_data_do_not_fit_is_told(toy: Toy) -> None:
    """All its rows are there at once, however few go through the encoder together."""
    with pytest.raises(InputError, match=r"data of one update, 1,000,000,000 rows of .*`pretrain\.batch`"):
        bertwright.check(toy(tasks=[], pretrain={"batch": 10**9, "micro_batch": 4}))


def test_rows_that_do_not_fit_are_told_with_what_would() -> None:
    """From what a row takes: the micro-batch that fits, or that none does."""
    recipe = Recipe.model_validate({"name": "x", "store": ".", "system": {"memory": "1 GB"}})
    rows = RowsAtOnce(count=64, row_bytes=5e7, fixed_bytes=200_000_000)
    with pytest.raises(InputError, match=r"about 3\.4 GB of memory .*`pretrain\.micro_batch=16` .*would fit"):
        refuse({"pretrain": Prediction(1.0, 3_400_000_000, 0, at_once=rows)}, recipe, Path())
    large = RowsAtOnce(count=64, row_bytes=5e7, fixed_bytes=1_200_000_000)
    with pytest.raises(InputError, match=r"A smaller encoder\.size would fit"):
        refuse({"pretrain": Prediction(1.0, 4_400_000_000, 0, at_once=large)}, recipe, Path())


def test_a_full_gpu_is_told_with_half_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory while training: the micro-batch that failed, what to set, and that nothing is lost."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(pretrain, "_train", full)
    monkeypatch.setattr(pretrain, "kept_setup", lambda _: type("S", (), {"micro_batch": 64}))
    with pytest.raises(
        InputError, match=r"64 rows at once do not fit .*pretrain\.micro_batch=32.*same command continues"
    ):
        pretrain.train_rank(work(tmp_path), pretrain.Ranks())


@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler makes warnings of its own, and looks at them
def test_compiled_blocks_learn_the_same(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of a compiled training is that of a plain one up to rounding, and the folder proves itself."""
    speeds(monkeypatch, compiled=0.1)
    losses = []
    for value in ("false", "true"):
        recipe = bertwright.load_recipe(toy(tasks=[]), [f"store={tmp_path / value}", f"system.compile={value}"])
        found = bertwright.pretrain(recipe).stages["pretrain"].record["results"]
        losses.append(found["held_out_loss"])
        assert (value == "true") == found["setup"]["compiled"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_fresh_head_begins_with_the_words_frequencies(toy: Toy) -> None:
    """Before the first update each piece is given its share of the text, and special pieces next to nothing."""
    result = bertwright.pretrain(bertwright.load_recipe(toy(tasks=[])))
    rows, tokenizer = Shards(result.folder / "rows"), Tokenizer.load(result.folder / "tokenizer")
    config = shape("bert", "tiny", vocabulary=tokenizer.vocabulary, pad_id=0)
    model = build_masked_lm(config, seed=0)
    begin_at_frequencies(model.head, rows, tokenizer)
    counts = Counter(rows.ids("train", np.arange(rows.rows("train"))).reshape(-1).tolist())
    words = {piece: count for piece, count in counts.items() if piece not in tokenizer.special_ids}
    piece, most = max(words.items(), key=lambda one: one[1])
    share = model.head.bias.detach().exp()
    assert pytest.approx(1.0, abs=1e-4) == float(share.sum())
    assert pytest.approx(most / sum(words.values()), rel=0.02) == float(share[piece])
    assert float(share[sorted(tokenizer.special_ids)].max()) < 1e-3
    entropy = -sum(n / sum(words.values()) * math.log(n / sum(words.values())) for n in words.values())
    found = result.stages["pretrain"].record["results"]
    assert found["first_held_out_loss"] == pytest.approx(entropy, rel=0.05)
    assert found["first_held_out_loss"] < math.log(tokenizer.vocabulary) - 0.2


def test_flex_attention_on_a_cpu_is_told(toy: Toy) -> None:
    """Its kernels are for GPUs."""
    with pytest.raises(InputError, match=r"system\.attention is flex, .* on the CPU here; leave it at auto"):
        bertwright.pretrain(bertwright.load_recipe(toy(tasks=[]), ["system.attention=flex", "system.device=cpu"]))
