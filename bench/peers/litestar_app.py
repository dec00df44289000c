"""Litestar with advanced-alchemy, after the service example of its documentation, with integer ids."""

import os
from typing import Annotated

from advanced_alchemy.extensions.litestar import (
    AsyncSessionConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyPlugin,
    base,
    filters,
    providers,
    repository,
    service,
)
from litestar import Controller, Litestar, get, post
from litestar.params import Dependency
from pydantic import BaseModel
from sqlalchemy.orm import Mapped, mapped_column


class UserModel(base.BigIntBase):
    __tablename__ = "users"

    name: Mapped[str]
    email: Mapped[str | None] = mapped_column(unique=True)


class User(BaseModel):
    id: int
    name: str
    email: str | None = None


class UserCreate(BaseModel):
    name: str
    email: str | None = None


class UserService(service.SQLAlchemyAsyncRepositoryService[UserModel]):
    class Repo(repository.SQLAlchemyAsyncRepository[UserModel]):
        model_type = UserModel

    repository_type = Repo


class UserController(Controller):
    path = "/users"
    dependencies = providers.create_service_dependencies(
        UserService, "users_service", filters={"pagination_type": "limit_offset", "id_filter": int}
    )

    @get(path="/")
    async def list_users(
        self,
        users_service: UserService,
        filters: Annotated[list[filters.FilterTypes], Dependency(skip_validation=True)],
    ) -> service.OffsetPagination[User]:
        results, total = await users_service.get_many_and_count(*filters)
        return users_service.to_schema(results, total, filters=filters, schema_type=User)

    @post(path="/")
    async def create_user(self, users_service: UserService, data: UserCreate) -> User:
        user = await users_service.create(data)
        return users_service.to_schema(user, schema_type=User)

    @get(path="/{user_id:int}")
    async def get_user(self, users_service: UserService, user_id: int) -> User:
        user = await users_service.get(user_id)
        return users_service.to_schema(user, schema_type=User)


alchemy_config = SQLAlchemyAsyncConfig(
    connection_string=os.environ["BENCH_DATABASE_URL"],
    before_send_handler="autocommit",
    session_config=AsyncSessionConfig(expire_on_commit=False),
    create_all=True,
)

app = Litestar(route_handlers=[UserController], plugins=[SQLAlchemyPlugin(config=alchemy_config)])
