"""The directory and a model of it, a dictionary, give the same answers to any sequence of calls.

Each sequence has 50 calls. `make simulation` runs 500 of them on each database.
"""

import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from httpx2 import AsyncClient, Response
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from tests.conftest import empty

from api.container import Container

RUNS: Final = int(os.environ.get("MODEL_RUNS", "6"))
CALLS: Final = 50
SOME_ID: Final = st.integers(1, 6)

PROFILES: Final = st.fixed_dictionaries(
    {"name": st.sampled_from(["Ann", "Bob", "Zoë 🌍"])},
    optional={
        "email": st.sampled_from([None, "a@x", "A@X", "ß@x", "SS@x"]),
        "username": st.sampled_from([None, "ann", "\uff21nn", "bob"]),
        "external_id": st.sampled_from([None, "e1", "E1"]),
        "status": st.sampled_from(["active", "suspended"]),
        "attributes": st.sampled_from([{}, {"a": 1}, {"a": {"b": [None, 1.5]}}]),
    },
)
PATCHES: Final = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["Ann", "Eve"]),
        "email": st.sampled_from([None, "a@x", "b@x"]),
        "username": st.sampled_from([None, "ANN", "eve"]),
        "external_id": st.sampled_from([None, "e1", "e2"]),
        "status": st.sampled_from([None, "active", "suspended"]),
        "attributes": st.sampled_from([None, {"a": None}, {"a": {"b": None, "c": 1}}, {"z": True}]),
    },
)


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    target: int | str = 0
    body: Mapping[str, Any] = field(default_factory=dict)
    version: int | None = None
    """The version in `If-Match`."""

    dry_run: bool = False


VERSIONS: Final = st.none() | st.none() | st.integers(1, 4)
DRY: Final = st.sampled_from([False, False, False, True])
CALLS_OF_A_CLIENT: Final = st.one_of(
    st.builds(Call, st.just("create"), body=PROFILES, dry_run=DRY),
    st.builds(Call, st.just("put"), st.sampled_from(["e1", "E1", "e2"]), PROFILES, VERSIONS, DRY),
    st.builds(Call, st.just("patch"), SOME_ID, PATCHES, VERSIONS, DRY),
    st.builds(Call, st.just("delete"), SOME_ID, version=VERSIONS, dry_run=DRY),
    st.builds(Call, st.just("restore"), SOME_ID, dry_run=DRY),
    st.builds(Call, st.just("purge"), SOME_ID, version=VERSIONS, dry_run=DRY),
    st.builds(Call, st.just("get"), SOME_ID),
    st.builds(Call, st.just("find"), st.sampled_from(["email/a@X", "email/ss@x", "username/ANN", "external-id/e1"])),
)


@dataclass(slots=True)
class Person:
    id: int
    profile: dict[str, Any]
    version: int = 1
    is_deleted: bool = False

    @property
    def shown(self) -> dict[str, Any]:
        """The user as the API shows it: without fields that have no value."""
        hidden: tuple[Any, ...] = (None, {}) if self.profile["status"] != "active" else (None, {}, "active")
        return {"id": self.id, **{name: value for name, value in self.profile.items() if value not in hidden}}


DEFAULTS: Final[dict[str, Any]] = {
    "email": None,
    "username": None,
    "external_id": None,
    "status": "active",
    "attributes": {},
}
FOLDS: Final = {
    "email": str.casefold,
    "username": lambda text: text.replace("\uff21", "A").casefold(),
    "external_id": str,
}


def merged(value: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    base = dict(value) if isinstance(value, dict) else {}
    for name, part in patch.items():
        if part is None:
            base.pop(name, None)
        else:
            base[name] = merged(base.get(name), part)
    return base


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    person: Person | None = None
    """The body shows the user, and `ETag` its version."""

    wrote: bool = False


@dataclass(slots=True)
class Model:
    people: dict[int, Person] = field(default_factory=dict)
    erased: set[int] = field(default_factory=set)
    history: list[tuple[int, int, str]] = field(default_factory=list)
    """For each change: the user's id, its version and the action."""

    numbers: list[int] = field(default_factory=list)
    """The sequence number of each change. They rise, not always by one."""

    def found(self, field: str, value: str) -> Person | None:
        fold: Any = FOLDS[field]
        live = (person for person in self.people.values() if not person.is_deleted)
        return next((each for each in live if each.profile[field] and fold(each.profile[field]) == fold(value)), None)

    def collides(self, profile: Mapping[str, Any], own: int | None) -> bool:
        holders = (self.found(name, profile[name]) for name in FOLDS if profile[name] is not None)
        return any(holder is not None and holder.id != own for holder in holders)

    def answer(self, call: Call) -> tuple[Answer, Callable[[int], Any]]:
        """The answer, and the change of the model if the call is carried out, which takes the id in the answer."""
        act: Callable[[Call], tuple[Answer, Callable[[int], Any]]] = getattr(self, f"_{call.method}")
        return act(call)

    def _create(self, call: Call) -> tuple[Answer, Callable[[int], Any]]:
        profile = {**DEFAULTS, **call.body}
        if self.collides(profile, None):
            return refused(409)
        return Answer(201, Person(0, profile), wrote=True), lambda new: self._added(Person(new, profile))

    def _put(self, call: Call) -> tuple[Answer, Callable[[int], Any]]:
        if call.body.get("external_id") not in (None, call.target):
            return refused(422)
        person = self.found("external_id", str(call.target))
        if person is None and call.version is not None:
            return refused(412)
        profile = {**DEFAULTS, **call.body, "external_id": call.target}
        if person is None:
            return self._create(Call("create", body=profile))
        return self._changed(call, person, profile, "updated")

    def _patch(self, call: Call) -> tuple[Answer, Callable[[int], Any]]:
        person = self._there(call)
        if isinstance(person, int):
            return refused(person)
        profile = {
            name: DEFAULTS.get(name, value) if patch is None else merged(value, patch)
            for name, value in person.profile.items()
            for patch in [call.body.get(name, value)]
        }
        return self._changed(call, person, profile, "updated")

    def _delete(self, call: Call) -> tuple[Answer, Callable[[int], Any]]:
        person = self._there(call)
        if isinstance(person, int):
            return refused(person)
        if stale(call, person):
            return refused(412)
        return Answer(204, wrote=True), lambda _: self._wrote(person, "deleted", is_deleted=True)

    def _restore(self, call: Call) -> tuple[Answer, Callable[[int], Any]]:
        person = self.people.get(int(call.target))
        if person is None:
            return refused(404)
        if not person.is_deleted:
            return Answer(200, person), nothing
        if self.collides(person.profile, person.id):
            return refused(409)
        after = Person(person.id, person.profile, person.version + 1)
        return Answer(200, after, wrote=True), lambda _: self._wrote(person, "restored", is_deleted=False)

    def _purge(self, call: Call) -> tuple[Answer, Callable[[int], Any]]:
        person = self.people.get(int(call.target))
        if person is None:
            return refused(404)
        if stale(call, person):
            return refused(412)
        return Answer(204, wrote=True), lambda _: self._erased(person)

    def _get(self, call: Call) -> tuple[Answer, Callable[[int], Any]]:
        person = self._there(call)
        return refused(person) if isinstance(person, int) else (Answer(200, person), nothing)

    def _find(self, call: Call) -> tuple[Answer, Callable[[int], Any]]:
        name, _, value = str(call.target).partition("/")
        person = self.found(name.replace("-", "_"), value)
        return refused(404) if person is None else (Answer(200, person), nothing)

    def _there(self, call: Call) -> Person | int:
        """The user, or the status that says why there is none."""
        person = self.people.get(int(call.target))
        if person is None:
            return 404
        return 410 if person.is_deleted else person

    def _changed(
        self, call: Call, person: Person, profile: dict[str, Any], action: str
    ) -> tuple[Answer, Callable[[int], Any]]:
        if stale(call, person):
            return refused(412)
        if profile == person.profile:
            return Answer(200, person), nothing
        if self.collides(profile, person.id):
            return refused(409)
        after = Person(person.id, profile, person.version + 1)
        return Answer(200, after, wrote=True), lambda _: self._wrote(person, action, profile=profile)

    def _added(self, person: Person) -> None:
        assert person.id not in self.people.keys() | self.erased, "an id was given out twice"
        self.people[person.id] = person
        self.history.append((person.id, 1, "created"))

    def _wrote(self, person: Person, action: str, **values: Any) -> None:
        person.version += 1
        for name, value in values.items():
            setattr(person, name, value)
        self.history.append((person.id, person.version, action))

    def _erased(self, person: Person) -> None:
        self._wrote(person, "purged")
        del self.people[person.id]
        self.erased.add(person.id)


def refused(status: int) -> tuple[Answer, Callable[[int], Any]]:
    return Answer(status), nothing


def nothing(_: int) -> None:
    """A call that changes nothing."""


def stale(call: Call, person: Person) -> bool:
    return call.version not in (None, person.version)


async def send(client: AsyncClient, call: Call) -> Response:
    method, path = {
        "create": ("POST", "/users/"),
        "put": ("PUT", f"/users/by/external-id/{call.target}"),
        "patch": ("PATCH", f"/users/{call.target}"),
        "delete": ("DELETE", f"/users/{call.target}"),
        "restore": ("POST", f"/users/{call.target}/restore"),
        "purge": ("DELETE", f"/users/{call.target}"),
        "get": ("GET", f"/users/{call.target}"),
        "find": ("GET", f"/users/by/{call.target}"),
    }[call.method]
    parameters = {"purge": "true"} if call.method == "purge" else {}
    if call.dry_run:
        parameters["dry_run"] = "true"
    return await client.request(
        method,
        path,
        params=parameters,
        json=dict(call.body) if method in ("PUT", "PATCH") or call.method == "create" else None,
        headers={} if call.version is None else {"If-Match": f'"{call.version}"'},
    )


async def check(client: AsyncClient, model: Model, call: Call) -> None:
    """Sends one call and compares the answer with the model's."""
    expected, carry_out = model.answer(call)
    got = await send(client, call)
    assert got.status_code == expected.status, got.text
    id = got.json()["id"] if got.status_code in (200, 201) else 0
    if expected.person is not None:
        assert got.json() == {**expected.person.shown, "id": expected.person.id or id}
        assert got.headers["ETag"] == f'"{expected.person.version}"'
    if not call.dry_run:
        carry_out(id)
    if expected.wrote and not call.dry_run:
        model.numbers.append(int(got.headers["Roster-Seq"]))
    else:
        assert "Roster-Seq" not in got.headers or got.request.method == "GET"


async def check_all(client: AsyncClient, model: Model) -> None:
    """Compares everything that is stored with the model."""
    live = [person for _, person in sorted(model.people.items()) if not person.is_deleted]
    assert (await client.get("/users/?limit=1000")).json() == [person.shown for person in live]
    changes = (await client.get("/changes/?limit=1000")).json()
    assert [change["seq"] for change in changes] == model.numbers == sorted(set(model.numbers))
    assert [(each["entity_id"], each["version"], each["action"]) for each in changes] == model.history
    values = [each for each in changes if each["entity_id"] in model.erased]
    assert all(each["before"] is None and each["after"] is None for each in values)


Fresh = Callable[[], AbstractAsyncContextManager[AsyncClient]]


@pytest.fixture(params=["sqlite", "postgres"])
def fresh(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    container_at: Callable[[str], Container],
    client_of: Callable[[Container], AbstractAsyncContextManager[AsyncClient]],
) -> Fresh:
    """An empty directory at each call, and a client of it."""
    engine = request.param
    source = request.getfixturevalue("empty_sqlite_file" if engine == "sqlite" else "empty_postgres_url")

    @asynccontextmanager
    async def begin() -> AsyncIterator[AsyncClient]:
        if engine == "sqlite":
            url = f"sqlite:///{shutil.copy(source, tmp_path / f'{uuid4()}.db')}"
        else:
            await empty(url := source)
        async with client_of(container_at(url)) as client:
            yield client

    return begin


@settings(
    max_examples=RUNS,
    deadline=None,
    phases=[Phase.generate],  # to shrink fifty calls takes minutes
    derandomize=RUNS <= 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(calls=st.lists(CALLS_OF_A_CLIENT, min_size=CALLS, max_size=CALLS))
async def test_any_sequence_of_calls_gets_the_answers_of_the_model(fresh: Fresh, calls: list[Call]) -> None:
    model = Model()
    async with fresh() as client:
        for call in calls:
            note(f"{call}")
            await check(client, model, call)
        await check_all(client, model)


async def test_a_wrong_answer_is_detected(fresh: Fresh) -> None:
    """The model has a user that the directory does not have."""
    model = Model(people={1: Person(1, {"name": "Nobody", **DEFAULTS})})
    async with fresh() as client:
        with pytest.raises(AssertionError):
            await check(client, model, Call("get", 1))
        with pytest.raises(AssertionError):
            await check_all(client, model)
