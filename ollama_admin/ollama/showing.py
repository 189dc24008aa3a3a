"""What a server tells of a model. Of `/api/show`, `modelfile` holds paths of the server and is left
alone.
"""

from typing import Any

from ollama_admin.domain.shown import ShownBuild
from ollama_admin.ollama import wire
from ollama_admin.ollama.calls import json_body
from ollama_admin.ollama.endpoint import JSON_HEADERS, Endpoint
from ollama_admin.ollama.faults import translated
from ollama_admin.ollama.response import Patience, read_json, read_whole

SHOW = "/api/show"
PATIENCE = Patience(first_byte=10.0, idle=10.0)


async def shown_build(endpoint: Endpoint, model: str) -> ShownBuild:
    """What the server tells of the build that the name stands for; raises ModelNotFound."""
    asking = endpoint.stream(
        "POST",
        SHOW,
        headers=JSON_HEADERS,
        body=json_body({"model": model}),
        patience=PATIENCE,
        model=model,
    )
    async with asking as response:
        answer = await read_whole(response, SHOW)
    with translated(endpoint.target, SHOW):
        return _build(read_json(answer.body))


def _build(document: Any) -> ShownBuild:
    show = wire.object_of(document, "the answer")
    details = wire.object_or_empty(show, "details")
    facts, context = wire.build_details(document), wire.shown_context(document)
    return ShownBuild(
        format=wire.optional_text(details, "format"),
        family=wire.optional_text(details, "family"),
        parameter_size=wire.optional_text(details, "parameter_size"),
        quantization_level=wire.optional_text(details, "quantization_level"),
        capabilities=facts.capabilities,
        context_length=context.longest,
        num_ctx=context.chosen,
        embedding_length=facts.embedding_length,
        requires=wire.optional_text(show, "requires"),
        parameters=wire.optional_text(show, "parameters"),
        template=wire.optional_text(show, "template"),
        system=wire.optional_text(show, "system"),
        license=_license(show.get("license")),
    )


def _license(value: Any) -> str | None:
    """A text, or several of them as older servers write them."""
    if isinstance(value, list):
        value = "\n\n".join(text for text in value if isinstance(text, str))
    if not isinstance(value, str):
        return None
    return value or None
