"""The values that services pass on cannot be changed on the way."""

from typing import Final

from tests.values import has_slots_only, is_frozen, takes_names_only, values_in

import services

VALUES: Final = values_in(services)

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
    assert {name for name, kind in VALUES.items() if not is_frozen(kind)} == ALTERED.keys()


def test_values_have_slots_and_no_other_attributes() -> None:
    assert [name for name, kind in VALUES.items() if not has_slots_only(kind)] == []


def test_values_with_many_fields_take_keyword_arguments_only() -> None:
    assert {name for name, kind in VALUES.items() if takes_names_only(kind)} == BY_NAME
