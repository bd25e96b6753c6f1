"""Near-duplicates among old and new versions of the same articles: how many are found, and how many wrongly.

    python benchmarks/near_duplicates.py

The articles are the real ones beside the repository: 252 of them from two dumps some years apart, so the same id is the
truth. Many have grown so much that they are no near-duplicates by any measure; recall falls with the similarity asked
for. The last line is one JSON object.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import tokenizers
import zstandard

from bertwright import files
from bertwright.text.corpus import Choices
from bertwright.text.prepare import prepare_rows
from bertwright.text.sources import Source, expand
from bertwright.text.tokenizer import Tokenizer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SNAPSHOTS = [DATA / "corpora" / "wikipedia_snapshots" / f"{name}.jsonl.zst" for name in ("older", "newer")]
LEAST = (0.3, 0.5, 0.7, 0.8)


def ids_of(path: Path) -> list[str]:
    """Return the articles' ids in the order of a file."""
    with path.open("rb") as stream:
        content = zstandard.ZstdDecompressor().stream_reader(stream).read()
    return [str(json.loads(line)["id"]) for line in content.splitlines()]


def found_pairs(folder: Path, least: float) -> list[tuple[str, str]]:
    """Return the ids of each document that was left out and of the one that it is like."""
    ids = {str(path): ids_of(path) for path in SNAPSHOTS}
    choices = Choices(row_length=128, held_out=0.01, seed=0, near=least)
    sources = expand([Source(str(path)) for path in SNAPSHOTS])
    prepare_rows(sources, folder / "tokenizer", folder / f"rows-{least}", choices, scratch=folder / f"scratch-{least}")
    rows = files.read_json_lines(folder / f"rows-{least}" / "duplicates.jsonl")
    return [
        (ids[row["path"]][row["document"] - 1], ids[row["repeats"]["path"]][row["repeats"]["document"] - 1])
        for row in rows
    ]


def main() -> None:
    """Measure and print."""
    special = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backend = tokenizers.BertWordPieceTokenizer(str(DATA / "vocab" / "bert-base-uncased-vocab.txt"), lowercase=True)
        Tokenizer(backend._tokenizer, special).save(folder / "tokenizer", max_length=512)
        for least in LEAST:
            pairs = found_pairs(folder, least)
            right = sum(one == other for one, other in pairs)
            precision, recall = right / max(1, len(pairs)), right / len(ids_of(SNAPSHOTS[0]))
            results[str(least)] = {"pairs": len(pairs), "precision": precision, "recall": recall}
            print(f"similarity of {least} or more: {len(pairs)} pairs, precision {precision:.3f}, recall {recall:.3f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
