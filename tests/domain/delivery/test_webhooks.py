"""The rules of a webhook, and how its messages are signed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from standardwebhooks import Webhook as Receiver
from standardwebhooks import WebhookVerificationError

from domain.delivery.webhooks import NewWebhook, Secret, State, Webhook, headers_of
from domain.errors import Invalid

URL: Final = "https://example.org/hooks"
BODY: Final = b'{"type":"user.created"}'


def faults_of(**values: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as refused:
        NewWebhook(**{"url": URL, **values})
    return [(fault.pointer, fault.code) for fault in refused.value.faults]


@pytest.mark.parametrize(
    "url",
    [
        URL, "https://example.org", "https://example.org:8443/a?b=c", "HTTPS://EXAMPLE.ORG/", "http://[::1]:80/",
        "http://localhost/", "https://xn--bcher-kva.example/%C3%BC", "https://" + "a" * 1992,
    ],
)  # fmt: skip
def test_urls_that_can_be_called_are_accepted(url: str) -> None:
    assert NewWebhook(url=url).url == url


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (7, "wrong_type"),
        ("https://" + "a" * 1993, "too_long"),
        ("", "invalid"),
        ("example.org", "invalid"),
        ("https://", "invalid"),
        ("https:///path", "invalid"),
        ("https://:443/", "invalid"),
        ("https://example.org:0/", "invalid"),
        ("https://example.org:65536/", "invalid"),
        ("https://[::1/", "invalid"),
        ("https://bücher.example/", "invalid"),
        ("https://example.org/a b", "invalid"),
        ("https://example.org\\@evil.example/", "invalid"),
        ("https://example.org/\n", "invalid"),
        ("ftp://example.org/", "not_allowed"),
        ("file://host/etc/passwd", "not_allowed"),
        ("https://user:pass@example.org/", "not_allowed"),
        ("https://@example.org/", "not_allowed"),
        ("https://example.org/#", "not_allowed"),
    ],
)
def test_urls_that_cannot_be_called_are_refused(url: object, code: str) -> None:
    assert faults_of(url=url) == [("/url", code)]


@pytest.mark.parametrize(
    ("filter", "code"), [(7, "wrong_type"), ("", "invalid"), ("kind eq", "invalid"), ('email eq "a"', "invalid")]
)
def test_a_filter_of_a_webhook_has_to_be_valid_for_changes(filter: object, code: str) -> None:
    assert NewWebhook(url=URL, filter='kind eq "user" and actor ne "key:3"').filter
    assert faults_of(filter=filter) == [("/filter", code)]


def test_a_malformed_filter_of_a_webhook_has_the_position_of_the_error() -> None:
    with pytest.raises(Invalid) as refused:
        NewWebhook(url=URL, filter='kind eq "user" and nobody pr')
    assert refused.value.faults[0].detail.endswith("At character 19.")


@pytest.mark.parametrize("position", [-1, 2**53, True, "7", 1.5])
def test_a_position_is_the_number_of_a_change(position: object) -> None:
    assert faults_of(position=position)[0][0] == "/position"


def test_a_webhook_begins_after_the_last_change_by_default() -> None:
    assert NewWebhook(url=URL).starting(7, None).position == 7
    assert NewWebhook(url=URL).starting(7, 0).position == 0
    assert NewWebhook(url=URL).starting(7, 7).position == 7
    with pytest.raises(Invalid) as refused:
        NewWebhook(url=URL).starting(7, 8)
    assert refused.value.faults[0].pointer == "/since"


def test_an_active_webhook_whose_attempts_fail_is_shown_as_failing() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    webhook = Webhook(id=1, url=URL, created_at=noon, updated_at=noon, version=1)
    assert webhook.shown_state is State.ACTIVE
    failing = replace(webhook, failing_since=noon)
    assert failing.shown_state is State.FAILING
    assert failing.set_to(State.PAUSED).shown_state is State.PAUSED


def test_the_library_of_the_standard_verifies_the_signature() -> None:
    secret, at = Secret(bytes(range(32))), datetime.now(UTC)
    headers = headers_of("msg_1", at, BODY, [secret])

    assert Receiver(str(secret)).verify(BODY, dict(headers)) == {"type": "user.created"}
    with pytest.raises(WebhookVerificationError):
        Receiver(str(secret)).verify(BODY + b" ", dict(headers))
    with pytest.raises(WebhookVerificationError):
        Receiver(str(Secret(bytes(32)))).verify(BODY, dict(headers))


@pytest.mark.parametrize("change", [{"webhook-id": "msg_2"}, {"webhook-timestamp": "1"}])
def test_the_signature_covers_the_id_and_the_time(change: dict[str, str]) -> None:
    secret = Secret(bytes(32))
    headers = headers_of("msg_1", datetime.now(UTC), BODY, [secret])
    with pytest.raises(WebhookVerificationError):
        Receiver(str(secret)).verify(BODY, {**headers, **change})


def test_messages_are_signed_with_both_secrets_while_both_are_valid() -> None:
    at = datetime.now(UTC)
    new, old = Secret(bytes(range(32))), Secret(bytes(32), until=at + timedelta(seconds=1))
    headers = headers_of("msg_1", at, BODY, [new, old])
    for secret in (new, old):
        assert Receiver(str(secret)).verify(BODY, dict(headers))

    later = headers_of("msg_1", at + timedelta(seconds=1), BODY, [new, old])
    assert later["webhook-signature"].count("v1,") == 1
    with pytest.raises(WebhookVerificationError):
        Receiver(str(old)).verify(BODY, dict(later))


def test_a_secret_is_not_in_its_repr() -> None:
    secret = Secret(b"s" * 32)
    assert "ssss" not in repr(secret)
    assert str(secret).startswith("whsec_c3Nz")
