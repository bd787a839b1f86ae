"""A model behind Flask, as people write it. Environment: MODEL, a joblib file."""

import os

import joblib
from flask import Flask, jsonify, request

app = Flask(__name__)
model = joblib.load(os.environ["MODEL"])


@app.post("/predict")
def predict():
    rows = request.get_json()["instances"]
    return jsonify(predictions=model.predict(rows).tolist())
