"""The variables of a compose file: what stands under each `environment:`, and each `x-...: &name`.

Only such blocks are read, line by line: `KEY: value`, `- KEY=value` and `{KEY: value}`.
"""

import re
from collections.abc import Iterator

_BLOCK = re.compile(
    r"(?P<indent> *)(?:- +)?(?:environment:\s*(?:&\S+\s*)?|x-[\w.-]+:\s*&\S+\s*)"
    r"(?P<flow>\{.*\})?\s*(?:#.*)?"
)
_SCALAR = r"\"[^\"]*\"|'[^']*'"
_PAIR = re.compile(rf"(?P<key>{_SCALAR}|[\w.-]+)\s*:\s*(?P<value>{_SCALAR}|[^,}}]*)")
_ENTRY = re.compile(rf"\s*(?:-\s+(?P<item>\S.*)|(?P<key>{_SCALAR}|[\w.-]+)\s*:(?P<value>\s.*|))")
_CLOSED = 2**20  # deeper than any line
_FOLDED = re.compile(r"[|>][-+]?")  # the value stands in the line below


def variables(text: str) -> Iterator[tuple[int, int, str, str | None]]:
    """The line of each variable, the number of its block in the file, its key and its value."""
    block, indent = 0, _CLOSED
    folded: tuple[int, str] | None = None
    for line, row in enumerate(text.splitlines(), 1):
        content = row.lstrip()
        if not content or content.startswith("#"):
            continue
        depth = len(row) - len(content)
        started, entry = _BLOCK.fullmatch(row), _ENTRY.fullmatch(row)
        above, folded = folded, None
        if started:
            block, indent = block + 1, len(started["indent"])
            for pair in _PAIR.finditer(started["flow"] or ""):
                yield line, block, _scalar(pair["key"]), _scalar(pair["value"])
        elif depth < indent or (depth == indent and not content.startswith("- ")):
            indent = _CLOSED  # a list may begin in the column of its key
        elif above is not None:
            yield above[0], block, above[1], content.rstrip()
        elif entry is not None and entry["item"]:
            key, mark, value = _scalar(entry["item"]).partition("=")
            yield line, block, key, value if mark else None
        elif entry is not None and _FOLDED.fullmatch(entry["value"].strip()):
            folded = line, _scalar(entry["key"])
        elif entry is not None:
            yield line, block, _scalar(entry["key"]), _scalar(entry["value"])


def _scalar(text: str) -> str:
    """The text of a scalar on one line; `$$` is a dollar for compose."""
    text = text.strip()
    quote = text[:1]
    if quote in ("'", '"') and quote in text[1:]:
        return text[1 : text.rindex(quote)].replace("''", "'").replace("$$", "$")
    return re.split(r"\s#", text, maxsplit=1)[0].strip().replace("$$", "$")
