"""A test double of Google Cloud's REST APIs, routed and validated by Google's own discovery documents.

    pip install google-api-python-client            # for the discovery documents it ships
    python -m apply.emulator serve --port 8900 --journal j.jsonl &
    eval "$(python -m apply.emulator env --port 8900)"    # every custom endpoint of the google provider
    terraform apply -auto-approve
    python -m apply.emulator report j.jsonl; curl localhost:8900/_fake/state    # or _fake/dump

discovery.py   which API method a request is, and whether its body fits Google's published schema
cloud.py       the store: create, get, list, patch, delete for every API; IAM policies; operations
compute.py     what Compute Engine does beyond that: references, rules, managed instance groups
services.py    the same for the other APIs; defaults.json holds the values Google fills in
server.py      HTTP, uploads, the journal; endpoints.tsv lists the provider's endpoint variables
"""
