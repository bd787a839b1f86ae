"""A model behind FastAPI, as people write it. Environment: MODEL, a joblib file; ASYNC=1 for `async def`."""

import os

import joblib
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ["MODEL"])


class Request(BaseModel):
    instances: list[list[float]]


if os.environ.get("ASYNC"):

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, list[int]]:
        return {"predictions": model.predict(request.instances).tolist()}
else:

    @app.post("/predict")
    def predict(request: Request) -> dict[str, list[int]]:
        return {"predictions": model.predict(request.instances).tolist()}
