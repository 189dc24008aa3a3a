"""Heads of requests: one strict grammar for their bytes, and how long the body behind one is.

What is refused here is what two programs may read in two ways (RFC 9112, sections 2.2, 3, 5 and 6):
the parser behind it forgives some of it, and a proxy in front of it other things.
"""

import re
from collections.abc import Sequence

END = b"\r\n\r\n"
LIMIT = 2**16  # bytes of a whole head

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_METHOD = rb"(?!CONNECT )" + _TOKEN  # there is no tunnel here, and no body behind its head
_FIRST = rb"(?:\r\n)?" + _METHOD + rb' /[!"$-~]* HTTP/1\.[01]\r\n'  # after one empty line at most
_FIELD = _TOKEN + rb":[\t -~\x80-\xff]*\r\n"
_HEAD = re.compile(_FIRST + rb"(?:" + _FIELD + rb")*\r\n")
_FIRST_LINE = re.compile(_FIRST)
_NO_HEAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)|\n[\t ]")
_UPGRADE = re.compile(rb"\r\nupgrade:[\t ]*([^\r]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}")

CHUNKED = -1  # as the length of a body: it is in chunks, which tell their lengths


def is_proper(head: bytes) -> bool:
    """Whether it is a head of HTTP 1.0 or 1.1, from its first line to the empty one, that asks for
    a path.
    """
    return _HEAD.fullmatch(head) is not None


def may_become_proper(begun: bytes, seen: int) -> bool:
    """Whether a head that is not complete may still be one; its first `seen` bytes were looked at
    before.
    """
    if _NO_HEAD.search(begun, max(0, seen - 1)):
        return False
    end_of_line = begun.find(b"\n", 2)  # an empty line may come before
    return end_of_line < seen or _FIRST_LINE.match(begun) is not None


def without_upgrade(head: bytes) -> tuple[bytes, list[bytes]]:
    """A proper head without the lines that ask for another protocol, and their values. None is
    spoken, so what follows is the body; the parser would take it for the other protocol's.
    """
    if b"upgrade" not in head.lower():
        return head, []
    return _UPGRADE.sub(b"", head), _UPGRADE.findall(head)


def body_length(headers: Sequence[tuple[bytes, bytes]], version: str) -> int:
    """Bytes of the body behind a head whose names are in lower case, or CHUNKED; ValueError where
    that, or the host, is not said or said in two ways.
    """
    hosts = _values(headers, b"host")
    lengths = _values(headers, b"content-length")
    codings = _values(headers, b"transfer-encoding")
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise ValueError("not one host")
    if len(lengths) + len(codings) > 1:
        raise ValueError("not one length")
    if codings:
        return _of_coding(codings[0], version)
    if not lengths:
        return 0
    if _LENGTH.fullmatch(lengths[0]) is None:
        raise ValueError("not a length")
    return int(lengths[0])


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def _of_coding(coding: bytes, version: str) -> int:
    if coding.lower() != b"chunked" or version == "1.0":
        raise ValueError("an unknown transfer coding")
    return CHUNKED
