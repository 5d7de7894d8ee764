// A dark square to draw on with a light stroke, by mouse, finger or pen; the server gets a PNG after each stroke.

const REPORT_PAUSE_MS = 300;

// By key: the strokes of each pad, and whether the server has yet to hear of them. Outlives a pad that leaves the page.
const drawings = new Map();

class DrawPad {
  constructor(parent) {
    this.canvas = element("canvas", { role: "img", tabindex: "0" });
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.label = element("span", { class: "label", "aria-hidden": "true" });
    this.undo = element("button", { type: "button" }, "Undo");
    this.clear = element("button", { type: "button" }, "Clear");
    this.root = element(
      "div", { class: "root", "data-testid": "draw-pad", "data-strokes": "0" },
      this.label, this.canvas, element("div", { class: "tools" }, this.undo, this.clear),
    );
    this.listen();
    parent.append(this.root);
  }

  listen() {
    const on = (target, name, handler) => target.addEventListener(name, handler);
    on(this.canvas, "pointerdown", (event) => {
      if (event.button !== 0 || this.pointer !== undefined) return;
      this.pointer = event.pointerId;
      this.canvas.setPointerCapture(event.pointerId);
      clearTimeout(this.timer);
      this.strokes.push([this.point(event)]);
      this.draw();
    });
    on(this.canvas, "pointermove", (event) => {
      if (event.pointerId !== this.pointer) return;
      const between = event.getCoalescedEvents();
      for (const step of between.length ? between : [event]) this.strokes.at(-1).push(this.point(step));
      this.waiting ??= requestAnimationFrame(() => {
        this.waiting = null;
        this.draw();
      });
    });
    const lift = (event) => {
      if (event.pointerId !== this.pointer) return;
      this.pointer = undefined;
      this.changed();
    };
    on(this.canvas, "pointerup", lift);
    on(this.canvas, "pointercancel", lift);
    on(this.canvas, "keydown", (event) => {
      if (event.key === "z" && (event.ctrlKey || event.metaKey)) this.take(1);
      else if (event.key === "Delete" || event.key === "Backspace") this.take(this.strokes.length);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    on(this.undo, "click", () => this.take(1));
    on(this.clear, "click", () => this.take(this.strokes.length));
  }

  update(data) {
    if (!this.data) {
      this.canvas.width = this.canvas.height = data.side;
      this.drawing = drawings.get(data.key) ?? { strokes: [], unsaid: false };
      drawings.set(data.key, this.drawing);
      const known = Boolean(data.held) === this.strokes.length > 0;
      if (!known || this.drawing.unsaid) this.changed(); // the server knows of another picture, or none
    }
    this.data = data;
    this.label.textContent = data.label;
    this.canvas.setAttribute("aria-label", data.label);
    this.draw();
  }

  get strokes() {
    return this.drawing.strokes;
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const { side } = this.data;
    return [((event.clientX - box.left) * side) / box.width, ((event.clientY - box.top) * side) / box.height];
  }

  draw() {
    const { context, data } = this;
    context.fillStyle = "#000";
    context.fillRect(0, 0, data.side, data.side);
    context.strokeStyle = context.fillStyle = "#fff";
    context.lineWidth = data.stroke;
    context.lineCap = context.lineJoin = "round";
    for (const points of this.strokes) {
      context.beginPath();
      context.arc(...points[0], data.stroke / 2, 0, 2 * Math.PI); // a line to where it begins would leave no dot
      context.fill();
      context.beginPath();
      context.moveTo(...points[0]);
      // Curves through the middles between neighbours: round where the hand was round.
      points.slice(1).forEach(([x, y], before) => {
        const [fromX, fromY] = points[before];
        context.quadraticCurveTo(fromX, fromY, (fromX + x) / 2, (fromY + y) / 2);
      });
      context.lineTo(...points.at(-1));
      context.stroke();
    }
    this.undo.disabled = this.clear.disabled = !this.strokes.length;
    this.root.dataset.strokes = this.strokes.length;
  }

  take(count) {
    if (!this.strokes.length || this.pointer !== undefined) return;
    this.strokes.splice(-count);
    this.draw();
    this.changed();
    if (this.undo.disabled) this.canvas.focus({ preventScroll: true }); // a disabled button would drop the focus
  }

  changed() {
    clearTimeout(this.timer);
    this.drawing.unsaid = true;
    this.timer = setTimeout(() => {
      this.drawing.unsaid = false;
      this.report("drawing", this.strokes.length ? this.canvas.toDataURL("image/png") : null);
    }, REPORT_PAUSE_MS);
  }

  dispose() {
    clearTimeout(this.timer);
    cancelAnimationFrame(this.waiting);
  }
}

export default function (component) {
  return mount(DrawPad, component);
}
