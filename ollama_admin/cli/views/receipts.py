"""How receipts are shown: a line for each, or sums."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells, Wrong
from ollama_admin.cli.ordering import Field
from ollama_admin.cli.output import Output
from ollama_admin.cli.views.texts import age, exact_stamp, number, print_facts, seconds, text_of
from ollama_admin.domain.digests import short

if TYPE_CHECKING:
    from ollama_admin.domain.answers import Stats
    from ollama_admin.domain.receipts import Receipt, ReceiptStats

ABSENCE = "no such receipts"


SUMS_SORTABLE: "Mapping[str, Field[ReceiptStats]]" = {
    "model": Field(value=lambda sums: sums.model and sums.model.casefold()),
    "count": Field(value=lambda sums: sums.count, descending=True),
    "failed": Field(value=lambda sums: sums.failures, descending=True),
    "speed": Field(value=lambda sums: sums.tokens_per_second, descending=True),
    "p50": Field(value=lambda sums: sums.time_to_first_token_p50_ms, descending=True),
    "p95": Field(value=lambda sums: sums.time_to_first_token_p95_ms, descending=True),
}


def print_receipt(output: Output, receipt: "Receipt") -> None:
    """Print every field, one a line."""
    facts = receipt.document()
    facts["created_at"] = exact_stamp(receipt.created_at)
    for name in ("estimated", "truncated", "verified"):
        if facts[name] is not None:
            facts[name] = "yes" if facts[name] else "no"
    if receipt.passed_over:
        reasons = [f"{server}: {why}" for server, why in receipt.passed_over.items()]
        facts["passed_over"] = "; ".join(reasons)
    print_facts(output, ((name.replace("_", " "), value) for name, value in facts.items()))


def print_receipts(
    output: Output, receipts: "Sequence[Receipt]", limit: int, *, is_sorted: bool = False
) -> None:
    """Print a line for each; where there are `limit` of them, say that there may be more."""
    if not receipts:
        output.note(ABSENCE)
        return
    headings = ["ID", "WHEN", "MODEL", "SERVER", "OUTCOME", "PROOF", "TOTAL"]
    more = ["TIME", "FIRST", "PROMPT", "OUTPUT", "TOK/S", "TRIES", "DIGEST", "WAY", "KEY", "CLIENT"]
    print_table(output, headings, map(_receipt_cells, receipts), more)
    if len(receipts) == limit:
        which = "first" if is_sorted else "newest"
        output.note(f"these are the {which} {limit}; more with --limit N")


def _receipt_cells(receipt: "Receipt") -> Cells:
    total, first, prompt, out, speed = _stats_cells(receipt.stats)
    return (
        str(receipt.id),
        age(receipt.created_at),
        receipt.model or receipt.asked_model,
        text_of(receipt.server),
        _outcome(receipt),
        receipt.proof,
        total,
        exact_stamp(receipt.created_at),
        first,
        prompt,
        out,
        speed,
        str(receipt.attempts),
        short(receipt.digest),
        receipt.way,
        text_of(receipt.key),
        receipt.client,
    )


def _outcome(receipt: "Receipt") -> str:
    if receipt.outcome in ("ok", "cancelled"):
        return receipt.outcome
    return Wrong(receipt.outcome)


def _stats_cells(stats: "Stats | None") -> Cells:
    """Times in seconds, whole and to the first token; tokens of prompt and answer; tokens/s."""
    if stats is None:
        return (None, None, None, None, None)
    return (
        seconds(stats.total_ms),
        seconds(stats.time_to_first_token_ms),
        number(stats.prompt_tokens),
        number(stats.output_tokens),
        number(stats.tokens_per_second),
    )


def print_receipt_sums(
    output: Output, sums: "Sequence[ReceiptStats]", *, by: str | None = None
) -> None:
    """Print a line for each model on each server, or for each of `by`."""
    if not sums:
        output.note(ABSENCE)
        return
    first = ["MODEL", "SERVER"] if by is None else [by.upper()]
    headings = first + ["COUNT", "FAILED", "TOK/S", "FIRST P50", "FIRST P95"]
    print_table(output, headings, map(_sum_cells, sums), ["PROMPT", "OUTPUT"])


def _sum_cells(stats: "ReceiptStats") -> Cells:
    if stats.by is None:
        whose: tuple[str | None, ...] = (stats.model, text_of(stats.server))
    else:
        whose = (text_of(getattr(stats, stats.by)),)
    return whose + (
        str(stats.count),
        str(stats.failures),
        number(stats.tokens_per_second),
        seconds(stats.time_to_first_token_p50_ms),
        seconds(stats.time_to_first_token_p95_ms),
        number(stats.prompt_tokens),
        number(stats.output_tokens),
    )
