"""Side by side with other model servers: same model, same rows, two workers each, interleaved in one run."""
