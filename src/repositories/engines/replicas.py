"""Replicas: copies of the primary that answer reads. Which of them may, is a question of what they have."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from repositories.engines.executors import Executor


class Replica(Protocol):
    """A place to read. It has at least all changes up to `seq`."""

    @property
    def seq(self) -> int: ...

    @property
    def reader(self) -> Executor: ...

    @property
    def scans(self) -> Executor: ...

    def snapshot(self) -> AbstractAsyncContextManager[Executor]: ...

    def failed(self) -> None:
        """A read failed here, as it should not on a server that is well. Other reads go elsewhere for now."""
        ...


class Replicas(Protocol):
    @property
    def head(self) -> int:
        """The last change that the primary was seen to have."""
        ...

    def having(self, seq: int) -> Replica | None:
        """One of those that have this change, and are not too far behind the primary. None if there is none."""
        ...
