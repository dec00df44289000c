"""The floor of the server alone: an ASGI app without a framework. It sends bodies that are ready, and reads nothing but
the path."""

import json
import os
from itertools import count

HOW_MANY = int(os.environ.get("BENCH_USERS", "1000"))
USERS = [{"id": n, "name": f"User {n}", "email": f"user{n}@example.org"} for n in range(1, HOW_MANY + 1)]
BODIES = [json.dumps(user, separators=(",", ":")).encode() for user in USERS]
PAGE = b"[" + b",".join(BODIES[:100]) + b"]"
ids = count(HOW_MANY + 1)


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    status, body = 200, PAGE
    if scope["method"] == "POST":
        new = json.loads((await receive())["body"])
        status, body = 201, json.dumps({"id": next(ids), **new}, separators=(",", ":")).encode()
    elif number := scope["path"].removeprefix("/users/"):
        body = BODIES[int(number) - 1]
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
