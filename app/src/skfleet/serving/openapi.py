"""`/openapi.json` and `/docs`: the table of routes with the schemas of the models now served.

OpenAPI 3.1. A row's schema is that of its model's features, so a path stands here for each model.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from skfleet.documents.manifest import MAX_FLOAT, Feature, Manifest
from skfleet.serving.models import Models, Served
from skfleet.serving.protocols import npy, v2, v2_tensors
from skfleet.serving.routes import HTML, JSON, ROUTES, Route

Schema = dict[str, Any]

STATUS_WORDS = {
    400: "The request cannot be read.",
    401: "No valid identity.",
    403: "The identity is not admitted.",
    404: "No such path, model or version here.",
    408: "The request did not arrive in time.",
    413: "The body is over the limit.",
    415: "The route does not read this Content-Type.",
    422: "A row is not one the model was trained on.",
    429: "Overloaded; see Retry-After.",
    503: "Not ready, or the model is not loaded.",
}
COMMON = (401, 403, 404, 408, 429, 503)
ERROR: Schema = {
    "type": "object",
    "required": ["error", "code", "where", "hint"],
    "properties": {
        "error": {"type": "string", "description": "what is wrong, one sentence"},
        "code": {"type": "string"},
        "where": {"type": "string", "description": "field, row or header"},
        "hint": {"type": "string", "description": "how to mend it"},
    },
    "additionalProperties": False,
}
_LABEL: Schema = {"type": ["integer", "number", "string", "boolean"]}
_ANSWER: Schema = {
    "type": "object",
    "required": ["predictions"],
    "properties": {
        "predictions": {"type": "array", "items": {"anyOf": [_LABEL, {"type": "array", "items": _LABEL}]}},
        "probabilities": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
    },
}  # fmt: skip
_PARAMETERS: Schema = {
    "type": ["object", "null"],
    "properties": {"probabilities": {"type": "boolean", "default": False}},
}

# What a schema cannot describe: binary data behind JSON, and arrays.
NO_JSON = frozenset({v2.BINARY_TYPE, npy.CONTENT_TYPE})


def document(models: Models, version: str) -> dict[str, Any]:
    """The OpenAPI document of these models."""
    components: dict[str, Schema] = {"Error": ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        for served in _models_of(route, models):
            path = _path(route, served)
            operation = _operation(route, served)
            operation["operationId"] = f"{route.method} {path}"
            paths.setdefault(path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "skfleet",
            "version": version,
            "description": "Predictions from scikit-learn models. Every error has one shape.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "an ID token: of IAP's OAuth client outside, of the fleet inside",
                }
            },
        },
        "security": [{"bearer": []}],
    }


def _models_of(route: Route, models: Models) -> Sequence[Served | None]:
    if "<name>" in route.path:
        return list(models.served.values())
    default = models.served.get(models.default)
    if route.predicts:
        return [default] if default else []
    return [None]


def _path(route: Route, served: Served | None) -> str:
    if served is None:
        return route.path
    path = route.path.replace("<name>", served.name)
    return path.replace("<version>", v2.version_of(served.model.digest))


def _operation(route: Route, served: Served | None) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.gives != JSON:
        content[route.gives] = {"schema": {"type": "string"}}
    else:
        content[JSON] = {"schema": response_schema(route.response, served)}
        if v2.BINARY_TYPE in route.takes:
            content[v2.BINARY_TYPE] = {}
        if npy.CONTENT_TYPE in route.takes:
            content[npy.CONTENT_TYPE] = {}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "tags": [route.tag],
        "responses": {"200": {"description": "Success.", "content": content}},
    }
    for status in sorted({*route.statuses, *COMMON}):
        schema: Schema = {"$ref": "#/components/schemas/Error"}
        if status == 503 and route.response in ("Ready", "V2Ready"):
            schema = {"anyOf": [schema, response_schema(route.response, served)]}
        operation["responses"][str(status)] = {
            "description": STATUS_WORDS[status],
            "content": {JSON: {"schema": schema}},
        }
    if route.request and served is not None:
        schema, example = request_schema(route.request, served)
        operation["requestBody"] = {
            "required": True,
            "content": {
                kind: {"schema": schema, "example": example}
                for kind in route.takes
                if kind not in NO_JSON
            },
        }
    return operation


def value_schema(feature: Feature) -> Schema:
    """What one column takes."""
    if feature.categories is not None:
        return {"type": "string"} | (
            {"enum": feature.categories} if feature.unknown == "refuse" else {}
        )
    bounds = {"minimum": feature.low, "maximum": feature.high}
    if feature.high - feature.low > MAX_FLOAT:
        bounds = {"minimum": -MAX_FLOAT, "maximum": MAX_FLOAT}
    return {"type": "integer" if feature.integer else "number", **bounds}


def row_schema(manifest: Manifest) -> Schema:
    """A row as a list."""
    schemas = [value_schema(feature) for feature in manifest.features]
    size = {"minItems": len(schemas), "maxItems": len(schemas)}
    if all(schema == schemas[0] for schema in schemas):
        return {"type": "array", "items": schemas[0], **size}
    return {"type": "array", "prefixItems": schemas, "items": False, **size}


def named_schema(manifest: Manifest) -> Schema:
    """A row by names."""
    return {
        "type": "object",
        "properties": {f.name: value_schema(f) for f in manifest.features},
        "required": [feature.name for feature in manifest.features],
        "additionalProperties": False,
    }


def request_schema(name: str, served: Served) -> tuple[Schema, Any]:
    """(schema, example) of a prediction request."""
    manifest = served.model.manifest
    row, named = row_schema(manifest), named_schema(manifest)
    example = [_whole(value) for value in manifest.golden.rows[0]]
    rows: Schema = {"type": "array", "minItems": 1, "items": {"anyOf": [row, named]}}
    by_name = {f.name: value for f, value in zip(manifest.features, example, strict=True)}
    if name == "Form":
        return (
            {
                "type": "object",
                "required": ["x"],
                "properties": {"x": {"type": "string", "contentMediaType": JSON,
                                     "contentSchema": row}},
            },
            {"x": json.dumps(example)},
        )  # fmt: skip
    if name == "V1Request":
        return (
            {
                "type": "object",
                "required": ["instances"],
                "properties": {
                    "instances": rows,
                    "parameters": {**_PARAMETERS, "additionalProperties": False},
                },
            },
            {"instances": [example], "parameters": {"probabilities": manifest.has_probabilities}},
        )
    if name == "MlflowRequest":
        return _mlflow_schema(rows, row, named, by_name)
    return _v2_schema(manifest, example)


def _mlflow_schema(
    rows: Schema, row: Schema, named: Schema, example: Mapping[str, Any]
) -> tuple[Schema, Any]:
    split = {
        "type": "object",
        "required": ["data"],
        "properties": {
            "columns": {"type": ["array", "null"], "items": {"enum": list(example)},
                        "minItems": len(example), "maxItems": len(example), "uniqueItems": True},
            "data": {"type": "array", "minItems": 1, "items": row},
            "index": {"type": ["array", "null"]},
        },
    }  # fmt: skip
    forms: dict[str, Schema] = {
        "dataframe_split": split,
        "dataframe_records": {"type": "array", "minItems": 1, "items": named},
        "instances": rows,
        "inputs": rows,
    }
    shared = {"params": _PARAMETERS}
    schema = {
        "oneOf": [
            {
                "type": "object",
                "required": [form],
                "properties": {form: inner, **shared},
                "additionalProperties": False,
            }
            for form, inner in forms.items()
        ]
    }
    return schema, {"dataframe_records": [example]}


def _v2_schema(manifest: Manifest, example: list[Any]) -> tuple[Schema, Any]:
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1},
                      "minItems": 1, "maxItems": 2},
            "datatype": {"enum": [*v2_tensors.DATATYPES, v2_tensors.TEXT]},
            "data": {"type": "array"},
            "parameters": {"type": "object"},
        },
    }  # fmt: skip
    if manifest.mixed:
        inputs = [
            {"name": f.name, "shape": [1, 1], "data": [value],
             "datatype": "FP64" if f.categories is None else v2_tensors.TEXT}
            for f, value in zip(manifest.features, example, strict=True)
        ]  # fmt: skip
    else:
        shape = [1, len(example)]
        inputs = [{"name": v2.INPUT, "shape": shape, "datatype": "FP64", "data": example}]
    count = len(inputs)
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": [v2.PREDICT, v2.PREDICT_PROBA]}},
    }
    return (
        {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": {"type": ["string", "null"]},
                "inputs": {"type": "array", "items": tensor, "minItems": 1, "maxItems": count},
                "outputs": {"type": ["array", "null"], "items": output},
                "parameters": _PARAMETERS,
            },
        },
        {"inputs": inputs},
    )


def _object(required: str, **properties: Any) -> Schema:
    return {"type": "object", "required": required.split(), "properties": properties}


_TEXT: Schema = {"type": "string"}
_TRUE: Schema = {"type": "boolean"}
_TENSORS: Schema = {
    "type": "array",
    "items": _object(
        "name datatype shape",
        name=_TEXT,
        datatype=_TEXT,
        shape={"type": "array", "items": {"type": "integer"}},
    ),
}
RESPONSES: dict[str, Schema] = {
    "FormAnswer": _object(
        "model_prediction received_data",
        model_prediction=_TEXT,
        received_data={"type": "object", "additionalProperties": _TEXT},
    ),
    "V1Answer": _ANSWER,
    "ModelStatus": _object("name ready digest backend", name=_TEXT, ready=_TRUE, digest=_TEXT),
    "V2Server": _object("name version extensions", name=_TEXT, version=_TEXT),
    "V2Live": _object("live", live=_TRUE),
    "V2Ready": _object("ready", ready=_TRUE),
    "V2Model": _object(
        "name versions platform inputs outputs", name=_TEXT, inputs=_TENSORS, outputs=_TENSORS
    ),
    "V2ModelReady": _object("name ready", name=_TEXT, ready=_TRUE),
    "V2Answer": _object(
        "model_name model_version outputs", model_name=_TEXT, model_version=_TEXT, outputs=_TENSORS
    ),
    "Live": _object("status", status={"const": "live"}),
    "Ready": _object("status checks", status={"enum": ["ready", "not ready"]}),
    "Version": _object("release app models", release=_TEXT, app=_TEXT),
    "OpenAPI": _object("openapi info paths", openapi=_TEXT),
}


def response_schema(name: str, _: Served | None) -> Schema:
    """The schema of a success."""
    return RESPONSES[name]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# The page: no script, nothing from elsewhere.
PAGE_HEADERS = (("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),)
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24}
h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}details{border:1px solid #d0d7de;border-radius:6px;
margin:.6rem 0;padding:.4rem .8rem}summary{cursor:pointer}code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:#f6f8fa;padding:.8rem;overflow:auto;max-height:24rem}table{border-collapse:collapse}
td,th{border:1px solid #d0d7de;padding:.2rem .6rem;text-align:left}.m{font-weight:600;margin-right:.6rem}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}pre{background:#161b22}
details,td,th,h2{border-color:#30363d}a{color:#58a6ff}}
"""


def page(found: Mapping[str, Any]) -> bytes:
    """The document as one HTML page."""
    groups: dict[str, list[str]] = {}
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append(_entry(path, method, operation))
    sections = "".join(f"<h2>{html.escape(tag)}</h2>{''.join(e)}" for tag, e in groups.items())
    info = found["info"]
    error = html.escape(json.dumps(found["components"]["schemas"]["Error"], indent=2))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<meta name=viewport content='width=device-width'><title>{info['title']}</title>"
        f"<style>{_STYLE}</style><h1>{info['title']} <small>{html.escape(info['version'])}</small></h1>"
        f"<p>{html.escape(info['description'])} For programs: <a href=/openapi.json>openapi.json</a>."
        f"</p>{sections}<h2>errors</h2><pre>{error}</pre></html>\n"
    ).encode()


def _entry(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parts = [f"<summary><span class=m>{method.upper()}</span><code>{html.escape(path)}</code> "
             f"{html.escape(operation['summary'])}</summary>"]  # fmt: skip
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h4>Takes <code>{html.escape(kind)}</code></h4>")
        parts.append(f"<pre>{html.escape(json.dumps(body['example'], ensure_ascii=False))}</pre>")
        schema = html.escape(json.dumps(body["schema"], indent=2, ensure_ascii=False))
        parts.append(f"<details><summary>schema</summary><pre>{schema}</pre></details>")
    rows = "".join(
        f"<tr><td>{status}<td>{html.escape(answer['description'])}"
        for status, answer in operation["responses"].items()
    )
    parts.append(f"<table>{rows}</table>")
    return f"<details>{''.join(parts)}</details>"


__all__ = ["HTML", "document", "page"]
