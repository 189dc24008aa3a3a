"""All that can be told of one model: what it is, who holds it, and where it is in memory."""

from dataclasses import dataclass

from ollama_admin.domain.servers import ServerRef


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownBuild:
    """What a server tells of a build by `/api/show`. `num_ctx` is the context that its file chooses
    and `context_length` the longest that it can read, in tokens; None is not told.
    """

    format: str | None = None
    family: str | None = None
    parameter_size: str | None = None
    quantization_level: str | None = None
    capabilities: tuple[str, ...] = ()
    context_length: int | None = None
    num_ctx: int | None = None
    embedding_length: int | None = None
    requires: str | None = None
    parameters: str | None = None
    template: str | None = None
    system: str | None = None
    license: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownHolder:
    """One server that lists the name, as the last discovery found it. `is_loaded` is None where the
    server did not tell just now.
    """

    server: ServerRef
    digest: str | None
    size: int | None
    is_active: bool
    is_loaded: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownModel:
    """`build` is what `server` tells of the one that it has now, `digest`; `builds` counts the
    known digests of all `holders`, and `pinned` is the one that the name is pinned to.
    """

    name: str
    server: ServerRef
    digest: str | None
    build: ShownBuild
    pinned: str | None
    builds: int
    holders: tuple[ShownHolder, ...]
