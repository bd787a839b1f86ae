"""A hand-made dot product as WSGI, on another server. Environment: LINEAR, the artefact's linear.json."""

import json
import os
from pathlib import Path

import msgspec
import numpy as np

_form = json.loads(Path(os.environ["LINEAR"]).read_bytes())
_weights = np.asarray(_form["coefficients"])[0]
_intercept = _form["intercept"][0]
_row = msgspec.json.Decoder(list[float])


def application(environ, start_response):
    """The original form's one row."""
    raw = environ["wsgi.input"].read()[2:]
    label = int(np.asarray(_row.decode(raw)) @ _weights + _intercept > 0)
    answer = b'{"model_prediction":"[%d]","received_data":{"x":"%b"}}\n' % (label, raw)
    start_response(
        "200 OK",
        [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))],
    )
    return [answer]
