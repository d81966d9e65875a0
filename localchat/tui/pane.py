"""What the tabs of the library have in common: a list, and a page on its marked row."""

from __future__ import annotations

from dataclasses import dataclass

from textual.containers import Vertical
from textual.content import Content
from textual.message import Message

from localchat.tui.rows import Rows


class Pane(Vertical):
    """One tab."""

    @dataclass
    class Fresh(Message):
        """Another row is marked, or what is known of it is new."""

    @property
    def rows(self) -> Rows:
        """Its list."""
        return self.query_one(Rows)

    def details(self) -> Content:
        """A page on the marked row; empty where none is marked."""
        raise NotImplementedError

    def on_option_list_option_highlighted(self) -> None:
        """Tell the screen."""
        self.post_message(self.Fresh())
