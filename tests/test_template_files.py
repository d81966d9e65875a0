"""Where the chat template of a checkpoint is found, and how it is named in the model file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import checkpoint, refused, sound_or_refused, with_json

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.metadata import metadata
from localchat.convert.template import NAMED_LIMIT, TEMPLATE_LIMIT_BYTES, read_templates

CONFIG, JINJA, JSON = "tokenizer_config.json", "chat_template.jinja", "chat_template.json"


@pytest.mark.parametrize(
    ("value", "file", "template", "source"),
    [
        (..., None, None, ""),
        ("in the config", None, "in the config", CONFIG),
        ("in the config", "in the file", "in the file", JINJA),
        (..., "in the file", "in the file", JINJA),
        (None, "in the file", "in the file", JINJA),
        (7, "in the file", "in the file", JINJA),
        ("in the config", "", "in the config", CONFIG),
        ("", None, None, ""),
        ([{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}], None, "d", CONFIG),
        ([{"name": "tool", "template": "t"}, {"name": "rag", "template": "r"}], None, "t", CONFIG),
        ([], "in the file", "in the file", JINJA),
        ([7, "x", {}], None, None, ""),
        ([{"name": [], "template": "t"}], None, "t", CONFIG),
    ],
)
def test_the_template_is_found_where_authors_put_it(
    value: Any, file: str | None, template: str | None, source: str, tmp_path: Path
) -> None:
    with_json(tmp_path, CONFIG, chat_template=value)
    if file is not None:
        (tmp_path / JINJA).write_text(file)
    found = read_templates(tmp_path)
    assert (found.default, found.source) == (template, source)


def test_a_template_in_a_json_file_of_its_own_comes_last(tmp_path: Path) -> None:
    with_json(tmp_path, JSON, chat_template="own")
    assert (read_templates(tmp_path).default, read_templates(tmp_path).source) == ("own", JSON)
    assert read_templates(with_json(tmp_path, CONFIG, chat_template="config")).default == "config"


@pytest.mark.parametrize(("other", "notes"), [("same", 0), ("another", 1)])
def test_templates_that_differ_are_named_in_a_note(other: str, notes: int, tmp_path: Path) -> None:
    with_json(tmp_path, CONFIG, chat_template=other)
    (tmp_path / JINJA).write_text("same")
    found = read_templates(tmp_path).notes
    assert len(found) == notes
    assert all(JINJA in note and CONFIG in note for note in found)


def test_a_list_without_a_default_is_named_in_a_note(tmp_path: Path) -> None:
    found = read_templates(with_json(tmp_path, CONFIG, chat_template=[{"name": "rag", "template": "r"}]))
    assert (found.default, found.named) == ("r", {"rag": "r"})
    assert len(found.notes) == 1


def test_additional_templates_are_files_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / JINJA).write_text("main")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    (tmp_path / "additional_chat_templates" / "notes.txt").write_text("no template")
    found = read_templates(tmp_path)
    assert (found.default, found.named) == ("main", {"tool_use": "tools"})


def test_names_in_the_model_file_are_letters_and_digits(tmp_path: Path) -> None:
    entries = [
        {"name": "default", "template": "d"},
        {"name": "../../evil key", "template": "e"},
        {"name": "x" * 1000, "template": "x"},
    ]
    folder = with_json(checkpoint(tmp_path / "c"), CONFIG, chat_template=entries)
    keys = {
        key: getattr(value, "values", value)
        for key, (_, value) in metadata(read_checkpoint(folder, "c"), "F16").items()
        if key.startswith("tokenizer.chat_template")
    }
    assert keys == {
        "tokenizer.chat_template": "d",
        "tokenizer.chat_templates": ["______evil_key", "x" * 64],
        "tokenizer.chat_template.______evil_key": "e",
        f"tokenizer.chat_template.{'x' * 64}": "x",
    }


@pytest.mark.parametrize("name", [JINJA, CONFIG, JSON])
def test_a_template_that_is_too_large_is_not_lost_in_silence(name: str, tmp_path: Path) -> None:
    text = "x" * (TEMPLATE_LIMIT_BYTES + 1)
    (tmp_path / name).write_text(text if name == JINJA else json.dumps({"chat_template": text}))
    with refused("template"):
        read_templates(tmp_path)


def test_half_a_surrogate_pair_is_no_template(tmp_path: Path) -> None:
    with refused(CONFIG, "no text"):
        read_templates(with_json(tmp_path, CONFIG, chat_template="\ud800"))


def test_more_templates_than_anyone_publishes_are_refused(tmp_path: Path) -> None:
    entries = [{"name": f"t{number}", "template": "x"} for number in range(NAMED_LIMIT + 1)]
    with refused("chat templates"):
        read_templates(with_json(tmp_path, CONFIG, chat_template=entries))


VALUES = st.recursive(
    st.none() | st.integers() | st.sampled_from(["x", "\ud800", "", "default"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "template", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([CONFIG, JSON]), VALUES)
def test_any_value_gives_templates_or_a_sentence(tmp_path: Path, name: str, value: Any) -> None:
    for old in tmp_path.glob("*.json"):
        old.unlink()
    (tmp_path / name).write_text(json.dumps({"chat_template": value}))
    with sound_or_refused():
        found = read_templates(tmp_path)
        assert (found.default is None) == (found.source == "")
        assert "".join([found.default or "", *found.named.values()]).encode().isascii()
