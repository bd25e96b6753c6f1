"""Readers of foreign bytes: a right result or a clear refusal, whatever the bytes are; never another error."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from foreign import READERS, Reader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutation import mutated

# `fuzz/fuzz.py` tries as many as there is time for.
FEW = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all inputs are written into, one over the other."""
    return tmp_path_factory.mktemp("foreign")


@pytest.mark.parametrize("name", READERS)
def test_whole_files_are_read(name: str, folder: Path) -> None:
    """What the mutations begin from is accepted: else they would prove nothing."""
    if name != "index":  # it names weights that are not there
        assert READERS[name].take(READERS[name].seeds[0], folder) is not None


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@FEW
@given(draw=st.randoms(use_true_random=False))
def test_files_made_wrong_are_refused_in_a_sentence(reader: Reader, folder: Path, draw: random.Random) -> None:
    """Bytes turned, cut, doubled, values exchanged for odd ones: ``take`` lets no error through but our own."""
    reader.take(mutated(draw.choice(reader.seeds), draw), folder)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@settings(FEW, max_examples=10)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused_in_a_sentence(reader: Reader, folder: Path, content: bytes) -> None:
    """Bytes without any form."""
    reader.take(content, folder)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("nest", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_nests_deeper_than_python_follows_are_refused_in_a_sentence(reader: Reader, folder: Path, nest: bytes) -> None:
    """As the whole file, and as its first value."""
    seed = reader.seeds[0]
    place = seed.find(b":") + 1
    for content in (nest, seed[:place] + nest + seed[place:], seed[:place] + nest + b"," + seed[place:]):
        reader.take(content, folder)
