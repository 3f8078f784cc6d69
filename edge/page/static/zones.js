// The zone editor: polygons in relative points 0..1, edited by dragging, by keys, or by the form beside them.
"use strict";
const SVG = "http://www.w3.org/2000/svg";
const ID = /^[a-z0-9][a-z0-9-]{0,31}$/;
const TAP = 22; // half of a tap target, CSS pixels
const MAX_POINTS = 64;
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("editor").textContent);
const { width, height, text } = data;
const say = (key, fields = {}) => text[key].replace(/\{(\w+)\}/g, (_, name) => fields[name]);
const clamp = (v) => Math.min(1, Math.max(0, v));
const round = (v) => Math.round(v * 1e4) / 1e4;

let zones = data.zones;
let base = data.base;
let saved = JSON.stringify(zones);
let picked = zones.length ? 0 : -1; // index of the zone, and of its point
let point = -1;
let drag = null;
let typing = ""; // the field that the last step was typed into
const past = [];

function make(name, attributes, parent) {
  const e = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  parent.append(e);
  return e;
}

const canvas = $("canvas");
/** Picture units a CSS pixel. */
const unit = () => width / Math.max(1, canvas.getBoundingClientRect().width);
const corners = (points) => points.map(([x, y]) => `${x * width},${y * height}`).join(" ");
const dirty = () => JSON.stringify(zones) !== saved;

function remember() {
  typing = "";
  past.push(JSON.stringify(zones));
  if (past.length > 50) past.shift();
}

function label(name, [x, y], parent) {
  const size = 14 * unit();
  const t = make("text", { y: Math.max(size * 1.3, y * height - size / 2), class: "name", "font-size": size, "stroke-width": size / 4 }, parent);
  t.textContent = name;
  const room = width - size;
  while (t.getComputedTextLength() > room && t.textContent.length > 2) t.textContent = `${t.textContent.slice(0, -2)}…`;
  t.setAttribute("x", Math.min(clamp(x) * width + size / 2, width - size / 2 - t.getComputedTextLength()));
}

function drawFixtures() {
  const layer = $("fixtures");
  layer.replaceChildren();
  for (const f of data.fixtures) {
    make(f.kind === "barrier" ? "polyline" : "polygon", { points: corners(f.points), class: "fixture" }, layer);
    label(f.name, f.points[0], layer);
  }
}

function drawZones() {
  const layer = $("zones");
  layer.replaceChildren();
  zones.forEach((zone, i) => {
    const p = make("polygon", { points: corners(zone.polygon), class: `zone kind-${zone.kind}${i === picked ? " picked" : ""}`, tabindex: 0, role: "button", "aria-label": say("zone", { zone: zone.name || zone.id }), "data-zone": i }, layer);
    p.addEventListener("click", () => pick(i));
    p.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); pick(i); } });
    label(zone.name || zone.id, zone.polygon.reduce((a, b) => (b[1] < a[1] ? b : a)), layer);
  });
}

function drawPoints(focus) {
  const layer = $("points");
  // What a finger holds must stay in the document, or its moves are no longer told.
  for (const e of [...layer.children]) if (e !== drag?.grip) e.remove();
  const zone = zones[picked];
  if (!zone) return;
  const r = TAP * unit();
  const name = zone.name || zone.id;
  const n = zone.polygon.length;
  if (n < MAX_POINTS) {
    zone.polygon.forEach(([x1, y1], i) => {
      const [x2, y2] = zone.polygon[(i + 1) % n];
      const at = { cx: ((x1 + x2) / 2) * width, cy: ((y1 + y2) / 2) * height };
      const grip = make("circle", { ...at, r, class: "grip", tabindex: 0, role: "button", "aria-label": say("add_point", { zone: name, n: i + 1 }), "data-add": i }, layer);
      make("circle", { ...at, r: r * 0.2, class: "dot small" }, layer);
      const add = () => { remember(); zone.polygon.splice(i + 1, 0, [round((x1 + x2) / 2), round((y1 + y2) / 2)]); point = i + 1; };
      grip.addEventListener("pointerdown", (e) => { if (e.button === 0) { add(); hold(e, i + 1); } });
      grip.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); add(); draw(i + 1); } });
    });
  }
  zone.polygon.forEach(([x, y], i) => {
    const at = { cx: x * width, cy: y * height };
    const aria = say("point", { zone: name, n: i + 1, x: Math.round(100 * x), y: Math.round(100 * y) });
    const grip = make("circle", { ...at, r, class: `grip${i === point ? " picked" : ""}`, tabindex: 0, role: "button", "aria-label": aria, "data-point": i }, layer);
    make("circle", { ...at, r: r * 0.42, class: "dot" }, layer);
    grip.addEventListener("pointerdown", (e) => { if (e.button === 0) { remember(); hold(e, i); } });
    grip.addEventListener("keydown", (e) => key(e, i));
    if (i === focus) grip.focus({ preventScroll: true });
  });
}

function drawForm() {
  const zone = zones[picked];
  $("list").replaceChildren(...zones.map((z, i) => {
    const b = document.createElement("button");
    b.type = "button";
    b.textContent = z.name || z.id;
    b.setAttribute("aria-pressed", i === picked);
    b.addEventListener("click", () => pick(i));
    return b;
  }));
  $("none").hidden = zones.length > 0;
  $("fields").hidden = !zone;
  if (zone) {
    for (const field of ["kind", "name", "id"]) if ($(field).value !== zone[field]) $(field).value = zone[field];
    $("hours").hidden = zone.hours.length === 0;
    $("remove-point").disabled = point < 0 || zone.polygon.length <= 3;
  }
  $("undo").disabled = past.length === 0;
  $("save").disabled = !dirty();
  $("state").textContent = dirty() ? text.unsaved : "";
}

function draw(focus) {
  drawZones();
  drawPoints(focus);
  drawForm();
}

function pick(i) {
  picked = i;
  point = -1;
  draw();
}

function place(e) {
  const r = canvas.getBoundingClientRect();
  return [clamp((e.clientX - r.left) / r.width), clamp((e.clientY - r.top) / r.height)];
}

// Moves are heard on the canvas: the grips are redrawn while one of them is dragged.
function hold(e, i) {
  e.preventDefault();
  const grip = e.currentTarget;
  for (const name of ["data-point", "data-add", "role", "tabindex"]) grip.removeAttribute(name);
  point = i;
  const [x, y] = zones[picked].polygon[i];
  const [px, py] = place(e);
  drag = { id: e.pointerId, dx: x - px, dy: y - py, grip };
  canvas.setPointerCapture(e.pointerId);
  draw();
}

// A finger on a grip drags it and does not scroll the page. `touch-action` does not do: Chromium heeds it on no circle.
canvas.addEventListener("touchstart", (e) => { if (e.target.closest(".grip")) e.preventDefault(); }, { passive: false });
canvas.addEventListener("pointermove", (e) => {
  if (!drag || drag.id !== e.pointerId) return;
  const [x, y] = place(e);
  zones[picked].polygon[point] = [round(clamp(x + drag.dx)), round(clamp(y + drag.dy))];
  draw();
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, (e) => {
    if (!drag || drag.id !== e.pointerId) return;
    drag = null;
    if (past.at(-1) === JSON.stringify(zones)) past.pop(); // a tap that moved nothing is nothing to undo
    draw(point);
  });
}

function key(e, i) {
  const step = e.shiftKey ? 0.025 : 0.005;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (moves[e.key]) {
    e.preventDefault();
    remember();
    point = i;
    const p = zones[picked].polygon[i];
    zones[picked].polygon[i] = [round(clamp(p[0] + moves[e.key][0])), round(clamp(p[1] + moves[e.key][1]))];
    draw(i);
  } else if (e.key === "Delete" || e.key === "Backspace") {
    e.preventDefault();
    point = i;
    removePoint();
  } else if (e.key === "Enter" || e.key === " ") {
    e.preventDefault();
    point = i;
    draw(i);
  }
}

function removePoint() {
  const polygon = zones[picked].polygon;
  if (point < 0 || polygon.length <= 3) return;
  remember();
  polygon.splice(point, 1);
  point = Math.min(point, polygon.length - 1);
  draw(point);
}

function freeId() {
  const taken = new Set([...zones, ...data.fixtures].map((z) => z.id));
  let n = zones.length + 1;
  while (taken.has(`${text.new_zone}-${n}`)) n += 1;
  return `${text.new_zone}-${n}`;
}

$("add").addEventListener("click", () => {
  remember();
  zones.push({ id: freeId(), name: "", kind: "work", polygon: [[0.3, 0.35], [0.7, 0.35], [0.7, 0.75], [0.3, 0.75]], hours: [] });
  pick(zones.length - 1);
});
$("remove").addEventListener("click", () => {
  remember();
  zones.splice(picked, 1);
  pick(zones.length - 1);
});
$("remove-point").addEventListener("click", removePoint);
$("undo").addEventListener("click", () => {
  typing = "";
  zones = JSON.parse(past.pop());
  pick(Math.min(Math.max(picked, 0), zones.length - 1));
});
for (const field of ["kind", "name", "id"]) {
  $(field).addEventListener("input", () => {
    const what = `${picked} ${field}`;
    if (typing !== what) remember(); // a whole word is one step to undo, not each letter
    typing = what;
    zones[picked][field] = $(field).value;
    draw();
  });
}

function wrong() {
  const ids = [...zones, ...data.fixtures].map((z) => z.id);
  return zones.flatMap((z) => [
    ...(ID.test(z.id) ? [] : [say("bad_id", { zone: z.id })]),
    ...(ids.indexOf(z.id) === ids.lastIndexOf(z.id) ? [] : [say("twice", { zone: z.id })]),
  ]);
}

function complain(errors) {
  $("errors").hidden = errors.length === 0;
  $("errors").replaceChildren(...[...new Set(errors)].map((line) => {
    const li = document.createElement("li");
    li.textContent = line;
    return li;
  }));
  if (errors.length) $("errors").scrollIntoView({ block: "center" }); // on a phone it lies far below the button
}

$("form").addEventListener("submit", async (e) => {
  e.preventDefault();
  const errors = wrong();
  complain(errors);
  if (errors.length) return;
  const sent = JSON.stringify(zones);
  $("save").disabled = true;
  $("state").textContent = text.saving;
  let answer;
  try {
    answer = await fetch(location.pathname + location.search, { method: "POST", headers: { "Content-Type": "application/json" }, body: `{"base":${JSON.stringify(base)},"zones":${sent}}` });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // fetch: no connection
    complain([text.failed]);
  }
  if (answer?.ok) {
    base = (await answer.json()).base;
    saved = sent;
    drawForm();
    if (!dirty()) $("state").textContent = `✓ ${text.saved}`;
    return;
  }
  if (answer) complain(answer.status === 401 ? [text.login] : (await answer.json()).errors);
  drawForm();
});

window.addEventListener("beforeunload", (e) => { if (dirty()) e.preventDefault(); });
$("picture").addEventListener("error", () => complain([text.no_picture]));
$("picture").setAttribute("href", `/live/${data.camera}/now.jpg`);
new ResizeObserver(() => { if (!drag) { drawFixtures(); draw(); } }).observe(canvas);
