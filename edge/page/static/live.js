// The live picture: asks for the newest judged frame, waits for its JPEG, shows picture and boxes together.
// A new question goes out only when the last picture has arrived, so a slow phone asks less often.
"use strict";
const SVG = "http://www.w3.org/2000/svg";
const RETRY_MS = 2000;
const icons = Object.fromEntries([...document.querySelectorAll("#icons [data-v]")].map((e) => [e.dataset.v, e.firstElementChild]));
const icon = (verdict) => icons[verdict].cloneNode(true);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function element(name, text = "", kind = "") {
  const e = document.createElement(name);
  e.textContent = text;
  if (kind) e.className = kind;
  return e;
}

function headline(open) {
  const calm = document.getElementById("calm");
  calm.className = `headline ${open ? "alarmed" : "calm"}`;
  const text = open === 0 ? calm.dataset.calm : open === 1 ? calm.dataset.one : calm.dataset.many.replace("{n}", open);
  const b = calm.querySelector("b");
  if (b.textContent !== text) b.textContent = text; // only changes are read out
}

class Camera {
  constructor(section) {
    this.section = section;
    this.find = (name) => section.querySelector(`[data-${name}]`);
    this.id = section.dataset.camera;
    this.seq = 0;
    this.state = section.dataset.state;
    this.run();
  }

  async run() {
    for (;;) {
      if (document.hidden) await new Promise((seen) => document.addEventListener("visibilitychange", seen, { once: true }));
      try {
        await this.turn();
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // fetch: no connection
        this.offline();
        await pause(RETRY_MS);
      }
    }
  }

  async turn() {
    const answer = await fetch(`/live/${this.id}?after=${this.seq}&state=${this.state}`, { headers: { Accept: "application/json" } });
    if (answer.status === 401) return location.reload(), pause(RETRY_MS);
    if (!answer.ok) return pause(RETRY_MS);
    const told = await answer.json();
    const image = told.view ? await this.load(told.view.picture) : null;
    if (image) this.show(told.view, image);
    // Where the picture was gone already, the next question brings a newer one.
    if (told.view) this.seq = told.view.seq;
    this.status(told.status);
    this.places(told.places);
    headline(told.open);
  }

  async load(url) {
    const image = new Image();
    image.alt = "";
    image.src = url;
    return image.decode().then(() => image, () => null);
  }

  show(view, image) {
    const stage = this.find("stage");
    const frame = this.find("frame");
    frame.setAttribute("viewBox", `0 0 ${view.width} ${view.height}`);
    stage.querySelector("img")?.remove();
    stage.prepend(image);
    this.find("boxes").replaceChildren(...view.boxes.flatMap((b) => this.box(b, view)));
    this.find("labels").replaceChildren(...view.boxes.filter((b) => b.notes.length).map((b) => this.tag(b)));
    this.find("waiting").hidden = true;
    this.find("time").textContent = view.time;
    this.section.dataset.seq = view.seq;
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

  tag(b) {
    const tag = element("span", "", `tag v-${b.verdict}`);
    tag.append(icon(b.verdict), element("span", b.notes.join(" · ")));
    // Above the box, below where there is no room; towards the middle of the picture.
    const below = b.y < 0.12;
    tag.classList.toggle("below", below);
    tag.style.top = `${100 * (below ? Math.min(b.y + b.h, 0.9) : b.y)}%`;
    if (b.x + b.w / 2 < 0.5) {
      tag.style.left = `${100 * Math.max(b.x, 0)}%`;
    } else {
      tag.style.right = `${100 * Math.max(1 - b.x - b.w, 0)}%`;
      tag.classList.add("left");
    }
    return tag;
  }

  status(s) {
    this.state = s.code;
    const chip = this.find("chip");
    chip.textContent = s.title;
    chip.className = `chip ${s.ok ? "good" : "bad"}`;
    this.find("fps").textContent = s.fps;
    this.find("trouble").hidden = s.ok;
    for (const name of ["title", "cause", "since", "todo", "detail"]) this.find(name).textContent = s[name];
    this.find("stage").querySelector("img")?.classList.toggle("old", !s.ok);
    if (!s.ok) {
      this.find("boxes").replaceChildren();
      this.find("labels").replaceChildren();
      this.find("waiting").hidden = true;
    }
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
      row.append(icon(p.verdict), text);
      return row;
    });
    this.find("places").replaceChildren(...(rows.length ? rows : [element("li", this.section.dataset.norules, "quiet")]));
  }

  offline() {
    const chip = this.find("chip");
    chip.textContent = this.section.dataset.offline;
    chip.className = "chip bad";
    this.find("stage").querySelector("img")?.classList.add("old");
    this.find("boxes").replaceChildren();
    this.find("labels").replaceChildren();
    this.seq = 0; // a restarted node counts its frames from 1 again
  }
}

for (const section of document.querySelectorAll("[data-camera]")) new Camera(section);
