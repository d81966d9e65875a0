"""The vocabulary of a checkpoint, from whichever files its authors put it in."""
