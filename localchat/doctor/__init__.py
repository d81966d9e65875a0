"""Is this installation sound, and what mends it where it is not: one subject a file, each a list of findings."""
