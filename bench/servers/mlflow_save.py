"""Writes a model as mlflow serves it. Arguments: joblib file, directory."""

import sys

import joblib
import mlflow.sklearn

mlflow.sklearn.save_model(joblib.load(sys.argv[1]), sys.argv[2], serialization_format="cloudpickle")
