"""A model of a server: which one is taken, what it is asked, and the events of its reply."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from remote_server import END, HELLO, PATIENCE_SECONDS, Hold, RemoteServer, Said, as_json, delta, event, serving, usage

from localchat.chat import Forgotten, recommended, reply
from localchat.conversation import Conversation, Message
from localchat.engine.events import Done, Event, Piece, TokenProbability, Waiting
from localchat.engine.openai import pump
from localchat.engine.remote import RemoteEngine
from localchat.engine.remote_model import RemoteModel
from localchat.errors import LocalchatError
from localchat.prompt.ledger import Ledger
from localchat.sampling import Sampling

NEUTRAL = Sampling(top_k=0, min_p=0)
TALE = [Message("system", "Be kind."), Message("user", "Tell me a tale.")]


@pytest.fixture
def server() -> Iterator[RemoteServer]:
    with serving() as server:
        yield server


def told(engine: RemoteEngine, sampling: Sampling = NEUTRAL) -> list[Event]:
    """The events of a reply but for those that only pass the time."""
    return [event for event in engine.answer(TALE, sampling, []) if event != Waiting()]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Piece))


def done_of(events: list[Event]) -> Done:
    *_, last = events
    assert isinstance(last, Done)
    return last


# Which model


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/models", "/v1/chat/completions"])
def test_an_address_may_end_where_users_stop_to_copy_it(server: RemoteServer, path: str) -> None:
    engine = RemoteEngine(server.url + path)
    assert (engine.model, engine.loaded.context, engine.address.host) == ("parrot", 4096, server.host)
    assert text_of(told(engine)) == "Hello **you**"
    assert {asked.path for asked in server.asked} == {"/v1/models", "/v1/chat/completions"}


def test_an_api_that_begins_elsewhere_is_found(server: RemoteServer) -> None:
    server.pages = {"/openai/models": as_json({"data": [{"id": "parrot"}]})}
    engine = RemoteEngine(f"{server.url}/openai")
    with pytest.raises(LocalchatError, match="does not have"):
        told(engine)
    assert server.asked[-1].path == "/openai/chat/completions"
    assert engine.loaded.context == 0


def test_of_several_models_one_must_be_named(server: RemoteServer) -> None:
    server.pages["/v1/models"] = as_json({"data": [{"id": "parrot"}, {"id": "raven"}]})
    with pytest.raises(LocalchatError, match="offers 2 models") as raised:
        RemoteEngine(server.url)
    assert raised.value.hint == "name one of them: parrot, raven"
    assert RemoteEngine(server.url, "raven").model == "raven"


def test_the_last_part_of_a_name_is_enough_where_only_one_ends_so(server: RemoteServer) -> None:
    names = ["acme/parrot", "/models/raven.gguf", "other/parrot", "parrot"]
    server.pages["/v1/models"] = as_json({"data": [{"id": name} for name in names]})
    assert RemoteEngine(server.url, "raven.gguf").model == "/models/raven.gguf"
    assert RemoteEngine(server.url, "parrot").model == "parrot"
    server.pages["/v1/models"] = as_json({"data": [{"id": name} for name in names[:-1]]})
    with pytest.raises(LocalchatError, match="has no model 'parrot'"):
        RemoteEngine(server.url, "parrot")


def test_a_model_that_is_not_there_is_answered_with_near_names(server: RemoteServer) -> None:
    server.pages["/v1/models"] = as_json({"data": [{"id": f"bird-{number}"} for number in range(40)]})
    with pytest.raises(LocalchatError, match="has no model 'bird-77'") as raised:
        RemoteEngine(server.url, "bird-77")
    assert "bird-7" in raised.value.hint
    assert "and 32 more" in raised.value.hint


@pytest.mark.parametrize(
    "found", [{"data": []}, {}, [], {"data": [{"id": 3}, {"id": ""}, "x", {"id": "a\x1b[2Jb"}, {"id": "x" * 300}]}]
)
def test_a_server_without_a_model_that_can_be_named_is_refused(server: RemoteServer, found: Any) -> None:
    server.pages["/v1/models"] = as_json(found)
    with pytest.raises(LocalchatError, match="offers no model"):
        RemoteEngine(server.url)


CONTEXTS = [
    ({"max_model_len": 2048}, 2048),
    ({"context_length": 8192}, 8192),
    ({"meta": {"n_ctx_train": 32768}}, 32768),
    ({}, 0),
    ({"max_model_len": -5, "meta": None}, 0),
    ({"max_model_len": True}, 0),
    ({"max_model_len": "many"}, 0),
    ({"max_model_len": 10**30}, 0),
]


@pytest.mark.parametrize(("facts", "context"), CONTEXTS)
def test_the_context_is_what_the_server_says(server: RemoteServer, facts: dict[str, Any], context: int) -> None:
    server.pages["/v1/models"] = as_json({"data": [{"id": "parrot", **facts}]})
    assert RemoteEngine(server.url).loaded.context == context


@pytest.mark.parametrize(
    ("props", "context"), [({"default_generation_settings": {"n_ctx": 1024}}, 1024), ({}, 9999), ([], 9999)]
)
def test_a_llama_server_is_asked_for_the_window_of_a_slot(server: RemoteServer, props: Any, context: int) -> None:
    llama = {"id": "parrot", "owned_by": "llamacpp", "meta": {"n_ctx_train": 9999}}
    server.pages = {"/v1/models": as_json({"data": [llama]}), "/props": as_json(props)}
    assert RemoteEngine(server.url).loaded.context == context
    server.pages["/props"] = as_json({"error": "off"}, 501)
    assert RemoteEngine(server.url).loaded.context == 9999


# What is asked


def test_the_question_is_asked_as_openai_defines_it(server: RemoteServer) -> None:
    told(RemoteEngine(server.url))
    assert server.bodies == [
        {
            "model": "parrot",
            "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Tell me a tale."}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.7,
            "top_p": 0.95,
        }
    ]


def test_every_way_to_sample_gets_its_foreign_name(server: RemoteServer) -> None:
    sampling = Sampling(
        temperature=0.0, top_k=7, top_p=1.0, min_p=0.1, repeat_penalty=1.1, seed=3, max_tokens=9, typical_p=0.9,
        presence_penalty=0.5, frequency_penalty=-0.5, logit_bias=((5, -100.0),),
    )  # fmt: skip
    list(RemoteEngine(server.url).answer(TALE, sampling, ["END", "\n\n"]))
    (body,) = server.bodies
    assert {key: body[key] for key in body if key not in ("model", "messages", "stream", "stream_options")} == {
        "temperature": 0.0, "top_k": 7, "top_p": 1.0, "min_p": 0.1, "repeat_penalty": 1.1, "repetition_penalty": 1.1,
        "seed": 3, "max_tokens": 9, "typical_p": 0.9, "presence_penalty": 0.5, "frequency_penalty": -0.5,
        "logit_bias": {"5": -100.0}, "stop": ["END", "\n\n"],
    }  # fmt: skip


REFUSALS = [
    as_json({"error": {"message": "Unrecognized request argument supplied: top_k"}}, 400),
    as_json({"detail": [{"type": "extra_forbidden", "loc": ["body", "min_p"], "msg": "Extra inputs"}]}, 422),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_server_that_knows_no_more_than_openai_is_asked_again_without_the_rest(
    server: RemoteServer, refusal: Said
) -> None:
    server.answers = [refusal, Said(HELLO)]
    engine = RemoteEngine(server.url)
    assert text_of(told(engine, Sampling(seed=5))) == "Hello **you**"
    assert text_of(told(engine, Sampling(seed=5))) == "Hello **you**"
    first, second, third = server.bodies
    assert "top_k" in first
    assert second == third
    assert first.keys() - second.keys() == {"top_k", "min_p"}
    assert second["seed"] == 5


def test_it_is_asked_again_only_once_and_only_for_such_a_refusal(server: RemoteServer) -> None:
    server.answers = [REFUSALS[0]]
    engine = RemoteEngine(server.url)
    with pytest.raises(LocalchatError, match="Unrecognized request argument"):
        told(engine, Sampling())
    assert len(server.bodies) == 2
    server.answers = [as_json({"error": {"message": "temperature is too hot"}}, 400)]
    with pytest.raises(LocalchatError, match="too hot"):
        told(RemoteEngine(server.url), Sampling())
    assert len(server.bodies) == 3


def test_a_grammar_is_given_to_a_llama_server_and_never_left_out_in_silence(server: RemoteServer) -> None:
    sampling = Sampling(top_k=0, min_p=0, grammar='root ::= "a"')
    with pytest.raises(LocalchatError, match="cannot be given a grammar"):
        told(RemoteEngine(server.url), sampling)
    assert server.bodies == []
    server.pages["/v1/models"] = as_json({"data": [{"id": "parrot", "owned_by": "llamacpp"}]})
    told(RemoteEngine(server.url), sampling)
    assert server.bodies[0]["grammar"] == 'root ::= "a"'
    server.answers = [REFUSALS[0], Said(HELLO), REFUSALS[0]]
    engine = RemoteEngine(server.url)
    told(engine, Sampling())  # by which it is known to want no more than OpenAI has
    with pytest.raises(LocalchatError):
        told(engine, sampling)
    assert server.bodies[-1]["grammar"] == 'root ::= "a"'


def test_a_lone_surrogate_does_not_reach_the_server(server: RemoteServer) -> None:
    list(RemoteEngine(server.url).answer([Message("user", "a\udc80b")], NEUTRAL, ["\ud800"]))
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "a?b"}]
    assert server.bodies[0]["stop"] == ["?"]


def test_how_likely_tokens_were_is_asked_for_and_read(server: RemoteServer) -> None:
    entries = [
        {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "a", "logprob": -0.5}, {"token": 3}]},
        {"token": "b", "logprob": float("nan"), "top_logprobs": None},
        {"token": "c", "logprob": "x", "top_logprobs": [{"token": "d", "logprob": -1e300}]},
        {"token": None, "logprob": -1.0}, 7,
    ]  # fmt: skip
    choice = {"delta": {"content": "abc"}, "logprobs": {"content": entries}}
    server.say(event({"choices": [choice]}), event({"choices": [{**choice, "logprobs": {"content": 5}}]}), END)
    first, second, _ = told(RemoteEngine(server.url), Sampling(top_k=0, min_p=0, logprobs=2))
    assert first == Piece(
        "abc",
        1,
        (
            TokenProbability("a", -0.5, (("a", -0.5),)),
            TokenProbability("b", -9999.0),
            TokenProbability("c", -9999.0, (("d", -9999.0),)),
        ),
    )
    assert second == Piece("abc", 2)
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 2)
    told(RemoteEngine(server.url), Sampling(top_k=0, min_p=0, logprobs=0))
    assert server.bodies[1]["logprobs"]
    assert "top_logprobs" not in server.bodies[1]


# The token


def test_the_token_is_shown_to_the_server_and_to_nobody_else(server: RemoteServer) -> None:
    told(RemoteEngine(server.url, token=" sesame\n"))
    assert {asked.headers["Authorization"] for asked in server.asked} == {"Bearer sesame"}
    assert "sesame" not in repr(RemoteModel(server.url, "parrot", "sesame"))


def test_without_a_token_no_name_is_given(server: RemoteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    told(RemoteEngine(server.url))
    assert all("Authorization" not in asked.headers and "Cookie" not in asked.headers for asked in server.asked)


@pytest.mark.parametrize("token", ["a b", "a\r\nX-Evil: 1", "schlüssel", "a\x00"])
def test_what_cannot_be_a_token_is_refused_without_repeating_it(server: RemoteServer, token: str) -> None:
    with pytest.raises(LocalchatError, match="the token has") as raised:
        RemoteEngine(server.url, token=token)
    assert token not in str(raised.value) + raised.value.hint
    assert server.asked == []


# The reply


def test_a_reply_is_pieces_and_then_what_it_took(server: RemoteServer) -> None:
    *pieces, done = told(RemoteEngine(server.url))
    assert pieces == [Piece("Hello ", 1), Piece("**you**", 2)]
    assert isinstance(done, Done)
    assert done.reason == "stop"
    taken = done.usage
    assert (taken.prompt_tokens, taken.cached_tokens, taken.completion_tokens) == (40, 30, 3)
    assert 0 < taken.first_token_seconds == taken.reading_seconds
    assert taken.writing_seconds >= 0


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("stop", "stop"), ("length", "length"), ("tool_calls", "stop"), ("content_filter", "stop"), ("eos", "stop")],
)
def test_a_reply_ended_by_itself_or_at_a_limit(server: RemoteServer, reason: str, expected: str) -> None:
    server.say(delta("a"), delta(reason=reason), END)
    assert done_of(told(RemoteEngine(server.url))).reason == expected


USAGES: list[tuple[bytes, tuple[int, int, int]]] = [
    (b"", (0, 0, 2)),
    (event({"choices": [], "usage": None}), (0, 0, 2)),
    (usage(prompt_tokens=9, completion_tokens=2), (9, 0, 2)),
    (usage(prompt_tokens=9, completion_tokens=2, prompt_tokens_details=None), (9, 0, 2)),
    (usage(prompt_tokens=9, completion_tokens=2, prompt_tokens_details={"cached_tokens": 99}), (9, 9, 2)),
    (usage(prompt_tokens=-1, completion_tokens="x", prompt_tokens_details=[]), (0, 0, 2)),
    (usage(prompt_tokens=1e300, completion_tokens=True), (0, 0, 2)),
]


@pytest.mark.parametrize(("last", "counts"), USAGES)
def test_tokens_are_counted_by_the_server_or_else_by_pieces(
    server: RemoteServer, last: bytes, counts: tuple[int, int, int]
) -> None:
    server.say(delta("a"), delta("b", "stop"), last, END)
    taken = done_of(told(RemoteEngine(server.url))).usage
    assert (taken.prompt_tokens, taken.cached_tokens, taken.completion_tokens) == counts


ODD_STREAMS = [
    b"".join([delta("a"), delta("b", "stop"), END]),
    b"".join([delta("a"), delta("b", "stop")]),  # no [DONE]
    b"".join([delta("a"), delta("b"), END]),  # no reason
    b"\xef\xbb\xbf" + b"".join([delta("a"), delta("b", "stop"), END]),
    b"".join([delta("a"), delta("b", "stop"), END]).replace(b"\n", b"\r\n"),
    b": ping\n\n" + delta("a") + b": ping\n\nevent: x\nid: 4\nretry: 9\n\n" + delta("b", "stop") + END,
    b"".join([delta("a"), delta("b", "stop"), END]).replace(b"data: ", b"data:"),
    delta("a") + b'data: {"choices":\ndata: [{"delta": {"content": "b"}}]}\n\n' + END,
    b"".join([event({}), event({"choices": []}), event({"choices": [7]}), delta("a"), delta("b"), END]),
    b"".join([event({"choices": [{"delta": 3}]}), event({"choices": {"a": 1}}), delta("a"), delta("b"), END]),
    b"".join([delta(reasoning_content="hm"), delta("a", reasoning_content="hm"), delta("b"), END]),
    b"".join([delta("a"), delta("b", "stop"), END, delta("never read")]),
]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("stream", ODD_STREAMS)
def test_streams_of_all_dialects_are_understood_however_they_are_cut(
    server: RemoteServer, stream: bytes, size: int
) -> None:
    server.say(*(stream[start : start + size] for start in range(0, len(stream), size)))
    events = told(RemoteEngine(server.url))
    assert text_of(events) == "ab"
    assert done_of(events).reason == "stop"


def test_characters_that_were_cut_in_two_are_joined(server: RemoteServer) -> None:
    server.say(delta("a\ud83d"), delta("\ude00b"), delta("\udc00c\ud83d"), delta("d"), END)
    events = told(RemoteEngine(server.url))
    assert text_of(events) == "a😀b\ufffdc\ufffdd"


def test_a_connection_that_is_lost_after_the_end_of_the_reply_is_no_failure(server: RemoteServer) -> None:
    server.say(delta("a"), delta(reason="stop"), is_cut=True)
    assert done_of(told(RemoteEngine(server.url))).reason == "stop"


def test_a_server_that_stays_on_the_line_after_the_end_is_left(
    server: RemoteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localchat.engine.remote.GRACE_SECONDS", 0.0)
    server.say(delta("a"), delta(reason="stop"), Hold())
    assert done_of(told(RemoteEngine(server.url))).reason == "stop"
    assert server.client_left.wait(PATIENCE_SECONDS)


# Waiting, and stopping


def test_while_nothing_comes_the_reader_is_asked_whether_to_go_on(server: RemoteServer) -> None:
    hold = Hold()
    server.say(hold, delta("a", "stop"), END)
    with closing(RemoteEngine(server.url).answer(TALE, NEUTRAL, [])) as events:
        assert [next(events) for _ in range(3)] == [Waiting()] * 3
        hold.released.set()
        assert text_of([event for event in events if event != Waiting()]) == "a"


@pytest.mark.parametrize("before", [[], [delta("a")], [delta("a"), b'data: {"choi']])
def test_who_stops_reading_closes_the_connection(server: RemoteServer, before: list[bytes]) -> None:
    server.say(*before, Hold())
    with closing(RemoteEngine(server.url).answer(TALE, NEUTRAL, [])) as events:
        if before:
            assert next(event for event in events if isinstance(event, Piece)) == Piece("a", 1)
        next(events)
        assert not server.client_left.is_set()
    assert server.client_left.wait(PATIENCE_SECONDS)


def test_a_reply_that_was_never_read_is_never_asked_for(server: RemoteServer) -> None:
    RemoteEngine(server.url).answer(TALE, NEUTRAL, []).close()
    assert server.bodies == []


def test_two_replies_come_at_the_same_time(server: RemoteServer) -> None:
    engine = RemoteEngine(server.url)
    with closing(engine.answer(TALE, NEUTRAL, [])) as first, closing(engine.answer(TALE, NEUTRAL, [])) as second:
        texts = [text_of([next(events) for _ in range(4)]) for events in (first, second)]
        texts = [text + text_of(list(events)) for text, events in zip(texts, (first, second), strict=True)]
    assert texts == ["Hello **you**"] * 2


def test_a_reply_can_be_read_by_one_thread_after_another(server: RemoteServer) -> None:
    events = RemoteEngine(server.url).answer(TALE, NEUTRAL, [])
    found: list[Event] = []

    def read_one() -> None:
        found.extend([next(events)])

    while not any(isinstance(event, Done) for event in found):
        thread = threading.Thread(target=read_one)
        thread.start()
        thread.join()
    events.close()
    assert text_of(found) == "Hello **you**"


def test_work_that_fails_is_heard_of_after_what_it_put_out() -> None:
    async def work(put: pump.Put[str]) -> None:
        put("a")
        put("b")
        raise LocalchatError("no more", "stop")

    found = []
    with pytest.raises(LocalchatError, match="no more"):  # noqa: PT012
        for value in pump.pumped(work):
            found.append(value)
    assert found == ["a", "b"]


# The reply loop


class Notebook(Forgotten):
    """A draft that remembers its end."""

    finished: tuple[str, str] | None = None

    def finish(self, text: str, ending: str) -> None:
        self.finished = (text, ending)


def test_the_reply_loop_serves_a_server_like_an_engine(server: RemoteServer) -> None:
    engine, notebook = RemoteEngine(server.url), Notebook()
    conversation = Conversation().say("system", "Be kind.").ask("Hi")
    sampling = recommended(engine, {}, {"temperature": 0.1})
    ledger, *events = reply(engine, conversation, sampling, ["END"], notebook)
    assert ledger == Ledger(4096, 0, 0)
    assert [event for event in events if isinstance(event, Piece)] == [Piece("Hello ", 1), Piece("**you**", 2)]
    assert notebook.finished == ("Hello **you**", "stop")
    assert server.bodies[0]["temperature"] == 0.1
    assert [message["role"] for message in server.bodies[0]["messages"]] == ["system", "user"]


def test_what_a_server_wrote_before_it_broke_off_is_kept(server: RemoteServer) -> None:
    server.say(delta("Half a"), is_cut=True)
    notebook = Notebook()
    with pytest.raises(LocalchatError, match="broke off"):
        list(reply(RemoteEngine(server.url), Conversation().ask("Hi"), NEUTRAL, [], notebook))
    assert notebook.finished == ("Half a", "failed")


def test_what_was_written_before_a_reply_was_stopped_is_kept(server: RemoteServer) -> None:
    server.say(delta("Half a"), Hold())
    notebook = Notebook()
    with closing(reply(RemoteEngine(server.url), Conversation().ask("Hi"), NEUTRAL, [], notebook)) as events:
        assert next(event for event in events if isinstance(event, Piece)).text == "Half a"
    assert notebook.finished == ("Half a", "stopped")
    assert server.client_left.wait(PATIENCE_SECONDS)
