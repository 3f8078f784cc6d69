// Keeps a page fresh: asks for it again and puts its main part in place. Without script the reader loads it again.
"use strict";
const EVERY_MS = 20000;
const offline = document.getElementById("offline");

async function refresh() {
  const main = document.getElementById("main");
  // Not under somebody's finger, and not over what somebody writes or watches.
  if (document.hidden || main.contains(document.activeElement) && document.activeElement !== main) return;
  if (main.querySelector("details[open]") || [...main.querySelectorAll("video")].some((v) => !v.paused)) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(EVERY_MS) });
  if (answer.redirected) return location.reload(); // logged out
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = fresh.getElementById("main");
  if (!next.isEqualNode(main)) main.replaceWith(next);
  const nav = fresh.querySelector(".nav");
  if (!nav && document.querySelector(".nav")) return location.reload(); // logged out, at a link, which shows its page still
  document.querySelector(".nav")?.replaceWith(nav);
  offline.hidden = true;
}

setInterval(() => refresh().catch((error) => {
  // fetch: no connection, one that broke off, or one that hangs
  if (!(error instanceof TypeError) && error.name !== "TimeoutError") throw error;
  offline.hidden = false;
}), EVERY_MS);
