"""Foreign text on a terminal: nothing in it acts, and nothing of an ordinary text is lost."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollama_admin.safe_text import TerminalFilter, safe_text

# Controls, bidi controls, line and paragraph separators: named here again, by what they are.
HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]"
)
NOISY = st.text(
    st.one_of(
        st.characters(codec=None),
        st.sampled_from("\x1b\x1b\x9b\x9d\x90\x9c\x07\\[]P;m\n\t\r0123 aé\u202e\u2028"),
    ),
    max_size=40,
)


def shown(text: str) -> str:
    return TerminalFilter().feed(text)


def whether_harmless(text: str, kept: str = "") -> bool:
    return not any(
        HARMFUL.match(character) or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        for character in text
        if character not in kept
    )


@given(NOISY)
@example("\ud800")
@example("".join(map(chr, range(0x110))))
def test_safe_text_is_one_harmless_line_and_safe_text_of_it_is_itself(text: str) -> None:
    safe = safe_text(text)
    assert whether_harmless(safe)
    assert safe_text(safe) == safe
    safe.encode()


@given(st.text(st.characters(exclude_categories=("C", "Zl", "Zp"))))
def test_safe_text_of_printable_text_is_the_text(text: str) -> None:
    assert safe_text(text) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b", "\\x9b"),
        ("\u202eabc", "\\u202eabc"),
        ("\u2028\ufeff", "\\u2028\\ufeff"),
        ("[bold]x[/bold] :smile: \\[", "[bold]x[/bold] :smile: \\["),
    ],
)
def test_safe_text_shows_what_is_there(text: str, safe: str) -> None:
    assert safe_text(text) == safe


@given(NOISY)
@example("\x1b[31\nm")
@example("\x1b]0;title\x1b")
def test_no_control_character_but_line_ends_and_tabs_reaches_a_terminal(text: str) -> None:
    assert whether_harmless(shown(text), kept="\n\t")


@given(NOISY, st.lists(st.integers(0, 40)))
@example("a\x1b]8;;http://x\x1b\\b", [2, 3, 15])
def test_a_terminal_shows_the_same_however_the_text_arrives(text: str, cuts: list[int]) -> None:
    whole = shown(text)
    ends = sorted({min(cut, len(text)) for cut in cuts} | {len(text)})
    stateful = TerminalFilter()
    pieces = [stateful.feed(text[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    assert "".join(pieces) == whole
    single = TerminalFilter()
    assert "".join(single.feed(character) for character in text) == whole


@given(st.text(st.characters(exclude_categories=("C", "Zl", "Zp")) | st.sampled_from("\n\t")))
def test_ordinary_text_reaches_a_terminal_unchanged(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize(
    ("sequence", "what"),
    [
        ("\x1b[31m", "a colour"),
        ("\x1b[?1049h", "another screen"),
        ("\x1b[2;5H", "the cursor"),
        ("\x9b31m", "a colour by C1"),
        ("\x1b]0;title\x07", "the title"),
        ("\x1b]52;c;c2VjcmV0\x1b\\", "the clipboard"),
        ("\x1b]8;;http://evil\x1b\\", "a link"),
        ("\x9d0;title\x9c", "the title by C1"),
        ("\x1bPq#0\x1b\\", "a picture"),
        ("\x1b_x\x1b\\", "an application command"),
        ("\x1b(0", "a character set"),
        ("\x1bc", "a reset"),
        ("\x1b\x1b[31m", "an escape before one"),
        ("\x08\x7f\r\x00\x07", "single controls"),
    ],
)
def test_a_control_sequence_is_taken_out_whole(sequence: str, what: str) -> None:
    assert shown(f"before {sequence}after") == "before after", what


@pytest.mark.parametrize(
    "opened",
    [
        "\x1b]0;",
        "\x1b[31",
        "\x1bP",
        "\x1b",
        "\x1b]0;\x1b",
        "\x90",
        "\x98",
        "\x9b",
        "\x9d",
        "\x9e",
        "\x9f",
    ],
    ids=ascii,
)
def test_a_sequence_without_an_end_hides_no_more_than_the_rest_of_its_line(opened: str) -> None:
    assert shown(f"one {opened}\ntwo\nthree") == "one \ntwo\nthree"
    hidden = shown(f"one {opened}日本 0123\ntwo\nthree").splitlines()
    assert hidden[0].startswith("one ")
    assert hidden[1:] == ["two", "three"]


@pytest.mark.parametrize(
    "character", [chr(code) for code in range(0x80, 0xA0) if code not in (0x90, *range(0x98, 0xA0))]
)
def test_a_c1_character_that_begins_no_sequence_hides_itself_alone(character: str) -> None:
    assert shown(f"one {character}two") == "one two"
