"""Digests as people give them: a prefix is enough."""

import re

from ollama_admin.errors import InvalidInput

WHOLE = 64  # hex digits of a sha256
SHOWN = 12  # of them in tables and messages, and the fewest that a prefix has

_PREFIX = re.compile(f"(?:sha256[:-])?([0-9a-f]{{{SHOWN},{WHOLE}}})", re.ASCII)


def digest_prefix(text: str) -> str:
    """The hex digits in lower case, with `sha256:` taken off; InvalidInput unless there are 12 to
    64 of them.
    """
    match = _PREFIX.fullmatch(text.lower())
    if match is None:
        raise InvalidInput(
            f"digest {text[:100]!a} is not {SHOWN} to {WHOLE} hex digits",
            "see them with: ollama-admin models",
        )
    return match[1]


def short(digest: str | None) -> str:
    """A digest as messages show it."""
    if not digest:
        return "-"
    return digest[:SHOWN]
