"""Ramps and policies as stages leave and read them: in a pack, or beside a model's weights.

MODEL/ramps.safetensors      the ramps, fp32, by the names that they have in a pack
MODEL/exits.json             the policy, what is promised of it, and how many calibration rows left at each exit
MODEL/calibration.safetensors   what every exit answered on the calibration rows, and their labels
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch

from bertwright import files, pack
from bertwright.encoder.config import EncoderConfig
from bertwright.errors import DataError, InputError
from bertwright.exits.answers import EveryExit
from bertwright.exits.compaction import Exited, ExitingClassifier, answer_exiting
from bertwright.exits.policies import Policy, counts_of, parse
from bertwright.exits.ramps import Ramps, from_pack, from_tensors
from bertwright.pack import SUFFIX, Pack
from bertwright.stages.fine_tuned import Answering, answering, find
from bertwright.stages.work import RAMPS
from bertwright.tasks.batches import Encoded
from bertwright.text.documents import ignore
from bertwright.training.precision import choose

EXITS, CALIBRATION = "exits.json", "calibration.safetensors"
_AGAIN = "copy the run's folder once more"
TUNED = "tuned"
"""What is written for the policy that was calibrated."""


def write_ramps(path: Path, ramps: Ramps) -> None:
    """Write ramps as a safetensors file."""
    files.write_bytes(path, safetensors.torch.save(ramps.tensors()))


def read_ramps(found: Path, config: EncoderConfig) -> Ramps:
    """Return the ramps of a pack, or of a model's folder, fp32; ``InputError`` where there are none."""
    packed, path = found.suffix == SUFFIX, found / RAMPS
    own: Mapping[str, Any] = pack.read(found).ramps if packed else {}
    if not packed and path.is_file():
        try:
            own = safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise DataError(f"{path} cannot be read ({error}); {_AGAIN}") from error
    if not own:
        raise InputError(
            f"{found} has no ramps, so no row can leave it early; train some (`finetune: {{exits: on}}` in the "
            "recipe), and name a run in the folder `exits` beside `tasks`; or answer without --exit"
        )
    try:
        return from_pack(config, own) if packed else from_tensors(config, own)
    except DataError as error:
        raise DataError(f"{found}: {error}") from error


def read_choice(found: Path) -> dict[str, Any] | None:
    """Return the policy of a pack or model's folder with its calibration, or ``None``."""
    if found.suffix == SUFFIX:
        return pack.read(found).policy
    path = found / EXITS
    if not path.is_file():
        return None
    try:
        content: Any = files.read_json(path)
    except ValueError as error:
        raise DataError(f"{path}: found no JSON ({error}); expected the choice of a policy; {_AGAIN}") from error
    told: Any = content.get("policy") if isinstance(content, dict) else content
    if not isinstance(content, dict) or not isinstance(told, str):
        raise DataError(
            f"{path}: found the policy {repr(told)[:80]}; expected an object with a `policy`, such as entropy:0.2; "
            f"{_AGAIN}"
        )
    return content


def policy_of(spec: str, kind: str, choice: Mapping[str, Any] | None, where: Path) -> Policy:
    """Return the policy that is written, such as ``entropy:0.2``; ``tuned`` is the calibrated one."""
    if spec != TUNED:
        return parse(spec, kind)
    told = (choice or {}).get("policy")
    if not isinstance(told, str):
        raise InputError(
            f"{where} has no calibrated policy; `bertwright exits tune` makes one, or write one such as entropy:0.2"
        )
    return parse(told, kind)


@dataclass(frozen=True)
class Exiting:
    """A run that answers with exits: named logits and the layer at which each row left.

    ``choice`` is the calibrated policy with what is promised of it, if there is one; ``cautions`` say which thresholds
    of ``policy`` let no row leave, or all.
    """

    answering: Answering
    ramps: Ramps
    policy: Policy
    choice: Mapping[str, Any] | None
    cautions: tuple[str, ...]
    model: ExitingClassifier

    @property
    def exits(self) -> tuple[int, ...]:
        """Return the layers run before each exit, (E,)."""
        return (*self.ramps.layers, self.ramps.config.layers)

    @property
    def calibrated(self) -> tuple[int, ...] | None:
        """Return how many calibration rows left at each exit, where the policy is the calibrated one."""
        same = self.choice is not None and self.choice.get("policy") == self.policy.text
        counts = counts_of(self.choice) if same else ()
        return counts if len(counts) == len(self.exits) else None

    def answer(self, rows: Encoded, progress: Callable[[int], None] = ignore) -> Exited:
        """Answer encoded rows, each at its own layer, in their order."""
        return answer_exiting(self.model, rows, progress)


def exiting(answering_: Answering, found: Path, kind: str, spec: str) -> Exiting:
    """Return a run's model with its ramps and the policy that ``spec`` writes."""
    ramps, choice = read_ramps(found, answering_.config), read_choice(found)
    policy = policy_of(spec, kind, choice, found)
    cautions = policy.check(len(ramps.layers), ramps.classes, scored=ramps.scored)
    own = ramps.to(answering_.precision.device, answering_.precision.dtype)
    return Exiting(answering_, ramps, policy, choice, cautions, ExitingClassifier(answering_.model, own, policy))


def load_exiting(
    model: str | Path, policy: str = TUNED, *, encoder: str | Path | None = None, precision: str = "auto"
) -> Exiting:
    """Return a run's folder or pack with ramps, ready to answer: ``load_exiting(path, "entropy:0.2")``."""
    from_path, task = find(Path(model))
    if task.window_stride is not None:
        raise InputError(f"{model} answers long rows by windows, and exits are of whole rows; answer without a policy")
    place = choose("auto", precision)
    beside = Path(encoder) if encoder is not None else None
    return exiting(answering(from_path, place, beside), from_path, task.kind, policy)


def packed_ramps(ramps: Ramps) -> dict[str, np.ndarray]:
    """Return ramps by the names that they have in a pack."""
    return {name.removeprefix("ramps/"): value.numpy() for name, value in ramps.tensors().items()}


def with_choice(found: Pack, choice: Mapping[str, Any], ramps: Ramps | None = None) -> Pack:
    """Return a pack with another policy, and with ramps if some are given."""
    arrays = found.ramps if ramps is None else pack.rounded_ramps(packed_ramps(ramps), found.dtype)
    return replace(found, policy=dict(choice), ramps=arrays)


def write_calibration(path: Path, every: EveryExit, gold: np.ndarray) -> None:
    """Write what every exit answered on the calibration rows, so that thresholds can be chosen again without them."""
    tensors = {"logits": every.logits, "gold": np.asarray(gold), "layers": np.array(every.layers, dtype=np.int64)}
    tensors |= {} if every.scores is None else {"scores": every.scores}
    content = safetensors.numpy.save({name: np.ascontiguousarray(value) for name, value in tensors.items()})
    files.write_bytes(path, content)


def read_calibration(path: Path, kind: str) -> tuple[EveryExit, np.ndarray]:
    """Return what ``write_calibration`` wrote; needs no model."""
    try:
        tensors = safetensors.numpy.load_file(path)
        layers = tuple(int(layer) for layer in tensors["layers"])
        every, gold = EveryExit(kind, layers, tensors["logits"], tensors.get("scores")), tensors["gold"]
        if every.logits.shape[2] == 0 or len(gold) != every.rows:
            raise ValueError(f"logits of the shape {every.logits.shape} and {len(gold)} labels")
        return every, gold
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} cannot be read ({error}); name labelled rows with --rows instead") from error
