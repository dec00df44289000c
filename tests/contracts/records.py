"""Mapped classes, for the session of a unit of work: an author with books, places, shelves and notes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from domain.entities import Entity
from repositories.engines import schema
from repositories.engines.records import Record
from repositories.engines.schema import BigId, Instant, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Author(Entity):
    """An entity, as a domain would have it."""

    kind: ClassVar[str] = "author"

    id: int
    name: str
    version: int
    born: datetime | None = None
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Book(Entity):
    kind: ClassVar[str] = "book"

    id: int
    title: str
    author_id: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(Entity):
    kind: ClassVar[str] = "place"

    id: int
    name: str
    country: str
    moves: int
    version: int


class Sample(Record):
    """The tables of these tests are beside the directory's: its metadata stays as it is."""

    __abstract__ = True
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012
    metadata = sa.MetaData(naming_convention=schema.metadata.naming_convention)


class AuthorRecord(Sample):
    __tablename__ = "authors"
    __entity__ = Author

    id: Mapped[int] = mapped_column(BigId, sa.Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(sa.Text, unique=True)
    version: Mapped[int] = mapped_column(sa.BigInteger)
    born: Mapped[datetime | None] = mapped_column(Instant)
    tags: Mapped[list[str]] = mapped_column(Json, default=list)
    books: Mapped[list["BookRecord"]] = relationship(back_populates="author", cascade="all, delete-orphan")


class BookRecord(Sample):
    __tablename__ = "books"
    __entity__ = Book

    id: Mapped[int] = mapped_column(BigId, sa.Identity(), primary_key=True)
    title: Mapped[str] = mapped_column(sa.Text)
    author_id: Mapped[int] = mapped_column(sa.ForeignKey("authors.id"))
    version: Mapped[int] = mapped_column(sa.BigInteger)
    author: Mapped[AuthorRecord] = relationship(back_populates="books")


class PlaceRecord(Sample):
    """The database generates some of its values."""

    __tablename__ = "places"
    __entity__ = Place

    id: Mapped[int] = mapped_column(BigId, sa.Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(sa.Text)
    country: Mapped[str] = mapped_column(sa.Text, server_default="GB")
    moves: Mapped[int] = mapped_column(default=0, onupdate=sa.literal_column("moves + 1"))
    version: Mapped[int] = mapped_column(sa.BigInteger)


class ShelfRecord(Sample):
    """No entity, so no change rows. The database does not generate its key."""

    __tablename__ = "shelves"

    __table_args__ = {}  # noqa: RUF012

    place: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    note: Mapped[Any] = mapped_column(sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True)


class NoteRecord(Sample):
    """No entity either."""

    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(BigId, sa.Identity(), primary_key=True)
    text: Mapped[str] = mapped_column(sa.Text)


AUTHORS: Final[Any] = AuthorRecord.__table__
