// A slider that shows one frame of a sprite while it moves, and tells the server where it was let go.

const KEY_PAUSE_MS = 200;
const ICONS = { play: "M4 2.5v11l9-5.5z", pause: "M4 2.5h3v11H4zM9 2.5h3v11H9z" };

// By key: the version and index that the server knows. Outlives a strip that leaves the page and comes back.
const agreed = new Map();

class FilmStrip {
  constructor(parent) {
    this.redraws = 0;
    this.picture = new FrameCanvas();
    this.icon = document.createElementNS("http://www.w3.org/2000/svg", "path");
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 16 16");
    svg.setAttribute("aria-hidden", "true");
    svg.append(this.icon);
    this.label = element("label", { class: "label", for: "thumb" });
    this.value = element("span", { class: "value", "aria-hidden": "true" });
    this.play = element("button", { type: "button", class: "play" }, svg);
    this.thumb = element("input", { type: "range", id: "thumb", min: "0" });
    this.first = element("span");
    this.last = element("span");
    this.root = element(
      "div", { class: "root", "data-testid": "film-strip", "data-redraws": "0" },
      element("div", { class: "strip" },
        this.label, this.value, element("div", { class: "stage" }, this.picture.canvas), this.play, this.thumb,
        element("div", { class: "ends", "aria-hidden": "true" }, this.first, this.last)),
    );
    this.listen();
    parent.append(this.root);
    this.observer = new ResizeObserver(() => this.layOut());
    this.observer.observe(this.root);
    this.pause();
  }

  listen() {
    const on = (target, name, handler) => target.addEventListener(name, handler);
    on(this.thumb, "pointerdown", (event) => {
      if (event.button !== 0) return;
      this.dragging = true;
      this.thumb.step = "any"; // the thumb stays under the pointer between two frames
    });
    const letGo = () => setTimeout(() => this.letGo());
    on(this.thumb, "pointerup", letGo);
    on(this.thumb, "pointercancel", letGo);
    on(this.thumb, "lostpointercapture", letGo);
    on(this.thumb, "input", () => {
      this.pause();
      this.show(Math.round(this.thumb.valueAsNumber));
    });
    on(this.thumb, "change", () => (this.keyDown ? this.commitSoon() : this.letGo()));
    on(this.thumb, "keydown", () => (this.keyDown = true));
    on(this.thumb, "keyup", () => {
      this.keyDown = false;
      this.commitSoon();
    });
    on(this.thumb, "blur", () => {
      this.keyDown = false;
      if (!this.playing) this.letGo();
    });
    on(this.play, "click", () => {
      if (this.playing) {
        this.pause();
        this.commit();
      } else this.start();
    });
  }

  update(data) {
    const first = !this.data;
    const known = agreed.get(data.key);
    const moved = known?.version !== data.version;
    if (moved) agreed.set(data.key, { version: data.version, index: data.index });
    this.data = data;
    this.label.textContent = data.label;
    this.picture.canvas.setAttribute("aria-label", data.label);
    this.first.textContent = data.labels[0];
    this.last.textContent = data.labels[data.frame.count - 1];
    this.root.classList.toggle("compact", data.compact);
    this.thumb.max = data.frame.count - 1;
    this.thumb.disabled = this.play.disabled = data.frame.count < 2;
    // The widest value keeps its room, so that nothing moves when the value changes.
    this.value.style.minWidth = `${Math.max(...data.labels.map((text) => text.length))}ch`;
    this.layOut();
    if ((first || moved) && !this.dragging) {
      this.pause();
      this.index = agreed.get(data.key).index;
    }
    this.index = Math.min(this.index, data.frame.count - 1);
    this.load();
    this.place();
    this.show(this.index);
  }

  load() {
    const { content, sprite } = this.data;
    if (content === this.content) return;
    this.content = content;
    decodeSprite(sprite).then((bitmap) => {
      if (this.content !== content) return bitmap.close();
      this.bitmap?.close();
      this.bitmap = bitmap;
      this.frame = this.data.frame;
      this.layOut();
      this.draw();
    });
  }

  layOut() {
    const room = this.root.clientWidth;
    const frame = this.frame ?? this.data?.frame; // the old picture stays until the new one is decoded
    if (!room || !frame) return;
    const { scale, compact } = this.data;
    this.picture.resize(frame, wholeScale(scale, frame.width, compact ? room / 3 : room));
  }

  show(index) {
    this.index = index;
    const text = this.data.labels[index];
    this.value.textContent = text;
    this.thumb.setAttribute("aria-valuetext", text);
    this.fill();
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.draw();
    });
  }

  draw() {
    if (!this.bitmap) return;
    this.picture.draw(this.bitmap, this.frame, Math.min(this.index, this.frame.count - 1));
    this.root.dataset.redraws = ++this.redraws;
  }

  place() {
    if (!this.dragging) this.thumb.value = this.index;
    this.fill();
  }

  fill() {
    this.thumb.style.setProperty("--done", this.thumb.valueAsNumber / Math.max(this.data.frame.count - 1, 1));
  }

  start() {
    let index = this.index === this.data.frame.count - 1 ? 0 : this.index;
    const began = performance.now();
    const from = index;
    this.setIcon("pause", "Pause");
    const step = (now) => {
      const last = this.data.frame.count - 1;
      index = Math.min(from + Math.floor(((now - began) * this.data.fps) / 1000), last);
      if (index !== this.index) {
        this.show(index);
        this.place();
      }
      this.playing = requestAnimationFrame(step);
      if (index === last) {
        this.pause();
        this.commit();
      }
    };
    this.playing = requestAnimationFrame(step);
  }

  pause() {
    cancelAnimationFrame(this.playing);
    this.playing = null;
    this.setIcon("play", "Play");
  }

  setIcon(name, text) {
    this.icon.setAttribute("d", ICONS[name]);
    this.play.setAttribute("aria-label", text);
  }

  letGo() {
    this.dragging = false;
    this.thumb.step = 1;
    this.place();
    this.commit();
  }

  commitSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.commit(), KEY_PAUSE_MS);
  }

  commit() {
    clearTimeout(this.timer);
    const known = agreed.get(this.data.key);
    if (this.index === known.index) return;
    known.index = this.index;
    this.report("released", { index: this.index, version: known.version });
  }

  dispose() {
    this.pause();
    clearTimeout(this.timer);
    cancelAnimationFrame(this.waiting);
    this.observer.disconnect();
    this.content = null;
    this.bitmap?.close();
  }
}

export default function (component) {
  return mount(FilmStrip, component);
}
