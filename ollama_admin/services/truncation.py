"""Whether a server cut the prompt: old ones do so without a word."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ollama_admin.domain.models import Model
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.errors import UpstreamError
from ollama_admin.rules.answers import Answer
from ollama_admin.rules.versions import (
    CONTEXT_4096_SINCE,
    PS_CONTEXT_SINCE,
    keeps_whole_prompt,
    version_key,
)
from ollama_admin.services.selection import Choice

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint


async def truncated(
    request: GenerateRequest,
    choice: Choice,
    answer: Answer,
    endpoint: "Endpoint",
    note: Callable[[str], None],
) -> bool | None:
    """Whether the prompt was cut: False (it would have been refused), True (seen), None
    (unknown).
    """
    if choice.version is None:
        return None
    whole = keeps_whole_prompt(choice.version)
    if whole or whole is None:
        return False if whole and not (request.allow_truncate or request.verbatim) else None
    context = await _context(request, choice, endpoint)
    if answer.prompt_tokens is None or answer.prompt_tokens < context:
        return None
    note(
        f"server {choice.target.ref} ({choice.version}) read {answer.prompt_tokens} tokens, all "
        "that its context "
        "holds: the prompt was probably cut; give it a larger one with --option num_ctx=N"
    )
    return True


async def _context(request: GenerateRequest, choice: Choice, endpoint: "Endpoint") -> int:
    """Tokens of context in force on a server that cuts in silence."""
    asked = request.options.get("num_ctx")
    version = version_key(choice.version or "")
    context = asked if isinstance(asked, int) else None
    if context is None and version >= PS_CONTEXT_SINCE:
        try:
            context = await endpoint.running_context(choice.model)
        except UpstreamError:
            context = None
    context = context or (4096 if version >= CONTEXT_4096_SINCE else 2048)
    longest = choice.listed.context_length if isinstance(choice.listed, Model) else None
    return min(context, longest or context)
