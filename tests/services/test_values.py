"""The values that services pass on cannot be changed on the way."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Final

import services


def values() -> Iterator[type]:
    """Every dataclass of the services."""
    for each in pkgutil.walk_packages(services.__path__, "services."):
        for _, kind in inspect.getmembers(importlib.import_module(each.name), inspect.isclass):
            if kind.__module__ == each.name and dataclasses.is_dataclass(kind):
                yield kind


VALUES: Final = {f"{kind.__module__.removeprefix('services.')}.{kind.__name__}": kind for kind in values()}

ALTERED: Final = {
    "imports.batches.Draft": "A draft of a user notes the groups that it has joined and left, when that is known.",
    "imports.batches.SeenKeys": "An import remembers what each of its steps has stored.",
}
"""What is not frozen, and why."""

BY_NAME: Final = {"delivery.sender.SenderDependencies"}
"""What has many fields, so that each is given by its name."""


def test_these_tests_find_the_values_of_the_services() -> None:
    assert {"exports.PersonPart", "delivery.ledger.Subscription", "imports.runs.Step"} <= VALUES.keys()


def test_values_are_frozen() -> None:
    assert {name for name, kind in VALUES.items() if "__setattr__" not in vars(kind)} == ALTERED.keys()


def test_values_have_slots_and_no_other_attributes() -> None:
    assert [name for name, kind in VALUES.items() if any("__dict__" in vars(each) for each in kind.__mro__)] == []


def test_values_with_many_fields_take_keyword_arguments_only() -> None:
    def takes_names_only(kind: type) -> bool:
        taken = inspect.signature(kind).parameters.values()
        return {each.kind for each in taken} == {inspect.Parameter.KEYWORD_ONLY}

    assert {name for name, kind in VALUES.items() if takes_names_only(kind)} == BY_NAME
