"""Judges vectors: whose they are, and whether there is one for each text. Pure: the clock is handed
in.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from ollama_admin.domain.answers import Stats, VectorRecord
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import ModelMismatch, UpstreamError
from ollama_admin.rules import answers


@dataclass(slots=True, kw_only=True)
class VectorAnswer:
    """What came so far. `accepted` are the names that the answer may carry, times seconds of one
    monotonic clock. `truncated`: False (the server would have refused), None (unknown).
    """

    is_begun: ClassVar[bool] = False  # nothing is handed on before all of it is there
    is_estimated: ClassVar[bool] = False  # its tokens are those that the server tells
    server_started: ClassVar[datetime | None] = None  # no server tells it
    created_at: ClassVar[datetime | None] = None
    eval_duration: ClassVar[int | None] = None
    output_tokens: ClassVar[int | None] = None
    server: ServerRef
    model: str
    accepted: frozenset[str]
    allow_remote: bool
    started: float
    truncated: bool | None = None
    sent_at: float | None = None
    embeddings: list[tuple[float, ...]] = field(default_factory=list)
    is_remote: bool = False
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_tokens: int | None = None

    def take(self, record: VectorRecord, texts: int) -> None:
        """Accept the vectors of so many texts, or raise what the record proves to be wrong."""
        if record.model is None:
            raise ModelMismatch(f"server {self.server} does not say which model answers")
        if record.model not in self.accepted:
            raise ModelMismatch(
                f"server {self.server} answered as {record.model!r}, not as {self.model!r}",
                "nothing from another model is accepted",
            )
        if record.is_remote and not self.allow_remote:
            raise ModelMismatch(
                f"server {self.server} handed the texts for {self.model!r} to a remote host, which "
                "was not allowed",
                "discover it again; allow remote models with --allow-remote",
            )
        if len(record.embeddings) != texts:
            raise self._wrong(f"{len(record.embeddings)} vectors for {texts} texts")
        self.embeddings += record.embeddings
        lengths = {len(vector) for vector in self.embeddings}
        if len(lengths) > 1:
            raise self._wrong(f"vectors of {min(lengths)} and of {max(lengths)} numbers")
        self._note(record)

    def stats(self, now: float) -> Stats:
        return answers.stats(self, self.started, None, now)

    def _note(self, record: VectorRecord) -> None:
        self.is_remote = self.is_remote or record.is_remote
        if record.prompt_tokens is not None:
            self.prompt_tokens = (self.prompt_tokens or 0) + record.prompt_tokens
        if self.load_duration is None:
            self.load_duration = record.load_duration

    def _wrong(self, what: str) -> UpstreamError:
        return UpstreamError(f"server {self.server} sent {what}")
