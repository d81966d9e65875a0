"""Markdown as lines: what is to be read, and how it looks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from localchat.tui.markdown.code import CodeBlock, code_blocks
from localchat.tui.markdown.document import Document
from localchat.tui.markdown.lines import Look

WIDTH = 40
PIECES = [
    "# Head\n", "text ", "**strong** ", "*em", "`code`", "\n", "\n\n", "- item\n", "  - inner\n", "1. one\n",
    "> quote\n", "```python\n", "x = 1\n", "```\n", "| a | b |\n", "|---|---|\n", "| 1 | 2 |\n", "---\n", "-", "=",
    "~~gone~~", "[a](https://b.c)", "    indented\n", "\t", "<b>", "漢字", "2", ".", "#",
    "~~~\n", "[ref]: x\n", "\\", "&amp;",
]  # fmt: skip


def lines(text: str, width: int = WIDTH) -> list[str]:
    return [line.text.rstrip() for line in Document(text).lines(width)]


def looks(text: str) -> dict[str, Look]:
    """The look of each run."""
    return {run.text: run.look for line in Document(text).lines(WIDTH) for run in line.runs}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", []),
        ("one\n\ntwo", ["one", "", "two"]),
        ("# Head\ntext", ["Head", "", "text"]),
        ("a line\nand another", ["a line", "and another"]),
        ("*a* **b** ~~c~~ `d` ***e***", ["a b c d e"]),
        ("2\\*3\\*4 and a_b_c", ["2*3*4 and a_b_c"]),
        ("- a\n- b\n  - c\n    - d", ["• a", "• b", "  ◦ c", "    ▪ d"]),
        ("- a\n\n- b", ["• a", "", "• b"]),
        ("9. a\n10. b\n\n    more", [" 9. a", "", "10. b", "", "    more"]),
        ("- [ ] open\n- [x] done", ["[ ] open", "[x] done"]),
        ("- text\n  ```\n  code\n  ```", ["• text", "", "   code"]),
        ("> a\n> > b", ["▎ a", "▎", "▎ ▎ b"]),
        ("a\n\n---\n\nb", ["a", "", "─" * WIDTH, "", "b"]),
        ("a\n---", ["a", "", "─" * WIDTH]),
        ("[text](https://example.org)", ["text (https://example.org)"]),
        ("<https://example.org>", ["https://example.org"]),
        ("[text](javascript:alert(1))", ["[text](javascript:alert(1))"]),
        ("![a cat](https://example.org/cat.png)", ["a cat (https://example.org/cat.png)"]),
        ("a <b>bold</b> claim<br>", ["a <b>bold</b> claim<br>"]),
        ("<div>\ntext\n</div>", ["<div>", "text", "</div>"]),
        ("[a]: https://hidden.example", ["[a]: https://hidden.example"]),
        ("```python\nx = 1\n\ny\n```", [" python", " x = 1", "", " y"]),
        ("```\nx\n```", [" x"]),
        ("```python\nunclosed", [" python", " unclosed"]),
        ("    indented", [" indented"]),
        ("```\n\tx\n```", ["     x"]),
    ],
)  # fmt: skip
def test_what_is_to_be_read(text: str, shown: list[str]) -> None:
    assert lines(text) == shown


def test_how_it_looks() -> None:
    found = looks("*em* **strong** ***both*** ~~gone~~ `code` [text](https://example.org)")
    assert found["em"] == Look(italic=True)
    assert found["strong"] == Look(bold=True)
    assert found["both"] == Look(bold=True, italic=True)
    assert found["gone"] == Look(strike=True)
    assert found["code"] == Look("code")
    assert found["text"] == Look("link", underline=True, link="https://example.org")
    assert looks("# Head")["Head"].bold
    assert looks("# Head")["Head"] != looks("## Head")["Head"]


@pytest.mark.parametrize("address", ["mailto:a@b.c", "ftp://example.org", "file:///etc/passwd", "/relative"])
def test_only_web_addresses_can_be_opened(address: str) -> None:
    assert not any(look.link for look in looks(f"[text](<{address}>)").values())


@pytest.mark.parametrize(
    "hostile", ["&#x202e;abc", "&#27;[31m", "&#155;2J", "&#0;", "[a](https://b.c/&#x202e;)", "`&#x9b;`", "&#x200b;"]
)
def test_entities_bring_nothing_that_a_terminal_would_act_on(hostile: str) -> None:
    shown = "".join(lines(hostile) + [look.link for look in looks(hostile).values()])
    assert not set(shown) & set("\u202e\x1b\x9b\x00\u200b")


def test_code_is_highlighted_on_a_panel() -> None:
    shown = Document("```python\ndef f(): return 'x'  # why\n```").lines(WIDTH)
    assert all(line.is_panel for line in shown)
    inks = {run.text.strip(" '"): run.look.ink for run in shown[1].runs}
    assert (inks["def"], inks["f"], inks["x"], inks["# why"]) == ("keyword", "name", "string", "comment")


def test_long_lines_of_code_are_wrapped_and_copied_as_one() -> None:
    first, second = Document("```\n" + "x" * 50 + "\n```").lines(WIDTH)
    assert (first.text, second.text) == (" " + "x" * 38, " " + "x" * 12)
    assert (first.joint, second.joint) == ("\n", "")
    assert (first.decoration, second.decoration) == (1, 1)


def test_a_table_is_drawn() -> None:
    assert lines("| a | long |\n|---|-----:|\n| 1 | 2 |") == [
        "┌───┬──────┐",
        "│ a │ long │",
        "├───┼──────┤",
        "│ 1 │    2 │",
        "└───┴──────┘",
    ]


def test_a_table_that_is_too_wide_shrinks_its_widest_columns() -> None:
    shown = lines("| a | b |\n|---|---|\n| short | many words that do not fit into this width |", 30)
    assert max(map(len, shown)) == 30
    assert "│ short │ many words that do │" in shown


def test_a_table_that_cannot_shrink_so_far_becomes_a_list() -> None:
    assert lines("| name | age | town |\n|---|---|---|\n| Ada | thirty-six | London |", 18) == [
        "name: Ada",
        "age: thirty-six",
        "town: London",
    ]
    assert lines("| name | age | town |\n|---|---|---|", 12) == ["name:", "age:", "town:"]


@pytest.mark.parametrize("width", [2, 3, 7, 20, 80])
def test_no_line_is_wider_than_asked(width: int) -> None:
    text = "".join(PIECES) + "\n\n" + "漢字" * 30 + "\n\n- " * 9 + "word " * 9 + "\n\n" + "x" * 99
    for line in Document(text).lines(width):
        assert cell_len(line.text) <= width


def test_text_of_scripts_without_spaces_is_broken_between_characters() -> None:
    assert lines("漢" * 30, 20) == ["漢" * 10] * 3


def test_a_word_longer_than_the_line_is_broken() -> None:
    assert lines("x" * 50, 20) == ["x" * 20, "x" * 20, "x" * 10]


def test_text_as_typed_keeps_its_lines_and_spaces() -> None:
    typed = Document("# no *Markdown*\n    indented\n\n\nend", is_typed=True)
    assert [line.text for line in typed.lines(WIDTH)] == ["# no *Markdown*", "    indented", "", "", "end"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40), st.integers(1, 9))
def test_what_grew_is_what_is(parts: list[str], step: int) -> None:
    text = "".join(parts)
    grown = Document()
    for start in range(0, len(text), step):
        grown.extend(text[start : start + step])
        grown.lines(WIDTH)
    grown.settle(text)
    assert list(grown.lines(WIDTH)) == list(Document(text).lines(WIDTH))


def test_complete_blocks_are_not_rendered_again() -> None:
    document = Document()
    document.extend("first\n\n```python\nx = 1\n```\n\nsecond")
    before = list(document.lines(WIDTH))
    document.extend(" and more\n\nthird")
    after = document.lines(WIDTH)
    assert all(old is new for old, new in zip(before[:-2], after, strict=False))
    assert after[-3].text == "second and more"


@pytest.mark.parametrize("begun", ["-", "```", "1.", "#", "|", "**", "> -"])
def test_the_beginning_of_a_line_that_can_become_anything_waits(begun: str) -> None:
    document = Document()
    document.extend(f"text\n{begun}")
    assert [line.text for line in document.lines(WIDTH)] == ["text"]
    document.settle(f"text\n{begun}")
    assert len(document.lines(WIDTH)) > 1 or begun == "```"


@pytest.mark.parametrize(
    "hostile",
    [
        "x" * 1_000_000, "word " * 100_000, ">" * 100_000, "[" * 100_000, "[" * 19_000, "*" * 9000 + "a" + "*" * 9000,
        "- " * 9000, "".join("  " * depth + "- a\n" for depth in range(1000)), "> " * 500 + "a",
        "|" + "a|" * 4000 + "\n|" + "-|" * 4000, "|" + "a|" * 500 + "\n|" + "-|" * 500 + "\n" + "|b\n" * 2000,
        "```java\n" + "x y\n" * 5000, "`" * 19_000, "&" * 19_000, "!["* 9000,
    ],
)  # fmt: skip
def test_hostile_text_is_shown_and_nothing_of_it_is_lost(hostile: str) -> None:
    shown = "".join(line.text for line in Document(hostile).lines(80))
    for character in set(hostile) - set(" \n|-`*>"):
        assert character in shown


def test_a_heap_of_marks_on_a_character_is_cut() -> None:
    (line,) = Document("a" + "\u0301" * 10_000 + "b").lines(80)
    assert len(line.text) < 20
    assert line.text[-1] == "b"


def test_code_blocks_are_found_wherever_they_stand() -> None:
    text = "```python\nx = 1\n```\n\n- item\n\n  ```sh {.line}\n  ls\n  ```\n\n    indented\n\n~~~\nlast"
    assert code_blocks(text) == [
        CodeBlock("python", "x = 1"),
        CodeBlock("sh", "ls"),
        CodeBlock("", "last"),
    ]
    assert code_blocks("no code") == []
    assert code_blocks("```\n\x1b[31m\n```") == [CodeBlock("", "␛[31m")]
