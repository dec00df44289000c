"""`roster groups`, on the database itself."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, TypeVar

import typer

from api.commands.console import DatabaseUrl, Json, fail, in_service_of, lawful, show, show_table
from api.commands.lists import HiddenOption, Limit, SortText, all_of, listed, object_in
from domain.groups import FIELDS, Group, NewGroup
from domain.memberships import BY_USER, Membership
from domain.stores import Hidden
from domain.values import MAX_ID
from services.groups import GroupService
from services.memberships import MembershipService

T = TypeVar("T")

groups = typer.Typer(help="Groups and their members.", no_args_is_help=True)

COLUMNS: Final = ("id", "name", "external_id", "description")
MEMBER_COLUMNS: Final = ("user_id", "role", "created_at")

GroupId = Annotated[int, typer.Argument(help="The id of a group", min=1, max=MAX_ID, show_default=False)]
UserId = Annotated[int, typer.Argument(help="The id of a user", min=1, max=MAX_ID, show_default=False)]
Name = Annotated[str, typer.Argument(help="The name of the group", show_default=False)]
NewName = Annotated[str | None, typer.Option("--name", help="The name of the group")]
ExternalId = Annotated[str | None, typer.Option(help="The id in another system. In a patch, an empty text removes it")]
Description = Annotated[str | None, typer.Option(help="What the group is for. In a patch, an empty text removes it")]
AttributesText = Annotated[str | None, typer.Option("--attributes", help="A JSON object. A patch merges it")]
FilterText = Annotated[str | None, typer.Option("--filter", help="Only groups that match, as in GET /groups/")]
Role = Annotated[str | None, typer.Option(help="The role in the group. An empty text removes it")]


@groups.command("list")
def list_groups(
    *,
    filter: FilterText = None,
    sort: SortText = None,
    deleted: HiddenOption = Hidden.NO,
    limit: Limit = 100,
    json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """List groups. By default these are the groups that are not deleted, sorted by id."""
    found = in_service(listed(FIELDS, filter=filter, sort=sort, deleted=deleted, limit=limit), database_url)
    show_table([every_field(group) for group in found], COLUMNS, as_json=json)


@groups.command("show")
def show_group(id: GroupId, json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Show one group."""
    show(every_field(in_service(lambda service: service.get(id), database_url)), as_json=json)


@groups.command("create")
def create_group(
    *,
    name: Name,
    external_id: ExternalId = None,
    description: Description = None,
    attributes: AttributesText = None,
    json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Create a group."""
    given = {"name": name, **assigned(external_id, description, attributes)}
    new = lawful(lambda: NewGroup(**given))
    show(every_field(in_service(lambda service: service.create(new), database_url).result), as_json=json)


@groups.command("patch")
def patch_group(
    *,
    id: GroupId,
    name: NewName = None,
    external_id: ExternalId = None,
    description: Description = None,
    attributes: AttributesText = None,
    json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Change the given fields of a group. An empty text removes a value."""
    patch = {**({} if name is None else {"name": name}), **assigned(external_id, description, attributes)}
    if not patch:
        fail("Say what to change: --name, --description and so on.")
    show(every_field(in_service(lambda service: service.patch(id, patch), database_url).result), as_json=json)


@groups.command("delete")
def delete_group(id: GroupId, database_url: DatabaseUrl = None) -> None:
    """Delete a group. It can be restored with its members."""
    in_service(lambda service: service.delete(id), database_url)
    typer.echo(f"Group {id} is deleted.")


@groups.command("restore")
def restore_group(id: GroupId, json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Restore a deleted group."""
    show(every_field(in_service(lambda service: service.restore(id), database_url).result), as_json=json)


@groups.command("members")
def list_members(id: GroupId, limit: Limit = 100, json: Json = False, database_url: DatabaseUrl = None) -> None:
    """List the direct members of a group."""

    async def found(service: MembershipService) -> list[Membership]:
        return await all_of(lambda after, at_most: service.list(id, after=after, limit=at_most), BY_USER, limit)

    rows = [{name: getattr(each, name) for name in MEMBER_COLUMNS} for each in in_memberships(found, database_url)]
    show_table(rows, MEMBER_COLUMNS, as_json=json)


@groups.command("add")
def add_member(id: GroupId, user_id: UserId, role: Role = None, database_url: DatabaseUrl = None) -> None:
    """Make a user a member of a group, or give a member another role."""
    given: dict[str, Any] = {} if role is None else {"role": role or None}
    in_memberships(lambda service: service.put(id, user_id, given), database_url)
    typer.echo(f"User {user_id} is in group {id}.")


@groups.command("remove")
def remove_member(id: GroupId, user_id: UserId, database_url: DatabaseUrl = None) -> None:
    """End a membership, if there is one."""
    in_memberships(lambda service: service.remove(id, user_id), database_url)
    typer.echo(f"User {user_id} is not in group {id}.")


def assigned(external_id: str | None, description: str | None, attributes: str | None) -> dict[str, Any]:
    """What was given, with None for an empty text."""
    texts = {"external_id": external_id, "description": description}
    given: dict[str, Any] = {field: value or None for field, value in texts.items() if value is not None}
    return given if attributes is None else {**given, "attributes": object_in(attributes)}


def in_service(act: Callable[[GroupService], Awaitable[T]], database_url: str | None) -> T:
    return in_service_of(lambda container: container.groups, act, database_url)


def in_memberships(act: Callable[[MembershipService], Awaitable[T]], database_url: str | None) -> T:
    return in_service_of(lambda container: container.memberships, act, database_url)


def every_field(group: Group) -> Mapping[str, Any]:
    from api.bodies.groups import SHOWN  # noqa: PLC0415  # it imports FastAPI, which other commands do not need

    return SHOWN.by("*")(group)
