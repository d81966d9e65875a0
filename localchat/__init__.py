"""localchat: published Mistral-family checkpoints become a private chat on this machine."""

import os

__version__ = "0.1.0"

# Adapters are merged in our own threads, one for each core. numpy's BLAS, which reads this when it is loaded, would
# start as many again beneath each of them, and the merge would take twice as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
