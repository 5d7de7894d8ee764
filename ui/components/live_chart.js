// Curves or bars on a canvas. The element stays while its data change, and with it the zoom and the pointer.

const GAP = { left: 52, right: 10, top: 16, bottom: 36 };
const TITLE = 18;
const TICK = { x: 38, y: 36 };
const MARK_ROWS = [0, 14];
const SMALLEST_BOX = 8;
const RADIUS = 3; // of a marker

class LiveChart {
  constructor(parent) {
    this.redraws = 0;
    this.legend = element("div", { class: "legend" });
    this.reset = element("button", { type: "button", hidden: "" }, "Show all");
    this.save = saveButton(() => this.download());
    this.canvas = element("canvas", { role: "application", tabindex: "0" });
    this.context = this.canvas.getContext("2d");
    this.tip = element("div", { class: "tip", role: "status", hidden: "" });
    this.root = element(
      "div", { class: "root", "data-testid": "live-chart" },
      element("div", { class: "chart" },
        element("div", { class: "head" }, this.legend, this.reset, this.save), this.canvas, this.tip),
    );
    this.listen();
    parent.append(this.root);
    this.observer = new ResizeObserver(() => this.request());
    this.observer.observe(this.root);
  }

  listen() {
    const on = (target, name, handler) => target.addEventListener(name, handler);
    on(this.reset, "click", () => this.zoomTo(null));
    on(this.canvas, "dblclick", () => this.zoomTo(null));
    on(this.canvas, "pointerdown", (event) => {
      if (event.button !== 0) return;
      this.pointer = this.at(event);
      this.request();
      if (this.data.bars) return;
      this.canvas.setPointerCapture(event.pointerId);
      this.box = { from: this.at(event), to: this.at(event) };
    });
    on(this.canvas, "pointermove", (event) => {
      if (this.box) this.box.to = this.at(event);
      this.pointer = this.at(event);
      this.request();
    });
    on(this.canvas, "pointerup", () => {
      const box = this.box;
      this.box = null;
      if (box) this.zoomInto(box);
    });
    on(this.canvas, "pointercancel", () => this.leave());
    on(this.canvas, "pointerleave", (event) => this.box || event.pointerType === "touch" || this.leave());
    on(this.canvas, "blur", () => this.leave());
    on(this.canvas, "keydown", (event) => this.key(event));
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      const x = (this.pointer?.x ?? this.plot.left + this.plot.width) + step * 8;
      this.pointer = { x: Math.min(Math.max(x, this.plot.left), this.plot.left + this.plot.width), y: this.plot.top };
      this.request();
    } else if (event.key === "Escape") this.zoomTo(null);
    else return;
    event.preventDefault();
  }

  leave() {
    this.box = this.pointer = null;
    this.request();
  }

  at(event) {
    const area = this.canvas.getBoundingClientRect();
    return { x: event.clientX - area.left, y: event.clientY - area.top };
  }

  zoomInto({ from, to }) {
    const [wide, high] = this.spanned({ from, to });
    if (!wide && !high) return this.request();
    const x = [from.x, to.x].map((value) => this.unscaleX(value)).sort((a, b) => a - b);
    const y = [from.y, to.y].map((value) => this.unscaleY(value)).sort((a, b) => a - b);
    this.zoomTo({ x: wide ? x : this.view.x, y: high ? y : this.view.y });
  }

  zoomTo(zoom) {
    this.zoom = zoom;
    this.reset.hidden = !zoom;
    this.request();
  }

  update(data) {
    if (data.subject !== this.data?.subject) this.zoomTo(null);
    this.data = data;
    this.canvas.style.height = `${data.height}px`;
    this.canvas.setAttribute("aria-label", this.describe());
    this.legend.replaceChildren(
      ...data.series.filter((series) => series.x.length).map((series) => element("span", {}, this.swatch(series), series.name)),
    );
    this.request();
  }

  swatch({ colour, width }) {
    const line = this.data.bars ? 10 : Math.max(2, Math.round(width));
    return element("i", { style: `height:${line}px;background:${colour};width:${this.data.bars ? 10 : 16}px` });
  }

  describe() {
    const { label, y, series } = this.data;
    const last = series.filter((one) => one.y.length).map((one) => `${one.name} ${shorten(one.y.at(-1))}`);
    return `${label}, ${y}: ${last.join(", ")}. Left and right arrow keys read values, Escape shows everything.`;
  }

  request() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.draw();
    });
  }

  whole() {
    const { series, marks, range, bars } = this.data;
    const xs = [...series.flatMap((one) => one.x), ...(bars ? [] : marks.map((mark) => mark.x))];
    const ys = series.flatMap((one) => one.y);
    if (!ys.length) return { x: [0, 1], y: [0, 1] };
    const x = [Math.min(...xs), Math.max(...xs)];
    const y = [Math.min(...ys), Math.max(...ys)];
    if (bars) return { x: [x[0] - 0.6, x[1] + 0.6], y: [Math.min(0, y[0]), Math.max(y[1] * 1.08, 0.01)] };
    const air = 0.06 * (y[1] - y[0]) || 0.5;
    const low = y[0] < 0 ? y[0] - air : Math.max(0, y[0] - air);
    return { x: x[0] === x[1] ? [x[0] - 0.5, x[1] + 0.5] : x, y: range ?? [low, y[1] + air] };
  }

  draw() {
    const width = this.canvas.clientWidth;
    if (!width || !this.data) return;
    const { height } = this.data;
    const density = window.devicePixelRatio || 1;
    const size = [Math.round(width * density), Math.round(height * density)];
    if (this.canvas.width !== size[0]) this.canvas.width = size[0];
    if (this.canvas.height !== size[1]) this.canvas.height = size[1];
    this.view = this.zoom ?? this.whole();
    this.root.dataset.view = [...this.view.x, ...this.view.y].map((value) => Number(value.toPrecision(6))).join(" ");
    const styles = getComputedStyle(this.root);
    this.ink = styles.color;
    this.font = `12px ${styles.fontFamily}`;
    this.context.setTransform(density, 0, 0, density, 0, 0);
    this.context.clearRect(0, 0, width, height);
    this.context.font = this.font;
    const ySteps = ticks(this.view.y, (height - GAP.top - GAP.bottom) / TICK.y);
    const left = Math.max(GAP.left, TITLE + 8 + Math.max(0, ...ySteps.map(({ text }) => this.context.measureText(text).width)));
    this.plot = { left, top: GAP.top, width: width - left - GAP.right, height: height - GAP.top - GAP.bottom };
    this.drawAxes(ySteps, styles.getPropertyValue("--st-border-color") || "#ccc");
    const drawing = () => (this.data.bars ? this.drawBars() : this.data.series.forEach((series) => this.drawLine(series)));
    this.clipped(drawing, this.zoom ? 0 : RADIUS);
    this.drawMarks();
    this.drawPointer();
    this.root.dataset.redraws = ++this.redraws;
  }

  scaleX(x) {
    const [low, high] = this.view.x;
    return this.plot.left + ((x - low) / (high - low)) * this.plot.width;
  }

  scaleY(y) {
    const [low, high] = this.view.y;
    return this.plot.top + (1 - (y - low) / (high - low)) * this.plot.height;
  }

  unscaleX(pixel) {
    const [low, high] = this.view.x;
    return low + ((pixel - this.plot.left) / this.plot.width) * (high - low);
  }

  unscaleY(pixel) {
    const [low, high] = this.view.y;
    return low + (1 - (pixel - this.plot.top) / this.plot.height) * (high - low);
  }

  // To the frame, and `air` pixels around it.
  clipped(drawing, air = 0) {
    const { left, top, width, height } = this.plot;
    this.context.save();
    this.context.beginPath();
    this.context.rect(left - air, top - air, width + 2 * air, height + 2 * air);
    this.context.clip();
    drawing();
    this.context.restore();
  }

  drawAxes(ySteps, line) {
    const { context, plot, view } = this;
    const bottom = plot.top + plot.height;
    context.lineWidth = 1;
    context.strokeStyle = line;
    context.fillStyle = this.ink;
    context.globalAlpha = 0.75;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const tick of ySteps) {
      const y = Math.round(this.scaleY(tick.value)) + 0.5;
      this.line(plot.left, y, plot.left + plot.width, y);
      context.fillText(tick.text, plot.left - 8, y);
    }
    context.textAlign = "center";
    context.textBaseline = "top";
    const count = this.data.bars ? Math.min(plot.width / 26, view.x[1] - view.x[0]) : plot.width / TICK.x;
    const edge = plot.left + plot.width + GAP.right;
    for (const tick of ticks(view.x, count, this.data.bars)) {
      const text = this.data.bars?.[tick.value - 1] ?? tick.text;
      context.fillText(text, Math.min(this.scaleX(tick.value), edge - context.measureText(text).width / 2), bottom + 5);
    }
    context.fillText(this.data.x, plot.left + plot.width / 2, bottom + 20);
    context.save();
    context.translate(2, plot.top + plot.height / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(this.data.y, 0, 0);
    context.restore();
    context.globalAlpha = 1;
  }

  line(x0, y0, x1, y1) {
    this.context.beginPath();
    this.context.moveTo(x0, y0);
    this.context.lineTo(x1, y1);
    this.context.stroke();
  }

  drawLine({ x, y, colour, width }) {
    const { context } = this;
    context.strokeStyle = context.fillStyle = colour;
    context.lineWidth = width;
    context.lineJoin = "round";
    context.beginPath();
    x.forEach((value, i) => context.lineTo(this.scaleX(value), this.scaleY(y[i])));
    context.stroke();
    if (x.length > 2) return;
    x.forEach((value, i) => {
      context.beginPath();
      context.arc(this.scaleX(value), this.scaleY(y[i]), RADIUS, 0, 2 * Math.PI);
      context.fill();
    });
  }

  drawBars() {
    const wide = Math.max(1, (0.72 * this.plot.width) / (this.view.x[1] - this.view.x[0]));
    const zero = this.scaleY(0);
    for (const { x, y, colour } of this.data.series) {
      this.context.fillStyle = colour;
      x.forEach((value, i) => {
        const top = this.scaleY(y[i]);
        this.context.fillRect(this.scaleX(value) - wide / 2, top, wide, Math.max(zero - top, 1));
      });
    }
  }

  // Where the words of two would meet, the earlier one's stand a row lower, and those of a third nowhere.
  drawMarks() {
    const { context, plot, view } = this;
    const free = MARK_ROWS.map(() => Infinity);
    context.save();
    context.strokeStyle = context.fillStyle = this.ink;
    context.globalAlpha = 0.7;
    context.lineWidth = 1;
    context.setLineDash([2, 3]);
    context.textBaseline = "bottom";
    context.textAlign = "left";
    for (const { x, text } of [...this.data.marks].reverse()) {
      if (x < view.x[0] || x > view.x[1]) continue;
      const at = Math.round(this.scaleX(x)) + 0.5;
      this.line(at, plot.top, at, plot.top + plot.height);
      const wide = context.measureText(text).width;
      const side = at > plot.left + plot.width / 2 ? -1 : 1;
      const left = side < 0 ? at + 2 - wide : at - 2;
      const row = free.findIndex((end) => left + wide <= end);
      if (row < 0) continue;
      context.fillText(text, left + (row ? 6 * side : 0), plot.top - 2 + MARK_ROWS[row]);
      free[row] = left - 6;
    }
    context.restore();
  }

  // Along which axes the box says something: a tap or a click spans none.
  spanned({ from, to }) {
    return [Math.abs(to.x - from.x) > SMALLEST_BOX, Math.abs(to.y - from.y) > SMALLEST_BOX];
  }

  drawPointer() {
    const { context, plot, pointer, box } = this;
    const [wide, high] = box ? this.spanned(box) : [false, false];
    if (wide || high) {
      const [x, y] = [wide ? box.from.x : plot.left, high ? box.from.y : plot.top];
      context.fillStyle = this.ink;
      context.globalAlpha = 0.12;
      this.clipped(() => context.fillRect(x, y, wide ? box.to.x - x : plot.width, high ? box.to.y - y : plot.height));
      context.globalAlpha = 1;
    }
    const inside = pointer && pointer.x >= plot.left && pointer.x <= plot.left + plot.width;
    this.tip.hidden = !inside || wide || high;
    if (this.tip.hidden) return;
    const wanted = this.unscaleX(pointer.x);
    const found = this.data.series.map((series) => ({ series, i: nearest(series.x, wanted) })).filter(({ i }) => i >= 0);
    const reach = this.data.bars ? 0.5 : (this.view.x[1] - this.view.x[0]) / 10;
    const near = found.filter(({ series, i }) => Math.abs(series.x[i] - wanted) <= reach);
    this.tip.hidden = !near.length;
    if (!near.length) return;
    const at = near.reduce((best, one) =>
      Math.abs(one.series.x[one.i] - wanted) < Math.abs(best.series.x[best.i] - wanted) ? one : best);
    const x = at.series.x[at.i];
    context.strokeStyle = this.ink;
    context.globalAlpha = 0.4;
    context.lineWidth = 1;
    if (!this.data.bars) this.line(Math.round(this.scaleX(x)) + 0.5, plot.top, Math.round(this.scaleX(x)) + 0.5, plot.top + plot.height);
    context.globalAlpha = 1;
    this.tip.replaceChildren(
      element("div", {}, `${this.data.x} ${this.data.bars?.[x - 1] ?? shorten(x)}`),
      ...near.map(({ series, i }) => element("div", {}, this.swatch(series), series.name, element("b", {}, shorten(series.y[i])))),
    );
    const left = this.scaleX(x) + 12;
    const room = this.canvas.clientWidth - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, left > room ? left - 24 - this.tip.offsetWidth : left)}px`;
    this.tip.style.top = `${this.canvas.offsetTop + plot.top}px`;
  }

  download() {
    const density = this.canvas.width / this.canvas.clientWidth;
    const head = 26 * density;
    const copy = element("canvas", { width: this.canvas.width, height: this.canvas.height + head });
    const context = copy.getContext("2d");
    context.fillStyle = getComputedStyle(this.root).getPropertyValue("--st-background-color") || "#fff";
    context.fillRect(0, 0, copy.width, copy.height);
    context.drawImage(this.canvas, 0, head);
    context.scale(density, density);
    context.font = this.font;
    context.textBaseline = "middle";
    context.fillStyle = this.ink;
    context.fillText(this.data.label, 8, 14);
    let x = 20 + context.measureText(this.data.label).width;
    for (const { name, colour } of this.data.series.filter((series) => series.x.length)) {
      context.fillStyle = colour;
      context.fillRect(x, 12, 14, 4);
      context.fillStyle = this.ink;
      context.fillText(name, x + 20, 14);
      x += 34 + context.measureText(name).width;
    }
    download(copy, this.data.label);
  }

  dispose() {
    cancelAnimationFrame(this.waiting);
    this.observer.disconnect();
  }
}

function nearest(sorted, wanted) {
  let [low, high] = [0, sorted.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low > 0 && wanted - sorted[low - 1] < sorted[low] - wanted ? low - 1 : low < sorted.length ? low : -1;
}

function shorten(value) {
  const digits = Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 1 ? 2 : 4;
  return String(Number(value.toFixed(digits))).replace("-", "−");
}

export default function (component) {
  return mount(LiveChart, component);
}
