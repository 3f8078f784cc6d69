// The live picture: asks for a judged frame other than the last and shows picture and boxes, which come in one answer.
// A new question goes out only when the last is answered, at most five a second, and only for cameras in sight.
"use strict";
const SVG = "http://www.w3.org/2000/svg";
const RETRY_MS = 2000;
const LEAST_MS = 200;
const ANSWER_MS = 20000; // the node answers within some 10 s, with or without a picture
const icons = Object.fromEntries([...document.querySelectorAll("#icons [data-v]")].map((e) => [e.dataset.v, e.firstElementChild]));
const icon = (verdict) => icons[verdict].cloneNode(true);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function element(name, text = "", kind = "") {
  const e = document.createElement(name);
  e.textContent = text;
  if (kind) e.className = kind;
  return e;
}

function headline({ kind, text, address }) {
  const line = document.getElementById("calm");
  line.className = `headline ${kind}`;
  line.setAttribute("href", address);
  const b = line.querySelector("b");
  if (b.textContent !== text) b.textContent = text; // only changes are read out
}

class Camera {
  constructor(section) {
    this.section = section;
    this.find = (name) => section.querySelector(`[data-${name}]`);
    this.id = section.dataset.camera;
    this.seq = 0;
    this.state = section.dataset.state;
    this.inSight = false;
    this.seen = () => {};
    new IntersectionObserver((entries) => {
      this.inSight = entries.at(-1).isIntersecting;
      this.seen();
    }).observe(section);
    document.addEventListener("visibilitychange", () => this.seen());
    this.run();
  }

  async run() {
    for (;;) {
      while (document.hidden || !this.inSight) await new Promise((seen) => { this.seen = seen; });
      try {
        await Promise.all([this.turn(), pause(LEAST_MS)]);
      } catch (error) {
        // fetch: no connection, one that broke off, or one that hangs
        if (!(error instanceof TypeError) && error.name !== "TimeoutError") throw error;
        this.offline();
        await pause(RETRY_MS);
      }
    }
  }

  async turn() {
    const answer = await fetch(`/live/${this.id}?after=${this.seq}&state=${this.state}`, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(ANSWER_MS) });
    if (answer.status === 401) return location.reload(), pause(RETRY_MS);
    if (!answer.ok) return this.offline(), pause(RETRY_MS);
    const form = await answer.formData();
    const told = JSON.parse(form.get("told"));
    if (told.view) this.show(told.view, await createImageBitmap(form.get("picture")));
    this.status(told.status);
    // The camera runs, but nothing has been judged for a while: what is on the screen is old.
    if (!told.view && told.status.ok) this.old(this.find("waiting"));
    this.places(told.places);
    headline(told.headline);
  }

  show(view, bitmap) {
    const canvas = this.find("picture");
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("bitmaprenderer").transferFromImageBitmap(bitmap);
    canvas.hidden = false;
    canvas.classList.remove("old");
    this.find("frame").setAttribute("viewBox", `0 0 ${view.width} ${view.height}`);
    this.find("boxes").replaceChildren(...view.boxes.flatMap((b) => this.box(b, view)));
    this.label(view.boxes);
    this.find("waiting").hidden = true;
    this.find("time").textContent = view.time;
    this.seq = view.seq;
    this.section.dataset.seq = view.seq;
  }

  /** What is on the screen is not now: grey, without boxes. */
  old(...shown) {
    this.find("picture").classList.add("old");
    this.find("boxes").replaceChildren();
    this.find("labels").replaceChildren();
    this.find("waiting").hidden = true;
    for (const e of shown) e.hidden = false;
  }

  box(b, view) {
    const at = { x: b.x * view.width, y: b.y * view.height, width: b.w * view.width, height: b.h * view.height };
    return ["under", `v-${b.verdict}`].map((kind) => {
      const rect = document.createElementNS(SVG, "rect");
      for (const [name, value] of Object.entries(at)) rect.setAttribute(name, value.toFixed(1));
      rect.setAttribute("class", `box ${kind}`);
      return rect;
    });
  }

  /** Labels beside their boxes, the worst first: above, below or inside; one that finds no room shrinks to its sign. */
  label(boxes) {
    const layer = this.find("labels");
    layer.replaceChildren();
    const { clientWidth: width, clientHeight: height } = layer;
    const taken = [];
    for (const b of boxes.filter((box) => box.notes.length).reverse()) {
      const tag = element("span", "", `tag v-${b.verdict}`);
      const notes = element("span");
      notes.append(...b.notes.map((note) => element("span", note, "note")));
      tag.append(icon(b.verdict), notes);
      layer.append(tag);
      const spot = () => {
        const [w, h] = [tag.offsetWidth, tag.offsetHeight];
        const x = Math.min(Math.max(b.x + b.w / 2 < 0.5 ? b.x * width : (b.x + b.w) * width - w, 0), width - w);
        return [b.y * height - h, (b.y + b.h) * height, b.y * height]
          .map((y) => ({ x, y, right: x + w, bottom: y + h }))
          .filter((r) => r.y >= 0 && r.bottom <= height)
          .find((r) => taken.every((t) => r.right <= t.x || t.right <= r.x || r.bottom <= t.y || t.bottom <= r.y));
      };
      let at = spot();
      if (!at) {
        notes.className = "hidden";
        at = spot();
      }
      if (!at) {
        tag.remove(); // a crowd: the box alone must do
        continue;
      }
      taken.push(at);
      tag.style.left = `${(100 * at.x) / width}%`;
      tag.style.top = `${(100 * at.y) / height}%`;
    }
  }

  status(s) {
    this.state = s.code;
    const chip = this.find("chip");
    chip.textContent = s.title;
    chip.className = `chip ${s.ok ? "good" : "bad"}`;
    this.find("fps").textContent = s.fps;
    this.find("trouble").hidden = s.ok;
    for (const name of ["title", "cause", "since", "todo", "detail"]) this.find(name).textContent = s[name];
    if (!s.ok) this.old();
  }

  places(places) {
    const fresh = JSON.stringify(places);
    if (fresh === this.told) return;
    this.told = fresh;
    const rows = places.map((p) => {
      const row = element("li", "", `row v-${p.verdict}`);
      const text = element("span");
      const why = [p.reason || p.word, p.count].filter(Boolean).join(" · ");
      text.append(element("b", p.rule), " ", element("span", p.place, "quiet"), element("br"), element("span", why, "why"));
      const mark = icon(p.verdict);
      mark.setAttribute("aria-label", p.word);
      row.append(mark, text);
      return row;
    });
    this.find("places").replaceChildren(...(rows.length ? rows : [element("li", this.section.dataset.norules, "quiet")]));
  }

  offline() {
    const chip = this.find("chip");
    chip.textContent = this.section.dataset.offline;
    chip.className = "chip bad";
    headline({ kind: "blind", text: this.section.dataset.offline, address: "/health" });
    this.old();
    this.seq = 0; // a restarted node counts its frames from 1 again
  }
}

for (const section of document.querySelectorAll("[data-camera]")) new Camera(section);
