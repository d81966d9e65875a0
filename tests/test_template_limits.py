"""A template that never ends, fills memory or writes without end is one sentence, and the next render works."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from template_texts import CHATML, MISTRAL, WITHOUT_SYSTEM, ZEPHYR

from localchat.conversation import Message
from localchat.errors import LocalchatError
from localchat.prompt import template
from localchat.prompt.template import MESSAGES_LIMIT_BYTES, RENDERER, render

MESSAGES = [Message("system", "Be kind."), Message("user", "Hi")]
EXPECTED = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits that only Linux keeps")
TWICE = "{% for a in range(99999) %}{% for b in range(99999) %}BODY{% endfor %}{% endfor %}"
NESTED = "{% set n = namespace(x=[]) %}{% for a in range(99999) %}{% set n.x = [n.x] %}{% endfor %}"

ENDLESS = [
    TWICE.replace("BODY", ""),
    "{{ 9 ** (9 ** 9) }}",  # not even a signal is looked at while this is computed
    "{% set n = messages | length + 7 %}{{ n ** (n ** n) }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
]
GREEDY = [
    "{{ 'x' * 999999999 }}",
    "{{ messages * 999999999 }}",
    "{{ [0] * 999999999 }}",
    "{{ 'x' | center(999999999) }}",
    "{{ '%999999999d' % 1 }}",
    "{{ (range(99999) | list * 9999) | length }}",
    "{% set n = namespace(x='x') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% set n = namespace(x=[messages]) %}{% for a in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set text %}" + TWICE.replace("BODY", "{{ messages[1].content * 99999 }}") + "{% endset %}",
]
VERBOSE = [
    TWICE.replace("BODY", "x" * 100),
    TWICE.replace("BODY", "{{ messages }}"),
    "{{ 'x' * 9000000 }}",
    "{{ '\u00e9' * 5000000 }}",
    "{{ '\\n' * 9000000 }}",
]
DEEP = [
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m(x) %}{{ m([x]) }}{% endmacro %}{{ m(1) }}",
    "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% block b %}{{ self.b() }}{% endblock %}",
    NESTED + "{{ n.x }}",
    NESTED + "{{ n.x | tojson }}",
    NESTED + "{{ n.x | pprint }}",
    NESTED + "{{ raise_exception(n.x) }}",
]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, what counts is the processor's time."""
    monkeypatch.setattr(template, "RENDER_SECONDS", 120.0)


def works() -> bool:
    return render(CHATML, MESSAGES, "<s>", "</s>") == EXPECTED


def failure(source: str) -> str:
    """The sentence with which a template was refused; the next one works."""
    with pytest.raises(LocalchatError, match=r"^the model's chat template fails on this conversation") as refusal:
        render(source, MESSAGES, "<s>", "</s>")
    assert "choose another" in refusal.value.hint
    assert works()
    return str(refusal.value)


@pytest.mark.parametrize("source", ENDLESS)
def test_a_template_that_never_ends_is_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    works()  # so that the process is there
    before = RENDERER.pid
    with monkeypatch.context() as patch:
        patch.setattr(template, "RENDER_SECONDS", 0.5)
        with pytest.raises(LocalchatError, match=r"\(it took longer than 0.5 seconds\)") as refusal:
            render(source, MESSAGES, "<s>", "</s>")
    assert "choose another" in refusal.value.hint
    assert works()
    assert RENDERER.pid != before


@LINUX
@pytest.mark.usefixtures("patient")
def test_the_time_that_counts_is_that_of_the_processor() -> None:
    assert "it took too long" in failure(ENDLESS[0])


@LINUX
@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("source", GREEDY)
def test_a_template_that_fills_memory_is_stopped(source: str) -> None:
    works()
    before = RENDERER.pid
    assert "it took too much memory" in failure(source)
    assert RENDERER.pid != before


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("source", VERBOSE)
def test_a_template_that_writes_without_end_is_stopped(source: str) -> None:
    assert "it writes more than 8 MiB" in failure(source)


@pytest.mark.parametrize("source", DEEP)
def test_a_template_that_goes_too_deep_is_refused(source: str) -> None:
    assert failure(source)


def test_a_long_conversation_is_not_taken_for_a_template_that_writes_too_much() -> None:
    text = "\u00e9" * (MESSAGES_LIMIT_BYTES // 2)
    assert render("{{ messages[0].content }}", [Message("user", text)], "", "") == text


def test_a_conversation_that_no_model_could_read_is_refused_before_it_is_rendered() -> None:
    messages = [Message("user", "x" * MESSAGES_LIMIT_BYTES), Message("assistant", "y")]
    with pytest.raises(LocalchatError, match="longer than any model could read") as refusal:
        render(CHATML, messages, "", "")
    assert refusal.value.hint
    assert works()


@pytest.mark.parametrize("words", ["'\\x1b[31m' ~ 'x' * 1000000", "messages * 100000", "'a\\nb\\rc\\x9b'"])
def test_what_a_template_says_is_short_and_harmless(words: str) -> None:
    sentence = failure("{{ raise_exception(" + words + ") }}")
    assert len(sentence) < 300
    assert not set(sentence) & {"\x1b", "\n", "\r", "\x9b"}


def test_one_process_renders_all_templates() -> None:
    pids = set()
    for number in range(20):
        assert render(f"{number}{CHATML}", MESSAGES, "", "") == f"{number}{EXPECTED}"
        pids.add(RENDERER.pid)
    assert len(pids) == 1


def test_threads_may_render_at_once() -> None:
    templates = [CHATML, ZEPHYR, MISTRAL, WITHOUT_SYSTEM]

    def texts(name: int) -> list[str]:
        return [render(source, [Message("user", f"I am {name}")], "<s>", "</s>") for source in templates * 5]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(texts, range(8)))
    assert found == [texts(name) for name in range(8)]
    assert all(f"I am {name}" in text for name, each in enumerate(found) for text in each)


def test_a_hostile_template_in_one_thread_does_not_harm_another() -> None:
    def outcome(source: str) -> str:
        try:
            return render(source, MESSAGES, "<s>", "</s>")
        except LocalchatError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(outcome, [CHATML, VERBOSE[0], CHATML, GREEDY[0], CHATML, DEEP[0], CHATML]))
    assert found[::2] == [EXPECTED] * 4
    assert all("fails on this conversation" in text for text in found[1::2])


NEEDED = [
    ("localchat.prompt.template", "jinja2"),  # only the child runs templates
    ("localchat.prompt.renderer", "numpy"),  # what the child imports is waited for
    ("localchat.prompt.renderer", "llama_cpp"),
    ("localchat.prompt.renderer", "textual"),
    ("localchat.prompt.renderer", "gguf"),
]


@pytest.mark.parametrize(("module", "absent"), NEEDED)
def test_neither_side_imports_what_it_does_not_need(module: str, absent: str) -> None:
    code = f"import sys, {module}; raise SystemExit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
