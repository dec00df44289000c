"""The chance that goes into secrets, from the system's own source."""

import secrets

from domain.keys import DIGITS, RANDOM_LENGTH


def random_characters() -> str:
    return "".join(secrets.choice(DIGITS) for _ in range(RANDOM_LENGTH))
