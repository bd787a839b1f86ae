"""Every route once: what it takes, what it gives, who serves it. Flask's rules, the check of Content-Type,
`/openapi.json` and `/docs` are all made from this table.

`<name>` in a path is a model, `<version>` a version of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from skfleet.serving.protocols import form, mlflow, npy, v1, v2

JSON = "application/json"
MULTIPART = "multipart/form-data"
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. `request` and `response` name schemas of `openapi.schemas`."""

    method: str
    path: str
    view: str  # of serving.app.Views
    summary: str
    tag: str
    takes: tuple[str, ...] = ()  # content types; the first is the one to send
    request: str = ""
    response: str = ""
    gives: str = JSON
    statuses: tuple[int, ...] = ()  # beside 200 and what every route may answer

    @property
    def predicts(self) -> bool:
        """Whether it answers rows."""
        return bool(self.takes)


PREDICTION_STATUSES = (400, 413, 415, 422)

ROUTES: tuple[Route, ...] = (
    Route("POST", "/", "predict_form", "Predict one row: the original form", "form",
          (form.CONTENT_TYPE, MULTIPART), "Form", "FormAnswer", statuses=PREDICTION_STATUSES),
    Route("POST", "/predict", "predict_form", "Predict one row: the original form", "form",
          (form.CONTENT_TYPE, MULTIPART), "Form", "FormAnswer", statuses=PREDICTION_STATUSES),
    Route("GET", "/v1/models/<name>", "model_status", "Whether the model is served", "V1",
          response="ModelStatus"),
    Route("POST", "/v1/models/<name>:predict", "predict_v1", "Predict rows", "V1",
          (v1.CONTENT_TYPE, npy.CONTENT_TYPE), "V1Request", "V1Answer", statuses=PREDICTION_STATUSES),
    Route("POST", "/invocations", "invocations", "Predict rows: mlflow's forms, named columns", "mlflow",
          (mlflow.CONTENT_TYPE,), "MlflowRequest", "V1Answer", statuses=PREDICTION_STATUSES),
    Route("GET", "/v2", "server_v2", "The server", "V2", response="V2Server"),
    Route("GET", "/v2/health/live", "live_v2", "As /livez", "V2", response="V2Live"),
    Route("GET", "/v2/health/ready", "ready_v2", "As /readyz", "V2", response="V2Ready"),
    Route("GET", "/v2/models/<name>", "model_v2", "Tensors the model takes and gives", "V2",
          response="V2Model"),
    Route("GET", "/v2/models/<name>/ready", "model_ready_v2", "Whether the model is served", "V2",
          response="V2ModelReady"),
    Route("POST", "/v2/models/<name>/infer", "infer_v2", "Predict rows", "V2",
          (v2.CONTENT_TYPE, v2.BINARY_TYPE), "V2Request", "V2Answer", statuses=PREDICTION_STATUSES),
    Route("GET", "/v2/models/<name>/versions/<version>", "model_v2",
          "Tensors this version takes and gives", "V2", response="V2Model"),
    Route("GET", "/v2/models/<name>/versions/<version>/ready", "model_ready_v2",
          "Whether this version is served", "V2", response="V2ModelReady"),
    Route("POST", "/v2/models/<name>/versions/<version>/infer", "infer_v2",
          "Predict rows by this version alone", "V2", (v2.CONTENT_TYPE, v2.BINARY_TYPE),
          "V2Request", "V2Answer", statuses=PREDICTION_STATUSES),
    Route("GET", "/livez", "live", "The process answers", "operations", response="Live"),
    Route("GET", "/readyz", "ready", "Whether this VM should get traffic, and why not", "operations",
          response="Ready", statuses=(503,)),
    Route("GET", "/version", "version", "What runs here", "operations", response="Version"),
    Route("GET", "/metrics", "metrics", "Prometheus metrics; on the VM's loopback address alone",
          "operations", gives="text/plain"),
    Route("GET", "/openapi.json", "openapi", "This document", "documentation", response="OpenAPI"),
    Route("GET", "/docs", "docs", "This document, to read", "documentation", gives=HTML),
)  # fmt: skip

# Content types by view; routes that share a view share them.
TAKES = {route.view: route.takes for route in ROUTES}
