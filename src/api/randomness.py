"""Random characters for secrets, from the operating system."""

import secrets

from domain.keys import DIGITS, RANDOM_LENGTH


def random_characters() -> str:
    return "".join(secrets.choice(DIGITS) for _ in range(RANDOM_LENGTH))
