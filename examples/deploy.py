"""Export an encoder with its packs to int8 segments, and answer with numpy and ONNX Runtime: no torch in sight.

    python examples/deploy.py WORK PACK...

The packs are those that `many_tasks_one_encoder.py` left; the notes beside them say where their encoder is.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from bertwright.deploy.runtime import Row, Runtime
from bertwright.stages.export import Asked, export


def main(work: Path, packs: Sequence[Path]) -> list[str]:
    """Write the folder, prove it, answer a mixed batch, and return the labels."""
    names = {path: path.absolute().parents[1].name for path in packs}  # of .../tasks/TASK/VARIANT/seed-0.pack
    done = export(Asked(sources=tuple(packs), names=names), work / "deployed")
    for line in done.lines:
        print(line)
    print(f"{done.folder}: {done.size:,} bytes, packs {', '.join(done.packs)}")

    runtime = Runtime(work / "deployed", threads=1)  # a serving machine needs this and what follows alone
    rows = [Row(("lo nola nipu", "lo nipu")[: len(runtime.packs[name].columns)], name) for name in done.packs]
    answers = runtime.predict_rows(rows)
    for row, answer in zip(rows, answers, strict=True):
        print(f"{row.pack}: {answer.label} after layer {answer.layer}")
    return [str(answer.label) for answer in answers]


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
