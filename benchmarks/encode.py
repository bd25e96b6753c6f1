"""How fast text becomes ids: our engine against `tokenizers`, one core for both, and whether the ids are the same.

    python benchmarks/encode.py [FILE] [--vocabulary VOCAB.TXT] [--megabytes N]

Without a file the real Wikipedia beside the repository is read. Both run in this process, alternately, on one core,
over the same documents. The last line is one JSON object with `ratio_per_core` and `identical`.
(Not named tokenize.py: the standard library has a module of that name, which scripts beside it would then import.)
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import tokenizers

from bertwright.text.documents import Troubles, documents
from bertwright.text.engine import Engine
from bertwright.text.sources import Source, expand
from bertwright.text.tokenizer import Tokenizer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ROUNDS = 5
SPECIAL = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}


def read(path: str, size: int) -> list[str]:
    """Return documents of about ``size`` bytes."""
    texts, found = [], 0
    for file in expand([Source(path)]):
        for text in documents(file, errors="stop", broken_rows="skip", troubles=Troubles()):
            texts.append(text)
            found += len(text.encode())
            if found >= size:
                return texts
    return texts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", default=str(DATA / "corpora" / "wikipedia" / "wikipedia-00.txt.zst"))
    parser.add_argument("--vocabulary", default=str(DATA / "vocab" / "bert-base-uncased-vocab.txt"))
    parser.add_argument("--megabytes", type=float, default=12.0)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    backend = tokenizers.BertWordPieceTokenizer(arguments.vocabulary, lowercase=True)._tokenizer
    tokenizer = Tokenizer(backend, SPECIAL)
    texts = read(arguments.file, int(arguments.megabytes * 1e6))
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    engine = Engine(tokenizer)
    engine.encode(texts)  # characters are learnt once a corpus
    seconds: dict[str, list[float]] = {"engine": [], "tokenizers": []}
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        fast = engine.encode(texts)
        seconds["engine"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        slow = backend.encode_batch_fast(texts, add_special_tokens=False)
        seconds["tokenizers"].append(time.perf_counter() - begun)
    expected = np.concatenate([np.array(encoding.ids, dtype=np.uint32) for encoding in slow])
    rates = {name: megabytes / statistics.median(times) for name, times in seconds.items()}
    ratios = [b / a for a, b in zip(seconds["engine"], seconds["tokenizers"], strict=True)]
    result = {
        "megabytes": megabytes,
        "documents": len(texts),
        "engine": engine.name,
        "mb_per_s": rates,
        "ratio_per_core": statistics.median(ratios),
        "identical": bool(np.array_equal(fast.ids, expected)),
        "by_tokenizers": engine.by_tokenizers,
        "rounds": ROUNDS,
    }
    print(f"{engine.name}: {rates['engine']:.1f} MB/s, tokenizers: {rates['tokenizers']:.2f} MB/s, one core each")
    print(f"ratio {result['ratio_per_core']:.1f}, ids {'identical' if result['identical'] else 'DIFFERENT'}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
