"""What can be had though some runs failed: a task's scores over those that finished, with the failed ones said."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bertwright.errors import RunsFailed
from bertwright.pipeline.results import Result
from bertwright.pipeline.stage import Stage
from bertwright.store import identity


def with_finished(stages: Sequence[Stage], done: Collection[str]) -> list[Stage]:
    """Return a plan with the scores of tasks made of the runs that are ``done``, where a seed is left of each variant.

    These scores are a stage of their own, with an identity of their own: it names the runs that were taken.
    """
    return [_with_finished(stage, done) if stage.kind == "evaluate" else stage for stage in stages]


def _with_finished(stage: Stage, done: Collection[str]) -> Stage:
    inputs = {role: entry for role, entry in stage.inputs.items() if entry.stage is None or entry.stage in done}
    left = {role.rpartition("/")[0] for role in inputs}
    failed: dict[str, list[str]] = {}
    for role in stage.inputs.keys() - inputs.keys():
        variant, _, seed = role.rpartition("/")
        # Without an encoder or an expert, or beside a variant without a score, the rest would be another comparison.
        if variant not in stage.options["variants"] or variant not in left:
            return stage
        failed.setdefault(variant, []).append(seed)
    if not failed:
        return stage
    variants = {
        name: _without(about, sorted(map(int, failed[name]))) if name in failed else about
        for name, about in stage.options["variants"].items()
    }
    options = {**stage.options, "variants": variants}
    taken = {role: entry.identity for role, entry in inputs.items()}
    own = identity(stage.kind, options, taken, stage.contents)
    return replace(stage, options=options, inputs=inputs, identity=own)


def _without(variant: Mapping[str, Any], seeds: list[int]) -> dict[str, Any]:
    """Return what is told of a variant without some seeds: its protocol goes wherever a score of it goes."""
    words = (
        f"seed {seeds[0]} failed and is" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))} failed and are"
    )
    return {**variant, "failed_seeds": seeds, "protocol": f"{variant['protocol']}; {words} not among the scores"}


def raise_failures(stages: Sequence[Stage], failed: Mapping[str, str], result: Result) -> None:
    """Raise ``RunsFailed``: which stages failed, what was left out for it and what did without them."""
    done = result.stages
    left = [stage.name for stage in stages if stage.name not in done and stage.name not in failed]
    fewer = [stage.name for stage in stages if stage.name in done and _failed_seeds(stage)]
    said = "".join(f"\n{name}: {words}" for name, words in failed.items())
    without = f" {_with_verb(left, 'needs', 'need')} what failed and did not run." if left else ""
    without += f" {_with_verb(fewer, 'is', 'are')} made of the runs that finished." if fewer else ""
    raise RunsFailed(
        f"{len(failed)} of {len(stages)} stages failed; what was finished is kept. Give the same command again to try "
        f"the rest.{without}{said}",
        result,
    )


def _failed_seeds(stage: Stage) -> bool:
    return any("failed_seeds" in one for one in stage.options.get("variants", {}).values())


def _with_verb(names: Sequence[str], one: str, several: str) -> str:
    return f"{', '.join(names)} {one if len(names) == 1 else several}"
