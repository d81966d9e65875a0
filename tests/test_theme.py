"""The colors can be read, and a terminal of few colors gets the theme for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.color import Color as RichColor
from rich.color import ColorSystem
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from localchat import tui
from localchat.tui.theme import DARK, LIGHT, OWN, SIXTEEN, theme_for, theme_names

TEXTS = (
    "foreground", "foreground-muted", "primary", "secondary", "accent", "success", "warning", "error",
    "footer-key-foreground", "footer-description-foreground", "text-error", "text-warning", "text-success",
)  # fmt: skip
TUI = Path(tui.__file__).parent
GROUNDS = ("background", "surface", "panel")


def contrast(text: Color, background: Color) -> float:
    """The ratio of luminance of WCAG 2.1, from 1 to 21. What of the text is transparent shows the background."""
    seen = background.blend(text, text.a, alpha=1)
    lighter, darker = sorted((_luminance(seen), _luminance(background)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: Color) -> float:
    red, green, blue = (_linear(part / 255) for part in color.rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("name", TEXTS)
def test_text_can_be_read_on_every_background(theme: Theme, name: str, ground: str) -> None:
    colors = theme.to_color_system().generate()
    assert contrast(Color.parse(colors[name]), Color.parse(colors[ground])) >= 4.5


def test_no_text_is_paler_than_what_was_checked() -> None:
    """Shares of the text's color up to 45 % are for lines between texts; from 70 % on they can be read."""
    files = [path for path in TUI.rglob("*") if path.suffix in (".py", ".tcss")]
    shares = {int(share) for path in files for share in re.findall(r"\$foreground (\d+)%", path.read_text("utf-8"))}
    assert shares
    assert not {share for share in shares if 45 < share < 70}


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
def test_the_marked_line_can_be_read(theme: Theme) -> None:
    colors = theme.to_color_system().generate()
    ground = Color.parse(colors["block-cursor-background"])
    for name in ("block-cursor-foreground", "foreground-muted", "primary"):
        assert contrast(Color.parse(colors[name]), ground) >= 4.5, name


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
@pytest.mark.parametrize("ground", GROUNDS)
def test_a_background_in_256_colors_is_as_gray_as_it_is(theme: Theme, ground: str) -> None:
    color = Color.parse(theme.to_color_system().generate()[ground])
    red, green, blue = RichColor.from_rgb(*color.rgb).downgrade(ColorSystem.EIGHT_BIT).get_truecolor()
    assert red == green == blue
    assert abs(red - color.g) <= 16


def test_the_theme_of_few_colors_has_only_those_of_the_terminal() -> None:
    named = (SIXTEEN.primary, SIXTEEN.secondary, SIXTEEN.error, SIXTEEN.background, *SIXTEEN.variables.values())
    assert all(color is not None and (color.startswith("ansi_") or color == "none") for color in named)


@pytest.mark.parametrize(
    ("text", "ground", "ratio"),
    [("#ffffff", "#000000", 21), ("#000000", "#ffffff", 21), ("#777777", "#777777", 1), ("#777777", "#ffffff", 4.48)],
)
def test_contrast_is_that_of_wcag(text: str, ground: str, ratio: float) -> None:
    assert contrast(Color.parse(text), Color.parse(ground)) == pytest.approx(ratio, abs=0.01)


def test_transparent_text_has_the_contrast_of_what_is_seen() -> None:
    black, white = Color.parse("#000000"), Color.parse("#ffffff")
    assert contrast(black.with_alpha(0.5), white) < 4.5 < contrast(black.with_alpha(0.6), white)


@pytest.mark.parametrize(
    ("wanted", "colors", "worn"),
    [
        ("localchat", "truecolor", "localchat"), ("localchat", "256", "localchat"), ("localchat", None, "localchat"),
        ("localchat", "standard", "localchat-16"), ("localchat-light", "windows", "localchat-16"),
        ("nord", "standard", "nord"), ("no such theme", "truecolor", "localchat"),
        ("no such theme", "standard", "localchat-16"), ("localchat-16", "truecolor", "localchat-16"),
    ],
)  # fmt: skip
def test_a_terminal_of_few_colors_gets_the_theme_for_it(wanted: str, colors: str | None, worn: str) -> None:
    assert theme_for(wanted, theme_names({**BUILTIN_THEMES, **{theme.name: theme for theme in OWN}}), colors) == worn


def test_our_themes_are_listed_first() -> None:
    assert theme_names(["nord", "localchat", "a", "localchat-16", "localchat-light"]) == [
        "localchat", "localchat-light", "localchat-16", "a", "nord",
    ]  # fmt: skip
