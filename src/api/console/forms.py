"""Forms that add or edit something. They keep the typed values, and show each error beside its field."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.console.pages import Form, render


@dataclass(frozen=True, slots=True)
class Fields:
    """The form of one kind of entity. `texts` are its one-line fields with their labels. The first field is
    required."""

    noun: str
    path: str
    texts: Mapping[str, str]
    template: str = "form.html"

    def page(
        self,
        request: Request,
        entity: Any,
        form: Form,
        faults: Mapping[str, str] | None = None,
        *,
        stored: Form | None = None,
        status: int = 200,
        **more: Any,
    ) -> Response:
        """The page with the form. `entity` is None for a new one. `stored` has the values that somebody else stored
        since the form was loaded."""
        return render(
            request,
            self.template,
            status,
            fields=self,
            entity=entity,
            form=form,
            faults=faults or {},
            stored=stored,
            **more,
        )

    def texts_in(self, form: Form) -> dict[str, Any]:
        required = next(iter(self.texts))
        return {name: form.get(name, "") or ("" if name == required else None) for name in self.texts}

    def texts_of(self, entity: Any) -> dict[str, str]:
        return {**{name: getattr(entity, name) or "" for name in self.texts}, "version": str(entity.version)}
