"""Google Cloud on one machine: the real thing where there is one, a small honest stand-in where not."""
