"""Model artefacts: manifest, publishing, fetching, the local cache."""
