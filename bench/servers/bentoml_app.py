"""A model as a BentoML service. Environment: MODEL, a joblib file; WORKERS."""

import os

import bentoml
import joblib


@bentoml.service(workers=int(os.environ["WORKERS"]), metrics={"enabled": False})
class Model:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, instances: list[list[float]]) -> list[int]:
        return self.model.predict(instances).tolist()
