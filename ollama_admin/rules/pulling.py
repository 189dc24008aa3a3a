"""How far a pull is, added up from the records of a server that tells it layer by layer."""

from ollama_admin.domain.pulls import Pull, PullProgress, PullRecord
from ollama_admin.errors import UpstreamError

LAYERS = 1000  # of one model; real ones have less than ten
STATUS = 200  # characters of what a server says it does


class PullTally:
    """The sums of one pull."""

    def __init__(self, pull: Pull) -> None:
        self._pull = pull
        self._status = ""
        self._totals: dict[str, int] = {}
        self._completed: dict[str, int] = {}
        self._there: dict[str, int] = {}  # bytes that an earlier pull brought
        self._open: str | None = None  # the layer that bytes are coming of

    def add(self, record: PullRecord) -> None:
        """Count a record; UpstreamError for more layers than a model has."""
        self._status = record.status[:STATUS] or "answering"
        self._open = None
        layer = record.layer
        if layer is None or record.total is None:
            return
        if layer not in self._totals and len(self._totals) >= LAYERS:
            raise UpstreamError(
                f"server {self._pull.server.name} names more than {LAYERS} layers of "
                f"{self._pull.model!r}"
            )
        completed = min(record.completed, record.total)
        self._totals[layer] = record.total
        self._completed[layer] = completed
        self._there.setdefault(layer, completed)
        if completed < record.total:
            self._open = layer

    @property
    def has_begun(self) -> bool:
        """Whether the server has said anything."""
        return bool(self._status)

    @property
    def is_downloading(self) -> bool:
        """Whether bytes are on their way: a server then tells of them several times a second."""
        return self._open is not None

    @property
    def progress(self) -> PullProgress:
        completed = sum(self._completed.values())
        return PullProgress(
            server=self._pull.server.ref,
            model=self._pull.model,
            status=self._status or "waiting",
            completed=completed,
            total=sum(self._totals.values()),
            received=max(0, completed - sum(self._there.values())),
            has_begun=self.has_begun,
        )
