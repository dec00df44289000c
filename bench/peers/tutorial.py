"""The usual tutorial of FastAPI with SQLAlchemy: a session for each request by Depends, and ORM objects as answers."""

import os
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(os.environ["BENCH_DATABASE_URL"])
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str | None] = mapped_column(unique=True)


class UserIn(BaseModel):
    name: str
    email: str | None = None


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def get_session():
    async with new_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]


@app.get("/users/{id}")
async def get_user(id: int, session: Session):
    user = await session.get(User, id)
    if user is None:
        raise HTTPException(404)
    return user


@app.get("/users/")
async def list_users(session: Session, limit: int = 100, offset: int = 0):
    users = await session.scalars(select(User).order_by(User.id).limit(limit).offset(offset))
    return users.all()


@app.post("/users/", status_code=201)
async def create_user(new: UserIn, session: Session):
    user = User(**new.model_dump())
    session.add(user)
    try:
        await session.commit()
    except IntegrityError:
        raise HTTPException(409) from None
    return user
