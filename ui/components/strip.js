// The thumb of every strip: a slider with a play button, which shows places between 0 and the last while it moves, and
// tells the server where it was let go. What it moves is its subclass's: `load`, `layOut`, `draw`, and `snap`, the place
// that stands for a thumb between two frames.

const KEY_PAUSE_MS = 200;
const ICONS = { play: "M4 2.5v11l9-5.5z", pause: "M4 2.5h3v11H4zM9 2.5h3v11H9z" };

// By key: the version and index that the server knows. Outlives a strip that leaves the page and comes back.
const agreed = new Map();

class Strip {
  constructor(parent, ...stage) {
    this.redraws = 0;
    this.icon = document.createElementNS("http://www.w3.org/2000/svg", "path");
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 16 16");
    svg.setAttribute("aria-hidden", "true");
    svg.append(this.icon);
    this.label = element("label", { class: "label", for: "thumb" });
    this.value = element("span", { class: "value", "aria-hidden": "true" });
    this.save = saveButton(() => {
      const [label, value] = [this.data.label, this.value.textContent];
      saveStage(this.stage, "figcaption", value.startsWith(label) ? value : `${label} ${value}`);
    });
    this.play = element("button", { type: "button", class: "play" }, svg);
    this.thumb = element("input", { type: "range", id: "thumb", min: "0" });
    this.first = element("span");
    this.last = element("span");
    this.stage = element("div", { class: "stage" }, ...stage);
    this.root = element(
      "div", { class: "root", "data-testid": "film-strip", "data-redraws": "0" },
      element("div", { class: "strip" },
        this.label, element("div", { class: "reading" }, this.value, this.save), this.stage, this.play, this.thumb,
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
    const letGo = () => (this.letting = setTimeout(() => this.letGo()));
    on(this.thumb, "pointerup", letGo);
    on(this.thumb, "pointercancel", letGo);
    on(this.thumb, "lostpointercapture", letGo);
    on(this.thumb, "input", () => {
      this.pause();
      this.show(this.snap(this.thumb.valueAsNumber));
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
        this.rest();
        this.commit();
      } else this.start();
    });
  }

  get end() {
    return this.data.labels.length - 1;
  }

  update(data) {
    const first = !this.data;
    const known = agreed.get(data.key);
    const moved = known?.version !== data.version;
    if (moved) agreed.set(data.key, { version: data.version, index: data.index });
    this.data = data;
    this.label.textContent = data.label;
    this.first.textContent = data.labels[0];
    this.last.textContent = data.labels[this.end];
    this.thumb.max = this.end;
    this.thumb.disabled = this.play.disabled = this.end < 1;
    // The widest value keeps its room, so that nothing moves when the value changes.
    this.value.style.minWidth = `${Math.max(...data.labels.map((text) => text.length))}ch`;
    this.layOut();
    if ((first || moved) && !this.dragging) {
      this.pause();
      this.index = agreed.get(data.key).index;
    }
    this.index = Math.min(this.index, this.end);
    this.load();
    this.place();
    this.show(this.index);
  }

  show(index) {
    this.index = index;
    const text = this.data.labels[Math.round(index)];
    this.value.textContent = text;
    this.thumb.setAttribute("aria-valuetext", text);
    this.fill();
    this.request();
  }

  request() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      if (this.draw()) this.root.dataset.redraws = ++this.redraws;
    });
  }

  place() {
    if (!this.dragging) this.thumb.value = this.index;
    this.fill();
  }

  fill() {
    this.thumb.style.setProperty("--done", this.thumb.valueAsNumber / Math.max(this.end, 1));
  }

  start() {
    const from = this.index === this.end ? 0 : this.index;
    const began = performance.now();
    this.setIcon("pause", "Pause");
    const step = (now) => {
      const index = Math.min(this.snap(from + Math.max(0, (now - began) * this.data.fps) / 1000), this.end);
      if (index !== this.index) {
        this.show(index);
        this.place();
      }
      this.playing = requestAnimationFrame(step);
      if (index === this.end) {
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
    this.rest();
    this.commit();
  }

  // On a whole frame: the server knows of no others.
  rest() {
    if (this.index !== Math.round(this.index)) this.show(Math.round(this.index));
    this.place();
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
    clearTimeout(this.letting);
    cancelAnimationFrame(this.waiting);
    this.observer.disconnect();
  }
}
