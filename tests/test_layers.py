"""The arrows of the package point down: what may import what, and how large a piece of code may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import localchat

PACKAGE = Path(localchat.__file__).parent
FUNCTION_LINES, FILE_LINES = 50, 300

# The layers from the top; the modules and packages of one room may import each other.
LAYERS: tuple[tuple[frozenset[str], ...], ...] = (
    (frozenset({"cli", "commands", "arguments", "printing", "__main__"}),),
    (frozenset({"tui"}), frozenset({"server"}), frozenset({"answer"})),
    (
        frozenset({"chat"}), frozenset({"pull"}), frozenset({"launch", "launching", "keeper", "lifetime"}),
        frozenset({"doctor"}), frozenset({"bench"}), frozenset({"slowness", "conditions"}),
    ),
    (frozenset({"plan"}), frozenset({"engine"}), frozenset({"convert"})),
    (
        frozenset({"prompt"}), frozenset({"guard"}), frozenset({"history"}),
        frozenset({"kernels", "llama"}), frozenset({"library", "catalog", "gguf_file"}),
    ),
    (
        frozenset({
            "__init__", "errors", "settings", "presets", "paths", "text", "files", "sha256", "conversation", "sampling",
            "child", "watchdog",
        }),
    ),
)  # fmt: skip
FOREIGN = {
    "llama_cpp": "llama", "textual": "tui", "fastapi": "server", "sentencepiece": "convert", "tokenizers": "convert",
}  # fmt: skip


def faults(package: Path) -> list[str]:
    """Everything that is wrong with a package called `localchat`, one line each."""
    return [fault for path in sorted(package.rglob("*.py")) for fault in _faults(package, path)]


def _faults(package: Path, path: Path) -> Iterator[str]:
    text = path.read_text("utf-8")
    tree, module = ast.parse(text), ".".join(path.relative_to(package).with_suffix("").parts)
    if len(text.splitlines()) > FILE_LINES:
        yield f"{module} has more than {FILE_LINES} lines"
    if _place(module) is None:
        yield f"{module} is in no room"
        return
    for name in sorted(set(_imports(package, path, tree))):
        yield from _import_faults(module, name)
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node):
            yield f"{module} catches everything in line {node.lineno}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _lines(node) > FUNCTION_LINES:
            yield f"{module}.{node.name} has more than {FUNCTION_LINES} lines"


def _place(module: str) -> tuple[int, frozenset[str]] | None:
    """The layer, counted from the bottom, and the room of `plan.hardware` or `cli`."""
    for layer, rooms in enumerate(reversed(LAYERS)):
        for room in rooms:
            if module.split(".")[0] in room:
                return layer, room
    return None


def _import_faults(module: str, name: str) -> Iterator[str]:
    top = name.split(".")[0]
    if top in FOREIGN and module.split(".")[0] != FOREIGN[top]:
        yield f"{module} imports {top}, which only {FOREIGN[top]}/ may"
    if top != "localchat":
        return
    here, there = _place(module), _place(name.partition(".")[2] or "__init__")
    if there is None:
        yield f"{module} imports {name}, which is in no room"
    elif here is not None and here[1] != there[1] and here[0] <= there[0]:
        yield f"{module} imports {name}, which is {'beside' if here[0] == there[0] else 'above'} it"


def _imports(package: Path, path: Path, tree: ast.AST) -> Iterator[str]:
    """Full names of all imported modules, wherever the statement stands: in functions and for types alone too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(package, path, node)
            for alias in node.names:
                yield f"{origin}.{alias.name}" if _is_module(package, f"{origin}.{alias.name}") else origin
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
            "import_module",
            "__import__",
        ):
            yield from (part.value for part in node.args if isinstance(part, ast.Constant) and type(part.value) is str)


def _origin(package: Path, path: Path, node: ast.ImportFrom) -> str:
    """The module after `from`, dots before it resolved."""
    if not node.level:
        return node.module or ""
    folders = ("localchat", *path.relative_to(package).parts[:-1])
    return ".".join([*folders[: len(folders) - node.level + 1], *([node.module] if node.module else [])])


def _is_module(package: Path, name: str) -> bool:
    top, _, rest = name.partition(".")
    place = package.joinpath(*rest.split("."))
    return top == "localchat" and (place.is_dir() or place.with_suffix(".py").is_file())


def _is_broad(handler: ast.ExceptHandler) -> bool:
    """Does it take errors that nobody foresaw? `BaseException` may be caught to clean up and let it pass."""
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else {""}
    passes_on = isinstance(last := handler.body[-1], ast.Raise) and last.exc is None
    return bool(names & {"", "Exception"}) or ("BaseException" in names and not passes_on)


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def made(folder: Path, **modules: str) -> Path:
    """A package of these modules; two underscores in a name are a folder."""
    for name, text in modules.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_package_keeps_to_its_layers_and_sizes() -> None:
    assert len(list(PACKAGE.rglob("*.py"))) > 40  # the walk has found the package
    assert faults(PACKAGE) == []


@pytest.mark.parametrize(
    ("module", "text", "fault"),
    [
        ("text", "from localchat.chat import reply", "text imports localchat.chat, which is above it"),
        ("text", "import localchat.chat", "text imports localchat.chat, which is above it"),
        ("text", "from localchat import chat", "text imports localchat.chat, which is above it"),
        ("text", "def f():\n    from localchat.chat import reply", "text imports localchat.chat, which is above it"),
        ("text", "if TYPE_CHECKING:\n    import localchat.chat", "text imports localchat.chat, which is above it"),
        ("text", "from .chat import reply", "text imports localchat.chat, which is above it"),
        ("text", "importlib.import_module('localchat.chat')", "text imports localchat.chat, which is above it"),
        ("plan__facts", "from ..chat import reply", "plan.facts imports localchat.chat, which is above it"),
        ("plan__facts", "from .. import chat", "plan.facts imports localchat.chat, which is above it"),
        ("plan__facts", "import localchat.engine", "plan.facts imports localchat.engine, which is beside it"),
        ("answer", "from localchat.tui.app import run_app", "answer imports localchat.tui.app, which is beside it"),
        ("library", "import localchat.history", "library imports localchat.history, which is beside it"),
        ("text", "from localchat.utils import f", "text imports localchat.utils, which is in no room"),
        ("utils", "", "utils is in no room"),
        ("engine__worker", "import llama_cpp.llama_cpp as C", "engine.worker imports llama_cpp, which only llama/ may"),
        ("cli", "from textual.app import App", "cli imports textual, which only tui/ may"),
        ("cli", "def f():\n    import fastapi", "cli imports fastapi, which only server/ may"),
        ("text", "try:\n    f()\nexcept Exception:\n    pass", "text catches everything in line 3"),
        ("text", "try:\n    f()\nexcept (OSError, BaseException):\n    pass", "text catches everything in line 3"),
        ("text", "try:\n    f()\nexcept:\n    raise", "text catches everything in line 3"),
        ("text", "async def f():\n" + "    x = 1\n" * 50, "text.f has more than 50 lines"),
        ("text", "x = 1\n" * 301, "text has more than 300 lines"),
    ],
)
def test_the_checker_catches_what_is_forbidden(tmp_path: Path, module: str, text: str, fault: str) -> None:
    package = made(tmp_path / "localchat", chat="", engine__worker="", history__store="", tui__app="")
    made(package, **{module: text})
    assert faults(package) == [fault]


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("chat", "from localchat.text import clean\nfrom localchat.engine.worker import main"),
        ("library", "from localchat.gguf_file import read_header"),
        ("plan__facts", "from localchat.plan.plan import Shape\nfrom .plan import Plan"),
        ("cli", "from localchat import __version__"),
        ("cli", "import textually\nimport numpy"),
        ("llama__model", "from llama_cpp import llama_cpp as C"),
        ("tui__app", "from textual.app import App"),
        ("text", "def f():\n" + "    x = 1\n" * 49 + "x = 1\n" * 250),
        ("text", "try:\n    f()\nexcept (OSError, ValueError):\n    pass"),
        ("text", "try:\n    f()\nexcept BaseException:\n    close()\n    raise"),
    ],
)
def test_the_checker_lets_pass_what_is_allowed(tmp_path: Path, module: str, text: str) -> None:
    assert faults(made(tmp_path / "localchat", **{module: text})) == []
