"""The page that people read before numbers: one file, nothing loaded from elsewhere."""
