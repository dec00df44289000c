"""The form of e-mail addresses, for directories whose operator asks for it."""

from collections.abc import Callable

from api.settings import EmailForm
from services.users import any_text


def form_of(form: EmailForm) -> Callable[[str], bool]:
    """A function that says whether a text has the form."""
    return is_address if form is EmailForm.ADDRESS else any_text


def is_address(text: str) -> bool:
    """Whether it is an address as the internet has them, internationalised ones too. No name is looked up."""
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415  # only with this setting

    try:
        validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True
