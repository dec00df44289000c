"""The form of e-mail addresses, which is checked if the operator has set it."""

from collections.abc import Callable

from api.settings import EmailForm
from services.users import any_text


def form_of(form: EmailForm) -> Callable[[str], bool]:
    """A function that returns whether a text has this form."""
    return is_address if form is EmailForm.ADDRESS else any_text


def is_address(text: str) -> bool:
    """Whether a text has the form of an e-mail address on the internet, including internationalised ones. No name is
    looked up."""
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415  # needed only with this setting

    try:
        validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True
