"""Bare FastAPI: the answers come from memory, as dicts without a model."""

import os
from itertools import count

from fastapi import FastAPI
from pydantic import BaseModel

HOW_MANY = int(os.environ.get("BENCH_USERS", "1000"))
USERS = [{"id": n, "name": f"User {n}", "email": f"user{n}@example.org"} for n in range(1, HOW_MANY + 1)]
ids = count(HOW_MANY + 1)

app = FastAPI()


class UserIn(BaseModel):
    name: str
    email: str | None = None


@app.get("/users/{id}")
async def get_user(id: int):
    return USERS[id - 1]


@app.get("/users/")
async def list_users(limit: int = 100):
    return USERS[:limit]


@app.post("/users/", status_code=201)
async def create_user(user: UserIn):
    return {"id": next(ids), "name": user.name, "email": user.email}
