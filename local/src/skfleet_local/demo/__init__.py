"""`make demo`: everything once, from nothing, on a fleet of its own that it ends again."""
