"""What text of unknown origin looks like on a terminal."""

from __future__ import annotations

import unicodedata

import pytest

from mvit2.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("king penguin", "king penguin"),
        ("żółw 企鵝 🐧", "żółw 企鵝 🐧"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\x9b31mb\x7f", "a\\x9b31mb\\x7f"),
        ("cat.png\nerror: forged", "cat.png\\x0aerror: forged"),
        ("a\r\tb\0", "a\\x0d\\x09b\\x00"),
        ("photo\u202egpj.exe\u2066\u2069", "photo\\u202egpj.exe\\u2066\\u2069"),
        ("one\u2028two\u2029three", "one\\u2028two\\u2029three"),
        ("a\ufeff\u200bb\U000e0041", "a\\ufeff\\u200bb\\U000e0041"),
        ("lone \ud800", "lone \\ud800"),
        ("a\u200cb 👩\u200d🚀", "a\u200cb 👩\u200d🚀"),  # joiners are a part of words and of emoji
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_no_control_character_of_unicode_is_left() -> None:
    everything = visible("".join(map(chr, (*range(0x11100), *range(0xE0000, 0xE0100)))))
    assert {c for c in everything if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} == set("\u200c\u200d")
