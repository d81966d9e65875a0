"""Markdown as lines for a terminal: pure functions from text and a width to lines, and a text that grows."""
