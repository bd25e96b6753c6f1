"""Reading recipes: units, overrides, and every fault with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bertwright.errors import RecipeError
from bertwright.recipe.reading import default_recipe, load_recipe, to_yaml
from bertwright.units import Amount, parse_amount, parse_bytes, parse_share


def write(folder: Path, text: str) -> Path:
    """Write a recipe beside a small corpus and a small task."""
    (folder / "texts").mkdir(exist_ok=True)
    (folder / "texts" / "a.txt").write_text("a text\n")
    (folder / "train.csv").write_text("text,label\na,x\n")
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def faults(path: Path, *overrides: str) -> list[tuple[str, int | None, str]]:
    """Return key, line and message of every fault."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return [(problem.key, problem.line, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("20 min", "seconds", 1200),
        ("90s", "seconds", 90),
        ("1.5 h", "seconds", 5400),
        ("2 days", "seconds", 172_800),
        ("500 steps", "steps", 500),
        ("3 epochs", "epochs", 3),
        ("50M tokens", "tokens", 50_000_000),
        ("2_000 steps", "steps", 2000),
        ("1e3 steps", "steps", 1000),
        ("1,000 steps", "steps", 1000),
        ("12,345,678.5 tokens", "tokens", 12_345_678.5),
    ],
)
def test_amounts_are_read_as_people_write_them(text: str, unit: str, amount: float) -> None:
    """An amount of work carries its unit."""
    assert (unit, amount) == (parse_amount(text).unit, parse_amount(text).amount)


@pytest.mark.parametrize("text", ["20", "20 parsecs", "-5 min", "0 steps", "min", 20, None, ""])
def test_amounts_without_sense_are_refused(text: object) -> None:
    """A number without a unit, an unknown unit or nothing at all says what to write."""
    with pytest.raises(ValueError, match="found"):
        parse_amount(text)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *((parse_share, "0,5 %"), (parse_share, "0,125 %"), (parse_share, "0,005"), (parse_bytes, "1,5 GB")),
        *((parse_amount, "1,5 h"), (parse_amount, "1,000,00 steps"), (parse_amount, "1.000,500 tokens")),
        *((parse_amount, "1_000,000 steps"), (parse_amount, "2,5k steps"), (parse_amount, "5, min")),
    ],
)
def test_a_decimal_comma_is_refused(parse: Callable[[str], object], text: str) -> None:
    """It was read as a number ten or a thousand times as large; a sentence names the point."""
    with pytest.raises(ValueError, match="decimals with a point"):
        parse(text)


@pytest.mark.parametrize(
    "amount",
    [
        *(Amount("seconds", 1200), Amount("steps", 7), Amount("tokens", 5e7), Amount("seconds", 12)),
        *(Amount("seconds", 100), Amount("seconds", 0.29 * 3600), Amount("steps", 1_234_567), Amount("tokens", 2e17)),
    ],
)
def test_amounts_survive_being_written(amount: Amount) -> None:
    """What an amount is written as reads back to it."""
    assert amount == parse_amount(str(amount))


def test_sizes_and_shares() -> None:
    """Sizes are decimal or binary, shares are per cent or plain."""
    assert [8_000_000_000, 2**30, 5] == [parse_bytes("8 GB"), parse_bytes("1 GiB"), parse_bytes(5)]
    assert [0.005, 0.5, 0.25] == [parse_share("0.5 %"), parse_share(0.5), parse_share("0.25")]


def test_a_fault_names_line_key_found_allowed_and_nearest(tmp_path: Path) -> None:
    """Faults of several kinds come all at once, each with its line."""
    path = write(
        tmp_path,
        "prepare:\n  sources: [texts]\n  row_lenght: 64\npretrain:\n  budget: 20 parsecs\n"
        "finetune:\n  schedule: liner\n",
    )
    found = {key: (line, message) for key, line, message in faults(path)}
    assert {"prepare.row_lenght": 3, "pretrain.budget": 5, "finetune.schedule": 7} == {
        k: v[0] for k, v in found.items()
    }
    assert "did you mean `row_length`" in found["prepare.row_lenght"][1]
    assert "20 parsecs" in found["pretrain.budget"][1]
    assert "did you mean linear" in found["finetune.schedule"][1]


@pytest.mark.parametrize("section", ["pretrain", "finetune"])
def test_checkpoints_are_not_counted_in_epochs(tmp_path: Path, section: str) -> None:
    """No training takes epochs there: it was found behind the whole of `prepare`, without the key."""
    path = write(tmp_path, f"prepare:\n  sources: [texts]\n{section}:\n  checkpoint_every: 1 epoch\n")
    [(key, line, message)] = faults(path)
    assert (f"{section}.checkpoint_every", 4) == (key, line)
    assert "found '1 epochs'; write time, steps or tokens" in message


def test_a_missing_source_is_named_with_its_line(tmp_path: Path) -> None:
    """A path that is not there is a fault of the recipe, and the nearest folder that is there is named."""
    found = faults(write(tmp_path, "prepare:\n  sources:\n    - path: textz\n"))
    assert [("prepare.sources.0.path", 3)] == [(key, line) for key, line, _ in found]
    assert str(tmp_path) in found[0][2]


def test_an_override_is_not_blamed_on_a_line_of_the_file(tmp_path: Path) -> None:
    """The line would show another value, and a fault beside it keeps its own."""
    path = write(tmp_path, "prepare:\n  sources: [texts]\npretrain:\n  budget: 20 min\n  batch: many\n")
    found = {key: line for key, line, _ in faults(path, "pretrain.budget=60sek", "prepare.sources.0=nowhere")}
    assert {"pretrain.budget": None, "pretrain.batch": 5, "prepare.sources.0": None} == found


@pytest.mark.parametrize("place", ["²", "9" * 5000])
def test_an_override_of_no_place_in_a_list_is_told(tmp_path: Path, place: str) -> None:
    """A raised two, and more digits than Python reads, look like numbers and are none."""
    path = write(tmp_path, "prepare:\n  sources: [texts]\n")
    [(key, line, message)] = faults(path, f"prepare.sources.{place}=nowhere")
    assert (f"prepare.sources.{place}", None) == (key, line)
    assert "this override fits nothing in the recipe" in message


def test_what_is_nearly_there_is_named(tmp_path: Path) -> None:
    """A source whose name is nearly that of a file beside it, and a recipe with the other ending."""
    path = write(tmp_path, "prepare:\n  sources: [text]\n")
    assert [f"{tmp_path / 'text'} is not there; did you mean {tmp_path / 'texts'}?"] == [m for _, _, m in faults(path)]
    other = path.with_suffix(".yml" if path.suffix == ".yaml" else ".yaml")
    [(_, _, message)] = faults(other)
    assert f"did you mean {path}?" in message


def test_a_key_given_twice_is_a_fault(tmp_path: Path) -> None:
    """YAML would keep the last value in silence."""
    assert [("seed", 2)] == [
        (key, line) for key, line, _ in faults(write(tmp_path, "seed: 1\nseed: 2\nprepare:\n  sources: texts\n"))
    ]


def test_yaml_that_is_not_valid_names_the_line(tmp_path: Path) -> None:
    """A broken file says where."""
    [(key, line, message)] = faults(write(tmp_path, "prepare:\n  sources: [texts\n"))
    assert ("yaml", 3) == (key, line)
    assert "not valid YAML" in message


def test_overrides_change_the_recipe_and_are_checked(tmp_path: Path) -> None:
    """``a.b=c`` sets a value, in lists by number; a wrong one is a fault without a line."""
    path = write(tmp_path, "prepare:\n  sources: [texts]\npretrain: {}\n")
    recipe = load_recipe(path, ["pretrain.budget=5 steps", "seed=3", "system.memory=2 GB"])
    assert recipe.pretrain is not None
    assert (Amount("steps", 5), 3, 2_000_000_000) == (recipe.pretrain.budget, recipe.seed, recipe.system.memory)
    assert [("pretrain.bugdet", None)] == [(key, line) for key, line, _ in faults(path, "pretrain.bugdet=1 h")]
    assert [("no-equals", None)] == [(key, line) for key, line, _ in faults(path, "no-equals")]


@pytest.mark.parametrize("key", ["prepare.sources.0.path", "finetune.trainable.0.method", "prepare.sources.7.path"])
def test_an_override_that_fits_nothing_is_told(tmp_path: Path, key: str) -> None:
    """An entry of a list that is one word has no keys, and one behind the end is none."""
    path = write(tmp_path, "prepare: {sources: [texts]}\nfinetune: {trainable: [full]}\n")
    assert [(key, None)] == [(found, line) for found, line, _ in faults(path, f"{key}=x")]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("report: nope", "report"),
        ("finetune: {trainable: [nope]}", "finetune.trainable.0"),
        ("tasks: [{name: t, train: train.csv, sets: {}, text: text, class_weights: 3}]", "tasks.0.class_weights"),
        ("finetune: {experts: {e: {folds: 2}}}", "finetune.experts.e.kind"),
    ],
)
def test_a_fault_names_a_key_that_stands_in_the_recipe(tmp_path: Path, text: str, key: str) -> None:
    """Or one that is missing there; pydantic's own names of a choice's branches are nothing that a user wrote."""
    path = write(tmp_path, f"prepare: {{sources: [texts]}}\n{text}\n")
    assert {key} == {found for found, _, _ in faults(path)}


def test_off_switches_a_section_off(tmp_path: Path) -> None:
    """`pretrain: off` is the same as leaving it out."""
    recipe = load_recipe(write(tmp_path, "prepare:\n  sources: [texts]\npretrain: off\nreport: off\n"))
    assert (None, False) == (recipe.pretrain, recipe.report)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("pretrain: {}\n", "pretrain", "needs text"),
        ("seed: 1\n", "encoder", "nothing to work on"),
        ("prepare:\n  sources: [texts]\n  row_length: 1024\n", "prepare.row_length", "more than encoder.positions"),
        ("prepare:\n  sources: [texts]\nencoder:\n  folder: texts\n  size: mini\n", "encoder", "brings its own shape"),
        ("prepare: {}\n", "prepare", "either `sources`"),
        ("prepare: {sources: [texts]}\npretrain: {give_up_loss: 7}\n", "pretrain", "`give_up_loss` go together"),
        ("prepare:\n  sources: [texts]\ntasks:\n  - {name: a, text: text}\n", "tasks.0", "needs train, sets"),
        (
            "prepare:\n  sources: [texts]\ntasks:\n"
            + "  - {name: a, train: train.csv, sets: {dev: train.csv}, text: text}\n" * 2,
            "tasks.1.name",
            "two tasks",
        ),
    ],
)
def test_contradictions_are_told(tmp_path: Path, text: str, key: str, words: str) -> None:
    """What only the sections together show is told as a fault of a key."""
    [(found, _, message)] = faults(write(tmp_path, text))
    assert key == found
    assert words in message


def test_the_resolved_recipe_reads_back_to_the_same(tmp_path: Path) -> None:
    """What is written beside every result is the recipe itself, from any folder."""
    text = (
        "prepare:\n  sources: [texts]\npretrain:\n  budget: 50M tokens\n"
        "tasks:\n  - {name: a, train: train.csv, sets: {dev: train.csv}, text: text}\n"
    )
    off = ["pretrain.clip=off", "prepare.overlap=off", "prepare.longest=off"]
    recipe = load_recipe(write(tmp_path, text), ["system.memory=2 GB", "finetune.learning_rate=3e-4", *off])
    assert recipe.pretrain is not None
    assert recipe.prepare is not None
    assert (None, None) == (recipe.pretrain.clip, recipe.prepare.overlap)
    elsewhere = tmp_path / "deep" / "er"
    elsewhere.mkdir(parents=True)
    (elsewhere / "again.yaml").write_text(to_yaml(recipe))
    assert recipe == load_recipe(elsewhere / "again.yaml")


def test_python_sections_give_the_same_recipe_as_a_file(tmp_path: Path) -> None:
    """``default_recipe`` takes the sections of a file as keywords."""
    path = write(tmp_path, "prepare:\n  sources: [texts]\npretrain:\n  budget: 1 min\n")
    python = default_recipe("recipe", folder=tmp_path, prepare={"sources": ["texts"]}, pretrain={"budget": "1 min"})
    assert load_recipe(path) == python


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ("[{column: body}]", "give either `path` (files) or `hub`"),
        ("[{path: texts, hub: owner/name}]", "give either `path` (files) or `hub`"),
        ("[{path: texts, split: test, config: en}]", "config, split has no meaning for files; take it out"),
        ("[{hub: owner/name, boundary: file}]", "boundary has no meaning for hub datasets; take it out"),
        ("[{path: texts, share: 50 %}, {hub: owner/name}]", "1 of 2 sources have a `share`; give one to each"),
        ("[{path: texts, share: 50 %}, {hub: owner/name, share: 40 %}]", "sum to 90 %; they have to be 100 %"),
        ("[{path: texts, share: 50 %}, {hub: a/b, share: 50 %, weight: 2}]", "a `weight` where others have shares"),
        ("[{path: texts, weight: 0}]", "greater than 0"),
    ],
)
def test_sources_that_contradict_themselves_are_told(tmp_path: Path, sources: str, words: str) -> None:
    """Files and hub datasets, weights and shares: what does not go together is said, with what to do."""
    [(key, line, message)] = faults(write(tmp_path, f"prepare:\n  sources: {sources}\n"))
    assert key.startswith("prepare")
    assert line in (1, 2)
    assert words in message


def test_a_recipe_with_shares_reads_back_to_the_same(tmp_path: Path) -> None:
    """Written out whole, with every key of every source, it is still the same recipe."""
    text = "prepare:\n  sources:\n    - {path: texts, share: 20 %}\n    - {hub: owner/name, split: test, share: 80 %}\n"
    recipe = load_recipe(write(tmp_path, text))
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(recipe))
    assert recipe.prepare == load_recipe(again).prepare
