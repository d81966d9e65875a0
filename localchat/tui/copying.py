"""What goes to the clipboard, and what is said about it."""

from __future__ import annotations

from textual.app import App
from textual.widget import Widget

from localchat.text import clean
from localchat.tui.code_screen import CodeScreen
from localchat.tui.markdown.code import code_blocks


def copy_message(node: Widget, text: str, what: str = "Copied") -> None:
    """Put text into the clipboard of the terminal, by OSC 52, and say how much it was.

    What a terminal would act on is taken out: what is pasted may be pasted into another one.
    """
    harmless = clean(text)
    node.app.copy_to_clipboard(harmless)
    node.notify(f"{what}: {len(harmless):,} characters.", markup=False)


def copy_code(node: Widget, source: str) -> None:
    """Copy the code block of a message; where there are several, ask which."""
    blocks = code_blocks(source)
    app: App[object] = node.app
    if not blocks:
        node.notify("There is no code block in this message.", severity="warning", markup=False)
    elif len(blocks) == 1:
        copy_message(node, blocks[0].text, "Copied the code block")
    else:
        app.push_screen(CodeScreen(blocks), lambda block: _copy_chosen(node, block.text if block else None))


def _copy_chosen(node: Widget, text: str | None) -> None:
    if text is not None:
        copy_message(node, text, "Copied the code block")
