"""What this machine can run: facts in, a decision with its reasons out."""
