"""The app's styles, parsed once: Textual does so three times until the first screen is there, 50 ms each."""

from __future__ import annotations

from textual.css.stylesheet import Stylesheet


class KeptStylesheet(Stylesheet):
    """Keeps what it parsed until a variable changes, also when it is told to parse again.

    Textual parses again into another one, so that a mistake in styles that are edited while the app runs does no harm.
    These are not edited, and what the other one knows would be lost.
    """

    def set_variables(self, variables: dict[str, str]) -> None:
        if variables != self._variables:
            super().set_variables(variables)

    def reparse(self) -> None:
        self.parse()
