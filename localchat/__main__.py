"""`python -m localchat` is `localchat`."""

import sys

from localchat.cli import main

if __name__ == "__main__":
    sys.exit(main())
