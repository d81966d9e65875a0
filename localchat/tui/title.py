"""The top line: the program's name, what the conversation is about, and the model with the place where it runs."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from localchat.text import one_line


class Title(Widget):
    """The title of the open conversation on the left, the model on the right."""

    text = reactive("")
    model = reactive("")

    def render(self) -> Content:
        width, model = self.size.width, Content(one_line(self.model, 60))
        left = Content.assemble(("localchat", "bold $primary"), ("  ·  ", "$foreground 40%"), one_line(self.text, 80))
        left = left.truncate(max(0, width - model.cell_length - 2), ellipsis=True, pad=True)
        return Content.assemble(left, "  ", model.stylize("$secondary"))
