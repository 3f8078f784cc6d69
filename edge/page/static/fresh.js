// Keeps what a page tells fresh: asks for the page again and puts its main part in place.
"use strict";
const EVERY_MS = 10000;
const offline = document.getElementById("offline");

async function refresh() {
  const main = document.getElementById("main");
  // Not under somebody's finger: what has the focus stays.
  if (document.hidden || main.contains(document.activeElement?.closest("a, button, summary"))) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(EVERY_MS) });
  if (!answer.ok || answer.redirected) return location.reload(); // gone, or logged out
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
  if (!fresh.isEqualNode(main)) main.replaceWith(fresh);
  offline.hidden = true;
}

setInterval(() => refresh().catch((error) => {
  // fetch: no connection, one that broke off, or one that hangs
  if (!(error instanceof TypeError) && error.name !== "TimeoutError") throw error;
  offline.hidden = false;
}), EVERY_MS);
