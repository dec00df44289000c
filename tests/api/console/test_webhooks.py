"""Webhooks in the console over HTTP."""

import re
from dataclasses import replace

from tests.api.conftest import Directory
from tests.api.console.conftest import signed_in

from domain.delivery.deliveries import Delivery, DeliveryState
from domain.keys import Scope
from domain.work import RequestContext


async def test_a_webhook_is_added_edited_paused_rotated_and_deleted(directory: Directory) -> None:
    browser = await signed_in(directory, *Scope)
    on = "/webhooks/1"

    wrong = await browser.send("/webhooks/new", on="/webhooks/new", url="ftp://x", filter="kind eq")
    assert wrong.status_code == 422
    assert 'id="url-fault"' in wrong.text
    assert 'id="filter-fault"' in wrong.text
    added = await browser.send("/webhooks/new", on="/webhooks/new", url="https://x.org/a", filter='kind eq "user"')
    [secret] = re.findall(r'<code id="secret">([^<]*)<', added.text)
    assert secret.startswith("whsec_")
    assert secret not in (await browser.see(on)).text

    edited = await browser.send(f"{on}/edit", on=f"{on}/edit", version="1", url="https://x.org/b")
    assert "https://x.org/b" in edited.text
    assert "every change" in edited.text
    stale = await browser.send(f"{on}/edit", on=f"{on}/edit", version="1", url="https://x.org/c")
    assert stale.status_code == 409
    assert "https://x.org/b" in stale.text

    assert "Resume" in (await browser.send(f"{on}/pause", on=on)).text
    assert "Pause" in (await browser.send(f"{on}/resume", on=on)).text
    rotated = await browser.send(f"{on}/rotate", on=on)
    assert re.findall(r'<code id="secret">([^<]*)<', rotated.text) != [secret]
    assert (await browser.send(f"{on}/explode", on=on)).status_code == 400
    assert "There are no webhooks" in (await browser.send(f"{on}/delete", on=on)).text


async def test_deliveries_are_listed_by_state_and_can_be_sent_again(directory: Directory) -> None:
    browser = await signed_in(directory, *Scope)
    on = "/webhooks/1"
    await browser.send("/webhooks/new", on="/webhooks/new", url="https://x.org/a")
    context = RequestContext(actor="deliverer", request_id="-")
    async with directory.container.units().writing(context) as work:
        [change] = await work.changes.latest(before=99, limit=1)
        await work.deliveries.put([replace(Delivery.of(change, 1), state=DeliveryState.SET_ASIDE)])
        await work.commit(None)

    assert "set aside" in (await browser.see(f"{on}?state=set_aside")).text
    assert "None." in (await browser.see(f"{on}?state=delivered")).text
    assert (await browser.see(f"{on}?state=lost")).status_code == 400
    assert "asked" in (await browser.send(f"{on}/send-again", on=on, change=str(change.seq))).text


async def test_a_test_message_shows_the_answer_of_the_receiver(directory: Directory) -> None:
    """The host name has no address. This is shown as the answer."""
    browser = await signed_in(directory, *Scope)
    await browser.send("/webhooks/new", on="/webhooks/new", url="https://nobody.invalid/")
    assert "The test was not delivered" in (await browser.send("/webhooks/1/test", on="/webhooks/1")).text


async def test_webhooks_are_hidden_without_their_scope(directory: Directory) -> None:
    browser = await signed_in(directory, Scope.USERS_READ)
    assert "Webhooks" not in (await browser.see("/")).text
    assert (await browser.see("/webhooks")).status_code == 403
