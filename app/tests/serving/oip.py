"""The Open Inference Protocol V2's REST calls as an OpenAPI document, written from the protocol's text.

Looser than our own: any name, shape and data, as a client that knows the protocol alone would send them.
"""

from __future__ import annotations

from typing import Any

_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string"},
        "parameters": _PARAMETERS,
        "data": {"type": "array"},
    },
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


_NAMES = {"type": "array", "items": {"type": "string"}}
_SHAPE = {"type": "array", "items": {"type": "integer"}}
_METADATA = {
    "type": "array",
    "items": _object(name={"type": "string"}, datatype={"type": "string"}, shape=_SHAPE),
}


def document(model: str, version: str, example: dict[str, Any]) -> dict[str, Any]:
    """The document, with one model's name and one request as examples."""
    request = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": _PARAMETERS,
            "inputs": {"type": "array", "items": _TENSOR},
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "parameters": _PARAMETERS},
                },
            },
        },
    }
    answer = {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": _PARAMETERS,
            "outputs": {"type": "array", "items": _TENSOR},
        },
    }
    model_metadata = _object(name={"type": "string"}, versions=_NAMES, platform={"type": "string"},
                             inputs=_METADATA, outputs=_METADATA)  # fmt: skip
    calls: dict[str, tuple[str, Any]] = {
        "/v2": (
            "get",
            _object(name={"type": "string"}, version={"type": "string"}, extensions=_NAMES),
        ),
        "/v2/health/live": ("get", _object(live={"type": "boolean"})),
        "/v2/health/ready": ("get", _object(ready={"type": "boolean"})),
    }
    for root in ("/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}"):
        calls[root] = ("get", model_metadata)
        calls[root + "/ready"] = (
            "get",
            _object(name={"type": "string"}, ready={"type": "boolean"}),
        )
        calls[root + "/infer"] = ("post", answer)
    paths: dict[str, Any] = {}
    for path, (method, schema) in calls.items():
        operation: dict[str, Any] = {
            "operationId": f"{method} {path}",
            "responses": {
                "200": {"description": "ok", "content": {"application/json": {"schema": schema}}},
                "default": {
                    "description": "error",
                    "content": {"application/json": {"schema": _ERROR}},
                },
            },
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"},
                 "example": value}
                for name, value in (("model_name", model), ("model_version", version))
                if "{" + name + "}" in path
            ],
        }  # fmt: skip
        if method == "post":
            content = {"application/json": {"schema": request, "example": example}}
            operation["requestBody"] = {"required": True, "content": content}
        paths[path] = {method: operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Open Inference Protocol", "version": "2"},
        "paths": paths,
    }
