"""The poster, made with the first message: a server without webhooks does not load an HTTP client."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from domain.deliveries import Answer

if TYPE_CHECKING:
    from api.delivery.poster import Poster

NOT_INSTALLED: Final = "Roster was installed without the extra webhooks, so it has no HTTP client."


class Posting:
    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._poster: Poster | None = None

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if self._poster is None:
            try:
                self._poster = self._make()
            except ModuleNotFoundError:
                return Answer(milliseconds=0, error=NOT_INSTALLED)
        return await self._poster(url, headers, body)

    def _make(self) -> "Poster":
        from api.delivery.network import PublicNetwork  # noqa: PLC0415
        from api.delivery.poster import Poster  # noqa: PLC0415

        return Poster(PublicNetwork(allow_private=self._allow_private), allow_http=self._allow_private)

    async def close(self) -> None:
        if self._poster is not None:
            await self._poster.close()
            self._poster = None
