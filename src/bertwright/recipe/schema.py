"""The JSON schema of recipes as they are written, by which editors complete and check them."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from bertwright.recipe.sections import Recipe


class _AsWritten(GenerateJsonSchema):
    """A key that may be left out may also be `off`, which YAML reads as false."""

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        found = super().nullable_schema(schema)
        if "anyOf" in found:
            found["anyOf"].append({"const": False})
        return found


def recipe_schema() -> dict[str, Any]:
    """Return the schema of a recipe's file (JSON Schema 2020-12), each key with its sentence."""
    schema = Recipe.model_json_schema(schema_generator=_AsWritten)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    # A file without a name has its own.
    schema["required"] = [name for name in schema.get("required", []) if name != "name"]
    return schema
