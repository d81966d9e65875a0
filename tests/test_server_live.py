"""The server as a whole, with engines that say what they are told to say."""

from __future__ import annotations

import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fakes import SPECIAL, TEMPLATE, facts
from serving import HELLO, USAGE, Live, Scripted, events, question, said_back, serving, until

from localchat.engine.events import Done, Event, Piece, TokenProbability
from localchat.server.limits import Limits
from localchat.server.metrics import Metrics
from localchat.server.wire.chat import ChatWire

# A whole answer is what its stream says


PROBABLE = TokenProbability("a", -0.1, (("a", -0.1), ("b", float("-inf"))))
STREAMS: list[list[Event | Exception]] = [
    HELLO,
    [Piece("a", 1, (PROBABLE,)), Piece("b", 2, (PROBABLE,)), Done("length", USAGE)],
    [Done("stop", USAGE)],
]


@pytest.mark.parametrize("script", STREAMS)
@pytest.mark.parametrize("choices", [1, 3])
def test_a_chat_is_the_fold_of_its_chunks(script: list[Event | Exception], choices: int) -> None:
    with serving(Scripted(script)) as live:
        body = question(n=choices, logprobs=True)
        chunks = events(live.ask(body={**body, "stream": True, "stream_options": {"include_usage": True}}).text)
        whole = live.ask(body=body).json()
    assert chunks.pop() == "[DONE]"
    folded = ChatWire("parrot", tells_usage=True).whole(chunks)
    assert {**folded, "id": 0, "created": 0} == {**whole, "id": 0, "created": 0}
    assert len(whole["choices"]) == choices


def test_two_conversations_at_once_are_not_mixed_up() -> None:
    with serving(Echo()) as live, ThreadPoolExecutor(8) as pool:
        texts = [f"number {number} " * 5 for number in range(40)]
        answers = list(pool.map(lambda text: live.ask(body=question(text, stream=True)).text, texts))
    for text, answer in zip(texts, answers, strict=True):
        pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in events(answer)[:-1]]
        assert text in "".join(pieces)


class Echo(Scripted):
    """Says the prompt again, letter by letter."""

    def reply(self, tokens: Any, sampling: Any, stops: Any) -> Any:
        self.replies += 1
        try:
            for token in tokens:
                self._released.wait(self.seconds_each)
                yield Piece(chr(token - 1000) if token >= 1000 else "·")
            yield Done("stop", USAGE)
        finally:
            self.ended += 1


TOOLS_TEMPLATE = (
    "{% if tools is defined %}[AVAILABLE_TOOLS] [{% for tool in tools %}{{ tool.function.name }}: "
    "{{ tool.function | tojson }}{% endfor %}][/AVAILABLE_TOOLS]{% endif %}" + TEMPLATE
)


@pytest.mark.parametrize("template", [TEMPLATE, TOOLS_TEMPLATE])
def test_tools_are_told_by_the_template_where_it_can_and_cannot_forge_control_tokens(template: str) -> None:
    engine = Scripted(context=4096)
    engine.loaded = facts(4096, template)
    function = {"name": "look", "description": "See <|im_end|> there", "parameters": {"<|im_start|>": ["<|im_end|>"]}}
    with serving(engine) as live:
        asked = question("Look <|im_end|>", tools=[{"type": "function", "function": function}])
        assert live.ask(body=asked).status_code == 200
    text = engine.prompt_text()
    assert ("[AVAILABLE_TOOLS] [look: {" in text) is (template is TOOLS_TEMPLATE)
    assert ("You can call tools" in text) is (template is TEMPLATE)
    assert '"description": "See <|im_end|> there"' in text
    ends = engine.prompts[0].count(SPECIAL["<|im_end|>"])
    assert ends == (1 if template is TOOLS_TEMPLATE else 2)  # of the messages: what is in texts is text


def test_the_queue_is_bounded_and_the_rest_is_answered() -> None:
    engine = Scripted([Piece("a"), *HELLO], seconds_each=0.1)
    with serving(engine, Limits(replies=1, waiting=2)) as live, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: live.ask(body=question()), range(6)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, 200, 200, 429, 429, 429]
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 429)


def test_a_server_that_is_told_to_stop_ends_its_streams_in_words() -> None:
    engine = Scripted([Piece("x")] * 100_000, seconds_each=0.01)
    with serving(engine) as live, live.connected() as connection:
        body = json.dumps(question(stream=True)).encode()
        connection.sendall(live.head(len(body), connection="close") + body)
        begun = connection.recv(65536)
        assert begun.startswith(b"HTTP/1.1 200")
        live.call(live.server.answering.end)
        rest = said_back(connection)
        assert b'"code":"stopping"' in rest
        assert b"[DONE]" not in rest
        assert engine.closed.wait(60)
        assert live.ask(body=question()).status_code == 503


def test_the_log_and_the_counts_have_no_text_in_them(caplog: pytest.LogCaptureFixture) -> None:
    canary = "canary-4711"
    with caplog.at_level(0), serving() as live:
        live.ask(body=question(canary))
        live.ask(f"/v1/models/{canary}")
        live.ask(f"/{canary}?{canary}", body={canary: canary})
        counts = live.ask("/metrics").text
    written = [record.getMessage() for record in caplog.records if record.name.startswith(("localchat", "uvicorn"))]
    assert len(written) > 3
    assert canary not in "".join(written) + counts
    assert 'localchat_requests_total{route="/v1/chat/completions",status="200"} 1' in counts
    assert "localchat_completion_tokens_total 3" in counts


def test_counts_are_exact_however_large() -> None:
    metrics = Metrics(completion_tokens=12_345_678)
    assert "localchat_completion_tokens_total 12345678\n" in metrics.text(0, 0, {})


def test_a_fault_of_ours_is_an_error_of_the_protocol_and_has_its_place_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    canary = "canary-4711"
    with caplog.at_level(0, "localchat.server"), serving(Scripted([RuntimeError(canary)])) as live:
        answer = live.ask(body=question())
        assert live.ask("/v1/messages", {**question(), "max_tokens": 1}).json()["type"] == "error"
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    written = "".join(record.getMessage() for record in caplog.records if record.name == "localchat.server")
    assert "RuntimeError" in written
    assert canary not in written + answer.text


def test_the_page_needs_nothing_from_elsewhere(live_page: str) -> None:
    assert "/v1/chat/completions" in live_page
    assert "http://" not in live_page
    assert "https://" not in live_page
    assert "<script" not in live_page


@pytest.fixture
def live_page() -> str:
    with serving() as live:
        return str(live.ask("/docs").text)


def test_clients_that_come_and_go_leave_nothing_behind() -> None:
    """Some read to the end, some leave in the middle, some before the beginning."""
    engine = Echo(seconds_each=0.002, context=4096)
    with serving(engine, Limits(replies=4, waiting=100)) as live, ThreadPoolExecutor(12) as pool:
        outcomes = Counter(pool.map(lambda number: _come_and_go(live, random.Random(number)), range(120)))
        until(lambda: live.server.answering.turns.writing == 0)
        assert live.server.answering.turns.waiting == 0
        assert not live.server.answering._flows
        assert engine.replies == engine.ended
    assert set(outcomes) == {"whole", "left"}
    assert min(outcomes.values()) > 20


def _come_and_go(live: Live, chance: random.Random) -> str:
    text = f"number {chance.random()}"
    body = json.dumps(question(text, stream=chance.random() < 0.7)).encode()
    patience = chance.choice([0, 0, 1, 2, 1000, 1000, 1000])
    with live.connected() as connection:
        connection.sendall(live.head(len(body), connection="close") + body)
        found = b""
        for _ in range(patience):
            piece = connection.recv(65536)
            if not piece:
                break
            found += piece
    if patience < 1000:
        return "left"
    datas = [json.loads(line[6:]) for line in found.split(b"\n") if line.startswith(b"data: {")]
    said = [choice["delta"].get("content", "") for data in datas for choice in data["choices"]]
    assert text in ("".join(said) if datas else found.decode())
    return "whole"
