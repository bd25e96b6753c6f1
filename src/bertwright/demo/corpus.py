"""Articles in which the hidden properties of the words can be learnt.

An article keeps to one field, to a few nouns of each kind and to one pole of each scale, and says the same things
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
DENIED_SHARE = 0.3  # of the properties told in a report


@dataclass(frozen=True)
class Article:
    """What one article keeps to: a field, nouns by the word of their kind, and (its pole, the other pole) a scale."""

    field: Field
    cast: dict[str, list[str]]
    poles: tuple[tuple[Pole, Pole], ...]


def make_articles(lexicon: Lexicon, *, seed: int, documents: int) -> list[str]:
    """Write ``documents`` articles, one string each, a sentence a line."""
    draw = random.Random(f"{seed} corpus")
    return ["\n".join(_article(lexicon, draw)) for _ in range(documents)]


def _article(lexicon: Lexicon, draw: random.Random) -> list[str]:
    field = draw.choice(lexicon.fields)
    poles = []
    for scale in lexicon.scales:
        side = draw.randrange(2)
        poles.append((scale.poles[side], scale.poles[1 - side]))
    article = Article(field, {kind.word: draw.sample(kind.nouns, CAST) for kind in field.kinds}, tuple(poles))
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
    own, _ = draw.choice(article.poles)
    first, second = draw.sample(own.adjectives, 2)
    return f"{THE} {_noun(article, draw)} {IS} {_very(draw)}{first} {AND} {ALSO} {second}"


def _contrast(article: Article, draw: random.Random) -> str:
    own, other = draw.choice(article.poles)
    noun = _noun(article, draw)
    return f"{THE} {noun} {IS} {draw.choice(own.adjectives)} {BUT} {NOT} {_very(draw)}{draw.choice(other.adjectives)}"


def _sign(article: Article, draw: random.Random) -> str:
    own, _ = draw.choice(article.poles)
    return f"{THE} {draw.choice(own.adjectives)} {_noun(article, draw)} {draw.choice(own.signs)}"


def _report(article: Article, draw: random.Random) -> str:
    """Say a deed of somebody with a property, then what follows from it, what is new, or what is wrong.

    A word at the head of the second sentence tells which: what the inference task asks, the corpus says in passing.
    """
    number = draw.randrange(len(article.poles))
    own, _ = article.poles[number]
    action = draw.choice(article.field.actions)
    subject, verb, thing = _clause(article, action, draw)
    head = draw.choice((SO, MORE, WRONG))
    if head == MORE:
        number = draw.choice([other for other in range(len(article.poles)) if other != number])
    denied = draw.random() < DENIED_SHARE
    true, false = article.poles[number]
    pole = false if denied != (head == WRONG) else true
    said = f"{NOT + ' ' if denied else ''}{_very(draw)}{draw.choice(pole.adjectives)}"
    named, what = draw.choice(((subject, thing), (action.subject.word, action.object.word)))
    first = f"{THE} {draw.choice(own.adjectives)} {subject} {verb} {THE} {thing}"
    return f"{first}.\n{head} {THE} {named} {WHO} {draw.choice(action.verbs)} {THE} {what} {IS} {said}"


FORMS = {_definition: 2, _deed: 1, _restated_deed: 2, _likeness: 2, _contrast: 2, _sign: 2, _report: 5}
"""Sentence forms and how often each is drawn."""
