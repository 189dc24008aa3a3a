"""What came of work at several servers, in one sentence for the next page."""

from collections.abc import Sequence

from ollama_admin.domain.holdings import ChangeResult
from ollama_admin.domain.models import DiscoverResult
from ollama_admin.domain.servers import CheckResult

NAMED = 5  # servers that a sentence names


def checks_told(results: Sequence[CheckResult]) -> str:
    """What servers said of themselves."""
    return _told([_check(result) for result in results], "no active server to check")


def discoveries_told(results: Sequence[DiscoverResult]) -> str:
    """What was found."""
    return _told([_discovery(result) for result in results], "no active server to discover")


def changes_told(results: Sequence[ChangeResult]) -> str:
    """What became of a model."""
    return _told([_change(result) for result in results], "no server was meant")


def _told(sentences: Sequence[str], nothing: str) -> str:
    if not sentences:
        return nothing
    text = "; ".join(sentences[:NAMED])
    if len(sentences) > NAMED:
        text += f"; and {len(sentences) - NAMED} more"
    return text


def _check(result: CheckResult) -> str:
    if result.error is not None:
        return f"{result.server}: {result.error.message}"
    version = result.version or "no version"
    return f"{result.server}: {result.status}, {version}, {result.ms} ms"


def _discovery(result: DiscoverResult) -> str:
    if result.error is not None:
        return f"{result.server}: {result.error.message}"
    counts = {
        "added": len(result.added),
        "changed": len(result.changed),
        "unchanged": result.unchanged,
        "vanished": len(result.vanished),
        "off their pin": len(result.off_pin),
    }
    known = [f"{count} {word}" for word, count in counts.items() if count]
    return f"{result.server}: {', '.join(known) or 'no models'}"


def _change(result: ChangeResult) -> str:
    if result.error is not None:
        return f"{result.server}: {result.error.message}"
    return f"{result.server}: {result.model} {result.change}"
