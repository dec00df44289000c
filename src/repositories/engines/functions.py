"""SQL functions that the two databases write differently."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

F = TypeVar("F", bound=type[FunctionElement[Any]])


def spelled(*, sqlite: str, postgresql: str) -> Callable[[F], F]:
    """Declare the SQL of a function. `{}` stands for its arguments."""

    def declare(function: F) -> F:
        for dialect, text in (("sqlite", sqlite), ("postgresql", postgresql)):
            compiles(function, dialect)(spelling(text))
        return function

    return declare


def spelling(text: str) -> Callable[..., str]:
    before, after = text.split("{}")

    def spell(element: FunctionElement[Any], compiler: SQLCompiler, **_: object) -> str:
        return before + compiler.process(element.clauses) + after

    return spell
