"""Lends a device of this machine to localchat on another, over llama.cpp's RPC backend.

    rpc_server.py HOST:PORT [--device NAME] [--threads N]

Whoever can reach the address may use it, and nothing is encrypted: bind it to an address of a network that you trust.
It serves one program at a time, which must have the same version of llama.cpp, built with -DGGML_RPC=ON as well.
"""

from __future__ import annotations

import argparse
import sys

from localchat.errors import LocalchatError
from localchat.llama.rpc import serve
from localchat.plan.detect import usable_cores


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("--device", default="CPU", help="as `localchat hardware` names it")
    parser.add_argument("--threads", type=int, default=usable_cores())
    options = parser.parse_args()
    try:
        serve(options.address, options.device, options.threads)
    except LocalchatError as error:
        sys.exit(f"{error}: {error.hint}")


if __name__ == "__main__":
    main()
