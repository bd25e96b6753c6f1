"""Articles in which the hidden properties of the words can be learnt.

An article keeps to one field, to a few nouns of each kind and to one pole of one scale, and says the same things
again in other words: that is what makes a masked word guessable from the words around it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from bertwright.demo.language import (
    ALSO,
    AND,
    BUT,
    IS,
    MORE,
    NOT,
    OF_KIND,
    SO,
    THE,
    VERY,
    WHO,
    WRONG,
    A,
    Action,
    Field,
    Lexicon,
    Pole,
)

CAST = 2  # nouns of each kind that an article is about
SENTENCES = (10, 14)  # fewest and most sentences of an article
VERY_SHARE = 0.15  # of the adjectives after "is"
DENIED_SHARE = 0.2  # of the properties told in a report


@dataclass(frozen=True)
class Article:
    """What one article keeps to: a field, nouns by their kind's word, a pole; then the other end, and other scales."""

    field: Field
    cast: dict[str, list[str]]
    own: Pole
    other: Pole
    foreign: tuple[Pole, ...]


def make_articles(lexicon: Lexicon, *, seed: int, documents: int) -> list[str]:
    """Write ``documents`` articles, one string each, a sentence a line."""
    draw = random.Random(f"{seed} corpus")
    return ["\n".join(_article(lexicon, draw)) for _ in range(documents)]


def _article(lexicon: Lexicon, draw: random.Random) -> list[str]:
    field = draw.choice(lexicon.fields)
    cast = {kind.word: draw.sample(kind.nouns, CAST) for kind in field.kinds}
    scale, *others = draw.sample(lexicon.scales, len(lexicon.scales))
    own, other = draw.sample(scale.poles, 2)
    article = Article(field, cast, own, other, tuple(pole for scale in others for pole in scale.poles))
    forms = draw.choices(list(FORMS), weights=list(FORMS.values()), k=draw.randint(*SENTENCES))
    return [f"{form(article, draw)}." for form in forms]


def _definition(article: Article, draw: random.Random) -> str:
    kind = draw.choice(article.field.kinds)
    return f"{A} {draw.choice(article.cast[kind.word])} {IS} {OF_KIND} {kind.word}"


def _clause(article: Article, action: Action, draw: random.Random) -> tuple[str, str, str]:
    subject, thing = (draw.choice(article.cast[kind.word]) for kind in (action.subject, action.object))
    return subject, draw.choice(action.verbs), thing


def _deed(article: Article, draw: random.Random) -> str:
    subject, verb, thing = _clause(article, draw.choice(article.field.actions), draw)
    return f"{THE} {subject} {verb} {THE} {thing}"


def _restated_deed(article: Article, draw: random.Random) -> str:
    action = draw.choice(article.field.actions)
    subject, verb, thing = _clause(article, action, draw)
    again = draw.choice(action.verbs)
    return f"{THE} {subject} {verb} {THE} {thing} {AND} {THE} {action.subject.word} {again} {THE} {action.object.word}"


def _noun(article: Article, draw: random.Random) -> str:
    return draw.choice(article.cast[draw.choice(article.field.kinds).word])


def _very(draw: random.Random) -> str:
    return f"{VERY} " if draw.random() < VERY_SHARE else ""


def _likeness(article: Article, draw: random.Random) -> str:
    first, second = draw.sample(article.own.adjectives, 2)
    return f"{THE} {_noun(article, draw)} {IS} {_very(draw)}{first} {AND} {ALSO} {second}"


def _contrast(article: Article, draw: random.Random) -> str:
    own, other = draw.choice(article.own.adjectives), draw.choice(article.other.adjectives)
    return f"{THE} {_noun(article, draw)} {IS} {own} {BUT} {NOT} {_very(draw)}{other}"


def _sign(article: Article, draw: random.Random) -> str:
    own = article.own
    return f"{THE} {draw.choice(own.adjectives)} {_noun(article, draw)} {draw.choice(own.signs)}"


def _report(article: Article, draw: random.Random) -> str:
    """Say a deed of somebody with a property, then what follows from it, what is new, or what is wrong.

    A word at the head of the second sentence tells which: what the inference task asks, the corpus says in passing.
    """
    action = draw.choice(article.field.actions)
    subject, verb, thing = _clause(article, action, draw)
    head = draw.choices((SO, MORE, WRONG), weights=(3, 1, 1))[0]
    denied = draw.random() < DENIED_SHARE
    true, false = (article.other, article.own) if head == WRONG else (article.own, article.other)
    pole = draw.choice(article.foreign) if head == MORE else false if denied else true
    said = f"{NOT + ' ' if denied else ''}{_very(draw)}{draw.choice(pole.adjectives)}"
    named, what = draw.choice(((subject, thing), (action.subject.word, action.object.word)))
    first = f"{THE} {draw.choice(article.own.adjectives)} {subject} {verb} {THE} {thing}"
    return f"{first}.\n{head} {THE} {named} {WHO} {draw.choice(action.verbs)} {THE} {what} {IS} {said}"


FORMS = {_definition: 1, _deed: 1, _restated_deed: 1, _likeness: 5, _contrast: 1, _sign: 4, _report: 2}
"""Sentence forms and how often each is drawn."""
