"""The terminal app: one screen a file, one widget a file, its style beside it."""
