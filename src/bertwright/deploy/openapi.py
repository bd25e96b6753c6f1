"""The OpenAPI description (3.1) of the server, from the models that check its messages."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from bertwright import __version__
from bertwright.deploy.messages import ClassifyRequest, ClassifyResponse, ErrorResponse, PacksResponse

_ERRORS = {
    400: "The body is not JSON.",
    401: "The bearer token is missing or wrong.",
    403: "The request names a host that is not this server's.",
    404: "The pack is not served.",
    408: "The body did not come in time.",
    413: "The body, the number of texts or a text is larger than the server takes.",
    415: "The content type is not application/json.",
    422: "The body is JSON of another form, or the pack takes another number of texts, or cannot leave by this `exit`.",
    500: "A fault of the server.",
    503: "The queue is full, or the server is shutting down; `Retry-After` says in how many seconds to come again.",
    504: "There was no answer in time.",
}
EXAMPLES: dict[str, Any] = {
    "texts of one pack": {"pack": "topic", "texts": ["The river froze early this year."]},
    "through all layers": {"pack": "topic", "texts": ["The river froze early this year."], "exit": "never"},
    "pairs": {"pack": "similarity", "texts": [["A man plays.", "A man is playing."]]},
    "rows of several packs": {"rows": [{"pack": "topic", "text": "..."}, {"pack": "mood", "text": "..."}]},
}


def _schema() -> dict[str, Any]:
    models = [(model, "validation") for model in (ClassifyRequest, ClassifyResponse, PacksResponse, ErrorResponse)]
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    errors = {str(status): _answer(text, "ErrorResponse") for status, text in _ERRORS.items()}
    examples = {name: {"value": value} for name, value in EXAMPLES.items()}
    body = {**_content("ClassifyRequest"), "required": True}
    body["content"]["application/json"]["examples"] = examples
    guarded: list[dict[str, list[str]]] = [{}, {"bearer": []}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bertwright",
            "version": __version__,
            "description": "One encoder that answers many classification tasks, each with its pack.",
        },
        "paths": {
            "/v1/classify": {
                "post": {
                    "operationId": "classify",
                    "summary": "Answer texts of one pack, or of several in one batch.",
                    "security": guarded,
                    "requestBody": body,
                    "responses": {"200": _answer("The answers, in order.", "ClassifyResponse"), **errors},
                }
            },
            "/v1/packs": {
                "get": {
                    "operationId": "packs",
                    "summary": "List the packs that are served, and files that are not, with the reason.",
                    "security": guarded,
                    "responses": {
                        "200": _answer("Packs and faults.", "PacksResponse"),
                        "401": errors["401"],
                        "403": errors["403"],
                    },
                }
            },
            "/healthz": _probe("healthz", "Whether the process works; restart it where not."),
            "/readyz": _probe("readyz", "Whether requests shall be sent here: packs are read, and it is not draining."),
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "summary": "Counts for Prometheus, of all workers together.",
                    "security": guarded,
                    "responses": {"200": {"description": "Prometheus text.", "content": {"text/plain": {}}}},
                }
            },
        },
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _content(model: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}}


def _answer(text: str, model: str) -> dict[str, Any]:
    return {"description": text, **_content(model)}


def _probe(name: str, text: str) -> dict[str, Any]:
    responses = {status: {"description": said} for status, said in (("200", "Yes."), ("503", "No; the body says why."))}
    return {"get": {"operationId": name, "summary": text, "responses": responses}}


SCHEMA = _schema()
