"""Cards of models and packs as runs leave them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from toy_recipes import toy_in

import bertwright
from bertwright.cli.main import call
from bertwright.pack import read
from bertwright.pipeline.results import Result
from bertwright.store import Store

TWO = {"baseline": False, "seeds": 1, "trainable": ["full", "bitfit"]}


def ran(folder: Path) -> tuple[Path, Result]:
    """Return the recipe and the run of a toy, in a folder of its own."""
    folder.mkdir()
    path = toy_in(folder)(license="cc-by-4.0", finetune=TWO, pretrain={"budget": "6 steps", "save_at": ["50 %"]})
    return path, bertwright.run(path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A finished run with an encoder, a model and a pack."""
    return ran(tmp_path_factory.mktemp("cards") / "first")


def front(page: str) -> dict[str, object]:
    """Return a card's front matter."""
    found = yaml.safe_load(page.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def test_every_model_folder_has_a_card(done: tuple[Path, Result]) -> None:
    """Beside each config.json in the store lies a README with licence and identity, and the store still verifies."""
    store = Store(done[1].folder.parents[1])
    folders = [path.parent for path in store.stages.glob("*/*/config.json")]
    assert {"model", "model-50"} == {folder.name for folder in folders}
    for folder in folders:
        page = (folder / "README.md").read_text(encoding="utf-8")
        assert "cc-by-4.0" == front(page)["license"]
        assert folder.parent.name.rpartition("-")[2] in page
    assert [] == store.verify()


def test_cards_tell_data_by_name_and_size_and_no_text(done: tuple[Path, Result]) -> None:
    """Sources and rows by name and size; no folder of the user's and none of the words that were learnt from."""
    path, result = done
    page = (result.folder / "cards/tasks/height/pretrained-full/seed-0.md").read_text(encoding="utf-8")
    assert "| train.jsonl | training | 48 rows |" in page
    assert re.search(r"\| texts \| pretraining \| 60 documents, [\d.]+ kB, [\d,]+ tokens \|", page)
    words = set(re.findall(r"\w{4,}", (path.parent / "texts/0.txt").read_text()))
    for card in result.folder.glob("cards/**/*.md"):
        text = card.read_text(encoding="utf-8")
        assert str(path.parent) not in text
        assert set() == words & set(re.findall(r"\w{4,}", text))


def test_cards_of_the_run_have_the_scores(done: tuple[Path, Result]) -> None:
    """The model's and the pack's scores are those that evaluate found; the encoder's is its held-out loss."""
    result = done[1]
    found = result.stages["evaluate/height"].record["results"]["variants"]
    for one in found:
        card = (result.folder / f"cards/tasks/height/{one['variant']}/seed-0.md").read_text(encoding="utf-8")
        [told] = front(card)["model-index"]  # type: ignore[misc, attr-defined]
        metrics = {m["type"]: m["value"] for entry in told["results"] for m in entry["metrics"]}
        assert {name: score["values"][0] for name, score in one["scores"]["dev"].items()} == metrics
        assert one["protocol"] in card
    loss = result.stages["pretrain"].record["results"]["held_out_loss"]
    assert f"| {loss:.4g} |" in (result.folder / "encoder/README.md").read_text(encoding="utf-8")


def test_a_pack_carries_its_card(done: tuple[Path, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Data, settings and scores over seeds are in the header; `pack card` prints it, `pack export` writes it."""
    path = done[1].folder / "tasks/height/pretrained-bitfit/seed-0.pack"
    about = read(path).card
    assert about is not None
    assert [("train.jsonl", 48), ("dev.jsonl", 24)] == [(one.name, one.rows) for one in about.data]
    assert {"dev"} == {one.set for one in about.scores}
    capsys.readouterr()
    assert 0 == call(["pack", "card", str(path)])
    assert (done[1].folder / "cards/tasks/height/pretrained-bitfit/seed-0.md").read_text() == capsys.readouterr().out
    assert 0 == call(["pack", "export", str(path), "-o", str(tmp_path / "model")])
    page = (tmp_path / "model/README.md").read_text(encoding="utf-8")
    assert "| train.jsonl | training | 48 rows |" in page
    assert "AutoModelForSequenceClassification" in page


def test_a_card_says_how_to_load_and_it_does(done: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of each model's card runs in the model's folder."""
    for name in ("encoder", "tasks/height/pretrained-full/seed-0"):
        folder = done[1].folder / name
        monkeypatch.chdir(folder)
        [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
        exec(compile(code, name, "exec"), {})


def test_the_same_recipe_gives_the_same_cards(done: tuple[Path, Result], tmp_path: Path) -> None:
    """Another folder, another hour: the same bytes, of sealed cards, packs and the run's cards."""
    again = ran(tmp_path / "second")[1]
    first = sorted(path.relative_to(done[1].folder) for path in done[1].folder.glob("cards/**/*.md"))
    assert 3 == len(first)
    for name in [*first, Path("encoder/README.md"), Path("tasks/height/pretrained-bitfit/seed-0.pack")]:
        assert (done[1].folder / name).read_bytes() == (again.folder / name).read_bytes()


def test_another_licence_trains_nothing_again(done: tuple[Path, Result]) -> None:
    """A changed licence stands in the run's cards, and every stage is taken as it is."""
    other = done[0].with_name("other.yaml")
    other.write_text(done[0].read_text().replace("cc-by-4.0", "ours alone"))
    began: list[str] = []
    after = bertwright.run(other, listen=lambda name, told: began.append(name) if told["event"] == "begin" else None)
    assert [] == began
    for name in ("encoder.md", "tasks/height/pretrained-bitfit/seed-0.md"):
        told = front((after.folder / "cards" / name).read_text(encoding="utf-8"))
        assert ("other", "ours alone") == (told["license"], told["license_name"])
