"""What became of requests, added up for `/metrics`: no more than a bounded number of numbers, and
none for a text that only a client has written.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ollama_admin.domain.receipts import Receipt
from ollama_admin.rules.candidates import Candidate

# upper ends of what times and speeds are sorted into; the last one has none
BOUNDS: Mapping[str, Sequence[float]] = {
    "first_token": (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600),
    "speed": (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500),
    "queue": (0.001, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
    "added": (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1),
}
OTHER = "other"  # whose name came after so many that had a label
DYNAMIC = "dynamic"  # a server that no row has
BATCH = 100  # receipts that are added up together
_NAMES = 100  # models, servers, and keys that have a label of their own
_LINES = 2000  # labels together that are counted by themselves
_PAIRS = 300  # models on servers that have times of their own: each is sixty lines of a scrape


# A receipt that is to be counted, and for which server and model it was tried last. The number is
# seconds that it took here before it was sent, without its wait for a slot; None where it was not
# sent at once.
Taken = tuple[Receipt, Candidate | None, float | None]


class Histogram:
    """`counts` are for each bound, and one for what is above them all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, values: list[float]) -> None:
        """Add values, which are sorted for it."""
        values.sort()
        begin = number = 0
        while begin < len(values):
            number = bisect_left(self.bounds, values[begin], number)
            end = len(values)
            if number < len(self.bounds):
                end = bisect_right(values, self.bounds[number], begin)
            self.counts[number] += end - begin
            begin = end
        self.sum += sum(values)

    def merge(self, counts: Sequence[int], total: float) -> None:
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, counts, strict=True)]
        self.sum += total


class Times:
    """What the answers of one model on one server took: seconds, and tokens per second."""

    __slots__ = ("added", "first_token", "queue", "speed")

    def __init__(self) -> None:
        self.first_token = Histogram(BOUNDS["first_token"])
        self.speed = Histogram(BOUNDS["speed"])
        self.queue = Histogram(BOUNDS["queue"])
        self.added = Histogram(BOUNDS["added"])


class Line:
    """Requests with the same labels, and the tokens that they took."""

    __slots__ = ("count", "output_tokens", "prompt_tokens", "times")

    def __init__(self, times: Times) -> None:
        self.times = times
        self.count = self.prompt_tokens = self.output_tokens = 0

    def add(self, group: Sequence[Taken]) -> None:
        self.count += len(group)
        times = self.times
        times.added.add([added for _, _, added in group if added is not None])
        queued = [receipt.queued_ms for receipt, _, _ in group]
        times.queue.add([ms / 1000 for ms in queued if ms is not None])
        all_stats = [receipt.stats for receipt, _, _ in group if receipt.stats is not None]
        self.prompt_tokens += sum([stats.prompt_tokens or 0 for stats in all_stats])
        self.output_tokens += sum([stats.output_tokens or 0 for stats in all_stats])
        first = [stats.time_to_first_token_ms for stats in all_stats]
        times.first_token.add([ms / 1000 for ms in first if ms is not None])
        speeds = [stats.tokens_per_second for stats in all_stats]
        times.speed.add([speed for speed in speeds if speed is not None])


class Labels(NamedTuple):
    """What requests are told apart by; empty where there is none."""

    model: str
    server: str
    key: str
    outcome: str
    proof: str


class Tally:
    """Counts what it takes when somebody asks for the numbers, or when a batch is there."""

    def __init__(self) -> None:
        self.lines: dict[Labels, Line] = {}
        self.times: dict[tuple[str, str], Times] = {}
        self._taken: list[Taken] = []
        self._known: dict[Any, Line] = {}
        self._names: dict[str, set[str]] = {"model": set(), "server": set(), "key": set()}

    def take(self, taken: Taken) -> None:
        """Have a receipt counted. Never raises."""
        self._taken.append(taken)
        if len(self._taken) >= BATCH:
            self.count()

    def count(self) -> None:
        """Add up what was taken: those that are alike together, which costs a fraction."""
        batch, self._taken = self._taken, []
        groups: dict[Any, list[Taken]] = {}
        for taken in batch:
            receipt = taken[0]
            server, key = receipt.server, receipt.key
            alike = (
                receipt.model,
                0 if server is None else server.id,
                None if key is None else key.name,
                receipt.outcome,
                id(receipt.proof),  # which is one of a few for ever: to hash it takes longer
            )
            group = groups.get(alike)
            if group is None:
                groups[alike] = [taken]
            else:
                group.append(taken)
        for alike, group in groups.items():
            line = self._known.get(alike) or self._line(group[0], alike)
            line.add(group)

    def merge(self, document: Mapping[str, Any]) -> None:
        """Add what `document` gave of another tally, under the labels that it has there."""
        for model, server, *histograms in document["times"]:
            ours = self.times.setdefault((model, server), Times())
            for name, (counts, total) in zip(Times.__slots__, histograms, strict=True):
                getattr(ours, name).merge(counts, total)
        for *labels, count, prompt_tokens, output_tokens in document["lines"]:
            line = self._line_of(Labels._make(labels))
            line.count += count
            line.prompt_tokens += prompt_tokens
            line.output_tokens += output_tokens

    def document(self) -> dict[str, Any]:
        """The numbers as JSON can carry them."""
        lines: list[list[Any]] = []
        for labels, line in self.lines.items():
            lines.append(list(labels) + [line.count, line.prompt_tokens, line.output_tokens])
        times: list[list[Any]] = []
        for (model, server), each in self.times.items():
            row: list[Any] = [model, server]
            for name in Times.__slots__:
                histogram = getattr(each, name)
                row.append([list(histogram.counts), histogram.sum])
            times.append(row)
        return {"lines": lines, "times": times}

    def _line(self, taken: Taken, alike: tuple[Any, ...]) -> Line:
        """The line of a receipt, which those that are `alike` find again, unless one of its names
        is one of too many.
        """
        receipt = taken[0]
        server = key = ""
        if receipt.server is not None:
            server = self._named("server", receipt.server.name or DYNAMIC)
        if receipt.key is not None:
            key = self._named("key", receipt.key.name)
        model = self._model(taken)
        labels = Labels(model, server, key, receipt.outcome, receipt.proof or "")
        if labels not in self.lines and len(self.lines) >= _LINES:
            return self._line_of(Labels(OTHER, OTHER, OTHER, labels.outcome, labels.proof))
        line = self._line_of(labels)
        if OTHER not in labels:
            self._known[alike] = line
        return line

    def _model(self, taken: Taken) -> str:
        """What only a client calls a model is none, until one has answered to it."""
        receipt, candidate, _ = taken
        if receipt.model is None:
            return ""
        is_listed = candidate is not None and candidate.listed is not None
        if is_listed or receipt.outcome == "ok" or receipt.model in self._names["model"]:
            return self._named("model", receipt.model)
        return OTHER

    def _named(self, what: str, name: str) -> str:
        names = self._names[what]
        if name not in names:
            if len(names) >= _NAMES:
                return OTHER
            names.add(name)
        return name

    def _line_of(self, labels: Labels) -> Line:
        line = self.lines.get(labels)
        if line is None:
            line = self.lines[labels] = Line(self._times_of(labels.model, labels.server))
        return line

    def _times_of(self, model: str, server: str) -> Times:
        pair = model, server
        if pair not in self.times and len(self.times) >= _PAIRS:
            pair = OTHER, OTHER
        if pair not in self.times:
            self.times[pair] = Times()
        return self.times[pair]


def merged(documents: Iterable[Mapping[str, Any]]) -> Tally:
    """The sum of what `Tally.document` gave of several."""
    tally = Tally()
    for document in documents:
        tally.merge(document)
    return tally
