"""A model behind LitServe. Environment: MODEL, a joblib file; WORKERS, PORT."""

import os

import joblib
import litserve


class Api(litserve.LitAPI):
    def setup(self, _device):
        self.model = joblib.load(os.environ["MODEL"])

    def decode_request(self, request):
        return request["instances"]

    def predict(self, x):
        return self.model.predict(x)

    def encode_response(self, output):
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(), accelerator="cpu", workers_per_device=int(os.environ["WORKERS"])
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=int(os.environ["WORKERS"]),
        generate_client_file=False,
        access_log=False,
    )
