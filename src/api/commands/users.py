"""`roster users`, on the database itself."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, TypeVar

import typer

from api.commands.console import DatabaseUrl, Json, fail, in_service_of, lawful, show, show_table
from api.commands.lists import HiddenOption, Limit, SortText, listed, object_in
from domain.stores import Hidden, Identifier, Who
from domain.users import FIELDS, NewUser, Status, User
from domain.values import MAX_ID
from services.users import UserService

T = TypeVar("T")

users = typer.Typer(help="The people of the directory.", no_args_is_help=True)

COLUMNS: Final = ("id", "name", "email", "username", "external_id", "status")
IDENTIFIERS: Final = {"email": "email", "username": "username", "external-id": "external_id"}

Whom = Annotated[
    str,
    typer.Argument(
        metavar="WHO",
        help="An id, or email:VALUE, username:VALUE or external-id:VALUE",
        show_default=False,
    ),
]
UserId = Annotated[int, typer.Argument(help="The id of a user", min=1, max=MAX_ID, show_default=False)]
Name = Annotated[str, typer.Argument(help="The name of the user", show_default=False)]
NewName = Annotated[str | None, typer.Option("--name", help="The name of the user")]
Email = Annotated[str | None, typer.Option(help="The e-mail address. In a patch, an empty text removes it")]
Username = Annotated[str | None, typer.Option(help="The username. In a patch, an empty text removes it")]
ExternalId = Annotated[str | None, typer.Option(help="The id in another system. In a patch, an empty text removes it")]
StatusOption = Annotated[Status | None, typer.Option(help="Whether the user is active or suspended")]
AttributesText = Annotated[str | None, typer.Option("--attributes", help="A JSON object. A patch merges it")]
FilterText = Annotated[str | None, typer.Option("--filter", help="Only users that match, as in GET /users/")]
PENDING: Final = " Copies of its values may still be in the file: see roster doctor."
Purge = Annotated[bool, typer.Option("--purge", help="Erase the user permanently, with the values in older changes")]


@users.command("list")
def list_users(
    *,
    filter: FilterText = None,
    sort: SortText = None,
    deleted: HiddenOption = Hidden.NO,
    limit: Limit = 100,
    json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """List users. By default these are the users that are not deleted, sorted by id."""
    found = in_service(listed(FIELDS, filter=filter, sort=sort, deleted=deleted, limit=limit), database_url)
    show_table([every_field(user) for user in found], COLUMNS, as_json=json)


@users.command("show")
def show_user(who: Whom, json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Show one user. A deleted user can be shown by its id."""
    named = who_is(who)

    async def found(service: UserService) -> User:
        return await (service.find(*named) if isinstance(named, Identifier) else service.get(named, hidden=True))

    show(every_field(in_service(found, database_url)), as_json=json)


@users.command("create")
def create_user(
    *,
    name: Name,
    email: Email = None,
    username: Username = None,
    external_id: ExternalId = None,
    status: StatusOption = None,
    attributes: AttributesText = None,
    json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Create a user."""
    given = assigned(
        name=name, email=email, username=username, external_id=external_id, status=status, attributes=attributes
    )
    new = lawful(lambda: NewUser(**given))
    show(every_field(in_service(lambda service: service.create(new), database_url).result), as_json=json)


@users.command("patch")
def patch_user(
    *,
    who: Whom,
    name: NewName = None,
    email: Email = None,
    username: Username = None,
    external_id: ExternalId = None,
    status: StatusOption = None,
    attributes: AttributesText = None,
    json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Change the given fields of a user. An empty text removes a value."""
    named, patch = (
        who_is(who),
        assigned(
            name=name, email=email, username=username, external_id=external_id, status=status, attributes=attributes
        ),
    )
    if not patch:
        fail("Say what to change: --name, --email and so on.")
    changed = in_service(lambda service: service.patch(named, patch), database_url).result
    show(every_field(changed), as_json=json)


@users.command("delete")
def delete_user(who: Whom, purge: Purge = False, database_url: DatabaseUrl = None) -> None:
    """Delete a user. It can be restored, unless it is erased by --purge."""
    named = who_is(who)
    if purge:
        erased = in_service(lambda service: service.purge(named), database_url)
        typer.echo(f"User {who} is erased.{PENDING if erased.is_pending else ''}")
    else:
        in_service(lambda service: service.delete(named), database_url)
        typer.echo(f"User {who} is deleted.")


@users.command("restore")
def restore_user(id: UserId, json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Restore a deleted user."""
    show(every_field(in_service(lambda service: service.restore(id), database_url).result), as_json=json)


def who_is(text: str) -> Who:
    if text.isascii() and text.isdigit():
        return int(text)
    field, _, value = text.partition(":")
    if field not in IDENTIFIERS or not value:
        fail(f"{text!r} does not name a user. Write an id, or email:, username: or external-id: and a value.")
    return Identifier(IDENTIFIERS[field], value)


def assigned(
    *,
    name: str | None,
    email: str | None,
    username: str | None,
    external_id: str | None,
    status: Status | None,
    attributes: str | None,
) -> dict[str, Any]:
    """The given values. An empty text becomes None."""
    keys = {"email": email, "username": username, "external_id": external_id}
    given: dict[str, Any] = {field: value or None for field, value in keys.items() if value is not None}
    if attributes is not None:
        given["attributes"] = object_in(attributes)
    return {**({} if name is None else {"name": name}), **given, **({} if status is None else {"status": status})}


def in_service(act: Callable[[UserService], Awaitable[T]], database_url: str | None) -> T:
    return in_service_of(lambda container: container.users, act, database_url)


def every_field(user: User) -> Mapping[str, Any]:
    from api.bodies.users import SHOWN  # noqa: PLC0415  # it imports FastAPI, which other commands do not need

    return SHOWN.by("*")(user)
