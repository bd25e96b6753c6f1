"""Configurations of ExtremeBERT that hold anything: a recipe, or one sentence; and never a word of a secret in it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from mutation import mutated

from bertwright.errors import BertwrightError, InputError
from bertwright.pipeline.from_extremebert import from_extremebert

WHOLE: dict[str, dict[str, Any]] = {
    "SYSTEM": {"NUM_GPUS": 1, "MAX_MEMORY_IN_GB": 4},
    "WANDB": {"API_KEY": "k"},
    "DATASET": {"ENABLED": True, "ID": "d", "HUGGINGFACE_DATASETS": [["a", "b"]], "CUSTOMIZED_DATASETS": ["./x"]},
    "PRETRAIN": {"ENABLED": True, "OPTIMIZER": "adamw", "NUM_STEPS": 100, "LEARNING_RATE": 1e-3},
    "FINETUNE": {"ENABLED": True, "MULTIPROCESS_GPU_LIST": [[0], [1]]},
    "TOKENIZER": {"NAME_OR_PATH": "bert-large-uncased"},
}
ODD = (
    *(None, True, -1, 2**70, 16**5000, 1.5, float("nan"), float("inf"), "", "x", "~nobody-here/y", "\x00", [], {}),
    *([[]], [None], [1], [{}], {"a": 1}, [["a", "b", "c"]], ["~nobody-here/y"], "a\nb: c", "a" * 5000),
)
KEYS = [(section, key) for section, keys in WHOLE.items() for key in keys]


def taken(path: Path, content: bytes) -> None:
    """Turn a configuration into a recipe, or be refused in a sentence."""
    path.write_bytes(content)
    try:
        from_extremebert(path, beside=path.parent)
    except BertwrightError as error:
        assert len(str(error)) > 20


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_any_value_of_any_key(tmp_path: Path, section: str, key: str) -> None:
    """Of another kind, none, without end, too large."""
    for odd in ODD:
        changed = {**WHOLE, section: {**WHOLE[section], key: odd if odd != 16**5000 else 0}}
        content = yaml.safe_dump(changed)
        if odd == 16**5000:
            content = content.replace(f"{key}: 0", f"{key}: 0x1{'0' * 5000}")
        taken(tmp_path / "config.yaml", content.encode())


def test_bytes_made_wrong(tmp_path: Path) -> None:
    """A few hundred of them."""
    draw = random.Random(5)
    for _ in range(300):
        taken(tmp_path / "config.yaml", mutated(yaml.safe_dump(WHOLE).encode(), draw))


def test_a_path_is_no_list_of_paths(tmp_path: Path) -> None:
    """A text would be taken letter by letter."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**WHOLE, "DATASET": {"CUSTOMIZED_DATASETS": "./x"}}))
    with pytest.raises(InputError, match=r"CUSTOMIZED_DATASETS: found './x'; it has to be a list"):
        from_extremebert(path, beside=tmp_path)


def test_a_key_in_the_wrong_place_is_not_shown(tmp_path: Path) -> None:
    """Error messages are pasted where others read them."""
    path = tmp_path / "config.yaml"
    path.write_text("WANDB: 5e6d7c8b9a0f8d1f\n")
    with pytest.raises(InputError, match="WANDB has to be a section with keys, found str") as told:
        from_extremebert(path, beside=tmp_path)
    assert "5e6d" not in str(told.value)
