"""mlflow's scoring protocol, `POST /invocations`: five ways to write rows of named or unnamed columns.

`dataframe_split`    {"columns": […], "data": [[…], …]}; `index` is ignored
`dataframe_records`  [{"column": value, …}, …]: rows of raw named columns
`instances`          rows, lists or objects
`inputs`             rows, or {"column": [value, …], …}
→ {"predictions": […]}, with `probabilities` where `params.probabilities` asks for them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from skfleet.documents.manifest import Value
from skfleet.serving.errors import BadRequest, InvalidRows
from skfleet.serving.protocols import repeated
from skfleet.serving.protocols.rows import Named, Row, RowCheck

CONTENT_TYPE = "application/json"
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
HINT = (
    'Send one of {"dataframe_split": {"columns": […], "data": [[…], …]}}, '
    '{"dataframe_records": [{…}, …]}, {"instances": [[…], …]} and {"inputs": [[…], …]}.'
)


class Params(msgspec.Struct):
    """What a caller may ask for; others are ignored, as mlflow does."""

    probabilities: bool = False


class Split(msgspec.Struct):
    """A table: its columns in any order, and its rows."""

    data: list[Row]
    columns: list[str] | None = None
    index: list[Any] | None = None


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """A scoring request: exactly one of the four forms."""

    dataframe_split: Split | None = None
    dataframe_records: list[Named] | None = None
    instances: list[Row | Named] | None = None
    inputs: list[Row | Named] | dict[str, list[Value]] | None = None
    params: Params | None = None
    signature_name: str | None = None


# At import: threads that meet a type first at the same time crash msgspec.
_decoder = msgspec.json.Decoder(Request)


def parse(body: bytes, check: RowCheck) -> tuple[list[list[Any]], bool]:
    """(rows, checked and in order; whether probabilities are asked for); BadRequest or InvalidRows."""
    try:
        request = _decoder.decode(body)
        repeated.refuse(body, HINT)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        where = path.strip("`").removeprefix("$").lstrip(".")
        inside = where.startswith(FORMS) and where not in FORMS
        kind = InvalidRows if inside and "[" in where else BadRequest
        raise kind(f"Not a scoring request: {message}.", where=where or "body", hint=HINT) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
        raise BadRequest("The body is not JSON.", where="body", hint=HINT) from None
    given = [name for name in FORMS if getattr(request, name) is not None]
    if len(given) != 1:
        raise BadRequest(
            f"The request has {len(given)} of the forms; it takes one.",
            where=given[1] if given else "body",
            hint=HINT,
        )
    form = given[0]
    rows = _rows(form, getattr(request, form), check)
    if not rows:
        raise InvalidRows("There are no rows to predict.", where=form, hint=HINT)
    check.refuse(rows, form + ".data[{row}]" if form == FORMS[0] else form + "[{row}]")
    return rows, request.params is not None and request.params.probabilities


def _rows(form: str, value: Any, check: RowCheck) -> list[list[Any]]:
    if isinstance(value, Split):
        return _split(value, check)
    if isinstance(value, dict):
        return _columns(value, check)
    return [
        check.ordered(row, f"{form}[{index}]") if isinstance(row, dict) else row
        for index, row in enumerate(value)
    ]


def _split(table: Split, check: RowCheck) -> list[list[Any]]:
    if table.columns is None:
        return table.data
    check.check_names(table.columns, "dataframe_split.columns")
    for index, row in enumerate(table.data):
        if len(row) != len(table.columns):
            raise InvalidRows(
                f"The row has {len(row)} values, and there are {len(table.columns)} columns.",
                where=f"dataframe_split.data[{index}]",
                hint="Send one value for each column.",
            )
    order = [table.columns.index(feature.name) for feature in check.features]
    return [[row[i] for i in order] for row in table.data]


def _columns(columns: dict[str, list[Value]], check: RowCheck) -> list[list[Any]]:
    check.check_names(columns, "inputs")
    if len({len(column) for column in columns.values()}) != 1:
        raise InvalidRows(
            "The columns have different numbers of rows.",
            where="inputs",
            hint="Send each column with one value a row.",
        )
    ordered = [columns[feature.name] for feature in check.features]
    return [list(row) for row in zip(*ordered, strict=True)]
