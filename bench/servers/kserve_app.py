"""A model behind KServe. Environment: MODEL, a joblib file; NAME; arguments are KServe's."""

import argparse
import os

import joblib
import numpy as np
from kserve import InferOutput, InferResponse, Model, ModelServer, model_server
from kserve.utils.utils import generate_uuid


class Sklearn(Model):
    def __init__(self, name):
        super().__init__(name)
        self.load()

    def load(self):
        self.model = joblib.load(os.environ["MODEL"])
        self.ready = True
        return True

    def predict(self, payload, *_args, **_kwargs):
        labels = self.model.predict(payload.inputs[0].as_numpy())
        output = InferOutput("output-0", list(labels.shape), "INT64")
        output.set_data_from_numpy(np.asarray(labels, dtype=np.int64), binary_data=False)
        return InferResponse(payload.id or generate_uuid(), self.name, [output])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.parse_args()
    ModelServer().start([Sklearn(os.environ["NAME"])])
