"""A template comes with a model and may be anybody's: it never runs code, and fails in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.conversation import Message
from localchat.errors import LocalchatError
from localchat.prompt.template import RENDERER, render

MESSAGES = [Message("system", "Be kind."), Message("user", "Hi")]
CANARY = "canary-3f2a"

# Each would write FILE or show CANARY, a variable of the environment, if the sandbox let it.
PAYLOADS = [
    "{{ raise_exception.__globals__['__builtins__']['open']('FILE', 'w') }}",
    "{{ strftime_now.__globals__['__builtins__']['__import__']('os').environ }}",
    "{{ strftime_now['__globals__']['__builtins__']['open']('FILE', 'w') }}",
    "{{ (strftime_now | attr('__globals__'))['__builtins__']['open']('FILE','w') }}",
    "{{ [strftime_now] | map(attribute='__globals__.__builtins__') | list }}",
    "{{ lipsum.__globals__.os.popen('touch FILE').read() }}",
    "{{ lipsum.__globals__['os'].environ }}",
    "{{ cycler.__init__.__globals__.os.environ }}",
    "{{ joiner.__init__.__globals__.os.environ }}",
    "{{ namespace.__init__.__globals__.__builtins__.open('FILE', 'w') }}",
    "{{ namespace().__init__.__globals__['__builtins__']['open']('FILE', 'w') }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{% for c in ''.__class__.__mro__[-1].__subclasses__() %}{% if c.__name__ == '_wrap_close' %}"
    "{{ c.__init__.__globals__['popen']('touch FILE').read() }}{% endif %}{% endfor %}",
    "{{ ().__class__.__base__.__subclasses__() }}",
    "{{ messages[0].__class__.__base__.__subclasses__() }}",
    "{{ self.__init__.__globals__.__builtins__.open('FILE', 'w') }}",
    "{{ self._TemplateReference__context.environment.globals }}",
    "{{ self.__context__.environment.from_string('x').module.__loader__ }}",
    "{{ joiner.__call__.__globals__ }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "{{ ('{0.__globals__[os]' ~ '}').format(strftime_now) }}",
    "{{ '{x.__globals__}'.format_map({'x': strftime_now}) }}",
    "{{ ['{0.__globals__}'] | map('format', strftime_now) | list }}",
    "{% set f = '{0.__globals__}'.format %}{{ f(strftime_now) }}",
    "{% macro m() %}{{ caller.__globals__ }}{% endmacro %}{% call m() %}{% endcall %}",
    "{{ loop.__init__.__globals__ }}",
    "{% for x in messages %}{{ loop.__class__.__init__.__globals__ }}{% endfor %}",
    "{% import 'os' as os %}{{ os.environ }}",
    "{% include '/etc/passwd' %}",
    "{% extends 'FILE' %}",
    "{% from 'os' import environ %}{{ environ }}",
    "{{ messages.__init__([]) }}",
    "{{ config }}{{ request }}{{ get_flashed_messages.__globals__ }}",
    "{{ __import__('os').environ }}{{ open('FILE', 'w') }}{{ eval('1') }}",
]


@pytest.fixture(scope="module")
def secret() -> Iterator[None]:
    """The process that renders has CANARY in its environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET", CANARY)
        RENDERER.close()
        assert outcome("{{ messages[1].content }}") != ""
        yield
    RENDERER.close()


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_template_never_runs_code(payload: str, tmp_path: Path) -> None:
    text = outcome(payload.replace("FILE", str(tmp_path / "made")))
    assert not (tmp_path / "made").exists()
    assert not any(sign in text for sign in (CANARY, "<class 'object'>", "builtin_function", "root:", "Popen"))


def outcome(template: str) -> str:
    """The text of a template, or the sentence with which it was refused; nothing else may come of it."""
    try:
        return render(template, MESSAGES, bos="<s>", eos="</s>")
    except LocalchatError as error:
        return sentence(error)


def sentence(error: LocalchatError) -> str:
    assert str(error).startswith("the model's chat template")
    assert error.hint
    return str(error)


MUTATIONS = [
    "{{ messages.append(1) }}",
    "{{ messages.clear() }}",
    "{% set _ = messages.pop() %}",
    "{% set _ = messages[0].pop('role') %}",
    "{{ messages[0].update(role='user') }}",
    "{{ messages[0].__setitem__('role', 'user') }}",
    "{{ messages | map('attr', 'clear') | map('string') | list }}{{ messages.reverse() }}",
]


@pytest.mark.parametrize("template", MUTATIONS)
def test_a_template_cannot_change_the_conversation(template: str) -> None:
    with pytest.raises(LocalchatError, match="unsafe"):
        render(template + "{{ messages | length }}", MESSAGES, bos="<s>", eos="</s>")


# Each fails in another way inside Jinja or Python, and none of them is a Jinja error.
FAILING = [
    "{{ 1 // 0 }}",
    "{{ messages[0] + 1 }}",
    "{{ 'x'.encode('no such encoding') }}",
    "{{ 'x' | wordwrap(0) }}",
    "{{ strftime_now(5) }}",
    "{{ raise_exception() }}",
    "{{ messages | dictsort }}",
    "{{ messages | xmlattr }}",
    "{{ 'abc' | truncate(0) }}",
    "{{ messages | length + 1e999 }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% for number in range(1000000000) %}{% endfor %}",
    # helpers of Jinja's that only fill memory
    "{{ lipsum(n=5) }}",
    "{{ cycler('a').next() }}",
    "{{ joiner('a')() }}",
    # more than any machine has, so that the allocation fails at once
    "{{ 'x' * 99999999999999 }}",
    "{{ 'x' | center(99999999999999) }}",
    "{{ '%99999999999999d' % 1 }}",
]


@pytest.mark.parametrize("template", FAILING)
def test_whatever_a_template_does_ends_in_one_sentence(template: str) -> None:
    with pytest.raises(LocalchatError, match="the model's chat template fails on this conversation") as refusal:
        render(template, MESSAGES, bos="<s>", eos="</s>")
    assert refusal.value.hint


# No repetition, multiplication or range among the words: a short template must not become a long text.
WORDS = [
    "{{", "}}", "{%", "%}", "{#", "#}", "{%-", "-%}", " ", "\n", "for ", "in ", "endfor", "if ", "else", "endif",
    "set ", "x", "messages", "message", "loop", "self", "namespace", "dict", "raise_exception", "strftime_now",
    "add_generation_prompt", "macro m()", "endmacro", "m()", "block b", "endblock", "filter upper", "endfilter", "raw",
    "endraw", "not ", "is ", "=", "==", "+", "-", "~", "/", "//", "%", "<", ".", ",", ":", "|", "(", ")", "[", "]",
    "{", "}", "'", '"', "0", "1", "1e999", "''", "'a'", "none", "true", "['content']", ".role", ".__class__",
    "['__globals__']", ".items()", ".format(1)", "|trim", "|upper", "|list", "|first", "|length", "|tojson", "|join",
    "|sort", "|map('upper')", "|groupby('role')", "|int", "|float", "|round", "|dictsort", "|truncate(0)", "|xmlattr",
    "|attr('x')", "defined", "string", "\ud800", "é", "\x00", "😀",
]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=12).map("".join) | st.text(max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_template_gives_a_text_or_one_sentence(template: str) -> None:
    assert isinstance(outcome(template), str)


@given(st.sampled_from(WORDS), st.lists(st.sampled_from(WORDS), max_size=5).map("".join))
@settings(max_examples=150, deadline=None)
def test_any_expression_gives_a_text_or_one_sentence(first: str, rest: str) -> None:
    assert isinstance(outcome("{{ messages" + first + rest + " }}"), str)
