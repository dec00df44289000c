"use strict";

// Search while one types: what is found takes the place of what is shown.
for (const form of document.querySelectorAll("form[data-search]")) {
  const rows = document.getElementById(form.dataset.search);
  let waiting, asked = 0;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const number = ++asked;
      const query = new URLSearchParams(new FormData(form));
      const answer = await fetch(`${form.action}?${query}&rows`, { headers: { Accept: "text/html" } });
      if (!answer.ok || number !== asked) return;
      rows.innerHTML = await answer.text();
      history.replaceState(null, "", `?${query}`);
    }, 150);
  });
}

// Follow the record of changes: new rows come on top.
for (const rows of document.querySelectorAll("[data-follow]")) {
  const follow = async () => {
    for (let since = rows.dataset.since, failures = 0; ; ) {
      try {
        const answer = await fetch(`${rows.dataset.follow}&after=${since}`);
        if (!answer.ok) throw new Error(answer.statusText);
        since = answer.headers.get("Roster-Seq");
        rows.insertAdjacentHTML("afterbegin", await answer.text());
        failures = 0;
      } catch {
        failures += 1;
        await new Promise((resolve) => setTimeout(resolve, Math.min(30, 2 ** failures) * 1000));
      }
    }
  };
  if (!new URLSearchParams(location.search).has("before")) follow();
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}

// Choose all that are shown. The list may have been replaced since the page was loaded.
document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-all]")) return;
  for (const box of event.target.closest("table").querySelectorAll("td input[type=checkbox]")) box.checked = event.target.checked;
});

// Send a file as it is, so that the server can write it to its disk while it comes.
for (const form of document.querySelectorAll("form[data-upload]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const file = form.querySelector("input[type=file]").files[0];
    const query = new URLSearchParams(new FormData(form));
    query.set("name", file.name);
    const button = form.querySelector("button"), fault = form.querySelector("[data-fault]");
    button.disabled = true;
    const answer = await fetch(`${form.dataset.upload}?${query}`, { method: "PUT", body: file, headers: { "Roster-Token": form.dataset.token } });
    if (answer.ok) return location.reload();
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    fault.textContent = page.querySelector("main p").textContent;
    button.disabled = false;
  });
}

// Show how far something is, until there is more to see than that.
for (const place of document.querySelectorAll("[data-refresh]:not([data-done])")) {
  const refresh = async () => {
    const answer = await fetch(place.dataset.refresh);
    if (answer.headers.has("Roster-Done")) return location.reload();
    if (answer.ok) place.innerHTML = await answer.text();
    setTimeout(refresh, 500);
  };
  setTimeout(refresh, 500);
}
