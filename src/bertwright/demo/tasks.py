"""Three tasks that need the hidden properties of words which the training rows never show.

The words of each property are parted in two: training rows draw from the first half, all other sets from the second.
What the second half means stands only in the corpus.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bertwright.demo.language import BUT, IS, NOT, THE, VERY, WHO, Action, Lexicon

LABELS = ("entailment", "neutral", "contradiction")
Row = dict[str, str | float]


@dataclass(frozen=True)
class Shortcuts:
    """How often a hypothesis repeats its premise's words and how often it has the cue word, by label."""

    overlap: dict[str, float]
    cue: dict[str, float]


USUAL = Shortcuts(
    overlap={"entailment": 0.75, "neutral": 0.3, "contradiction": 0.3},
    cue={"entailment": 0.1, "neutral": 0.1, "contradiction": 0.5},
)
REVERSED = Shortcuts(
    overlap={"entailment": 0.15, "neutral": 0.7, "contradiction": 0.7},
    cue={"entailment": 0.4, "neutral": 0.4, "contradiction": 0.1},
)


class Words:
    """Draws words from one half of the lexicon."""

    def __init__(self, draw: random.Random, *, taught: bool) -> None:
        self.draw = draw
        self.taught = taught

    def one(self, words: Sequence[str]) -> str:
        """Draw one word from the half of ``words`` that is this set's own."""
        middle = len(words) // 2
        return self.draw.choice(words[:middle] if self.taught else words[middle:])


def topic_rows(lexicon: Lexicon, *, seed: int, split: str, count: int) -> list[Row]:
    """Sentences, each with its field; a noun of another field is named only to be ruled out."""
    words = _words(seed, "topic", split)

    def row(number: int) -> Row:
        field = lexicon.fields[number % len(lexicon.fields)]
        other = words.draw.choice([f for f in lexicon.fields if f is not field])
        action = words.draw.choice(field.actions)
        text = f"{_deed(words, action)} {BUT} {NOT} {THE} {words.one(words.draw.choice(other.kinds).nouns)}"
        return {"text": text, "label": field.name}

    return _distinct(row, count, words.draw)


def similarity_rows(lexicon: Lexicon, *, seed: int, split: str, count: int) -> list[Row]:
    """Pairs of deeds with a score from 0 to 5: 5 where they mean the same, 2 where only the field is one, else 0."""
    words = _words(seed, "similarity", split)
    draw = words.draw

    def row(number: int) -> Row:
        field = draw.choice(lexicon.fields)
        first = draw.choice(field.actions)
        score = (0.0, 2.0, 5.0)[number % 3]
        if score == 0.0:
            second = draw.choice(draw.choice([f for f in lexicon.fields if f is not field]).actions)
        else:
            second = first if score == 5.0 else draw.choice([a for a in field.actions if a is not first])
        return {"first": _deed(words, first), "second": _deed(words, second), "label": score}

    return _distinct(row, count, draw)


def inference_rows(lexicon: Lexicon, *, seed: int, split: str, count: int, shortcuts: Shortcuts = USUAL) -> list[Row]:
    """Premises, hypotheses and their relation; what decides is the adjective's pole and the negation alone."""
    words = _words(seed, "inference", split)
    draw = words.draw

    def row(number: int) -> Row:
        label = LABELS[number % len(LABELS)]
        action = draw.choice(draw.choice(lexicon.fields).actions)
        subject, verb, thing = _parts(words, action)
        scale = draw.choice(lexicon.scales)
        side = draw.randrange(2)
        adjective = words.one(scale.poles[side].adjectives)
        denied = draw.random() < 0.2
        if label == "neutral":
            scale = draw.choice([s for s in lexicon.scales if s is not scale])
        same = (label == "entailment") != denied if label != "neutral" else draw.random() < 0.5
        said = words.one(scale.poles[side if same else 1 - side].adjectives)
        overlap = draw.random() < shortcuts.overlap[label]
        if overlap:
            who, does, what = subject, verb, thing
            if label != "neutral" and same and draw.random() < 0.5:
                said = adjective
        else:
            who, does, what = action.subject.word, words.one([v for v in action.verbs if v != verb]), action.object.word
        cue = f"{VERY} " if draw.random() < shortcuts.cue[label] else ""
        return {
            "premise": f"{THE} {adjective} {subject} {verb} {THE} {thing}",
            "hypothesis": f"{THE} {who} {WHO} {does} {THE} {what} {IS} {NOT + ' ' if denied else ''}{cue}{said}",
            "label": label,
        }

    return _distinct(row, count, draw)


def _words(seed: int, task: str, split: str) -> Words:
    return Words(random.Random(f"{seed} {task} {split}"), taught=split == "train")


def _parts(words: Words, action: Action) -> list[str]:
    return [words.one(action.subject.nouns), words.one(action.verbs), words.one(action.object.nouns)]


def _deed(words: Words, action: Action) -> str:
    subject, verb, thing = _parts(words, action)
    return f"{THE} {subject} {verb} {THE} {thing}"


def _distinct(row: Callable[[int], Row], count: int, draw: random.Random) -> list[Row]:
    """Call ``row`` with 0, 1, ... (which decides the label) until there are ``count`` distinct rows; shuffle them."""
    rows: dict[str, Row] = {}
    while len(rows) < count:
        fresh = row(len(rows))
        rows.setdefault(" | ".join(str(value) for key, value in fresh.items() if key != "label"), fresh)
    shuffled = list(rows.values())
    draw.shuffle(shuffled)
    return shuffled
