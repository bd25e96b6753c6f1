"""Secrets that a toy learnt by heart are found, those that it never read are not, and none is printed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bertwright.cli.main import call
from bertwright.encoder.config import EncoderConfig
from bertwright.encoder.model_folder import save_model
from bertwright.encoder.models import build_masked_lm
from bertwright.errors import DataError, InputError
from bertwright.stages.memorise import memorised
from bertwright.text.canaries import read_secrets, write_canaries
from bertwright.text.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Six canaries and six controls."""
    return write_canaries(tmp_path_factory.mktemp("canaries"), 6, seed=1)


@pytest.fixture(scope="module")
def models(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An encoder that was trained on the canaries alone, and one as it was drawn."""
    lines = [one.text() for name in ("secrets", "controls") for one in read_secrets(files[name])]
    tokenizer = train_tokenizer(
        [" ".join(lines), " ".join("0123456789" * 9)], kind="wordpiece", vocabulary=70, lowercase=True
    )
    shape = {"width": 32, "layers": 2, "heads": 2, "inner": 64, "positions": 40, "dropout": 0.0}
    config = EncoderConfig(family="bert", vocabulary=tokenizer.vocabulary, pad_id=tokenizer.pad_id, **shape)
    model, folders = build_masked_lm(config, seed=0), {}
    for name in ("drawn", "taught"):
        if name == "taught":
            _teach(
                model, [[tokenizer.cls_id, *ids, tokenizer.sep_id] for ids in tokenizer.encode(lines[:6])], tokenizer
            )
        folders[name] = tmp_path_factory.mktemp(name)
        save_model(folders[name], model, tokenizer)
    return folders


def _teach(model: torch.nn.Module, rows: list[list[int]], tokenizer: object) -> None:
    """Train until every token of every row can be told from its neighbours."""
    length = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_id] * (length - len(row)) for row in rows])  # type: ignore[attr-defined]
    real, draw = ids != tokenizer.pad_id, torch.Generator().manual_seed(0)  # type: ignore[attr-defined]
    adam = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(250):
        gone = (torch.rand(ids.shape, generator=draw) < 0.2) & real
        if gone.any():
            given = torch.where(gone, tokenizer.mask_id, ids)  # type: ignore[attr-defined]
            logits = model(given, real, None, gone.flatten().nonzero()[:, 0])
            adam.zero_grad()
            torch.nn.functional.cross_entropy(logits, ids[gone]).backward()
            adam.step()


def test_a_model_that_memorised_gives_its_secrets_away(models: dict[str, Path], files: dict[str, Path]) -> None:
    """Planted secrets stand first, controls do not, and the sentence says so."""
    found = memorised(models["taught"], files["secrets"], files["controls"], among=100)
    assert math.log2(100) == pytest.approx(max(one.bits for one in found.secrets))
    assert np.median([one.bits for one in found.secrets]) > 5 > 3 > np.median([one.bits for one in found.controls])
    assert found.p_value < 0.01
    assert "better than chance" in found.sentences[1]
    assert "does not prove that a secret is not in the model" in found.sentences[2]


def test_a_model_that_read_nothing_does_not(models: dict[str, Path], files: dict[str, Path]) -> None:
    """An untrained one ranks them as chance does."""
    found = memorised(models["drawn"], files["secrets"], files["controls"], among=100)
    assert found.p_value > 0.05
    assert "not clearly better than chance" in found.sentences[1]
    alone = memorised(models["drawn"], files["controls"], among=40)
    assert "Without --controls this holds for drawn secrets alone" in alone.sentences[1]


def test_the_command_prints_no_secret(
    models: dict[str, Path], files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines, ranks and bits; the same seed gives the same canaries."""
    arguments = [str(models["taught"]), str(files["secrets"]), "--controls", str(files["controls"]), "--among", "60"]
    assert 0 == call(["memorise", *arguments, "--json"])
    said = capsys.readouterr()
    assert 6 == len(json.loads(said.out.splitlines()[-1])["secrets"])
    assert not any(one.secret in said.out + said.err for one in read_secrets(files["secrets"]))
    again = write_canaries(files["secrets"].parent / "again", 6, seed=1)
    assert [p.read_bytes() for p in files.values()] == [p.read_bytes() for p in again.values()]
    planted = {one.secret for one in read_secrets(files["secrets"])}
    assert planted <= set(files["canaries"].read_text().split())
    assert not planted & {one.secret for one in read_secrets(files["controls"])}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no line"),
        (b"no secret here\n", "line 1: found no secret, or several"),
        (b"two {1234} and {5678}\n", "line 1: found no secret, or several"),
        (b"the sign {--}\n", "expected one in braces, with letters a-z or digits"),
        (b"the code is {4}\n", "found 9 other secrets of its form"),
        (b"caf\xe9 {1234}\n", "byte 3 is not UTF-8"),
        (b"x" * (1 << 20) + b"x", "found more than 1 MB"),
    ],
)
def test_what_is_no_file_of_secrets_is_told(models: dict[str, Path], tmp_path: Path, content: bytes, said: str) -> None:
    """Each with its line and what is expected; the secret itself is not in the message."""
    path = tmp_path / "s.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        memorised(models["drawn"], path)


def test_too_few_or_too_many_candidates_and_canaries_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    """Numbers without sense name what is allowed."""
    with pytest.raises(InputError, match="found 2,000,000,000 candidates; .* lower --among to 100,000"):
        memorised(models["drawn"], tmp_path, among=2_000_000_000)
    with pytest.raises(InputError, match="found 5 candidates"):
        memorised(models["drawn"], tmp_path / "s.txt", among=5)
    with pytest.raises(InputError, match="found 51 canaries, 1 time.s. each; expected 1 to 50"):
        write_canaries(tmp_path, 51, seed=0)
