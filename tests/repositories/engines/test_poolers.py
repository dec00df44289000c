"""A pooler in transaction mode breaks prepared statements. The start detects it, before any wrong answer."""

import pytest
import sqlalchemy as sa
from tests.clusters import Cluster, pooled, through_pooler
from tests.conftest import started

from domain.errors import NotReady


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_a_pooler_is_accepted_in_session_mode_only(
    mode: str, postgres_cluster: Cluster, postgres_url: str
) -> None:
    with pooled(postgres_cluster, mode) as folder:
        async with started(through_pooler(folder, sa.make_url(postgres_url).database or "")) as database:
            if mode == "session":
                await database.require_sessions()
            else:
                with pytest.raises(NotReady, match="is behind a pooler in transaction mode"):
                    await database.require_sessions()


async def test_a_server_without_a_pooler_is_accepted(postgres_url: str) -> None:
    async with started(postgres_url) as database:
        await database.require_sessions()
