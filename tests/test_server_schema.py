"""Whatever fits our own description of the API, and what nearly does, is answered or refused; nothing makes it fail."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from serving import Scripted, serving

EXAMPLES = 8
QUIET = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_makes_the_server_fail(mode: GenerationMode) -> None:
    seen: Counter[int] = Counter()
    with serving(Scripted(context=1 << 20)) as live:
        schema = schemathesis.openapi.from_dict(live.server.api.openapi())
        schema.config.update(base_url=live.url)
        operations = [found.ok() for found in schema.get_all_operations()]
        for operation in operations:
            if operation.body or mode is GenerationMode.POSITIVE:
                try_all(operation.as_strategy(generation_mode=mode), live.token, seen)
    assert seen[200 if mode is GenerationMode.POSITIVE else 400] > EXAMPLES, seen


def try_all(cases: Any, token: str, seen: Counter[int]) -> None:
    @QUIET
    @given(cases)
    def ask(case: Any) -> None:
        if isinstance(case.body, dict):
            case.body["model"] = "parrot"  # or else hardly anything gets beyond its name
        status = case.call(headers={"Authorization": f"Bearer {token}"}).status_code
        seen[status] += 1
        assert status < 500

    ask()
