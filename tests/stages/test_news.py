"""What the first of several ranks tells the process that waits for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bertwright import files
from bertwright.stages.pretrain import _Listener


def test_news_are_told_once_and_whole(tmp_path: Path) -> None:
    """A line that is half written waits; a letter that Unicode ends lines with, in a line, is no end of it."""
    news, told = tmp_path / "news.jsonl", list[dict[str, Any]]()
    listen = _Listener(news, told.append)
    listen()
    files.append_json(news, {"note": "a\u2028b"})
    with news.open("a") as stream:
        stream.write('{"note": ')
        stream.flush()
        listen()
        stream.write('"c"}\n')
    listen()
    listen()
    assert [{"note": "a\u2028b"}, {"note": "c"}] == told
