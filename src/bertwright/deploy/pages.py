"""The two pages for people: one to try a pack in, one that shows the API. Nothing in them comes from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Page:
    """A page and the content security policy under which nothing but its own style and script runs."""

    html: str
    policy: str


def trial() -> Page:
    """Return the page to try a pack in."""
    return _page(_file())


def docs(schema: dict[str, Any]) -> Page:
    """Return the page of an OpenAPI description, in the style of the other."""
    style = re.findall(r"<style>.*?</style>", _file(), re.DOTALL)[0]
    parts = [f"<h1>{_safe(schema['info']['title'])} {_safe(schema['info']['version'])}</h1>"]
    parts += [
        "<p>The same for programs: <a href='openapi.json'>openapi.json</a>. Try a pack: <a href='./'>here</a>.</p>"
    ]
    for path, verbs in schema["paths"].items():
        for verb, told in verbs.items():
            parts += [f"<h2><code>{verb.upper()} {_safe(path)}</code></h2><p>{_safe(told['summary'])}</p>"]
            parts += _examples(told)
            rows = [(f"<code>{code}</code>", _safe(said["description"])) for code, said in told["responses"].items()]
            parts.append(_table(("status", "when"), rows))
    parts.append("<h2>Messages</h2>")
    for name, model in schema["components"]["schemas"].items():
        fields = model.get("properties", {})
        entries = [(f"<code>{_safe(key)}</code>", _safe(_kind(one)), _told(one)) for key, one in fields.items()]
        parts += [f"<h3 id='{name}'>{name}</h3><p>{_safe(model.get('description', ''))}</p>"]
        parts.append(_table(("key", "kind", "what it is"), entries))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    title = "<title>bertwright: the API</title>"
    return _page(f'<!doctype html><html lang="en"><head>{head}{title}{style}</head><body><main>{"".join(parts)}</main>')


def _file() -> str:
    return resources.files("bertwright.deploy").joinpath("page.html").read_text(encoding="utf-8")


def _page(content: str) -> Page:
    hashes = {
        kind: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()}'"
            for inner in re.findall(rf"<{kind}>(.*?)</{kind}>", content, re.DOTALL)
        )
        or "'none'"
        for kind in ("style", "script")
    }
    policy = (
        f"default-src 'none'; style-src {hashes['style']}; script-src {hashes['script']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(content, policy)


def _examples(told: dict[str, Any]) -> list[str]:
    found = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {})
    return [
        f"<p>{_safe(name)}</p><pre>{_safe(json.dumps(one['value'], ensure_ascii=False))}</pre>"
        for name, one in found.items()
    ]


def _kind(field: dict[str, Any]) -> str:
    """Return a field's kind in words."""
    if "$ref" in field:
        return str(field["$ref"].rpartition("/")[2])
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_kind(one) for one in field["anyOf"]))
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return str(field.get("type", "any"))


def _told(field: dict[str, Any]) -> str:
    return _safe(field.get("description", ""))


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    top = "".join(f"<th>{head}</th>" for head in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class='wide'><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _safe(text: str) -> str:
    return html.escape(str(text))
