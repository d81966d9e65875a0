"""Requests become what the engine takes, and its events what a reply says."""

from __future__ import annotations

import time
from typing import Any

import pytest
from serving import USAGE, question

from localchat.conversation import Message
from localchat.engine.events import Done, Event, Piece
from localchat.errors import ContextFull, EngineDied, LocalchatError, NoMemory
from localchat.prompt.ledger import Ledger
from localchat.server.refusal import Refusal, refusal_of
from localchat.server.said import Begun, End, Said, Text, said
from localchat.server.tools import Call, Tool, Tools, calls_in, chosen, schema_of, with_free_text
from localchat.server.wire.chat import ChatRequest, conversation_of
from localchat.server.wire.messages import Block, CountRequest, MessagesRequest, Turn
from localchat.server.wire.responses import KEPT_CHARACTERS, Shelf

LOOK = Tool("look", "Look it up.", {"type": "object", "properties": {"at": {"$ref": "#/$defs/x"}}, "$defs": {"x": {}}})

# What is asked


def test_calls_and_results_are_told_in_words() -> None:
    body = question(
        messages=[
            {"role": "system", "content": "One."},
            {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": "x"}'}}]},
            {"role": "tool", "tool_call_id": "1", "content": "a tree"},
            {"role": "tool", "tool_call_id": "2", "content": "a bird"},
        ]
    )  # fmt: skip
    messages = conversation_of(ChatRequest.model_validate(body).messages).messages
    assert messages == (
        Message("system", "One."),
        Message("system", "Two."),
        Message("user", "Look."),
        Message("assistant", '[{"name": "look", "arguments": {"at": "x"}}]'),
        Message("user", "look returned: a tree\nThe tool returned: a bird"),
    )


def test_very_many_results_are_put_together_in_one_go() -> None:
    """Each time the whole text again would take minutes, and meanwhile nobody else would be answered."""
    results = [Block(type="tool_result")] * 150_000
    turn = Turn.model_construct(role="user", content=results)
    started = time.process_time()
    asked = CountRequest.model_construct(messages=[turn], system=None, tools=None, tool_choice=None).ask()
    assert time.process_time() - started < 30  # of a processor, where minutes would be needed
    assert asked.conversation.messages[0].text.count("returned") == len(results)


def test_blocks_of_messages_are_told_in_words() -> None:
    body = {
        "model": "parrot", "max_tokens": 5, "system": [{"type": "text", "text": "Be kind."}], "messages": [
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": [
                {"type": "text", "text": "I will."},
                {"type": "tool_use", "id": "1", "name": "look", "input": {"at": 1}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "a tree"}]}]},
        ],
    }  # fmt: skip
    asked = MessagesRequest.model_validate(body).ask()
    assert [message.text for message in asked.conversation.messages] == [
        "Be kind.",
        "Look.",
        'I will.\n[{"name": "look", "arguments": {"at": 1}}]',
        "look returned: a tree",
    ]


def test_a_choice_of_one_tool_that_names_none_is_refused() -> None:
    body = {
        "model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Look."}],
        "tools": [{"name": "look", "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool"},
    }  # fmt: skip
    with pytest.raises(Refusal, match="must name it"):
        MessagesRequest.model_validate(body).ask()


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"temperature": 0.5, "top_k": 3}, {"temperature": 0.5, "top_k": 3}),
        ({"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"seed": -1}, {"seed": 2**32 - 1}),
        ({"repetition_penalty": 1.1}, {"repeat_penalty": 1.1}),
        ({"repetition_penalty": 1.1, "repeat_penalty": 1.2}, {"repeat_penalty": 1.2}),
        ({"logit_bias": {"5": -100}}, {"logit_bias": ((5, -100.0),)}),
        ({"logprobs": True}, {"logprobs": 0}),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": 2}),
        ({"frequency_penalty": None, "unknown": 1}, {}),
    ],
)
def test_fields_of_the_sampling(fields: dict[str, Any], found: dict[str, Any]) -> None:
    assert ChatRequest.model_validate(question(**fields)).ask().changes == found


# What is said


def told(*pieces: str, reason: Any = "stop") -> list[Event | Ledger]:
    return [Ledger(100, 10, 0), *(Piece(piece) for piece in pieces), Done(reason, USAGE)]


CALL = '[{"name": "look", "arguments": {"at": "ü"}}]'


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["Hello", " you"], ["Hello", " you", "stop"]),
        (["\n", " ", "Hello"], ["\n", " ", "Hello", "stop"]),
        ([CALL], ['look {"at": "ü"}', "tool_calls"]),
        (list(CALL), ['look {"at": "ü"}', "tool_calls"]),
        ([" ", CALL, "\n"], ['look {"at": "ü"}', "tool_calls"]),
        ([CALL[:-1] + ", " + CALL[1:]], ['look {"at": "ü"}', "tool_calls"]),
        (["[1, 2]"], ["[1, 2]", "stop"]),
        (["[see ", "below]"], ["[see ", "below]", "stop"]),
        (['[{"name": "rm", "arguments": {}}]'], ['[{"name": "rm", "arguments": {}}]', "stop"]),
        ([CALL[:-4]], [CALL[:-4], "stop"]),
        ([CALL[:-1] + ", " + CALL[1:-5]], ['look {"at": "ü"}', "tool_calls"]),
        ([CALL + " or so"], [CALL + " or so", "stop"]),
        (["[]"], ["[]", "stop"]),
        ([], ["stop"]),
    ],
)
def test_a_reply_is_text_or_calls(pieces: list[str], expected: list[str]) -> None:
    begun, *rest = said(told(*pieces), Tools((LOOK,)))
    assert isinstance(begun, Begun)
    assert [words(what) for what in rest] == expected


def words(what: Said) -> str:
    match what:
        case Text(text):
            return text
        case Call(_, name, arguments):
            return f"{name} {arguments}"
        case End(reason):
            return reason
    raise AssertionError(what)


def test_without_tools_nothing_is_held_back() -> None:
    assert [words(what) for what in list(said(told(CALL)))[1:]] == [CALL, "stop"]


def test_which_tools_count() -> None:
    other = Tool("other", "", {})
    assert chosen([LOOK, other], "none") is None
    assert chosen([], "auto") is None
    assert chosen([LOOK, other], "auto") == Tools((LOOK, other), must_call=False)
    assert chosen([LOOK, other], "required", several=False) == Tools((LOOK, other), True, False)
    assert chosen([LOOK, other], "required", "look") == Tools((LOOK,), True, False)
    for wrong in (lambda: chosen([LOOK], "required", "nobody"), lambda: chosen([LOOK, LOOK], "auto")):
        with pytest.raises(Refusal):
            wrong()


def test_what_parameters_refer_to_moves_with_them() -> None:
    schema = schema_of(Tools((LOOK, Tool("other", "", {"$ref": "#"}))))
    assert schema["$defs"]["0"]["properties"]["at"] == {"$ref": "#/$defs/0/$defs/x"}
    assert schema["$defs"]["1"] == {"$ref": "#/$defs/1"}
    deep: Any = {}
    for _ in range(100):
        deep = {"items": deep}
    with pytest.raises(LocalchatError, match="deep"):
        schema_of(Tools((Tool("deep", "", deep),)))


def test_free_text_is_let_in_beside_calls() -> None:
    grammar = with_free_text('root ::= "[" root-0 "]"\nroot-0 ::= "x"')
    assert grammar.splitlines()[0] == "root ::= calls | free?"
    assert grammar.splitlines()[2:] == ['calls ::= "[" root-0 "]"', 'root-0 ::= "x"']


def test_nonsense_of_a_model_is_no_call() -> None:
    tools = Tools((LOOK,))
    for text in ("[" * 100_000, "{", "null", '{"name": "look"}', '["look"]', '[{"name": 5}]'):
        assert calls_in(text, tools) == []


def test_only_the_last_answers_are_kept() -> None:
    shelf, text = Shelf(), "x" * (KEPT_CHARACTERS // 4)
    for number in range(10):
        shelf.keep([Message("user", text)], {"id": str(number)})
    assert list(shelf._kept) == ["7", "8", "9"]
    shelf.remove("9")
    shelf.keep([Message("user", text)], {"id": "10"})
    assert list(shelf._kept) == ["7", "8", "10"]  # what was forgotten leaves its room
    shelf.keep([Message("user", text * 5)], {"id": "11"})
    assert not shelf._kept


def test_errors_say_nothing_of_this_machine() -> None:
    hint = "its log is /home/me/log"
    for error, status in (
        (EngineDied("the engine stopped: /home/me", hint), 500),
        (NoMemory("/home/me", hint, "CPU"), 503),
        (ContextFull(10, 5, 20), 400),
    ):
        refused = refusal_of(error)
        assert refused.status == status
        assert "/home" not in refused.words
