"""The same as floor.py with response models, which pydantic serializes: FastAPI's fast path."""

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


class UserOut(BaseModel):
    id: int
    name: str
    email: str | None = None


@app.get("/users/{id}", response_model=UserOut)
async def get_user(id: int):
    return USERS[id - 1]


@app.get("/users/", response_model=list[UserOut])
async def list_users(limit: int = 100):
    return USERS[:limit]


@app.post("/users/", status_code=201, response_model=UserOut)
async def create_user(user: UserIn):
    return {"id": next(ids), "name": user.name, "email": user.email}
