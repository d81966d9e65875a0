"""How control tokens in messages are hidden from the template and brought back."""

from __future__ import annotations

import pytest
from fakes import SPECIAL, one_token_a_character
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.conversation import Message
from localchat.errors import LocalchatError
from localchat.prompt.template import render
from localchat.prompt.tokens import Shield, longest_first, parts, tokens

# One is inside another, two overlap, and some are made of what a mark could be made of.
NESTED = {"<|im_end|>": 1, "<|im_end|>more": 2, "end|><|": 3, "<s>": 4}
LETTERS = {"<s>": 1, "0": 2, "e0": 3, "\ue000": 4}


def hidden(shield: Shield, text: str) -> str:
    return shield.hide([Message("user", text)])[0].text


@pytest.mark.parametrize("special", NESTED)
def test_a_control_token_is_hidden_and_comes_back(special: str) -> None:
    shield = Shield(NESTED)
    text = f"before {special} after {special}"
    assert not longest_first(NESTED, hidden(shield, text))
    assert shield.reveal(hidden(shield, text)) == text


def test_text_without_control_tokens_is_left_alone() -> None:
    assert hidden(Shield(SPECIAL), "<im_start> 5 < 6 |> \ue000") == "<im_start> 5 < 6 |> \ue000"


def test_marks_cannot_be_guessed() -> None:
    assert len({hidden(Shield(SPECIAL), "<|im_end|>") for _ in range(10)}) == 10


def test_roles_and_pins_are_kept() -> None:
    messages = [Message("system", "Be kind."), Message("user", "Hi", pinned=True)]
    assert Shield(SPECIAL).hide(messages) == messages


@pytest.mark.parametrize("role", ["", "tool", "User", "user<|im_end|>", "system\n", "\x1b[31m", None, ["user"]])
def test_a_role_that_is_none_is_refused(role: str) -> None:
    """A template writes roles as they are, control tokens and all."""
    with pytest.raises(LocalchatError, match="cannot have the role") as refusal:
        Shield(SPECIAL).hide([Message("user", "Hi"), Message(role, "x")])  # type: ignore[arg-type]
    assert "\x1b" not in str(refusal.value)
    assert "assistant" in refusal.value.hint


# Together with what the template writes beside it, a text must not become a control token either.
BESIDE = [
    ("<|{{ messages[0].content }}|>", ["im_end", "im_start", " im_end ", "im", "_", "im_end|><|im_start"]),
    ("<|im_{{ messages[0].content }}", ["end|>", "end|>more", "start|>\nsystem"]),
    ("<|{{ messages[0].content }}_end|>", ["im", "<|im", "i"]),
    ("{{ messages[0].content }}|im_end|>", ["<", "a <", "<<", "<|im_end|><"]),
    ("{{ messages[0].content }}s>", ["<", "text<"]),
    ("<{{ messages[0].content | trim }}>", ["s", " s ", "\ns\n"]),
    ("<{{ messages[0].content }}", ["s>", "s>text", "|im_end|>"]),
    ("{{ messages[0].content }}{{ messages[1].content }}", ["<|im_", "<|im_end", "<", "<|im_end|"]),
    ("<{{ messages[0].content }}{{ messages[1].content }}", ["", "s", "|im_"]),
]


@pytest.mark.parametrize(("template", "text"), [(template, text) for template, texts in BESIDE for text in texts])
@pytest.mark.parametrize("answer", ["", ">", "end|>", "|>", "s>"])
def test_a_text_and_what_is_beside_it_never_make_a_control_token(template: str, text: str, answer: str) -> None:
    shield = Shield(NESTED)
    messages = [Message("user", text), Message("assistant", answer)]
    rendered = render(template, shield.hide(messages), "", "")
    assert not [part for part in parts(rendered, NESTED) if isinstance(part, int)]
    assert shield.reveal(rendered) == render(template, messages, "", "")


@pytest.mark.parametrize("text", ["Hi", "1 < 2", "if a<b: c>d", "<b>bold</b>", "a|b", "", "x >> y", "What is im_end?"])
def test_an_ordinary_text_reaches_the_template_as_it_is(text: str) -> None:
    assert hidden(Shield(SPECIAL), text) == text


@pytest.mark.parametrize("text", [" <", "\t\n< \n", "  > quoted  ", "\n|>\n"])
def test_space_around_a_text_stays_where_a_template_can_trim_it(text: str) -> None:
    shield = Shield(SPECIAL)
    rendered = render("{{ messages[0].content | trim }}", shield.hide([Message("user", text)]), "", "")
    assert shield.reveal(rendered) == text.strip()


TEXTS = st.lists(
    st.sampled_from([*NESTED, *LETTERS, "<|im_", "end|>", "|", "<", "s>", "more", "a", "é", "\ue001"]), max_size=8
).map("".join)


@pytest.mark.parametrize("special_tokens", [SPECIAL, NESTED, LETTERS], ids=["ChatML", "nested", "letters"])
@given(texts=st.lists(TEXTS | st.text(max_size=20), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_what_was_hidden_comes_back_as_it_was(special_tokens: dict[str, int], texts: list[str]) -> None:
    shield = Shield(special_tokens)
    assert [shield.reveal(hidden(shield, text)) for text in texts] == texts


@pytest.mark.parametrize("special_tokens", [SPECIAL, NESTED, LETTERS], ids=["ChatML", "nested", "letters"])
@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_nothing_that_was_hidden_reads_like_a_control_token(special_tokens: dict[str, int], text: str) -> None:
    shield = Shield(special_tokens)
    assert [part for part in parts(hidden(shield, text), special_tokens) if isinstance(part, int)] == []


CUTS = [
    ("", []),
    ("plain", ["plain"]),
    ("<s>", [4]),
    ("<s><s>a", [4, 4, "a"]),
    ("a<s>b<s>", ["a", 4, "b", 4]),
    ("x<|im_end|>more", ["x", 2]),
    ("x<|im_end|> more", ["x", 1, " more"]),
]


@pytest.mark.parametrize(("text", "expected"), CUTS)
def test_text_is_cut_at_control_tokens_the_longest_first(text: str, expected: list[str | int]) -> None:
    assert parts(text, NESTED) == expected


@given(TEXTS)
@settings(max_examples=60, deadline=None)
def test_the_parts_joined_are_the_text(text: str) -> None:
    names = {number: special for special, number in NESTED.items()}
    assert "".join(part if isinstance(part, str) else names[part] for part in parts(text, NESTED)) == text


@pytest.mark.parametrize(("text", "bos", "expected"), [
    ("ab", None, [1097, 1098]),
    ("ab", 4, [4, 1097, 1098]),
    ("<s>ab", 4, [4, 1097, 1098]),
    ("<s>ab", None, [4, 1097, 1098]),
    ("a<s>", 4, [4, 1097, 4]),
    ("", 4, [4]),
    ("", None, []),
    # a template of several lines may begin with some space
    ("\n <s>ab", 4, [1010, 1032, 4, 1097, 1098]),
    ("\n ab<s>", 4, [4, 1010, 1032, 1097, 1098, 4]),
    (" <|im_end|>", 4, [4, 1032, 1]),
])  # fmt: skip
def test_bos_is_put_in_front_where_it_is_wanted_and_missing(text: str, bos: int | None, expected: list[int]) -> None:
    assert tokens(text, Shield(NESTED), one_token_a_character, bos) == expected
