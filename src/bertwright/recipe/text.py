"""The choices about text: where it is, how it becomes rows, and its tokenizer."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from bertwright.recipe.fields import Existing, Positive, Section, Share, SourcePath, one_or_more


class Source(Section):
    """One place that text comes from: the user's own files, or a dataset of the Hugging Face hub."""

    path: SourcePath | None = None
    """A file, a folder (searched through) or a pattern such as `notes/*.txt.gz`."""
    hub: str | None = None
    """A dataset of the hub (`owner/name`), fetched row by row when it is first needed; the one thing that asks for a
    network."""
    config: str | None = None
    """Configuration of a hub dataset; off: its only or default one."""
    split: str = "train"
    """Split of a hub dataset."""
    revision: str | None = None
    """Branch, tag or commit of a hub dataset; off: what its main branch is when it is fetched."""
    format: Literal["txt", "jsonl", "csv", "tsv", "parquet"] | None = None
    """File format; off: by the file's suffix."""
    column: str = "text"
    """Column or key that holds the text, where the format has columns."""
    boundary: Literal["blank_line", "file", "row"] | None = None
    """What parts documents; off: blank lines in txt, rows elsewhere."""
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """How often each document comes; 0.5 takes half of the tokens."""
    share: Annotated[Share, Field(gt=0, le=1)] | None = None
    """Share of this source in the tokens to train on, in place of weights: as much text as gives it without repeats."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give either `path` (files) or `hub` (a dataset of the hub), not both and not neither")
        of_others = ("config", "split", "revision") if self.hub is None else ("format", "boundary")
        wrong = [key for key in of_others if getattr(self, key) != type(self).model_fields[key].default]
        if wrong:
            kind = "files" if self.hub is None else "hub datasets"
            raise ValueError(f"{', '.join(wrong)} has no meaning for {kind}; take it out")
        return self


def _sources(value: Any) -> Any:
    return [{"path": item} if isinstance(item, str) else item for item in one_or_more(value)]


class Prepare(Section):
    """Raw text to rows of tokens."""

    sources: Annotated[
        tuple[Source, ...], BeforeValidator(_sources, json_schema_input_type=str | Source | list[str | Source])
    ] = ()
    """Where the text is: paths, or entries with `path`, `column`, `boundary`."""
    ready: Existing | None = None
    """A prepared folder from another machine, taken as it is in place of `sources`."""
    row_length: Annotated[int, Field(ge=8, le=8192)] = 128
    """Tokens a row, with [CLS] and [SEP]."""
    held_out: Annotated[Share, Field(gt=0, le=0.5)] = 0.005
    """Share of the documents kept back to measure the loss; at least one document."""
    rows: Literal["contiguous", "packed"] = "contiguous"
    """One stream cut into full rows, or whole documents laid beside each other in a row."""
    duplicates: Literal["remove", "keep"] = "remove"
    """Documents whose normalised text came before: left out and listed, or kept."""
    near_duplicates: Annotated[Share, Field(gt=0, le=1)] | None = None
    """Leave out documents that are as similar as this to an earlier one (Jaccard, 5-word runs); off: look for none."""
    overlap: Literal["report", "remove"] | None = "report"
    """Documents that share 13 words in a row with the recipe's own tasks: listed, or left out too; off: no search."""
    nfc: bool = False
    """Compose characters (Unicode's NFC)."""
    control_characters: Literal["keep", "remove"] = "keep"
    """Control characters and invisible ones that only direct or join others."""
    shortest: Positive = 1
    """Fewest characters of a document; a shorter one is left out and counted."""
    longest: Positive | None = None
    """Most characters of a document; a longer one is left out and counted."""
    errors: Literal["stop", "replace"] = "stop"
    """Bytes that are not UTF-8: stop and name them, or replace and count them."""
    broken_rows: Literal["stop", "skip"] = "stop"
    """Rows that cannot be read: stop and name the first, or skip and list them."""

    @model_validator(mode="after")
    def _sources_or_ready(self) -> Self:
        if bool(self.sources) == bool(self.ready):
            raise ValueError(
                "give either `sources` (text to prepare) or `ready` (a prepared folder), not both and not neither"
            )
        return self

    @model_validator(mode="after")
    def _shares_are_whole(self) -> Self:
        shares = [source.share for source in self.sources if source.share is not None]
        if not shares:
            return self
        if len(shares) < len(self.sources):
            raise ValueError(
                f"{len(shares)} of {len(self.sources)} sources have a `share`; give one to each, or to none"
            )
        if any(source.weight != 1 for source in self.sources):
            raise ValueError("a source has a `weight` where others have shares; use the one or the other")
        if abs(sum(shares) - 1) > 1e-6:
            raise ValueError(
                f"the shares of the sources sum to {100 * sum(shares):.6g} %; they have to be 100 % together"
            )
        return self


class Tokenizer(Section):
    """The tokenizer: trained on the sources, or loaded from a folder."""

    folder: Existing | None = None
    """A folder with tokenizer.json; off: train one."""
    kind: Literal["wordpiece", "bpe", "unigram"] = "wordpiece"
    """What to train: WordPiece, byte-level BPE or Unigram."""
    vocabulary: Annotated[int, Field(ge=64, le=1_000_000)] = 16_000
    """Pieces, special tokens included."""
    lowercase: bool = True
    """Fold case and strip accents."""
    extend: Positive | None = None
    """Pieces to add to a given tokenizer: the words of this text that it cuts most; off: none."""

    @model_validator(mode="after")
    def _trained_or_given(self) -> Self:
        given = sorted(self.model_fields_set & {"kind", "vocabulary", "lowercase"})
        if self.extend is not None and given:
            raise ValueError(f"`extend` adds to a tokenizer that is given; remove {', '.join(given)} or `extend`")
        return self
