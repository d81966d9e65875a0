"""Checkpoint to model file in one pass: read, map, quantize and write, with no file in between."""
