"""`/api/keys`: who may ask, for what, and until when."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.problems import JSONDocument
from ollama_admin.api.reach import NEEDS_DATABASE, ClientDep, errors, needs, page
from ollama_admin.documents import document
from ollama_admin.domain.keys import Right
from ollama_admin.domain.times import point_ahead
from ollama_admin.services.key_columns import CLEARABLE
from ollama_admin.services.keys import LONGEST_OVERLAP

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["keys"])
KeyId = Annotated[int, Path(ge=1, le=schemas.ID_LIMIT)]
Rights = Annotated[list[Literal["ask", "read", "manage", "admin"]], Field(max_length=4)]
Globs = Annotated[list[str], Field(max_length=100)]
Responses = dict[int | str, dict[str, Any]]


class _KeyColumns(schemas.Strict):
    can: Rights | None = Field(None, description="a new key may ask")
    models: Globs | None = Field(None, description="names or globs; none is all")
    servers: Globs | None = Field(None, description="names or globs; none is all")
    networks: Globs | None = Field(None, description="as 10.0.0.0/8; none is all")
    allow_remote: schemas.Flag = None
    allow_truncate: schemas.Flag = None
    anonymous: schemas.Flag = Field(
        None, description="requests without a key from its networks are its own"
    )
    max_concurrent: int | None = Field(
        None, ge=1, le=schemas.INT_LIMIT, description="requests that are answered at once"
    )
    requests_per_minute: int | None = Field(None, ge=1, le=schemas.INT_LIMIT)
    tokens_per_day: int | None = Field(
        None, ge=1, le=schemas.ID_LIMIT, description="in and out, in a day of UTC"
    )
    weight: int | None = Field(None, ge=1, le=schemas.INT_LIMIT)
    expires_at: schemas.Time | None = None
    note: str | None = Field(None, max_length=500)


class NewKey(_KeyColumns):
    name: schemas.Name


class KeyChange(_KeyColumns):
    """What is left out stays. null empties `models`, `servers`, `networks`, the limits,
    `expires_at` and `note`.
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    name: schemas.Name | None = None


class Forced(schemas.Strict):
    model_config = ConfigDict(strict=False)

    force: bool = Field(False, description="also the last key that may administrate")


class Overlap(schemas.Strict):
    model_config = ConfigDict(strict=False)

    overlap: int = Field(
        0,
        ge=0,
        le=int(LONGEST_OVERLAP.total_seconds()),
        description="seconds for which the old text is taken, too",
    )


class Key(BaseModel):
    id: int
    name: str
    public_id: str = Field(description="what stands in its text before the secret")
    can: list[str]
    models: list[str]
    servers: list[str]
    networks: list[str]
    allow_remote: bool
    allow_truncate: bool
    anonymous: bool
    is_active: bool = Field(description="false for one that was revoked")
    max_concurrent: int | None
    weight: int
    requests_per_minute: int | None
    tokens_per_day: int | None
    expires_at: datetime | None
    last_used_at: datetime | None
    note: str | None
    old_secret_expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    managed_by: str | None


class IssuedKey(Key):
    key: str = Field(description="its text, shown this once")


def _columns(given: _KeyColumns) -> dict[str, Any]:
    """The columns that are given; a time as the command line takes it."""
    columns = given.model_dump(exclude_unset=True)
    if columns.get("expires_at") is not None:
        columns["expires_at"] = point_ahead(columns["expires_at"], datetime.now(UTC))
    return columns


def _answers(status: int, shape: Any, failures: Responses) -> Responses:
    answered: Responses = {status: {"model": shape}}
    return answered | failures


@router.get(
    "/api/keys", dependencies=needs(Right.ADMIN), responses=_answers(200, list[Key], errors())
)
async def list_keys(
    request: Request, client: ClientDep, query: Annotated[schemas.Paging, Query()]
) -> Response:
    """All keys, revoked ones too, by id."""
    keys = sorted(await client.keys.list(), key=lambda key: key.id)
    following = [key for key in keys if key.id > query.cursor]
    return await page(request, following[: query.limit], query.limit)


@router.post(
    "/api/keys",
    status_code=201,
    dependencies=needs(Right.ADMIN),
    responses=_answers(201, IssuedKey, errors(409, body=True)),
)
async def add_key(client: ClientDep, new: NewKey) -> Response:
    """Make a key. Its text is in this answer and nowhere else."""
    issued = await client.keys.add(**_columns(new))
    return JSONDocument(document(issued), 201, {"Location": f"/api/keys/{issued.key.id}"})


@router.get(
    "/api/keys/{key_id}",
    dependencies=needs(Right.ADMIN),
    responses=_answers(200, Key, errors(404)),
)
async def show_key(client: ClientDep, key_id: KeyId) -> Response:
    """One key, without its text."""
    return JSONDocument(document(await client.keys.show(key_id)))


@router.patch(
    "/api/keys/{key_id}",
    dependencies=needs(Right.ADMIN),
    responses=_answers(200, Key, errors(404, 409, body=True)),
)
async def change_key(
    client: ClientDep, key_id: KeyId, change: KeyChange, options: Annotated[Forced, Query()]
) -> Response:
    """Change what is given and nothing else."""
    given = _columns(change)
    clear = [name for name, value in given.items() if value is None and name in CLEARABLE]
    columns = {name: value for name, value in given.items() if value is not None}
    changed = await client.keys.update(key_id, clear=clear, force=options.force, **columns)
    return JSONDocument(document(changed))


@router.delete(
    "/api/keys/{key_id}",
    status_code=204,
    dependencies=needs(Right.ADMIN),
    responses=errors(404, 409),
)
async def remove_key(
    client: ClientDep, key_id: KeyId, options: Annotated[Forced, Query()]
) -> Response:
    """Remove a key. Receipts keep its name."""
    await client.keys.remove(key_id, force=options.force)
    return Response(status_code=204)


@router.post(
    "/api/keys/{key_id}/rotate",
    dependencies=needs(Right.ADMIN),
    responses=_answers(200, IssuedKey, errors(404)),
)
async def rotate_key(
    client: ClientDep, key_id: KeyId, options: Annotated[Overlap, Query()]
) -> Response:
    """Give a key another text, which is in this answer and nowhere else."""
    overlap = timedelta(seconds=options.overlap)
    return JSONDocument(document(await client.keys.rotate(key_id, overlap=overlap)))


@router.post(
    "/api/keys/{key_id}/revoke",
    dependencies=needs(Right.ADMIN),
    responses=_answers(200, Key, errors(404, 409)),
)
async def revoke_key(
    client: ClientDep, key_id: KeyId, options: Annotated[Forced, Query()]
) -> Response:
    """Take a key no more. Only rotating makes it one again, with another text."""
    return JSONDocument(document(await client.keys.revoke(key_id, force=options.force)))
