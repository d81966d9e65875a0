"""A server of the real small model and OpenAI's client of it. Import both fixtures to use the client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI
from serving import Live, smollm2


@pytest.fixture(scope="module")
def live(smollm2_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server for the tests of a file."""
    with smollm2(smollm2_file, tmp_path_factory.mktemp("server")) as live:
        yield live


@pytest.fixture
def client(live: Live) -> Iterator[OpenAI]:
    """The client that asks it."""
    with OpenAI(base_url=live.base_url, api_key=live.token, max_retries=0) as client:
        yield client
