"""Models: written, proven, compiled and published."""
