// Noise ε that stays on the left, z = μ + σ ⊙ ε on the right: the same dots, moved and stretched with the ellipse.

const NOISE_REACH = 3.2;
const HANDLE = 16; // pixels between the ellipse and its handles, so that both can be had where it is small
const TOUCHED = 18;
const PAUSE_MS = 250;

// By subject: where the ellipse was left. Outlives a map that leaves the page and comes back.
const left = new Map();

class NoiseMap {
  constructor(parent) {
    this.redraws = 0;
    this.chosen = 0;
    this.noise = element("canvas", { role: "slider", tabindex: "0", "aria-valuemin": "1" });
    this.plane = element("canvas", { role: "application", tabindex: "0" });
    this.sums = [element("div"), element("div")];
    this.reset = element("button", { type: "button" }, "Start again");
    this.first = element("h4", {}, "ε ~ N(0, I) ", element("span", {}, "stays as it is; click one"));
    this.second = element("h4", {}, "z = μ + σ ⊙ ε ", element("span", {}, "drag the ellipse or its handles"));
    this.save = saveButton(() => saveStage(this.root, "h4, .sum > div", "Reparameterisation"));
    this.root = element(
      "div", { class: "root", "data-testid": "noise-map", "data-redraws": "0" },
      element("div", { class: "panels" },
        element("div", {}, this.first, this.noise, element("div", { class: "sum" }, ...this.sums),
          element("div", { class: "buttons" }, this.reset, this.save)),
        element("div", {}, this.second, this.plane)),
    );
    this.listen();
    parent.append(this.root);
    this.observer = new ResizeObserver(() => this.request());
    this.observer.observe(this.root);
  }

  listen() {
    const on = (target, name, handler, options) => target.addEventListener(name, handler, options);
    on(this.noise, "pointerdown", (event) => this.choose(event));
    on(this.noise, "keydown", (event) => this.chooseNext(event));
    on(this.plane, "pointerdown", (event) => {
      const part = event.button === 0 && this.partAt(event);
      if (!part) return;
      this.plane.setPointerCapture(event.pointerId);
      const [x, y] = this.pixel(event);
      const at = part === "middle" ? this.toPixels(this.mu) : this.end(Number(part));
      this.drag = { part, grip: [x - at[0], y - at[1]] };
    });
    on(this.plane, "pointermove", (event) => {
      if (!this.drag) {
        this.plane.style.cursor = { middle: "move", 0: "ew-resize", 1: "ns-resize" }[this.partAt(event)] ?? "default";
        return;
      }
      this.moveTo(this.pixel(event));
    });
    const letGo = () => {
      if (!this.drag) return;
      this.drag = null;
      this.commit();
    };
    on(this.plane, "pointerup", letGo);
    on(this.plane, "pointercancel", letGo);
    // A finger on the ellipse drags it; anywhere else it scrolls the page.
    on(this.plane, "touchstart", (event) => this.partAt(event.touches[0]) && event.preventDefault(), { passive: false });
    on(this.plane, "keydown", (event) => this.key(event));
    on(this.reset, "click", () => {
      this.mu = [...this.data.mu];
      this.sigma = [...this.data.sigma];
      this.request();
      this.commit();
    });
  }

  update(data) {
    const other = this.data?.subject !== data.subject;
    this.data = data;
    this.plane.setAttribute("aria-label", data.label);
    this.noise.setAttribute("aria-label", "Noise ε; arrow keys choose the next one or the one before");
    this.noise.setAttribute("aria-valuemax", data.noise.length);
    if (other) {
      const kept = left.get(data.subject) ?? data;
      this.mu = [...kept.mu];
      this.sigma = [...kept.sigma];
    }
    this.request();
  }

  partAt(event) {
    const [x, y] = this.pixel(event);
    const near = (point, reach) => Math.hypot(x - point[0], y - point[1]) <= reach;
    for (const axis of [0, 1]) if (near(this.handle(axis), TOUCHED)) return String(axis);
    const centre = this.toPixels(this.mu);
    const wide = this.sigma.map((value) => Math.max(value * this.unit, TOUCHED));
    const inside = ((x - centre[0]) / wide[0]) ** 2 + ((y - centre[1]) / wide[1]) ** 2 <= 1;
    return inside ? "middle" : null;
  }

  moveTo([x, y]) {
    const { part, grip } = this.drag;
    const { reach } = this.data;
    if (part === "middle") {
      const limit = (value) => Math.min(Math.max(value, -reach), reach);
      this.mu = [limit((x - grip[0]) / this.unit - reach), limit(reach - (y - grip[1]) / this.unit)];
    } else {
      const centre = this.toPixels(this.mu);
      const distance = part === "0" ? x - grip[0] - centre[0] : centre[1] - (y - grip[1]);
      this.widen(Number(part), (distance - HANDLE) / this.unit);
    }
    this.request();
  }

  widen(axis, value) {
    this.sigma[axis] = Math.min(Math.max(value, this.data.smallest), this.data.largest);
  }

  key(event) {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 1], ArrowDown: [1, -1] }[event.key];
    if (!move) return;
    event.preventDefault();
    const [axis, sign] = move;
    if (event.shiftKey) this.widen(axis, this.sigma[axis] * 1.1 ** sign);
    else this.mu[axis] = Math.min(Math.max(this.mu[axis] + 0.05 * sign, -this.data.reach), this.data.reach);
    this.request();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.commit(), PAUSE_MS);
  }

  choose(event) {
    const box = this.noise.getBoundingClientRect();
    const unit = box.width / (2 * NOISE_REACH);
    const x = (event.clientX - box.left) / unit - NOISE_REACH;
    const y = NOISE_REACH - (event.clientY - box.top) / unit;
    const distances = this.data.noise.map(([a, b]) => Math.hypot(a - x, b - y));
    this.chosen = distances.indexOf(Math.min(...distances));
    this.request();
  }

  chooseNext(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const { length } = this.data.noise;
    this.chosen = (this.chosen + step + length) % length;
    this.request();
  }

  commit() {
    clearTimeout(this.timer);
    const { subject } = this.data;
    const round = (value) => Number(value.toFixed(4));
    const now = { subject, mu: this.mu.map(round), sigma: this.sigma.map(round) };
    if (JSON.stringify(left.get(subject)) === JSON.stringify(now)) return;
    left.set(subject, now);
    this.report("dragged", now);
  }

  pixel(event) {
    const box = this.plane.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  get unit() {
    return this.plane.clientWidth / (2 * this.data.reach);
  }

  toPixels([x, y]) {
    return [(x + this.data.reach) * this.unit, (this.data.reach - y) * this.unit];
  }

  end(axis) {
    const [x, y] = this.toPixels(this.mu);
    const away = this.sigma[axis] * this.unit + HANDLE;
    return axis === 0 ? [x + away, y] : [x, y - away];
  }

  // At the end of the ellipse, or at the plane's edge where that lies beyond it.
  handle(axis) {
    const [x, y] = this.end(axis);
    return [Math.min(x, this.plane.clientWidth - 8), Math.max(y, 8)];
  }

  request() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.draw();
    });
  }

  draw() {
    if (!this.data || !this.root.clientWidth) return;
    const css = getComputedStyle(this.root);
    this.ink = css.getPropertyValue("--st-text-color") || "#000";
    this.accent = css.getPropertyValue("--st-primary-color") || "#088";
    this.drawNoise();
    this.drawPlane();
    this.write();
    this.root.dataset.redraws = ++this.redraws;
    this.root.dataset.reach = this.data.reach;
    this.root.dataset.mu = this.mu.map((value) => value.toFixed(3)).join(" ");
    this.root.dataset.sigma = this.sigma.map((value) => value.toFixed(3)).join(" ");
  }

  prepared(canvas) {
    const density = window.devicePixelRatio || 1;
    const side = canvas.clientWidth;
    const pixels = Math.round(side * density);
    if (canvas.width !== pixels || canvas.height !== pixels) canvas.width = canvas.height = pixels;
    const context = canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, side, side);
    return [context, side];
  }

  drawNoise() {
    const [context, side] = this.prepared(this.noise);
    const unit = side / (2 * NOISE_REACH);
    const middle = [side / 2, side / 2];
    this.rings(context, middle, [unit, unit]);
    this.axes(context, middle, side, ["ε₁", "ε₂"]);
    this.dots(context, ([x, y]) => [middle[0] + x * unit, middle[1] - y * unit]);
  }

  drawPlane() {
    const [context, side] = this.prepared(this.plane);
    context.fillStyle = this.ink;
    context.globalAlpha = 0.16;
    for (const point of this.data.cloud) {
      const [x, y] = this.toPixels(point);
      context.fillRect(x - 1, y - 1, 2, 2);
    }
    context.globalAlpha = 1;
    const centre = this.toPixels(this.mu);
    this.axes(context, this.toPixels([0, 0]), side, this.data.names);
    this.rings(context, centre, this.sigma.map((value) => value * this.unit), this.accent);
    this.dots(context, ([x, y]) => this.toPixels([this.mu[0] + this.sigma[0] * x, this.mu[1] + this.sigma[1] * y]));
    this.drawHandles(context, centre);
  }

  drawHandles(context, centre) {
    context.strokeStyle = context.fillStyle = this.accent;
    context.lineWidth = 2;
    for (const axis of [0, 1]) {
      const [x, y] = this.handle(axis);
      context.beginPath();
      context.moveTo(...centre);
      context.lineTo(x, y);
      context.stroke();
      context.beginPath();
      context.arc(x, y, 7, 0, 2 * Math.PI);
      context.fill();
    }
    context.beginPath();
    context.arc(...centre, 5, 0, 2 * Math.PI);
    context.fill();
  }

  axes(context, [x, y], side, names) {
    context.strokeStyle = context.fillStyle = this.ink;
    context.lineWidth = 1;
    context.globalAlpha = 0.2;
    context.beginPath();
    context.moveTo(0, Math.round(y) + 0.5);
    context.lineTo(side, Math.round(y) + 0.5);
    context.moveTo(Math.round(x) + 0.5, 0);
    context.lineTo(Math.round(x) + 0.5, side);
    context.stroke();
    context.globalAlpha = 0.8;
    context.font = `13px ${getComputedStyle(this.root).fontFamily}`;
    context.textAlign = "right";
    context.fillText(names[0], side - 6, y - 6);
    context.textAlign = "left";
    context.fillText(names[1], x + 6, 14);
    context.globalAlpha = 1;
  }

  rings(context, [x, y], [wide, high], colour = this.ink) {
    context.strokeStyle = context.fillStyle = colour;
    for (const sigmas of [2, 1]) {
      context.globalAlpha = 0.08;
      context.beginPath();
      context.ellipse(x, y, sigmas * wide, sigmas * high, 0, 0, 2 * Math.PI);
      context.fill();
      context.globalAlpha = colour === this.ink ? 0.3 : 0.9;
      context.lineWidth = 3 - sigmas;
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  // The colour of a dot is the direction of its ε, the same on both sides.
  dots(context, place) {
    this.data.noise.forEach((point, i) => {
      const [x, y] = place(point);
      context.fillStyle = `hsl(${(Math.atan2(point[1], point[0]) * 180) / Math.PI + 180} 65% 52%)`;
      context.beginPath();
      context.arc(x, y, i === this.chosen ? 7 : 3.5, 0, 2 * Math.PI);
      context.fill();
      if (i !== this.chosen) return;
      context.strokeStyle = this.ink;
      context.lineWidth = 2;
      context.stroke();
    });
  }

  write() {
    const noise = this.data.noise[this.chosen];
    const text = (value) => decimals(value, 2);
    this.noise.setAttribute("aria-valuenow", this.chosen + 1);
    this.noise.setAttribute("aria-valuetext", `ε = (${noise.map(text).join(", ")})`);
    this.sums.forEach((line, axis) => {
      const [mu, sigma, e] = [this.mu[axis], this.sigma[axis], noise[axis]];
      const result = element("b", {}, text(mu + sigma * e));
      line.replaceChildren(`${this.data.names[axis]} = μ + σ ε = ${text(mu)} + ${text(sigma)} × ${text(e)} = `, result);
    });
  }

  dispose() {
    clearTimeout(this.timer);
    cancelAnimationFrame(this.waiting);
    this.observer.disconnect();
  }
}

export default function (component) {
  return mount(NoiseMap, component);
}
