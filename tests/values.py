"""The values of a package: its dataclasses."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from types import ModuleType


def values_in(package: ModuleType) -> Mapping[str, type]:
    """Every dataclass of a package, by the name of its module in the package and its own."""
    return {
        f"{kind.__module__.removeprefix(f'{package.__name__}.')}.{kind.__name__}": kind
        for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        for _, kind in inspect.getmembers(importlib.import_module(each.name), inspect.isclass)
        if kind.__module__ == each.name and dataclasses.is_dataclass(kind)
    }


def is_frozen(kind: type) -> bool:
    return "__setattr__" in vars(kind)


def has_slots_only(kind: type) -> bool:
    return not any("__dict__" in vars(each) for each in kind.__mro__)


def takes_names_only(kind: type) -> bool:
    taken = inspect.signature(kind).parameters.values()
    return {each.kind for each in taken} == {inspect.Parameter.KEYWORD_ONLY}
