// A map of points in the plane: WebGL dots or thumbnails, pan, zoom, hover, click, lasso, live positions.

const LABEL_PIXELS = 14; // circles nearer to each other than this are not all named
const MARGIN = { left: 50, right: 10, top: 10, bottom: 44 };
const MOVE_MS = 350;
const TAP_PIXELS = 5;
const ZOOM_STEP = 1.4;
const FACE_PIXELS = 84; // a picture beside the pointer
const KEY_PAUSE_MS = 400;
const EDGE = 20; // from a mark that points beyond the plot to its edge

// The point that was selected last in a map that remembers it, or null. Outlives a map that leaves the page and comes back.
let selectedBefore;

const ICONS = {
  zoomIn: "M12 5v14M5 12h14",
  zoomOut: "M5 12h14",
  reset: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  lasso: "M12 4c5 0 9 2.4 9 5.5S17 15 12 15s-9-2.4-9-5.5S7 4 12 4M7 14.5c-2 1.5-1 4 1.5 4.5s2 2 .5 2.5",
  pad: "M12 3v18M3 12h18M12 8.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 1 1 0-7",
  save: "M12 4v11M7.5 10.5 12 15l4.5-4.5M5 19.5h14",
};
const VERTEX = `
attribute vec2 position; attribute vec4 colour;
uniform vec2 centre, stretch; uniform mediump float size; varying vec4 paint;
void main() {
  gl_Position = colour.a == 0.0 ? vec4(2.0, 2.0, 2.0, 1.0) : vec4((position - centre) * stretch, 0.0, 1.0);
  gl_PointSize = size; paint = colour;
}`;
const FRAGMENT = `
precision mediump float; varying vec4 paint; uniform mediump float size;
void main() {
  float edge = 0.5 * size - distance(gl_PointCoord, vec2(0.5)) * size;
  float alpha = paint.a * clamp(edge, 0.0, 1.0);
  gl_FragColor = vec4(paint.rgb * alpha, alpha);
}`;

export default function (component) {
  return mount(LatentMap, component);
}

function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

function number(value, digits = 3) {
  return Number(value.toPrecision(digits)).toString().replace("-", "−");
}

class LatentMap {
  constructor(parent) {
    this.redraws = 0;
    this.pointers = new Map();
    this.hidden = new Set();
    this.chosen = null;
    this.lassoed = null;
    this.spotlit = null;
    this.hover = -1;
    this.aim = null;
    this.moved = false;
    this.view = { x: 0, y: 0, scale: 1 };
    this.under = element("canvas");
    this.dots = element("canvas");
    this.over = element("canvas");
    this.picture = element("canvas", { class: "picture" });
    this.words = element("figcaption");
    this.seen = element("figure", { hidden: "" }, this.picture, this.words);
    this.plane = new PlanePad();
    this.place = element("figcaption");
    this.decoded = element("figure", { hidden: "" }, this.plane.canvas, this.place);
    this.tooltip = element("div", { class: "tooltip", role: "status", hidden: "" },
      this.decoded, this.seen);
    this.stage = element("div", { class: "stage", tabindex: 0, role: "application" },
      this.under, this.dots, this.over, this.tooltip);
    this.legend = element("div", { class: "legend" });
    this.note = element("div", { class: "note", role: "status" });
    this.root = element("div", { class: "root", "data-testid": "latent-map", "data-redraws": 0 },
      element("div", { class: "head" }, this.note, this.toolbar()), this.stage, this.legend);
    parent.append(this.root);
    this.abort = new AbortController();
    this.listen();
    this.fileDrop = new FileDrop(this.stage, this.abort.signal, {
      take: (file) => this.take(file),
      refuse: (sentence) => this.say(sentence),
    });
    this.startDots();
    this.resizer = new ResizeObserver(() => this.resize());
    this.resizer.observe(this.stage);
    this.resize();
  }

  dispose() {
    this.abort.abort();
    this.resizer.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }

  toolbar() {
    const bar = element("div", { class: "toolbar", role: "toolbar", "aria-label": "Map tools" });
    const add = (icon, label, action) => {
      const button = element("button", { type: "button", title: label, "aria-label": label });
      bar.append(button);
      button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${ICONS[icon]}"/></svg>`;
      button.addEventListener("click", action);
      return button;
    };
    add("zoomIn", "Zoom in", () => this.zoom(ZOOM_STEP));
    add("zoomOut", "Zoom out", () => this.zoom(1 / ZOOM_STEP));
    add("reset", "Show all points", () => this.reset());
    this.lassoButton = add("lasso", "Lasso: draw around points (or hold Shift)", () => this.toggleLasso());
    this.lassoButton.setAttribute("aria-pressed", "false");
    this.padButton = add("pad", "Plane pad: drag a point, its picture is decoded (P)", () => this.togglePad());
    this.padButton.setAttribute("aria-pressed", "false");
    add("save", "Download this picture (PNG)", () => this.save());
    return bar;
  }

  say(sentence) {
    this.note.textContent = sentence;
  }

  // A file was dropped: what was selected gives way to it.
  take(file) {
    this.say("");
    if (this.chosen || this.lassoed) this.select(null);
    this.trigger("dropped", { ...file, id: this.data.id });
  }

  // ---- data -------------------------------------------------------------------------------------------------

  // Where the points themselves have not arrived yet, everything waits for them.
  update(data) {
    this.awaited = data;
    if (this.data?.positions !== data.positions && !globalThis.latentPoints?.has(data.positions)) return;
    const old = this.data;
    this.data = data;
    if (old !== data) {
      this.setPositions(old);
      if (!old || old.id !== data.id) this.forget();
      if (!old || old.view !== data.view) this.changeView(old);
      else if (!old.extent !== !data.extent) this.moved = false;
      if (this.paint?.length !== 4 * this.count || JSON.stringify(old?.colour) !== JSON.stringify(data.colour)) {
        this.setColours(old);
      }
      if (old?.background?.image !== data.background?.image) this.setBackground();
      this.setMarks(old);
      this.setPlane();
      this.fileDrop.update(data.droppable, "Drop a picture: it lands in the map");
      this.labels = data.labels && unpack(data.labels.index, Uint16Array);
      if (data.remembers && old?.id !== data.id) this.recall();
      this.root.dataset.points = this.count;
      this.stage.setAttribute("aria-label",
        `${data.label} of ${this.count} points. Arrow keys pan, plus and minus zoom, 0 shows all, ` +
        "Enter selects the point nearest to the centre, Escape clears the selection." +
        (data.plane ? " P takes up a point that the arrow keys move: its picture is decoded." : ""));
    }
    const style = getComputedStyle(this.root);
    const theme = (name) => style.getPropertyValue(`--st-${name}`).trim();
    this.theme = {
      text: theme("text-color"), background: theme("background-color"), primary: theme("primary-color"),
      border: theme("border-color"), font: theme("font") || "sans-serif",
    };
    this.uploadColours();
    this.drawLegend();
    this.resize();
  }

  // Another projection shows all points, and has other places.
  changeView(old) {
    this.moved = false;
    this.aim = null;
    if (old && this.chosen?.kind === "place") this.chosen = null;
  }

  // Other points, or a map that comes to the page, begin with the one that was selected before, or that a link names.
  recall() {
    const index = selectedBefore === undefined ? this.data.chosen : selectedBefore;
    if (index < this.count && index !== null) this.selectPoint(index);
    else if (index !== null) this.select(null);
  }

  setPlane() {
    this.plane.update(this.data.plane);
    this.padButton.hidden = !this.data.plane;
    if (!this.data.plane) this.togglePad(false);
  }

  setPositions(old) {
    if (old?.positions === this.data.positions) return;
    const target = globalThis.latentPoints.get(this.data.positions);
    const still = !old || old.id !== this.data.id || target.length !== this.target.length ||
      matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.origin = still ? target : this.positions.slice();
    this.positions = still ? target : this.origin.slice();
    this.target = target;
    this.count = target.length / 2;
    this.moveStart = still ? -Infinity : performance.now();
    this.positionsChanged = true;
  }

  forget() {
    this.chosen = this.lassoed = null;
    this.hidden.clear();
    this.hover = -1;
  }

  setBackground() {
    if (!this.data.background) this.background = null;
    if (!this.data.background) return;
    const { image: source, extent, opacity } = this.data.background;
    const image = new Image();
    image.onload = () => {
      if (this.data.background?.image !== source) return;
      this.background = { image, extent, opacity }; // the old one stays until now
      this.invalidate();
    };
    image.src = source;
  }

  // The pictures of the marks, by address; a picture that has just landed is brought into view.
  setMarks(old) {
    const { marks } = this.data;
    const known = this.faces ?? new Map();
    this.faces = new Map();
    for (const { picture } of marks.filter((mark) => mark.picture)) {
      const face = known.get(picture) ?? new Image();
      if (!face.src) face.onload = () => this.invalidate(false);
      face.src ||= picture;
      this.faces.set(picture, face);
    }
    const landed = old && marks.find((mark) => mark.picture && !known.has(mark.picture));
    if (landed && !landed.far && this.moved && !this.inPlot(...this.toScreen(landed.x, landed.y))) {
      [this.view.x, this.view.y] = [landed.x, landed.y];
    }
  }

  setColours(old) {
    const colour = this.data.colour;
    if (old?.colour.kind !== colour.kind || String(old?.colour.names) !== String(colour.names)) this.hidden.clear();
    this.paint = new Uint8Array(4 * this.count);
    if (colour.kind === "class") {
      this.classes = unpack(colour.index, Uint16Array);
      const palette = colour.colours.map(rgb);
      this.classes.forEach((c, i) => this.paint.set(palette[c % palette.length], 4 * i));
    } else {
      this.classes = null;
      this.values = unpack(colour.values, Float32Array);
      const ramp = colour.ramp.map(rgb);
      const span = colour.high - colour.low || 1;
      this.values.forEach((value, i) => {
        const at = Math.min(Math.max((value - colour.low) / span, 0), 1) * (ramp.length - 1);
        const k = Math.min(Math.floor(at), ramp.length - 2);
        const mix = ramp[k].map((c, j) => c + (at - k) * (ramp[k + 1][j] - c));
        this.paint.set(Number.isFinite(value) ? mix : [136, 136, 136], 4 * i);
      });
    }
  }

  visible(i) {
    return !(this.classes && this.hidden.has(this.classes[i]));
  }

  uploadColours() {
    const strong = 215;
    for (let i = 0; i < this.count; i++) {
      const faded = (this.lassoed && !this.lassoed.has(i)) || (this.spotlit !== null && this.classes?.[i] !== this.spotlit);
      this.paint[4 * i + 3] = !this.visible(i) ? 0 : faded ? 40 : strong;
    }
    this.coloursChanged = true;
    this.thumbnailsAt = null;
    this.invalidate();
  }

  // ---- view -------------------------------------------------------------------------------------------------

  resize() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    const ratio = devicePixelRatio || 1;
    if (width !== this.width || height !== this.height || ratio !== this.ratio) {
      Object.assign(this, { width, height, ratio });
      for (const canvas of [this.under, this.over]) {
        canvas.width = width * ratio;
        canvas.height = height * ratio;
      }
      this.plot = {
        x: MARGIN.left, y: MARGIN.top,
        width: Math.max(width - MARGIN.left - MARGIN.right, 1),
        height: Math.max(height - MARGIN.top - MARGIN.bottom, 1),
      };
      this.dots.width = this.plot.width * ratio;
      this.dots.height = this.plot.height * ratio;
      Object.assign(this.dots.style, {
        left: `${MARGIN.left}px`, top: `${MARGIN.top}px`,
        width: `${this.plot.width}px`, height: `${this.plot.height}px`,
      });
    }
    this.invalidate();
  }

  fit() {
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < 2 * this.count && !this.data.extent; i += 2) {
      const x = this.positions[i], y = this.positions[i + 1];
      if (x < x0) x0 = x;
      if (x > x1) x1 = x;
      if (y < y0) y0 = y;
      if (y > y1) y1 = y;
    }
    for (const [x, y] of this.data.extent ?? this.data.fit) {
      [x0, x1, y0, y1] = [Math.min(x0, x), Math.max(x1, x), Math.min(y0, y), Math.max(y1, y)];
    }
    const [side, top] = this.showsThumbnails() ? this.thumbnailSize() : [0, 0]; // whole pictures at the edges, too
    const { width, height } = this.plot;
    this.view.x = (x0 + x1) / 2 || 0;
    this.view.y = (y0 + y1) / 2 || 0;
    this.view.scale = 0.94 * Math.min((width - side) / (x1 - x0 || 1), (height - top) / (y1 - y0 || 1));
    this.home = this.view.scale;
  }

  reset() {
    this.moved = false;
    this.fit();
    this.invalidate();
  }

  zoom(factor, px = this.plot.x + this.plot.width / 2, py = this.plot.y + this.plot.height / 2) {
    const [x, y] = this.toData(px, py);
    this.view.scale = Math.min(Math.max(this.view.scale * factor, this.home / 20), this.home * 5000);
    const [nx, ny] = this.toData(px, py);
    this.view.x += x - nx;
    this.view.y += y - ny;
    this.moved = true;
    this.invalidate();
  }

  pan(dx, dy) {
    this.view.x -= dx / this.view.scale;
    this.view.y += dy / this.view.scale;
    this.moved = true;
    this.invalidate();
  }

  toScreen(x, y) {
    const { plot, view } = this;
    return [plot.x + plot.width / 2 + (x - view.x) * view.scale, plot.y + plot.height / 2 - (y - view.y) * view.scale];
  }

  toData(px, py) {
    const { plot, view } = this;
    return [view.x + (px - plot.x - plot.width / 2) / view.scale, view.y - (py - plot.y - plot.height / 2) / view.scale];
  }

  radius() {
    const crowd = Math.min(Math.max(5.5 - Math.log10(this.count + 1), 1.6), 4.5);
    const nearer = Math.min(Math.max(this.view.scale / this.home, 1) ** 0.35, 3);
    return crowd * nearer * (this.width < 480 ? 0.8 : 1);
  }

  // ---- pointer and keyboard ---------------------------------------------------------------------------------

  listen() {
    const on = (target, type, handler, options = {}) =>
      target.addEventListener(type, handler, { signal: this.abort.signal, ...options });
    on(this.stage, "pointerdown", (event) => this.down(event));
    on(this.stage, "pointermove", (event) => this.move(event));
    on(this.stage, "pointerup", (event) => this.up(event));
    on(this.stage, "pointercancel", (event) => this.up(event, true));
    on(this.stage, "pointerleave", (event) => event.pointerType === "mouse" && !this.pointers.size && this.leave());
    on(this.stage, "keydown", (event) => this.key(event));
    on(this.stage, "wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      const [px, py] = this.local(event);
      this.zoom(Math.exp(-Math.min(Math.max(event.deltaY * lines, -240), 240) * 0.002), px, py);
      this.pointAt([px, py]);
    }, { passive: false });
    on(globalThis, "latent-points", ({ detail }) => detail === this.awaited?.positions && this.update(this.awaited));
    on(globalThis, "latent-atlas", ({ detail }) => {
      if (detail === this.data?.atlas || detail === this.data?.plane?.atlas) this.invalidate();
    });
  }

  local(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    if (event.button > 0) return;
    this.stage.setPointerCapture(event.pointerId);
    const at = this.local(event);
    this.pointers.set(event.pointerId, at);
    if (this.pointers.size === 1) {
      this.start = at;
      this.dragged = false;
      this.path = this.lassoMode || event.shiftKey ? [this.toData(...at)] : null;
      if (this.padMode && !this.path) this.pointAt(at);
    } else {
      this.path = null;
      this.dragged = true;
    }
  }

  move(event) {
    const at = this.local(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") this.pointAt(at);
      return;
    }
    if (this.padMode && !this.path && this.pointers.size === 1) {
      this.pointers.set(event.pointerId, at);
      return this.pointAt(at);
    }
    if (!this.dragged && Math.hypot(at[0] - this.start[0], at[1] - this.start[1]) < TAP_PIXELS) return;
    if (this.pointers.size === 2) this.pinch(event.pointerId, at);
    else if (this.path) this.path.push(this.toData(...at));
    else if (this.dragged) this.pan(at[0] - before[0], at[1] - before[1]);
    else this.pan(at[0] - this.start[0], at[1] - this.start[1]);
    this.dragged = true;
    this.pointers.set(event.pointerId, at);
    this.leave();
    this.invalidate();
  }

  pinch(id, at) {
    const [other] = [...this.pointers].filter(([key]) => key !== id).map(([, value]) => value);
    const before = this.pointers.get(id);
    const factor = Math.hypot(at[0] - other[0], at[1] - other[1]) / Math.hypot(before[0] - other[0], before[1] - other[1]);
    this.pan((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
    if (Number.isFinite(factor) && factor > 0) this.zoom(factor, (at[0] + other[0]) / 2, (at[1] + other[1]) / 2);
  }

  up(event, cancelled = false) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
    const at = this.local(event);
    if (!cancelled && this.path && this.dragged) this.closeLasso();
    else if (!cancelled && this.padMode && !this.dragged) this.letGo(at);
    else if (!cancelled && !this.dragged) this.tap(at, event.pointerType === "mouse" ? 10 : 24);
    this.path = null;
    this.invalidate();
  }

  // The pointer is here: what is decoded follows it, and, but for the plane pad, the nearest point shows itself, with
  // what is decoded at its own place.
  pointAt(at) {
    this.point(this.padMode ? -1 : this.nearest(...at, 10));
    const place = this.hover < 0 ? this.toData(...at) : this.at(this.hover);
    this.aim = this.data.plane && this.inPlot(...at) ? place : null;
    this.invalidate(false);
  }

  leave() {
    if (!this.padMode) this.aim = null;
    this.point(-1);
  }

  // The plane pad was let go: its place goes to Python.
  letGo(at) {
    if (!this.inPlot(...at)) return;
    const [x, y] = this.toData(...at);
    this.aim = [x, y];
    this.select({ kind: "place", indices: [], x, y });
  }

  tap([px, py], reach) {
    const index = this.nearest(px, py, reach);
    this.point(index);
    const [x, y] = this.toData(px, py);
    if (index >= 0) this.selectPoint(index);
    else if (this.data.placeable && this.inPlot(px, py)) this.select({ kind: "place", indices: [], x, y });
    else if (this.chosen || this.lassoed) this.select(null);
  }

  closeLasso() {
    const indices = [];
    for (let i = 0; i < this.count; i++) {
      if (this.visible(i) && inside(this.path, this.positions[2 * i], this.positions[2 * i + 1])) indices.push(i);
    }
    this.toggleLasso(false);
    if (indices.length) this.select({ kind: "lasso", indices, x: 0, y: 0 });
    else if (this.chosen || this.lassoed) this.select(null);
  }

  selectPoint(index) {
    this.select({ kind: "point", indices: [index], x: this.target[2 * index], y: this.target[2 * index + 1] });
  }

  select(selection) {
    if (this.data.remembers) selectedBefore = selection?.kind === "point" ? selection.indices[0] : null;
    this.chosen = selection?.kind === "lasso" ? null : selection;
    this.lassoed = selection?.kind === "lasso" ? new Set(selection.indices) : null;
    this.uploadColours();
    this.report("selection", selection && { ...selection, id: this.data.id, view: this.data.view });
  }

  toggleLasso(on = !this.lassoMode) {
    this.lassoMode = on;
    if (on && this.padMode) this.togglePad(false);
    this.lassoButton.setAttribute("aria-pressed", String(on));
    this.stage.classList.toggle("lassoing", on);
  }

  // While it is on, dragging and the arrow keys move a point of the plane instead of the view.
  togglePad(on = !this.padMode) {
    this.padMode = on;
    this.stage.classList.toggle("aiming", on);
    this.padButton.setAttribute("aria-pressed", String(on));
    this.toggleLasso(false);
    this.aim = on && this.chosen?.kind === "place" ? [this.chosen.x, this.chosen.y] : null;
    clearTimeout(this.timer);
    if (this.data) this.invalidate(false);
  }

  nudge(dx, dy) {
    const at = this.toScreen(...(this.aim ?? [this.view.x, this.view.y]));
    const moved = [at[0] + dx, at[1] + dy];
    if (!this.inPlot(...moved)) return;
    this.pointAt(moved);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.letGo(moved), KEY_PAUSE_MS);
  }

  padKey(event) {
    const step = event.shiftKey ? 24 : 6;
    const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] ?? [];
    if (dx !== undefined) this.nudge(dx, dy);
    else if (event.key === "Enter") this.letGo(this.toScreen(...(this.aim ?? [this.view.x, this.view.y])));
    else if (event.key === "Escape") this.togglePad(false);
    else return false;
    event.preventDefault();
    return true;
  }

  key(event) {
    if (event.target !== this.stage || event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.padMode && this.padKey(event)) return;
    const step = 0.1 * Math.min(this.plot.width, this.plot.height);
    const actions = {
      ArrowLeft: () => this.pan(step, 0), ArrowRight: () => this.pan(-step, 0),
      ArrowUp: () => this.pan(0, step), ArrowDown: () => this.pan(0, -step),
      "+": () => this.zoom(ZOOM_STEP), "=": () => this.zoom(ZOOM_STEP), "-": () => this.zoom(1 / ZOOM_STEP),
      0: () => this.reset(),
      p: () => this.data.plane && this.togglePad(),
      Enter: () => this.tap(this.centre(), Infinity),
      Escape: () => (this.lassoMode ? this.toggleLasso(false) : (this.chosen || this.lassoed) && this.select(null)),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
    if (!["Enter", "Escape", "p"].includes(event.key)) this.point(this.nearest(...this.centre(), 60));
  }

  centre() {
    return [this.plot.x + this.plot.width / 2, this.plot.y + this.plot.height / 2];
  }

  inPlot(px, py) {
    const { plot } = this;
    return px >= plot.x && px <= plot.x + plot.width && py >= plot.y && py <= plot.y + plot.height;
  }

  nearest(px, py, reach) {
    if (!this.inPlot(px, py)) return -1;
    if (this.showsThumbnails()) {
      const [width, height] = this.thumbnailSize();
      const under = this.thumbnails?.find((i) => {
        const [x, y] = this.toScreen(...this.at(i));
        return Math.abs(x - px) <= width / 2 && Math.abs(y - py) <= height / 2;
      });
      if (under !== undefined || reach < Infinity) return under ?? -1;
    }
    const [x, y] = this.toData(px, py);
    let best = -1, least = (reach / this.view.scale) ** 2;
    for (let i = 0; i < this.count; i++) {
      const dx = this.positions[2 * i] - x, dy = this.positions[2 * i + 1] - y;
      const distance = dx * dx + dy * dy;
      if (distance < least && this.visible(i)) [best, least] = [i, distance];
    }
    return best;
  }

  point(index) {
    if (index === this.hover) return;
    this.hover = index;
    this.picture.hidden = true;
    if (index >= 0) this.describe(index);
    this.invalidate(false);
  }

  describe(index) {
    const { colour, labels } = this.data;
    const lines = [`Test image ${index}`];
    if (labels) lines.push(`class ${labels.names[this.labels[index]]}`);
    if (colour.kind === "value") lines.push(`${colour.title}: ${number(this.values[index], 4)}`);
    this.words.replaceChildren(...lines.map((line) => element("div", {}, line)));
    const atlas = this.atlas();
    this.picture.hidden = !(atlas && this.drawTile(atlas, index));
  }

  drawTile(atlas, index) {
    const tile = this.tile(atlas, index);
    if (!tile) return false;
    const [w, h] = atlas.tile;
    this.picture.width = w;
    this.picture.height = h;
    enlarge(this.picture);
    this.picture.getContext("2d").drawImage(...tile, 0, 0, w, h);
    return true;
  }

  tile(atlas, index) {
    const [w, h] = atlas.tile;
    const page = atlas.pages[Math.floor(index / atlas.perPage)];
    const at = index % atlas.perPage;
    return page && [page, (at % atlas.columns) * w, Math.floor(at / atlas.columns) * h, w, h];
  }

  // ---- drawing ----------------------------------------------------------------------------------------------

  invalidate(all = true) {
    this.dirty ||= all;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    if (!this.data || !this.width) return;
    if (this.dirty) {
      this.dirty = false;
      this.animate();
      this.drawUnder();
      this.drawDots();
    }
    this.drawOver();
    this.redraws += 1;
    this.root.dataset.redraws = this.redraws;
  }

  animate() {
    const t = Math.min((performance.now() - this.moveStart) / MOVE_MS, 1);
    if (this.origin !== this.target) {
      const eased = t * (2 - t);
      for (let i = 0; i < this.target.length; i++) {
        this.positions[i] = t === 1 ? this.target[i] : this.origin[i] + eased * (this.target[i] - this.origin[i]);
      }
      if (t === 1) this.origin = this.target;
      else this.invalidate();
      this.positionsChanged = true;
      this.thumbnailsAt = null;
    }
    if (!this.moved) this.fit();
  }

  begin(canvas) {
    const context = canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    context.font = `12px ${this.theme.font}`;
    return context;
  }

  drawUnder() {
    const c = this.begin(this.under);
    const { plot, theme } = this;
    c.save();
    c.beginPath();
    c.rect(plot.x, plot.y, plot.width, plot.height);
    c.clip();
    if (this.background) {
      const [x0, x1, y0, y1] = this.background.extent;
      const [left, top] = this.toScreen(x0, y1);
      const [right, bottom] = this.toScreen(x1, y0);
      c.imageSmoothingEnabled = false;
      c.globalAlpha = this.background.opacity;
      c.drawImage(this.background.image, left, top, right - left, bottom - top);
      c.globalAlpha = 1;
    }
    c.restore();
    this.drawAxes(c);
    c.strokeStyle = theme.border;
    c.strokeRect(plot.x, plot.y, plot.width, plot.height);
  }

  drawAxes(c) {
    const { plot, view, theme, data } = this;
    const [x0, y0] = this.toData(plot.x, plot.y + plot.height);
    const [x1, y1] = this.toData(plot.x + plot.width, plot.y);
    const step = niceStep(Math.min(80, plot.width / 5) / view.scale);
    const marked = (low, high) => (data.ticks ? ticks(low, high, step) : []);
    c.fillStyle = theme.text;
    c.strokeStyle = theme.border;
    c.lineWidth = 1;
    c.textAlign = "center";
    c.textBaseline = "top";
    for (const value of marked(x0, x1)) {
      const [px] = this.toScreen(value, 0);
      if (!this.background) line(c, px, plot.y, px, plot.y + plot.height);
      c.fillText(label(value, step), px, plot.y + plot.height + 7);
    }
    c.fillText(data.axes[0], plot.x + plot.width / 2, plot.y + plot.height + 26);
    c.textAlign = "right";
    c.textBaseline = "middle";
    for (const value of marked(y0, y1)) {
      const [, py] = this.toScreen(0, value);
      if (!this.background) line(c, plot.x, py, plot.x + plot.width, py);
      c.fillText(label(value, step), plot.x - 6, py);
    }
    c.save();
    c.translate(9, plot.y + plot.height / 2);
    c.rotate(-Math.PI / 2);
    c.textAlign = "center";
    c.fillText(data.axes[1], 0, 0);
    c.restore();
  }

  startDots() {
    const canvas = this.dots;
    if (!hasGraphicsProcessor()) {
      this.raster = new DotRaster(canvas);
      return;
    }
    const gl = canvas.getContext("webgl", { antialias: false, premultipliedAlpha: true });
    this.gl = gl;
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault(), { signal: this.abort.signal });
    canvas.addEventListener("webglcontextrestored", () => {
      this.prepareDots(gl);
      this.positionsChanged = this.coloursChanged = true;
      this.invalidate();
    }, { signal: this.abort.signal });
    this.prepareDots(gl);
  }

  prepareDots(gl) {
    const program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    const attribute = (name, size, type, normalised) => {
      const buffer = gl.createBuffer();
      const at = gl.getAttribLocation(program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, type, normalised, 0, 0);
      return buffer;
    };
    this.positionBuffer = attribute("position", 2, gl.FLOAT, false);
    this.colourBuffer = attribute("colour", 4, gl.UNSIGNED_BYTE, true);
    this.uniforms = Object.fromEntries(
      ["centre", "stretch", "size"].map((name) => [name, gl.getUniformLocation(program, name)]));
  }

  drawDots() {
    if (this.raster) return this.drawDotsByHand();
    const { gl, view, plot, uniforms } = this;
    const upload = (buffer, values) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
    };
    if (this.positionsChanged) upload(this.positionBuffer, this.positions);
    if (this.coloursChanged) upload(this.colourBuffer, this.paint);
    this.positionsChanged = this.coloursChanged = false;
    gl.viewport(0, 0, this.dots.width, this.dots.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (this.showsThumbnails()) return;
    gl.uniform2f(uniforms.centre, view.x, view.y);
    gl.uniform2f(uniforms.stretch, (2 * view.scale) / plot.width, (2 * view.scale) / plot.height);
    gl.uniform1f(uniforms.size, 2 * this.radius() * this.ratio + 1);
    gl.drawArrays(gl.POINTS, 0, this.count);
  }

  drawDotsByHand() {
    if (this.showsThumbnails()) return this.raster.clear();
    const { view: { x, y, scale }, ratio } = this;
    this.raster.draw(this.positions, this.paint, this.count, { x, y, scale: scale * ratio, radius: this.radius() * ratio });
  }

  atlas() {
    return globalThis.latentAtlases?.get(this.data.atlas);
  }

  thumbnailSize() {
    const [width, height] = this.atlas().tile;
    const times = Math.max(1, Math.round(28 / Math.max(width, height)));
    return [width * times, height * times];
  }

  showsThumbnails() {
    return this.data.thumbnails && this.atlas()?.pages.some(Boolean);
  }

  drawOver(withPointer = true) {
    const c = this.begin(this.over);
    const { plot, theme } = this;
    c.save();
    c.beginPath();
    c.rect(plot.x, plot.y, plot.width, plot.height);
    c.clip();
    if (this.showsThumbnails()) this.drawThumbnails(c);
    if (this.data.contours) this.drawContours(c);
    if (this.chosen) {
      const { kind, indices, x, y } = this.chosen;
      this.ring(c, ...this.toScreen(...(kind === "point" ? this.at(indices[0]) : [x, y])), theme.primary, 3, kind === "place");
    }
    if (withPointer && this.hover >= 0) this.ring(c, ...this.toScreen(...this.at(this.hover)), theme.text, 2);
    if (withPointer && this.padMode && this.aim) this.drawAim(c);
    if (withPointer && this.path?.length > 1) this.drawPath(c);
    c.restore();
    for (const mark of this.data.marks) this.drawMark(c, mark);
    if (withPointer) this.showTooltip();
  }

  at(index) {
    return [this.positions[2 * index], this.positions[2 * index + 1]];
  }

  ring(c, x, y, colour, width, bare = false) {
    c.beginPath();
    if (this.showsThumbnails() && !bare) {
      const [w, h] = this.thumbnailSize();
      c.rect(Math.round(x - w / 2) - 3, Math.round(y - h / 2) - 3, w + 6, h + 6);
    } else c.arc(x, y, this.radius() + 2 + width / 2, 0, 2 * Math.PI);
    c.strokeStyle = this.theme.background;
    c.lineWidth = width + 2;
    c.stroke();
    c.strokeStyle = colour;
    c.lineWidth = width;
    c.stroke();
  }

  drawContours(c) {
    const { theme, view } = this;
    c.textAlign = "center";
    c.textBaseline = "middle";
    for (const sigma of [1, 2, 3]) {
      const [x, y] = this.toScreen(0, 0);
      c.beginPath();
      c.arc(x, y, sigma * view.scale, 0, 2 * Math.PI);
      c.strokeStyle = theme.background;
      c.globalAlpha = 0.6;
      c.lineWidth = 3;
      c.stroke();
      c.globalAlpha = 0.9;
      c.strokeStyle = theme.text;
      c.lineWidth = 1.2;
      c.setLineDash([6, 4]);
      c.stroke();
      c.setLineDash([]);
      c.globalAlpha = 1;
      if (sigma === 3 || view.scale > LABEL_PIXELS) outlined(c, `${sigma}σ`, x, y - sigma * view.scale, theme);
    }
  }

  drawPath(c) {
    c.beginPath();
    for (const [x, y] of this.path) c.lineTo(...this.toScreen(x, y));
    c.closePath();
    c.strokeStyle = this.theme.primary;
    c.lineWidth = 2;
    c.setLineDash([5, 4]);
    c.stroke();
    c.setLineDash([]);
    c.globalAlpha = 0.12;
    c.fillStyle = this.theme.primary;
    c.fill();
    c.globalAlpha = 1;
  }

  // A short label stands in its disc, so that marks close together stay legible; a longer one beside it. A mark that
  // the first view leaves out, since it is far away, stands at the edge with an arrow towards its place.
  drawMark(c, mark) {
    let [x, y] = this.toScreen(mark.x, mark.y);
    if (!this.inPlot(x, y)) {
      if (!mark.far) return;
      [x, y] = this.pointTo(c, x, y);
    }
    const { primary, background, font } = this.theme;
    const face = this.faces.get(mark.picture);
    const pictured = face?.complete && face.naturalWidth;
    const within = !pictured && mark.label.length <= 2;
    c.beginPath();
    c.arc(x, y, within ? 8.5 : 7, 0, 2 * Math.PI);
    c.fillStyle = primary;
    c.fill();
    c.lineWidth = within ? 1 : 2;
    c.strokeStyle = background;
    c.stroke();
    if (pictured) return this.drawFace(c, mark, face, x, y);
    c.save();
    c.textBaseline = "middle";
    c.font = `600 ${within ? 11 : 13}px ${font}`;
    c.fillStyle = background;
    const fits = x + 11 + c.measureText(mark.label).width < this.plot.x + this.plot.width;
    c.textAlign = within ? "center" : fits ? "left" : "right";
    if (within) c.fillText(mark.label, x, y + 0.5);
    else outlined(c, mark.label, fits ? x + 11 : x - 11, y, this.theme);
    c.restore();
  }

  // An arrow at the edge towards a place beyond it on the screen; returns where the mark stands, behind the arrow.
  pointTo(c, x, y) {
    const [halfWidth, halfHeight] = [this.plot.width / 2, this.plot.height / 2];
    const [middleX, middleY] = [this.plot.x + halfWidth, this.plot.y + halfHeight];
    const [dx, dy] = [x - middleX, y - middleY];
    const share = Math.min((halfWidth - EDGE) / Math.abs(dx), (halfHeight - EDGE) / Math.abs(dy));
    const at = [middleX + share * dx, middleY + share * dy];
    c.save();
    c.translate(...at);
    c.rotate(Math.atan2(dy, dx));
    c.beginPath();
    c.moveTo(EDGE - 1, 0);
    c.lineTo(EDGE - 11, -5);
    c.lineTo(EDGE - 11, 5);
    c.closePath();
    c.fillStyle = this.theme.primary;
    c.fill();
    c.restore();
    return at;
  }

  // A mark's picture stands above its point, or below where there is no room, its name beside it.
  drawFace(c, mark, face, x, y) {
    const times = Math.max(1, Math.round(56 / Math.max(face.naturalWidth, face.naturalHeight)));
    const [w, h] = [face.naturalWidth * times, face.naturalHeight * times];
    const left = Math.round(Math.min(Math.max(x - w / 2, this.plot.x + 4), this.plot.x + this.plot.width - w - 4));
    const top = Math.round(y - h - 16 > this.plot.y ? y - h - 13 : y + 13);
    c.fillStyle = this.theme.primary;
    c.fillRect(left - 3, top - 3, w + 6, h + 6);
    c.imageSmoothingEnabled = false;
    c.drawImage(face, left, top, w, h);
    c.textBaseline = "middle";
    c.save();
    c.font = `600 13px ${this.theme.font}`;
    const fits = left + w + 9 + c.measureText(mark.label).width < this.plot.x + this.plot.width;
    c.textAlign = fits ? "left" : "right";
    outlined(c, mark.label, fits ? left + w + 9 : left - 9, top + h / 2, this.theme);
    c.restore();
  }

  // Which points show their pictures: in order of index, each that overlaps none before it, at this scale.
  // Positions are counted from the origin of the data, so that panning never changes the choice.
  chooseThumbnails(width, height) {
    const key = [this.view.scale, width, height].join();
    if (this.thumbnailsAt === key) return;
    this.thumbnailsAt = key;
    this.thumbnails = [];
    const cells = new Map();
    for (let i = 0; i < this.count; i++) {
      if (!this.paint[4 * i + 3]) continue;
      const x = this.positions[2 * i] * this.view.scale, y = -this.positions[2 * i + 1] * this.view.scale;
      const column = Math.floor(x / width), row = Math.floor(y / height);
      let free = true;
      for (let dc = -1; dc <= 1 && free; dc++) {
        for (let dr = -1; dr <= 1 && free; dr++) {
          const other = cells.get(`${column + dc},${row + dr}`);
          free = !other || Math.abs(other[0] - x) >= width || Math.abs(other[1] - y) >= height;
        }
      }
      if (!free) continue;
      cells.set(`${column},${row}`, [x, y]);
      this.thumbnails.push(i);
    }
  }

  drawThumbnails(c) {
    const atlas = this.atlas();
    const [width, height] = this.thumbnailSize();
    this.chooseThumbnails(width + 5, height + 5);
    c.imageSmoothingEnabled = false;
    for (const i of this.thumbnails) {
      const tile = this.tile(atlas, i);
      const at = this.toScreen(...this.at(i));
      const [x, y] = [Math.round(at[0] - width / 2), Math.round(at[1] - height / 2)];
      if (!tile || x + width < this.plot.x || y + height < this.plot.y || x > this.width || y > this.height) continue;
      c.globalAlpha = this.paint[4 * i + 3] > 100 ? 1 : 0.25;
      c.fillStyle = `rgb(${this.paint.subarray(4 * i, 4 * i + 3).join()})`;
      c.fillRect(x - 2, y - 2, width + 4, height + 4);
      c.drawImage(...tile, x, y, width, height);
    }
    c.globalAlpha = 1;
  }

  drawAim(c) {
    const [x, y] = this.toScreen(...this.aim);
    for (const [colour, width] of [[this.theme.background, 4], [this.theme.primary, 2]]) {
      c.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        c.moveTo(x + 4 * dx, y + 4 * dy);
        c.lineTo(x + 14 * dx, y + 14 * dy);
      }
      c.strokeStyle = colour;
      c.lineWidth = width;
      c.stroke();
    }
  }

  // Beside the pointer: what is decoded there, and the point under it.
  showTooltip() {
    const decoded = Boolean(this.aim && this.plane.draw(...this.aim));
    this.decoded.hidden = !decoded;
    if (decoded) enlarge(this.plane.canvas);
    this.seen.hidden = this.hover < 0;
    this.tooltip.hidden = this.decoded.hidden && this.seen.hidden;
    if (this.tooltip.hidden) return;
    if (decoded) this.place.textContent = `decoded at ${this.aim.map((value) => label(value, 0.01)).join(", ")}`;
    const [x, y] = this.toScreen(...(this.aim ?? this.at(this.hover)));
    const { offsetWidth: w, offsetHeight: h } = this.tooltip;
    const fits = x + 20 + w < this.width;
    const left = fits ? x + 20 : Math.max(x - w - 20, 0);
    this.tooltip.classList.toggle("flipped", !fits);
    const top = Math.min(Math.max(y - h / 2, 0), Math.max(this.height - h, 0));
    this.tooltip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  }

  // ---- legend and export ------------------------------------------------------------------------------------

  // Left as it is, and with it the focus, unless something else is to be seen in it.
  drawLegend() {
    const { colour } = this.data;
    const seen = JSON.stringify([{ ...colour, index: null, values: null }, [...this.hidden]]);
    if (seen === this.legendSeen) return;
    this.legendSeen = seen;
    this.legend.replaceChildren();
    if (colour.kind === "value") {
      this.legend.append(
        element("span", {}, colour.title),
        element("span", { class: "end" }, number(colour.low)),
        element("span", { class: "ramp", style: `background: linear-gradient(90deg, ${colour.ramp.join()})` }),
        element("span", { class: "end" }, number(colour.high)),
      );
      return;
    }
    colour.names.forEach((name, index) => {
      const shown = !this.hidden.has(index);
      const swatch = element("span", { class: "swatch", style: `background: ${colour.colours[index % colour.colours.length]}` });
      const button = element("button", {
        type: "button", "aria-pressed": String(shown), title: shown ? `Hide ${name}` : `Show ${name}`,
      }, swatch, name);
      this.legend.append(button);
      button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.spotlight(index));
      button.addEventListener("pointerleave", () => this.spotlight(null));
      button.addEventListener("focus", () => button.matches(":focus-visible") && this.spotlight(index));
      button.addEventListener("blur", () => this.spotlight(null));
      button.addEventListener("click", () => {
        if (!this.hidden.delete(index)) this.hidden.add(index);
        this.spotlit = null;
        this.uploadColours();
        this.drawLegend();
        this.legend.children[index].focus();
      });
    });
  }

  // One class stands out while it is pointed at in the legend.
  spotlight(index) {
    const wanted = this.hidden.has(index) ? null : index;
    if (wanted === this.spotlit) return;
    this.spotlit = wanted;
    this.uploadColours();
  }

  save() {
    this.animate();
    this.drawUnder();
    this.drawDots();
    this.drawOver(false);
    const strip = 34 * this.ratio;
    const page = element("canvas");
    page.width = this.under.width;
    page.height = this.under.height + strip;
    const c = page.getContext("2d");
    c.fillStyle = this.theme.background;
    c.fillRect(0, 0, page.width, page.height);
    c.drawImage(this.under, 0, 0);
    c.drawImage(this.dots, MARGIN.left * this.ratio, MARGIN.top * this.ratio);
    c.drawImage(this.over, 0, 0);
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, this.under.height);
    this.exportLegend(c);
    page.toBlob((blob) => {
      const link = element("a", { href: URL.createObjectURL(blob), download: `${this.data.file}.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    });
    this.invalidate();
  }

  exportLegend(c) {
    const { colour } = this.data;
    c.font = `12px ${this.theme.font}`;
    c.textBaseline = "middle";
    let x = MARGIN.left;
    const write = (text) => {
      c.fillStyle = this.theme.text;
      c.fillText(text, x, 17);
      x += c.measureText(text).width + 10;
    };
    if (colour.kind === "value") {
      write(colour.title);
      write(number(colour.low));
      const ramp = c.createLinearGradient(x, 0, x + 140, 0);
      colour.ramp.forEach((hex, i) => ramp.addColorStop(i / (colour.ramp.length - 1), hex));
      c.fillStyle = ramp;
      c.fillRect(x, 11, 140, 12);
      x += 150;
      write(number(colour.high));
      return;
    }
    colour.names.forEach((name, index) => {
      if (this.hidden.has(index)) return;
      c.fillStyle = colour.colours[index % colour.colours.length];
      c.beginPath();
      c.arc(x + 5, 17, 5, 0, 2 * Math.PI);
      c.fill();
      x += 15;
      write(name);
    });
  }
}

// Whether WebGL is there and drawn by hardware: in software it takes ten times as long as drawing by hand.
function hasGraphicsProcessor() {
  const gl = element("canvas").getContext("webgl");
  const info = gl?.getExtension("WEBGL_debug_renderer_info");
  const name = info ? gl.getParameter(info.UNMASKED_RENDERER_WEBGL) : "";
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return Boolean(gl) && !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}

// Shows a canvas at the whole multiple of its size that comes nearest to that of pictures beside the pointer.
function enlarge(canvas) {
  const times = Math.max(1, Math.round(FACE_PIXELS / Math.max(canvas.width, canvas.height)));
  Object.assign(canvas.style, { width: `${canvas.width * times}px`, height: `${canvas.height * times}px` });
}

function inside(path, x, y) {
  let odd = false;
  for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
    const [ax, ay] = path[i], [bx, by] = path[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}

function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least);
}

function ticks(low, high, step) {
  const found = [];
  for (let k = Math.ceil(low / step); k <= high / step; k++) found.push(k * step);
  return found;
}

function label(value, step) {
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  if (digits > 4) return value.toExponential(1).replace("-", "−");
  return decimals(value, digits);
}

function line(c, x0, y0, x1, y1) {
  c.globalAlpha = 0.6;
  c.beginPath();
  c.moveTo(x0, y0);
  c.lineTo(x1, y1);
  c.stroke();
  c.globalAlpha = 1;
}

function outlined(c, text, x, y, theme) {
  c.lineWidth = 4;
  c.lineJoin = "round";
  c.strokeStyle = theme.background;
  c.strokeText(text, x, y);
  c.fillStyle = theme.text;
  c.fillText(text, x, y);
}
