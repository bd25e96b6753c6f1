"""The lexicon of the made-up language: invented words and the hidden properties that give them meaning.

A noun belongs to a kind and a kind to a field; a verb is one of several names of an action, which chooses the kind of
its subject and of its object; an adjective lies at one pole of a scale, and signs are verbs that tell a pole. The
spelling of a word says nothing about its properties: they can be learnt from a text alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

FIELDS = ("harbour", "kitchen", "forest", "market", "workshop", "hospital")
"""Names of the fields, as the topic task labels them."""

KINDS, NOUNS = 2, 8  # kinds a field, nouns a kind
ACTIONS, VERBS = 2, 4  # actions a field, verbs an action
SCALES, ADJECTIVES, SIGNS = 2, 8, 3  # scales, adjectives a pole, signs a pole

# Function words have at most three letters; invented words have four.
THE, A, OF_KIND, IS, NOT, AND, BUT, WHO, VERY, ALSO = "lo", "un", "dek", "es", "nu", "ka", "mas", "ke", "zum", "tam"
SO, MORE, WRONG = "sol", "erd", "mik"  # heads of a sentence: it follows, it is new, it is wrong


@dataclass(frozen=True)
class Kind:
    """A class of nouns: its own word (the hypernym) and its members."""

    word: str
    nouns: tuple[str, ...]


@dataclass(frozen=True)
class Action:
    """What one kind does to another; its verbs mean the same."""

    verbs: tuple[str, ...]
    subject: Kind
    object: Kind


@dataclass(frozen=True)
class Field:
    """A part of life with its own nouns and verbs."""

    name: str
    kinds: tuple[Kind, ...]
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Pole:
    """One end of a scale: adjectives that mean the same, and verbs that are a sign of it."""

    adjectives: tuple[str, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Scale:
    """A property with two ends that exclude each other."""

    poles: tuple[Pole, Pole]


@dataclass(frozen=True)
class Lexicon:
    """All words with a meaning."""

    fields: tuple[Field, ...]
    scales: tuple[Scale, ...]

    def words(self) -> Iterator[str]:
        """Give every invented word once."""
        for field in self.fields:
            for kind in field.kinds:
                yield kind.word
                yield from kind.nouns
            for action in field.actions:
                yield from action.verbs
        for scale in self.scales:
            for pole in scale.poles:
                yield from pole.adjectives
                yield from pole.signs


def make_lexicon(seed: int) -> Lexicon:
    """Draw the words and their properties from a seed."""
    syllables = ["".join(pair) for pair in product("bdfgklmnprstvz", "aeiou")]
    words = ["".join(pair) for pair in product(syllables, repeat=2)]
    draw = random.Random(f"{seed} lexicon")
    draw.shuffle(words)
    fresh = iter(words)

    def take(count: int) -> tuple[str, ...]:
        return tuple(next(fresh) for _ in range(count))

    fields = []
    for name in FIELDS:
        kinds = tuple(Kind(next(fresh), take(NOUNS)) for _ in range(KINDS))
        # Each kind acts on the next one, so that the order of two nouns is part of what a verb means.
        actions = tuple(Action(take(VERBS), kinds[i % KINDS], kinds[(i + 1) % KINDS]) for i in range(ACTIONS))
        fields.append(Field(name, kinds, actions))
    scales = tuple(
        Scale((Pole(take(ADJECTIVES), take(SIGNS)), Pole(take(ADJECTIVES), take(SIGNS)))) for _ in range(SCALES)
    )
    return Lexicon(tuple(fields), scales)
