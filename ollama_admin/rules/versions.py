"""What versions of Ollama can do, from its release history."""

import re

# reads `truncate` and `shift`; older ones cut a prompt that does not fit, and its /v1 too
WHOLE_PROMPT_SINCE = (0, 12, 6)
PS_CONTEXT_SINCE = (0, 10, 0)  # `/api/ps` tells the context in force
CONTEXT_4096_SINCE = (0, 6, 7)  # before, a context nobody set had 2,048 tokens

_NUMBERS = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?")


def version_key(version: str) -> tuple[int, int, int]:
    """Numbers to compare by; (0, 0, 0) for a version that is not of the usual form."""
    found = _NUMBERS.match(version)
    if not found:
        return (0, 0, 0)
    major, minor, patch = found.groups(default="0")
    return (int(major), int(minor), int(patch))


def keeps_whole_prompt(version: str) -> bool | None:
    """Whether the server refuses a prompt that does not fit when told to; None where its version
    does not say.
    """
    key = version_key(version)
    return None if key == (0, 0, 0) else key >= WHOLE_PROMPT_SINCE
