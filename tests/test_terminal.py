"""An app whose terminal is gone ends."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from localchat.paths import home

PATIENCE_SECONDS = 60


def test_without_its_terminal_the_app_ends_by_itself() -> None:
    outside, inside = pty.openpty()
    environment = os.environ | {"LOCALCHAT_HOME": str(home()), "TERM": "xterm-256color"}
    # In a session without this terminal nobody sends it a signal when the terminal ends.
    with subprocess.Popen(
        [sys.executable, "-m", "localchat"], stdin=inside, stdout=inside, stderr=inside, env=environment,
        start_new_session=True,
    ) as process:  # fmt: skip
        os.close(inside)
        painted = b""
        while b"localchat" not in painted:
            painted += os.read(outside, 1 << 16)
        os.close(outside)
        assert process.wait(PATIENCE_SECONDS) == 0


def test_a_terminal_that_is_there_is_not_gone() -> None:
    outside, inside = pty.openpty()
    program = "from localchat.tui.terminal import is_gone; raise SystemExit(is_gone())"
    assert subprocess.run([sys.executable, "-c", program], stdin=inside, check=False).returncode == 0
    os.close(inside)
    os.close(outside)
