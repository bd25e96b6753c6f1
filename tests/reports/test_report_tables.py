"""Tables, words and notes: every number says what it is, and nothing uncertain is called sure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from bertwright.reports.answer import answer, notes
from bertwright.reports.facts import encoder_facts, machine_facts, text_facts
from bertwright.reports.records import DifferenceRow, RunRecords, stage_rows
from bertwright.reports.redaction import without_examples
from bertwright.reports.table import Table
from bertwright.reports.tables import (
    difference_table,
    score_table,
    stage_table,
    stage_tables,
    summary_lines,
    verdict,
)
from bertwright.reports.words import ABSENT, bytes_text, score_text, seconds_text, spread_text, told_once


def column(table: Table, name: str) -> list[str]:
    """Return one column of a table."""
    return [row[table.columns.index(name)] for row in table.rows]


def without(run: RunRecords, **changes: object) -> RunRecords:
    """Return the run with some parts changed."""
    return dataclasses.replace(run, **changes)  # type: ignore[arg-type]


def test_answer_names_encoder_scores_and_time(whole_run: RunRecords) -> None:
    """The first line holds what was trained, each headline with its difference, and the time."""
    text = answer(whole_run)
    assert "bert mini encoder (7.46 million parameters), pretrained from scratch in 20 min" in text
    assert "triage: accuracy 84.2 ± 0.6 on dev (+14.0 against untrained, clear)" in text
    assert text.endswith("28 min of work in all.")


def test_answer_names_the_best_rival_and_who_is_better_out_of_distribution(whole_run: RunRecords) -> None:
    """Of several others the best counts; where runs learnt against a shortcut, the sets out of distribution do too."""

    def against(name: str, on: str, difference: float, clear: bool) -> dict[str, object]:
        about = {"a": "pretrained", "b": name, "set": on, "metric": "accuracy", "clear": clear}
        return {**about, "difference": difference, "interval": [difference - 0.01, difference + 0.01]}

    record = next(r for r in whole_run.stages if r["name"] == "evaluate/triage")
    away = [against("poe", "night shift", -0.031, True), against("guided", "night shift", -0.04, False)]
    on_dev = [against("poe", "dev", 0.14, True), against("guided", "dev", 0.02, False)]
    stage = {**record, "results": {**record["results"], "comparisons": [*on_dev, *away]}}
    others = [one for one in whole_run.stages if one["kind"] == "finetune" and one["results"]["task"] == "triage"]
    twin = {**against("the same", "dev", 0.0, False), "interval": [0.0, 0.0]}
    stage["results"]["comparisons"].append(twin)
    learnt = [{**one, "results": {**one["results"], "against": {"method": "poe"}}} for one in others]
    text = answer(without(whole_run, stages=(stage, *learnt)))
    assert "on dev (+2.0 against guided, the best of 2 others, not clear). On night shift pretrained has" in text
    assert "and poe +3.1, clear." in text
    assert "the same" not in text + "".join(notes(without(whole_run, stages=(stage, *learnt))))
    none = {
        **record,
        "results": {**record["results"], "comparisons": [*on_dev, against("poe", "night shift", 0.1, True)]},
    }
    assert "and no other clearly more." in answer(without(whole_run, stages=(none, *learnt)))
    assert "On night shift" not in answer(without(whole_run, stages=(stage, *others)))


def test_answer_of_nothing_says_so(whole_run: RunRecords) -> None:
    """A run without a finished stage is not described as one."""
    assert "Nothing is finished yet." == answer(without(whole_run, stages=()))


def test_scores_say_what_they_are(whole_run: RunRecords) -> None:
    """A table of scores names seeds, sets with their rows, settings tried, the interval and the floor."""
    table = score_table(whole_run, "triage")
    for part in (
        "3 seeds (0, 1, 2)",
        "dev (500 rows)",
        "night shift (120 rows)",
        "one setting",
        "95 %",
        "Floor",
        "Protocol: the weights of",
    ):
        assert part in table.caption
    assert ["pretrained", "untrained"] * 3 == column(table, "variant")
    assert frozenset({0, 1}) == table.strong
    assert "84.2 ± 0.6" == column(table, "mean ± sd")[0]
    assert "[82.7, 85.7]" == column(table, "95 % interval")[0]
    assert "41.2" == column(table, "floor")[0]


def test_several_settings_are_not_hidden(whole_run: RunRecords) -> None:
    """Where more than one setting was tried, the caption says how many, not one."""
    record = next(r for r in whole_run.stages if r["name"] == "evaluate/triage")
    results = {**record["results"], "variants": [{**v, "settings_tried": 6} for v in record["results"]["variants"]]}
    table = score_table(without(whole_run, stages=({**record, "results": results},)), "triage")
    assert "up to 6 settings tried" in table.caption
    assert "one setting" not in table.caption


def test_undefined_score_is_called_so_with_its_reason(whole_run: RunRecords) -> None:
    """A metric without a value shows as undefined, and the notes give the reason."""
    assert "undefined" in column(score_table(whole_run, "triage"), "mean ± sd")
    assert "triage: macro F1 of untrained on dev is undefined: seed 1 never predicts urgent" in notes(whole_run)


def compared(run: RunRecords, *changes: dict[str, object]) -> Table:
    """Return the table of differences with the first comparisons of the main task changed."""
    record = next(r for r in run.stages if r["name"] == "evaluate/triage")
    first, *_ = record["results"]["comparisons"]
    comparisons = [{**first, **change} for change in changes]
    stage = {**record, "results": {**record["results"], "comparisons": comparisons}}
    return difference_table(without(run, stages=(stage,)), "triage")


def test_a_difference_says_what_its_samples_drew(whole_run: RunRecords) -> None:
    """Rows are the same for both variants; seeds only where the comparison says so."""
    same, apart = {"same_seeds": True}, {"same_seeds": False}
    assert "examples and seeds, the same for both variants; +" in compared(whole_run, same, same).caption
    for unknown in ({}, apart):
        table = compared(whole_run, unknown)
        assert "examples, the same for both variants, and seeds, for each apart; +" in table.caption
    assert "for each apart unless both ran the same ones; +" in compared(whole_run, same, apart).caption


def test_samples_without_a_score_are_told(whole_run: RunRecords) -> None:
    """Their share beside the interval; more than 5 % leave none, whatever an earlier version said of the rest."""
    assert "undefined" not in compared(whole_run, {"samples": 1000}).caption
    table = compared(whole_run, {"samples": 979}, {"samples": 940}, {"samples": 0, "interval": [None, None]})
    assert "[+10.8, +17.1] without 2.1 % of the samples" == column(table, "95 % interval")[0]
    assert [ABSENT, ABSENT] == column(table, "95 % interval")[1:]
    why = "not clear: no interval, as a score is undefined in {} of the samples"
    assert ["clear", why.format("6.0 %"), why.format("100.0 %")] == column(table, "verdict")
    assert "left out; where they are more than 5 % there is no interval" in table.caption


def test_difference_whose_interval_holds_zero_is_not_clear(whole_run: RunRecords) -> None:
    """Only a difference whose interval leaves out 0 is called clear."""
    assert ["clear", "not clear: the interval holds 0"] == column(difference_table(whole_run, "triage"), "verdict")
    none = DifferenceRow("t", "dev", "f1", "a", "b", None, None, clear=False)
    assert "not clear: no interval" == verdict(none)


def test_notes_count_all_that_was_cut_skipped_or_replaced(whole_run: RunRecords) -> None:
    """Troubles, cut rows, skipped updates, interruptions and a missed forecast each have a note, once."""
    text = "\n".join(notes(whole_run))
    for part in (
        "17 × bytes that are no UTF-8, replaced",
        "did not know 210 words",
        "2 updates skipped",
        "continued 1 time",
        "triage: 14 of 5,000 training rows",
        "prepare took 60 s; 30 s were forecast",
    ):
        assert 1 == text.count(part), part
    assert "similar: 0" not in text


def test_a_score_at_the_floor_is_said_to_have_learnt_nothing(whole_run: RunRecords) -> None:
    """In the first lines and in the notes, with what may help; a score above it is not."""
    assert "learnt nothing" not in "\n".join(notes(whole_run))
    assert "no better" not in answer(whole_run)
    record = next(r for r in whole_run.stages if r["name"] == "evaluate/triage")
    dev = {"rows": 500, "floor": {"accuracy": 0.842}}
    stage = {**record, "results": {**record["results"], "sets": {**record["results"]["sets"], "dev": dev}}}
    run = without(whole_run, stages=(stage,))
    assert "no better than one answer for every row" in answer(run)
    [note] = [one for one in notes(run) if "learnt nothing" in one]
    assert note.startswith("triage: pretrained has learnt nothing that shows on dev")
    assert "encoder.folder" in note


def test_a_forecast_missed_by_seconds_is_no_note(made_up: Callable[..., RunRecords]) -> None:
    """Nobody plans with a few seconds, however many times the forecast they are."""
    run = made_up("prepare")
    (prepare,) = run.stages
    short = without(run, stages=({**prepare, "seconds": 9.4},), forecast={"prepare": {"seconds": 1.0}})
    assert not [one for one in notes(short) if "forecast" in one]


def test_stages_put_forecast_beside_fact(whole_run: RunRecords) -> None:
    """Time, memory and disk have forecast and ratio; the runs of a task are one row; reuse is told."""
    table = stage_table(whole_run)
    rows = {row.name: row for row in stage_rows(whole_run)}
    assert 6 == rows["finetune/triage"].runs
    assert sum(2 * (31.0 + seed) for seed in range(3)) == rows["finetune/triage"].seconds
    assert "2.00×" == column(table, "ratio")[1]
    assert ["reused", "reused", "run"] == column(table, "this time")[:3]


def test_page_splits_stages_and_loses_no_column(whole_run: RunRecords) -> None:
    """Time, and memory with disk, stand in two tables that together have every column."""
    time, space = stage_tables(whole_run)
    assert set(stage_table(whole_run).columns) == set(time.columns) | set(space.columns)
    assert {"stage"} == set(time.columns) & set(space.columns)
    assert len(time.rows) == len(space.rows)


def test_stages_without_forecast_claim_none(whole_run: RunRecords) -> None:
    """Without a forecast, or with one of another identity, no expected amount and no ratio is shown."""
    assert "ratio" not in stage_table(without(whole_run, forecast=None)).columns
    stale = {name: {**entry, "identity": "f" * 32} for name, entry in (whole_run.forecast or {}).items()}
    assert all(row.expected_seconds is None for row in stage_rows(without(whole_run, forecast=stale)))
    assert "this time" not in stage_table(without(whole_run, reused=None)).columns


def test_a_group_lacking_one_forecast_has_none(whole_run: RunRecords) -> None:
    """A sum over runs is no forecast where one of them was not forecast."""
    known = {k: v for k, v in (whole_run.forecast or {}).items() if k != "finetune/triage/untrained/seed-1"}
    rows = {row.name: row for row in stage_rows(without(whole_run, forecast=known))}
    assert rows["finetune/triage"].expected_seconds is None
    assert rows["finetune/similar"].expected_seconds is not None


def test_facts_tell_text_encoder_and_machine(whole_run: RunRecords) -> None:
    """Counts are written out, what is not installed is said, and one machine is told once."""
    text = dict(pair for facts in text_facts(whole_run) for pair in facts.pairs)
    assert "7,320,000" == text["tokens to train on"]
    assert "17" == text["bytes that are no UTF-8, replaced"]
    titles = [facts.title for facts in encoder_facts(whole_run)]
    assert ["Pretraining", "Shape", "Proof of the saved folder", "Encoder as it was drawn: untrained"] == titles
    (machine,) = machine_facts(whole_run)
    assert ("transformers", "not installed") in machine.pairs


def test_two_machines_are_kept_apart(whole_run: RunRecords) -> None:
    """Stages that ran elsewhere, or with other versions, are told apart by name."""
    first, *rest = whole_run.stages
    moved = {**first, "machine": {**first["machine"], "cores": 16}}
    titles = [facts.title for facts in machine_facts(without(whole_run, stages=(moved, *rest)))]
    assert "Machine and versions of tokenizer" == titles[0]
    assert 2 == len(titles)


def test_unmeasured_utilisation_is_said(made_up: Callable[..., RunRecords]) -> None:
    """A share of the peak that was not measured is not left out."""
    run = made_up("pretrain")
    (record,) = run.stages
    results = {**record["results"], "utilisation": None}
    pairs = encoder_facts(without(run, stages=({**record, "results": results},)))[0].pairs
    assert ("share of this machine's matrix peak", "not measured") in pairs


@pytest.mark.parametrize(("family", "shown"), [("bert", False), ("modern", True)])
def test_a_shape_shows_what_its_family_has(made_up: Callable[..., RunRecords], family: str, shown: bool) -> None:
    """Rotary bases and windows stand in every shape, and mean nothing to a family without them."""
    run = made_up("pretrain")
    (record,) = run.stages
    shape = {"family": family, "layers": 4, "local_window": 128, "rope_base": 160_000.0}
    facts = encoder_facts(without(run, stages=({**record, "results": {**record["results"], "shape": shape}},)))
    names = [name for name, _ in next(one for one in facts if one.title == "Shape").pairs]
    assert ["family", "layers", *(["local window", "rope base"] if shown else [])] == names


def test_summary_holds_the_answer_and_lines_up(whole_run: RunRecords) -> None:
    """The terminal shows name, answer, headline scores, verdicts, stages and notes."""
    lines = summary_lines(whole_run)
    assert ["night-ward", answer(whole_run)] == lines[:2]
    text = "\n".join(lines)
    for part in ("84.2 ± 0.6", "clear", "finetune/triage (6 runs)", "Notes"):
        assert part in text
    assert ["night-ward", "Nothing is finished yet."] == summary_lines(without(whole_run, stages=()))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.text("ab 雪é", max_size=8), st.text("12.", min_size=1, max_size=6)), min_size=1))
def test_columns_line_up_in_any_script(rows: list[tuple[str, str]]) -> None:
    """A column set to the right ends at one place in all lines, also beside wide letters."""
    lines = Table("t", ("name", "number"), tuple(rows), numeric=frozenset({"number"})).lines()
    assert 1 == len({cell_len(line) for line in lines})


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("8.3 s", seconds_text(8.3)),
        ("45 s", seconds_text(45)),
        ("20 min", seconds_text(1_201)),
        ("3.4 h", seconds_text(12_240)),
        (ABSENT, seconds_text(None)),
        ("1.2 GB", bytes_text(1_200_000_000)),
        ("0 bytes", bytes_text(0)),
        ("84.2", score_text(0.842, "accuracy")),
        ("-3.1", score_text(-0.031, "matthews", signed=True)),
        ("0.842", score_text(0.842, "mean_squared_error")),
        ("undefined", spread_text(None, None, "f1")),
        ("84.2", spread_text(0.842, None, "accuracy")),
    ],
)
def test_numbers_are_written_as_people_do(expected: str, found: str) -> None:
    """Times, sizes and scores have their units; what is absent or undefined is no number."""
    assert expected == found


def test_every_note_ends_once(whole_run: RunRecords) -> None:
    """That of a report without examples too."""
    for note in notes(without_examples(without(whole_run, notes=("2 files are not read",)))):
        assert not note.endswith(".."), note


def test_a_note_of_several_tasks_is_said_once() -> None:
    """In the place of the first, with the names of all; what differs in more than the name stays apart."""
    found = ["b: cut", "Text: cut", "a, expert x: low", "ab: cut", "a: cut", "a: cut", "b, expert x: low", "a: other"]
    assert ["b, ab and a: cut", "Text: cut", "a and b, expert x: low", "a: other"] == told_once(found, ["a", "ab", "b"])
    assert ["note: task a: odd", "note: odd"] == told_once(
        ["note: task a: odd", "note: odd"], ["a", "note"], "note: task ", "note: tasks "
    )


def test_tasks_with_the_same_note_share_a_line(whole_run: RunRecords) -> None:
    """On the screen and on the page: eight tasks that were learnt from one seed are no eight notes."""
    assert whole_run.of_kind("evaluate")
    more = [
        {
            **record,
            "name": record["name"].replace("triage", "second"),
            "results": {**record["results"], "task": "second"},
        }
        for record in whole_run.of_kind("evaluate")
        if record["results"]["task"] == "triage"
    ]
    found = notes(without(whole_run, stages=(*whole_run.stages, *more)))
    assert "triage and second: macro F1 of untrained on dev is undefined: seed 1 never predicts urgent" in found
    assert not [note for note in found if note.startswith("second: ")]
