"""Whether a server cut the prompt: old ones do so without a word."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ollama_admin.domain.models import Model
from ollama_admin.domain.requests import Question, Terms
from ollama_admin.errors import UpstreamError
from ollama_admin.rules.answers import Answer
from ollama_admin.rules.candidates import Candidate
from ollama_admin.rules.versions import (
    CONTEXT_4096_SINCE,
    PS_CONTEXT_SINCE,
    keeps_whole_prompt,
    version_key,
)

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint


async def truncated(
    question: Question,
    terms: Terms,
    candidate: Candidate,
    answer: Answer,
    endpoint: "Endpoint",
    note: Callable[[str], None],
) -> bool | None:
    """Whether the prompt was cut: False (it would have been refused), True (seen), else None."""
    if candidate.version is None:
        return None
    keeps_whole = keeps_whole_prompt(candidate.version)
    if keeps_whole is None or (keeps_whole and terms.allow_truncate):
        return None
    if keeps_whole:
        return False
    context = await _context(question, candidate, candidate.version, endpoint)
    if answer.prompt_tokens is None or answer.prompt_tokens < context:
        return None
    note(
        f"server {candidate.target.ref} ({candidate.version}) read {answer.prompt_tokens} tokens, "
        "all that its context holds: the prompt was probably cut; give it a larger one with "
        "--option num_ctx=N"
    )
    return True


async def _context(
    question: Question, candidate: Candidate, version: str, endpoint: "Endpoint"
) -> int:
    """Tokens of context in force on a server that cuts in silence."""
    key = version_key(version)
    context = 4096 if key >= CONTEXT_4096_SINCE else 2048
    wanted = question.options.get("num_ctx")
    if isinstance(wanted, int):
        context = wanted or context
    elif key >= PS_CONTEXT_SINCE:
        context = await _running_context(candidate, endpoint) or context
    longest = candidate.listed.context_length if isinstance(candidate.listed, Model) else None
    return min(context, longest or context)


async def _running_context(candidate: Candidate, endpoint: "Endpoint") -> int | None:
    try:
        return await endpoint.running_context(candidate.name.text)
    except UpstreamError:
        return None
