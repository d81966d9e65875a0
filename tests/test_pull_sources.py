"""What a pull takes of a repository: one set of weights, the base of an adapter, templates, what the catalog knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from golden import golden, tensors
from pull_hub import SHARDS, TrickyHub
from test_pull import events_of, pulled
from tiny import refused, shard, with_json

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import layout
from localchat.convert.write import write
from localchat.gguf_file import read_header
from localchat.paths import downloads_folder
from localchat.plan.wish import Wish

Q8 = Wish(quant="Q8_0", threads=2)
MODULE = "model.layers.1.mlp.up_proj"
ADAPTER = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"}
Publish = Callable[[str, Path], Path]


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrickyHub]:
    """A Hub without any repository yet."""
    (tmp_path / "hub").mkdir()
    with TrickyHub(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    """Puts a copy of a folder on the Hub, under this name; what comes back may be changed."""
    return lambda name, folder: Path(copytree(folder, tmp_path / "hub" / name))


def fetched(hub: TrickyHub) -> set[str]:
    """The names of all files that were asked for."""
    return {served.path.rpartition("/")[2] for served in hub.requests if "/resolve/" in served.path}


def low_rank() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    random = np.random.default_rng(5)
    shapes = {"A": (2, 256), "B": (256, 2)}
    return {
        f"base_model.model.{MODULE}.lora_{side}.weight": random.standard_normal(shape).astype(np.float32)
        for side, shape in shapes.items()
    }


def adapter(folder: Path, base: str) -> Path:
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(shard(low_rank()))
    return with_json(folder, "adapter_config.json", **ADAPTER, base_model_name_or_path=base)


def test_of_several_sets_of_weights_only_one_is_fetched(publish: Publish, hub: TrickyHub, chatml: Path) -> None:
    folder = publish("acme/thrice", chatml)
    for name in ("pytorch_model.bin", "consolidated.00.pth", "model.onnx", "optimizer.pt", "latest"):
        (folder / name).write_bytes(b"of no use")
    model = pulled("acme/thrice", Q8)
    assert tensors(model.path) == {
        name: (kind, golden("chatml")["dims"][name], digest)
        for name, (kind, digest) in golden("chatml")["types"]["Q8_0"].items()
    }
    assert fetched(hub) == {path.name for path in chatml.iterdir()}


def test_weights_of_pytorch_are_pulled_where_there_are_no_others(publish: Publish, chatml: Path) -> None:
    folder = publish("acme/old", chatml.parent / "zephyr-bin")
    model = pulled("acme/old", Q8)
    assert {name: entry[2] for name, entry in tensors(model.path).items()} == {
        name: digest for name, (_, digest) in golden("zephyr-bin")["types"]["Q8_0"].items()
    }
    assert model.receipt.inputs.keys() == {path.name for path in folder.iterdir()}


def test_the_base_of_an_adapter_is_pulled_with_it(publish: Publish, chatml: Path, tmp_path: Path) -> None:
    publish("acme/base", chatml)
    mine = adapter(tmp_path / "mine", "acme/base")
    publish("acme/tuned", mine)
    model = pulled("acme/tuned", Q8)
    for _ in write(layout(read_checkpoint(mine, "x", chatml), "Q8_0"), by_hand := tmp_path / "merged.gguf", threads=2):
        pass
    assert tensors(model.path) == tensors(by_hand)
    changed = {
        name for name, entry in tensors(by_hand).items() if entry[2] != golden("chatml")["types"]["Q8_0"][name][1]
    }
    assert changed == {"blk.1.ffn_up.weight"}
    assert {"adapter_model.safetensors", "base/config.json", *SHARDS} <= model.receipt.inputs.keys()
    assert (model.receipt.source, list(downloads_folder().iterdir())) == ("acme/tuned", [])


def test_a_base_that_is_not_published_is_named(publish: Publish, tmp_path: Path) -> None:
    publish("acme/tuned", adapter(tmp_path / "mine", "acme/gone"))
    with refused("acme/gone"):
        events_of("acme/tuned", Q8)


def test_templates_in_their_own_folder_come_along(publish: Publish, hub: TrickyHub, chatml: Path) -> None:
    folder = publish("acme/talks", chatml) / "additional_chat_templates"
    folder.mkdir()
    (folder / "tool_use.jinja").write_text("{{ tools }}")
    (folder / "readme.md").write_text("no template")
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "x.jinja").write_text("elsewhere")
    model = pulled("acme/talks", Q8)
    assert read_header(model.path).metadata["tokenizer.chat_template.tool_use"] == "{{ tools }}"
    assert fetched(hub).isdisjoint({"readme.md", "x.jinja"})
    assert "additional_chat_templates/tool_use.jinja" in model.receipt.inputs


def test_a_token_that_ends_turns_in_a_template_of_the_catalog_ends_turns(chatml: Path, tmp_path: Path) -> None:
    folder = Path(copytree(chatml, tmp_path / "silent"))
    for name, changes in (("config.json", {"eos_token_id": 2}), ("generation_config.json", {"eos_token_id": 2})):
        with_json(folder, name, **changes)
    with_json(folder, "tokenizer_config.json", chat_template=..., eos_token="</s>")
    with_json(folder, "special_tokens_map.json", eos_token="</s>")
    assert read_checkpoint(folder, "x").vocab.ends == (2,)
    template = "{{ messages[0]['content'] }}<|im_end|>"
    assert read_checkpoint(folder, "x", template=template).vocab.ends == (2, 1024)


def test_a_template_that_is_missing_is_that_of_the_catalog(publish: Publish, chatml: Path) -> None:
    folder = publish("migtissera/SynthIA-7B-v1.3", chatml)
    with_json(folder, "tokenizer_config.json", chat_template=...)
    model = pulled("synthia-7b-v1.3", Q8)
    assert "'ASSISTANT:'" in read_header(model.path).metadata["tokenizer.chat_template"]
    assert any("catalog" in note for note in model.receipt.notes)
    assert "USER:" in model.receipt.stops
