"""Chat templates: what real ones give, and what becomes of a conversation that one refuses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from template_texts import CHATML, MISTRAL, WITHOUT_SYSTEM, ZEPHYR

from localchat.conversation import Message, Role
from localchat.errors import LocalchatError
from localchat.prompt.folding import folded
from localchat.prompt.template import SOURCE_LIMIT_CHARACTERS, render

LETTERS: dict[str, Role] = {"s": "system", "u": "user", "a": "assistant"}


def said(*messages: str) -> list[Message]:
    """Messages written shortly: `u:Hi` is a question."""
    return [Message(LETTERS[message[0]], message[2:]) for message in messages]


def rendered(template: str | None, messages: Sequence[Message]) -> str:
    return render(template, messages, bos="<s>", eos="</s>")


CONVERSATIONS = [
    (
        CHATML,
        said("s:Be kind.", "u:Hi", "a:Hello!", "u:Bye"),
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
    ),
    (
        ZEPHYR,
        said("s:Be kind.", "u:Hi"),
        "<|system|>\nBe kind.</s>\n<|user|>\nHi</s>\n<|assistant|>\n",
    ),
    (MISTRAL, said("u:Hi", "a:Hello!", "u:Bye"), "<s>[INST] Hi [/INST]Hello!</s>[INST] Bye [/INST]"),
]


@pytest.mark.parametrize(("template", "messages", "expected"), CONVERSATIONS, ids=["ChatML", "Zephyr", "Mistral"])
def test_a_template_gives_the_text_that_its_model_was_tuned_with(
    template: str, messages: list[Message], expected: str
) -> None:
    assert rendered(template, messages) == expected


REFUSED = [
    # a system role: its text goes in front of the first question
    (said("s:Be kind.", "u:Hi"), "<s>[INST] Be kind.\n\nHi [/INST]"),
    (said("s:Be kind.", "u:Hi", "a:Yes?", "u:Bye"), "<s>[INST] Be kind.\n\nHi [/INST]Yes?</s>[INST] Bye [/INST]"),
    # two of one role in a row: a reply that was stopped before its first word leaves two questions
    (said("u:Hi", "u:Are you there?"), "<s>[INST] Hi\n\nAre you there? [/INST]"),
    (said("u:Hi", "a:One", "a:Two", "u:Bye"), "<s>[INST] Hi [/INST]One\n\nTwo</s>[INST] Bye [/INST]"),
]


@pytest.mark.parametrize(("messages", "expected"), REFUSED)
def test_what_a_template_refuses_is_folded(messages: list[Message], expected: str) -> None:
    assert rendered(MISTRAL, messages) == expected


def test_a_system_message_that_a_template_leaves_out_is_folded() -> None:
    assert (
        rendered(WITHOUT_SYSTEM, said("s:Be kind.", "u:Hi", "a:Yes?", "u:Bye")) == "[Q]Be kind.\n\nHi[A]Yes?[Q]Bye[A]"
    )


def test_a_system_message_that_is_left_out_is_missed_even_if_the_question_quotes_it() -> None:
    assert rendered(WITHOUT_SYSTEM, said("s:Be kind.", "u:What is: Be kind.?")) == (
        "[Q]Be kind.\n\nWhat is: Be kind.?[A]"
    )


def test_a_template_may_trim_the_system_message() -> None:
    template = CHATML.replace("message['content']", "message['content'] | trim")
    assert rendered(template, said("s:  Be kind. \n", "u:Hi")).startswith("<|im_start|>system\nBe kind.<|im_end|>")


def test_a_system_message_alone_becomes_a_question_where_there_is_no_other() -> None:
    assert rendered(MISTRAL, said("s:Say hello.")) == "<s>[INST] Say hello. [/INST]"


@pytest.mark.parametrize("letters", ["", "u", "su", "suaua", "uu", "saas", "aua", "ssuuaa"])
def test_folded_roles_alternate_and_no_text_is_lost(letters: str) -> None:
    messages = [Message(LETTERS[letter], f"{index}{letter}") for index, letter in enumerate(letters)]
    found = folded(messages)
    roles = [message.role for message in found]
    assert "system" not in roles
    assert all(first != second for first, second in pairwise(roles))
    assert "\n\n".join(message.text for message in found) == "\n\n".join(message.text for message in messages)


def test_a_conversation_that_cannot_be_folded_either_is_refused_in_the_words_of_the_template() -> None:
    with pytest.raises(LocalchatError, match="roles must alternate") as refusal:
        rendered(MISTRAL, said("a:I begin.", "u:Hi"))
    assert refusal.value.hint


def test_a_template_may_ask_for_the_date() -> None:
    assert re.fullmatch(r"\d{4}-\d\d", rendered("{{ strftime_now('%Y-%m') }}", said("u:Hi")))


def test_a_template_may_leave_a_loop_as_those_of_transformers_do() -> None:
    template = "{% for message in messages %}{{ message.content }}{% break %}{% endfor %}"
    assert rendered(template, said("u:Hi", "a:Yes?")) == "Hi"


BROKEN = [
    "{% for message in messages %}",
    "{{ messages | no_such_filter }}",
    "{{ messages is no_such_test }}",
    "{% no_such_tag %}",
    "{{ 'x",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    # What is sound for Jinja can still be more than the compiler of Python takes.
    "{{ " + "9" * 5000 + " }}",
    "{% for message in messages %}" * 25 + "{% endfor %}" * 25,
    "{% if messages %}" * 120 + "{% endif %}" * 120,
]


@pytest.mark.parametrize("template", BROKEN, ids=lambda template: template[:20])
def test_a_broken_template_is_named_as_the_reason(template: str) -> None:
    with pytest.raises(LocalchatError, match="the model's chat template") as refusal:
        rendered(template, said("u:Hi"))
    assert refusal.value.hint


def test_a_model_without_a_template_cannot_be_asked() -> None:
    with pytest.raises(LocalchatError, match="no chat template") as refusal:
        rendered(None, said("u:Hi"))
    assert refusal.value.hint


def test_a_template_of_absurd_length_is_not_even_compiled() -> None:
    fitting = "x" * SOURCE_LIMIT_CHARACTERS
    assert rendered(fitting, said("u:Hi")) == fitting
    with pytest.raises(LocalchatError, match="longer than 64 KiB"):
        rendered(fitting + "x", said("u:Hi"))
