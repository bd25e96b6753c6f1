"""Serving against its rivals: one table of latency, throughput and memory, all in one process, in turns.

    python benchmarks/serve.py [--rounds N] [--threads N] [--quick] [--no-load] [--save NAME]

BERT-base's shape, drawn weights, a head of 6 labels; every engine is given the same token ids, at 1 x 32, 32 x 32 and
32 x 64 tokens. Rivals: the ordinary class on torch in fp32 and bf16; ONNX Runtime on the graph that torch exports, in
fp32 and dynamic int8 per channel, plain and after ONNX Runtime's own transformer optimizer; OpenVINO where it is
installed. Ours: int8 segments with every bias as a row's input, one pack; twelve packs mixed; rows that leave at layers
spread so that 40 % is expected to be saved, with a ramp after each layer computed: as published, linear on the first
token, linear on the mean. The
`transformers` pipeline gets texts, and so do we beside it. Times are medians of rounds, each of all ways in an order
drawn anew (what ran before may leave its threads awake); ratios are medians of each round's. Memory is PSS in fresh
processes above what imports take: a folder with 100 packs, twelve int8 sessions.

The last line is one JSON object: `int8_vs_ort_b1` and `int8_vs_ort_b32` (the faster of ONNX Runtime's int8 graphs over
ours, 1 x 32 and 32 x 64), `vs_pipeline` (a list of texts, as a pipeline takes it when nothing is said: one by one) and
`vs_pipeline_batched` (in batches of 32), `mixed_overhead` (a share), `memory_100_packs_gb`,
`exit_gain` (the lesser of 1 x 32 and 32 x 64, against ONNX Runtime int8), `exit_gain_linear_SHAPE` (with linear ramps),
`exit_gain_mean_SHAPE` (with linear ramps on the mean of all tokens),
`add_ms`, and of the server's load test `p99_ms` and `lost`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

SHAPES = ((1, 32), (32, 32), (32, 64))
PACKS, RESIDENT, LABELS, SAVING, SINGLE = 12, 100, 6, 0.4, 16
EXITS = {
    "pooler": "ours, exits",
    "linear": "ours, exits, linear ramps",
    "mean": "ours, exits, linear ramps on the mean",
}
RESULTS = Path(__file__).parent / "results"
TRIAL = Path(__file__).resolve().parents[1] / "build" / "trial-model"
Run = Callable[[], object]


def build(folder: Path, quick: bool) -> None:
    """Write the ordinary model, its exports by others, and our export with twelve packs."""
    import onnx
    import torch
    import transformers
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    import pack_serving
    from bertwright.deploy.export import Form, write_export
    from bertwright.deploy.processor import bits_here
    from bertwright.deploy.sources import deployable
    from bertwright.encoder import families
    from bertwright.text.tokenizer import Tokenizer

    torch.manual_seed(0)
    small = {"num_hidden_layers": 3, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512}
    config = transformers.BertConfig(num_labels=LABELS, **(small if quick else {}))
    model = transformers.BertForSequenceClassification(config).eval()
    tokenizer = Tokenizer.load(TRIAL)
    model.save_pretrained(folder / "model")
    tokenizer.save(folder / "model", max_length=512)
    ids = torch.ones(2, 8, dtype=torch.int64)
    axes = {name: {0: "rows", 1: "length"} for name in ("input_ids", "attention_mask", "token_type_ids")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (ids, ids, ids * 0),
            str(folder / "whole.onnx"),
            input_names=list(axes),
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    fused = optimize_model(
        str(folder / "whole.onnx"),
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        optimization_options=FusionOptions("bert"),
    )
    fused.save_model_to_file(str(folder / "fused.onnx"))
    options = {"per_channel": True, "weight_type": QuantType.QInt8, "reduce_range": bits_here() == 7}
    # The optimizer's own operators have no inferred types.
    options["extra_options"] = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    for name in ("whole", "fused"):
        source, target = folder / f"{name}.onnx", folder / f"{name}-int8.onnx"
        quantize_dynamic(source, target, **options)
    loaded = families.load(folder / "model")
    pack_serving.TOKENIZER, pack_serving.PACKS = tokenizer.identity(), PACKS
    packs = {name.replace(" ", "-"): pack for name, pack in pack_serving.packs_for(loaded).items()}
    packs = {name: replace(pack, task=replace(pack.task, max_length=128)) for name, pack in packs.items()}
    packs |= {f"leaving-{form}": with_ramps(packs["task-0"], form) for form in EXITS}
    (folder / "ours").mkdir()
    made = deployable(loaded, tokenizer.identity())
    write_export(folder / "ours", made, tokenizer, Form("int8", bits=bits_here()), packs)


def with_ramps(pack: Any, form: str) -> Any:
    """Return a pack with a drawn ramp after each layer but the last, of a form in ``EXITS``."""
    draw, width = np.random.default_rng(1), pack.backbone.shape["width"]
    arrays = {}
    for layer in range(1, pack.backbone.shape["layers"]):
        if form == "pooler":
            arrays[f"{layer}/dense.weight"] = draw.normal(0, 0.02, (width, width)).astype(np.float16)
            arrays[f"{layer}/dense.bias"] = np.zeros(width, dtype=np.float16)
        arrays[f"{layer}/output.weight"] = draw.normal(0, 0.02, (LABELS, width)).astype(np.float16)
        arrays[f"{layer}/output.bias"] = np.zeros(LABELS, dtype=np.float16)
    return replace(pack, ramps=arrays | ({"mean": np.ones(1, dtype=np.float16)} if form == "mean" else {}))


class Forced:
    """A policy that lets each row leave at a drawn layer; a real one's measure is taken all the same."""

    def __init__(self, depth: int, rows: int) -> None:
        from bertwright.exits.policies import parse

        # A normal spread, by its quantiles: however few rows there are, the expected saving is met.
        spread = scipy.stats.norm.ppf((np.arange(rows) + 0.5) / rows) * depth / 6
        layers = np.clip(np.rint((1 - SAVING) * depth + spread), 1, depth).astype(np.int64)
        self.layers, self.measure = np.random.default_rng(40).permutation(layers), parse("entropy:0.2")
        self.expected = 1 - self.layers.mean() / depth

    def begin(self, count: int) -> Any:
        from bertwright.exits.policies import State

        return State(np.zeros(count, dtype=bool), answers=self.layers[:count])

    def looks_at(self, _: int) -> bool:
        return True

    def decide(self, ramp: int, logits: np.ndarray, state: Any, scores: np.ndarray | None = None) -> np.ndarray:
        self.measure.decide(ramp, logits, state, scores)
        return np.asarray(state.answers == ramp + 1)


class Engines:
    """Everything that answers token ids, with one count of threads."""

    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime
        import torch
        import transformers

        from bertwright.deploy.runtime import Runtime

        torch.set_num_threads(threads)
        self.runtime = Runtime(folder / "ours", threads=threads)
        self.fp32 = transformers.BertForSequenceClassification.from_pretrained(folder / "model").eval()
        self.bf16 = transformers.BertForSequenceClassification.from_pretrained(folder / "model", dtype=torch.bfloat16)
        self.bf16.eval()
        self.sessions = {}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        for name in ("whole", "fused", "whole-int8", "fused-int8"):
            self.sessions[f"ORT {name}"] = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options)
        self.openvino = openvino(folder / "whole-int8.onnx", threads)

    def works(self, rows: int, length: int) -> dict[str, Run]:
        """Return what is timed at a shape, by name."""
        import torch

        ids = np.random.default_rng(0).integers(1000, 30_000, (rows, length))
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        tensors = {name: torch.from_numpy(value) for name, value in feeds.items()}

        def on_torch(model: Any) -> None:
            with torch.inference_mode():
                model(**tensors).logits.float().numpy()

        works: dict[str, Run] = {
            "torch fp32": lambda: on_torch(self.fp32),
            "torch bf16": lambda: on_torch(self.bf16),
        }
        for name, session in self.sessions.items():
            works[name] = lambda session=session: session.run(None, feeds)  # type: ignore[misc]
        if self.openvino is not None:
            works["OpenVINO int8"] = lambda: self.openvino(feeds)
        one, many = self.encoded(ids, ["task-0"]), self.encoded(ids, [f"task-{n}" for n in range(PACKS)])
        works["ours, one pack"] = lambda: self.runtime.begin(one).run()
        if rows > 1:
            works["ours, 12 packs"] = lambda: self.runtime.begin(many).run()
        # One row alone leaves at a layer drawn anew each time: the mean over sixteen.
        drawn = Forced(self.runtime.config.layers, rows * (SINGLE if rows == 1 else 1))
        for form, name in EXITS.items():
            batches = [self.encoded(ids, [f"leaving-{form}"])] * (SINGLE if rows == 1 else 1)
            works[name] = lambda batches=batches: self.exiting(batches, drawn, rows)  # type: ignore[misc]
        self.expected = drawn.expected
        return works

    def exiting(self, batches: list[list[Any]], drawn: Forced, rows: int) -> None:
        """Answer batches whose rows leave where they were drawn to."""
        for place, batch in enumerate(batches):
            own = Forced.__new__(Forced)
            own.layers, own.measure = drawn.layers[place * rows : (place + 1) * rows], drawn.measure
            self.runtime.begin([replace(row, policy=own) for row in batch]).run()

    def encoded(self, ids: np.ndarray, names: list[str]) -> list[Any]:
        """Return rows of ids, each for the next of some packs."""
        from bertwright.deploy.rows import Row

        shells = [self.runtime.encode(Row(("",), names[n % len(names)])) for n in range(len(ids))]
        none = np.zeros(ids.shape[1], dtype=np.int64)
        return [replace(shell, ids=(row,), segments=(none,)) for shell, row in zip(shells, ids, strict=True)]


def openvino(path: Path, threads: int) -> Any:
    """Return OpenVINO's compiled int8 graph, or nothing where it is not installed."""
    if importlib.util.find_spec("openvino") is None:
        return None
    import openvino

    return openvino.compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"})


def in_turns(works: dict[str, Run], rounds: int, shares: dict[str, float]) -> dict[str, list[float]]:
    """Return the seconds of each work in each round; the first round warms up.

    Threads of the work before go on asking for more for some milliseconds: they are given time to fall asleep.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    draw = random.Random(0)
    for _ in range(rounds + 1):
        for name in draw.sample(list(works), len(works)):
            time.sleep(0.05)
            begun = time.perf_counter()
            works[name]()
            times[name].append((time.perf_counter() - begun) * shares.get(name, 1.0))
    return {name: own[1:] for name, own in times.items()}


def ratio(times: dict[str, list[float]], over: str, under: str) -> float:
    """Return the median over rounds of one work's time over another's."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def faster(times: dict[str, list[float]]) -> str:
    """Return the faster of ONNX Runtime's int8 graphs."""
    return min(("ORT whole-int8", "ORT fused-int8"), key=lambda name: statistics.median(times[name]))


def texts_of(count: int) -> list[str]:
    """Return texts of some 30 tokens."""
    words = "the bank of a river where people once met to trade grain and cloth before roads were built in the hills"
    parts = words.split()
    return [" ".join((parts * 2)[n % 7 : n % 7 + 28]) for n in range(count)]


def against_pipeline(engines: Engines, folder: Path, rounds: int) -> dict[str, float]:
    """Return how much faster texts are answered than by the `transformers` pipeline in fp32, alone and in batches."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    pipe = transformers.pipeline("text-classification", model=engines.fp32, tokenizer=tokenizer, device="cpu")
    texts = texts_of(64)
    works: dict[str, Run] = {
        "pipeline": lambda: pipe(texts),
        "pipeline, batches of 32": lambda: pipe(texts, batch_size=32),
        "ours": lambda: engines.runtime.predict(texts, "task-0"),
    }
    times = in_turns(works, rounds, {})
    for name, own in times.items():
        print(f"texts, {name}: {1e3 * statistics.median(own) / len(texts):.2f} ms a row")
    return {
        "vs_pipeline": ratio(times, "pipeline", "ours"),
        "vs_pipeline_batched": ratio(times, "pipeline, batches of 32", "ours"),
    }


def adding(engines: Engines, folder: Path) -> float:
    """Return the median milliseconds of replacing a pack by its file."""
    times = []
    for number in range(40):
        begun = time.perf_counter()
        engines.runtime.add(folder / "ours" / "packs" / f"task-{number % PACKS}.pack")
        times.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(times)


def pss() -> int:
    """Return this process's proportional set size in bytes."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no Pss in /proc/self/smaps_rollup: memory is measured on Linux alone")


def memory_of(what: str, folder: Path) -> None:
    """Print the bytes that a fresh process takes for one thing, above its imports."""
    ids = np.ones((8, 32), dtype=np.int64)
    if what == "ours":
        import onnxruntime

        from bertwright.deploy.runtime import Runtime

        before = pss()
        runtime = Runtime(folder / "ours", threads=2)
        for number in range(RESIDENT):
            runtime.add(folder / "ours" / "packs" / f"task-{number % PACKS}.pack", f"pack-{number}")
        runtime.predict(texts_of(8), "pack-7")
    else:
        import onnxruntime

        before = pss()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 2, 3
        path = str(folder / "fused-int8.onnx")
        sessions = [onnxruntime.InferenceSession(path, options) for _ in range(PACKS)]
        for session in sessions:
            session.run(None, {"input_ids": ids, "attention_mask": ids, "token_type_ids": ids * 0})
    print(pss() - before)


def memory(what: str, folder: Path) -> float:
    """Return gigabytes of a fresh process."""
    command = [sys.executable, __file__, "--memory-of", what, "--folder", str(folder)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]) / 1e9


def of_the_server() -> dict[str, Any]:
    """Return the server's latency and lost answers."""
    import load

    found = load.measure()
    return {"p99_ms": found["p99_ms"], "lost": found["lost"]}


def table(found: dict[str, dict[str, float]]) -> None:
    """Print engines by shapes, in milliseconds."""
    print(f"{'ms':26}" + "".join(f"{shape:>12}" for shape in found))
    for name in dict.fromkeys(name for own in found.values() for name in own):
        print(f"{name:26}" + "".join(f"{own[name]:12.1f}" if name in own else f"{'':12}" for own in found.values()))
    for shape, own in found.items():
        best = min((name for name in own if "exits" not in name), key=own.__getitem__)
        if not best.startswith("ours"):
            print(f"{shape}: {best} is the fastest that runs all layers")


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Build all, time all, and return the figures."""
    print("builds", flush=True)
    build(folder, arguments.quick)
    engines = Engines(folder, arguments.threads)
    result: dict[str, Any] = {"threads": arguments.threads, "rounds": arguments.rounds, "quick": arguments.quick}
    medians, gains, overheads = {}, [], []
    for rows, length in SHAPES:
        works = engines.works(rows, length)
        rounds = arguments.rounds * (5 if rows == 1 else 1)
        times = in_turns(works, rounds, dict.fromkeys(EXITS.values(), 1 / SINGLE) if rows == 1 else {})
        shape, best = f"{rows}x{length}", faster(times)
        medians[shape] = {name: 1e3 * statistics.median(own) for name, own in times.items()}
        gain = ratio(times, best, "ours, one pack")
        print(f"{shape}: {best} takes {gain:.2f} of ours; exits expect {engines.expected:.0%} saved", flush=True)
        if (rows, length) == (1, 32):
            result["int8_vs_ort_b1"] = gain
        if (rows, length) == (32, 64):
            result["int8_vs_ort_b32"] = gain
        if (rows, length) != (32, 32):
            gains.append(ratio(times, best, EXITS["pooler"]))
            for form in ("linear", "mean"):
                result[f"exit_gain_{form}_{shape}"] = ratio(times, best, EXITS[form])
        if rows > 1:
            overheads.append(ratio(times, "ours, 12 packs", "ours, one pack") - 1)
    table(medians)
    result |= against_pipeline(engines, folder, arguments.rounds)
    result |= {"mixed_overhead": max(overheads), "exit_gain": min(gains), "add_ms": adding(engines, folder)}
    result["memory_100_packs_gb"] = memory("ours", folder)
    result["memory_12_models_gb"] = memory("twelve", folder)
    print(
        f"memory: 100 packs {result['memory_100_packs_gb']:.2f} GB, twelve models {result['memory_12_models_gb']:.2f}"
    )
    server = {"p99_ms": None, "lost": None} if arguments.no_load else of_the_server()
    return {**result, **server, "ms": medians}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-load", action="store_true", help="without the server's load test")
    parser.add_argument("--quick", action="store_true", help="a tiny shape, to see that it runs")
    parser.add_argument("--save", help="write the figures to benchmarks/results/NAME.json")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        memory_of(arguments.memory_of, arguments.folder)
        return
    sys.path.insert(0, str(Path(__file__).parent))
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        result = measure(arguments, Path(name))
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{arguments.save}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
