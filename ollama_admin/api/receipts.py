"""`/api/receipts`: what became of a request."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic import BaseModel, Field

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.reach import NEEDS_DATABASE, ClientDep, KeyDep, errors, needs, rendered
from ollama_admin.documents import document
from ollama_admin.domain.keys import Right
from ollama_admin.services.receipts import no_receipt

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["receipts"])


class KeyRef(BaseModel):
    """`id` is null for the token in the environment."""

    id: int | None
    name: str


class Receipt(BaseModel):
    """Counts and times are null where they are not known; `outcome` is `ok`, `cancelled`, or the
    code of the error.
    """

    id: int
    created_at: datetime
    way: Literal["cli", "api", "python"]
    asked_model: str | None
    model: str | None
    server: schemas.ServerRef | None
    digest: str | None
    proof: Literal["digest", "drift", "changed", "unread", "remote", "name"] | None
    verified: bool
    outcome: str
    attempts: int
    request_id: str | None
    key: KeyRef | None
    client: str | None
    server_version: str | None
    estimated: bool | None
    truncated: bool | None
    queued_ms: int | None = Field(description="before it was sent, for the last time")
    passed_over: dict[str, str] | None = Field(description="servers, and why they were not taken")
    prompt_tokens: int | None
    output_tokens: int | None
    tokens_per_second: float | None
    total_ms: int | None
    load_ms: int | None
    time_to_first_token_ms: int | None


ReceiptId = Annotated[str, Path(pattern="^[0-9a-f]{1,19}$")]


_SHOWN: dict[int | str, dict[str, Any]] = {200: {"model": Receipt}}


@router.get(
    "/api/receipts/{receipt_id}",
    dependencies=needs(Right.ASK, Right.READ),
    responses=_SHOWN | errors(404),
)
async def show(client: ClientDep, key: KeyDep, receipt_id: ReceiptId) -> Response:
    """One receipt, by its id or by the `X-Request-Id` of the answer that it is for. It is written
    soon after the answer, when the build was looked at. Who may only ask sees those of the own key.
    """
    receipt = await client.receipts.show(receipt_id)
    is_own = receipt.key is not None and receipt.key.id == key.id
    if not is_own and not key.may(Right.READ):
        raise no_receipt(receipt_id)
    return await rendered(lambda: document(receipt))
