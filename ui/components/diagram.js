// x, q(z|x), a z drawn from it, and p(x|z): the draws and their pictures come from the server once.

const TURN_MS = 1300;
const GLIDE_MS = 450;

function arrow(label) {
  const make = (kind, size, path) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", kind);
    svg.setAttribute("viewBox", size);
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", path);
    svg.append(line);
    return svg;
  };
  const text = element("span");
  text.textContent = label;
  return element("div", { class: "arrow" }, text,
    make("across", "0 0 80 14", "M0 7H78M71 2l7 5-7 5"), make("down", "0 0 14 22", "M7 0V20M2 13l5 7 5-7"));
}

function station(symbol, canvas) {
  const name = element("b");
  name.textContent = symbol;
  const text = element("span");
  const legend = element("small");
  return { text, legend, node: element("figure", {}, canvas, element("figcaption", {}, name, text, legend)) };
}

class Diagram {
  constructor(parent) {
    this.redraws = 0;
    this.given = new Sprite();
    this.drawn = new Sprite();
    this.plane = element("canvas", { class: "plane", role: "img" });
    this.x = station("x", this.given.canvas);
    this.q = station("z ~ q(z | x)", this.plane);
    this.p = station("p(x | z)", this.drawn.canvas);
    this.again = element("button", { type: "button" });
    this.again.textContent = "Draw another z";
    this.play = element("button", { type: "button" });
    this.root = element("div", { class: "root", "data-testid": "diagram", "data-redraws": "0" },
      this.flow = element("div", { class: "flow" },
        this.x.node, arrow("encoder"), this.q.node, arrow("decoder"), this.p.node),
      element("div", { class: "controls" }, this.again, this.play,
        saveButton(() => saveStage(this.flow, "b, figcaption span, small, .arrow span", this.data.caption))));
    this.again.addEventListener("click", () => { this.setPlaying(false); this.next(); });
    this.play.addEventListener("click", () => this.setPlaying(!this.timer));
    parent.append(this.root);
    this.observer = new ResizeObserver(() => this.layOut());
    this.observer.observe(this.root);
    this.setPlaying(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  }

  update(data) {
    if (this.data && this.data.drawn.sprite === data.drawn.sprite && this.data.caption === data.caption) {
      return this.paintPlane(1); // perhaps another theme's ink
    }
    this.data = data;
    this.index = 0;
    this.from = this.to = data.z[0];
    this.x.text.textContent = data.caption;
    this.q.legend.textContent = data.mu.length === 2
      ? `ellipses: q at 1 and 2 σ; circles: the prior at 1, 2 and 3 σ; dots: test images${data.colours.length > 1 ? " by class" : ""}`
      : "bars: q ± 2 σ; grey: the prior ± 2 σ; sorted by KL";
    this.plane.setAttribute("aria-label", "The posterior q(z | x) and a z drawn from it");
    this.given.canvas.setAttribute("aria-label", data.caption);
    this.drawn.canvas.setAttribute("aria-label", "The mean picture of p(x | z)");
    for (const name of ["given", "drawn"]) {
      this[name].load({ content: data[name].sprite, ...data[name] }, () => this.layOut());
    }
    this.layOut();
  }

  setPlaying(playing) {
    clearInterval(this.timer);
    this.timer = playing ? setInterval(() => this.next(), TURN_MS) : null;
    this.play.textContent = playing ? "Pause" : "Play";
  }

  next() {
    if (!this.data || document.hidden) return;
    this.from = this.to;
    this.index = (this.index + 1) % this.data.z.length;
    this.to = this.data.z[this.index];
    this.started = performance.now();
    this.describe();
    this.paintPicture();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (still) return this.paintPlane(1);
    const glide = (now) => {
      const done = Math.min(1, (now - this.started) / GLIDE_MS);
      this.paintPlane(1 - (1 - done) ** 3);
      if (done < 1) this.frameRequest = requestAnimationFrame(glide);
    };
    cancelAnimationFrame(this.frameRequest);
    this.frameRequest = requestAnimationFrame(glide);
  }

  layOut() {
    const room = this.root.clientWidth;
    if (!room || !this.data) return;
    const narrow = room <= 620;
    const wanted = narrow ? 140 : Math.min(200, room * 0.2);
    const scale = Math.max(1, Math.floor(wanted / this.data.given.frame.width));
    this.given.resize(scale, wanted);
    this.drawn.resize(scale, wanted);
    this.side = Math.round(narrow ? Math.min(room, 280) : Math.min(340, room * 0.34));
    const ratio = window.devicePixelRatio || 1;
    this.plane.width = this.plane.height = this.side * ratio;
    this.plane.style.width = this.plane.style.height = `${this.side}px`;
    this.plane.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    this.describe();
    this.paintPicture();
    this.paintPlane(1);
  }

  describe() {
    const { z, reconstruction, names, order } = this.data;
    const values = z[this.index].map((value) => decimals(value, 2));
    const first = order.slice(0, 3).map((j, row) => `${names[row]} = ${values[j]}`);
    const more = order.length > 3 ? ", …" : "";
    this.q.text.textContent = values.length === 2 ? `z = (${values.join(", ")})` : `${first.join(", ")}${more}`;
    this.p.text.textContent = `−log p(x|z) = ${decimals(reconstruction[this.index], 1)} nats`;
  }

  paintPicture() {
    if (this.given.draw(0) && this.drawn.draw(this.index)) this.root.dataset.redraws = ++this.redraws;
  }

  paintPlane(done) {
    if (!this.data || !this.side) return;
    const style = getComputedStyle(this.root);
    const ink = style.color;
    const accent = style.getPropertyValue("--st-primary-color").trim() || ink;
    const at = this.from.map((value, j) => value + (this.to[j] - value) * done);
    const context = this.plane.getContext("2d");
    context.clearRect(0, 0, this.side, this.side);
    if (this.data.mu.length === 2) this.paintCloud(context, at, ink, accent);
    else this.paintDimensions(context, at, ink, accent);
  }

  paintCloud(context, at, ink, accent) {
    const { mu, sigma, cloud, labels, colours } = this.data;
    const reach = Math.max(3.2, ...mu.map((value, j) => Math.abs(value) + 3 * sigma[j]));
    const unit = this.side / (2 * reach);
    const place = ([a, b]) => [this.side / 2 + a * unit, this.side / 2 - b * unit];
    const circle = (x, y, rx, ry) => {
      context.beginPath();
      context.ellipse(x, y, rx, ry, 0, 0, 2 * Math.PI);
    };
    context.save();
    context.beginPath();
    context.roundRect(0, 0, this.side, this.side, 6);
    context.clip();
    context.globalAlpha = 0.45;
    cloud.forEach((point, i) => {
      context.fillStyle = colours[labels[i]];
      const [x, y] = place(point);
      context.fillRect(x - 1.5, y - 1.5, 3, 3);
    });
    context.strokeStyle = ink;
    context.globalAlpha = 0.3;
    for (const radius of [1, 2, 3]) {
      circle(this.side / 2, this.side / 2, radius * unit, radius * unit);
      context.stroke();
    }
    context.globalAlpha = 1;
    context.strokeStyle = accent;
    context.lineWidth = 2;
    const [x, y] = place(mu);
    for (const k of [1, 2]) {
      circle(x, y, Math.max(3, k * sigma[0] * unit), Math.max(3, k * sigma[1] * unit));
      context.stroke();
    }
    this.paintDot(context, place(at), ink);
    context.restore();
    context.strokeStyle = ink;
    context.globalAlpha = 0.25;
    context.lineWidth = 1;
    context.beginPath();
    context.roundRect(0.5, 0.5, this.side - 1, this.side - 1, 6);
    context.stroke();
    context.globalAlpha = 1;
  }

  // More than two dimensions: one row each, the posterior's ±2σ over the prior's, the current z as a dot.
  paintDimensions(context, at, ink, accent) {
    const { mu, sigma, names, order } = this.data;
    const rows = names.length;
    const left = 34;
    const unit = (this.side - left - 8) / 7;
    const x = (value) => left + (Math.max(-3.5, Math.min(3.5, value)) + 3.5) * unit;
    const height = this.side / rows;
    context.font = `12px ${getComputedStyle(this.root).fontFamily}`;
    context.textBaseline = "middle";
    names.forEach((name, row) => {
      const j = order[row];
      const y = (row + 0.5) * height;
      context.fillStyle = ink;
      context.globalAlpha = 0.75;
      context.fillText(name, 4, y);
      context.globalAlpha = 0.12;
      context.fillRect(x(-2), y - height * 0.3, 4 * unit, height * 0.6);
      context.globalAlpha = 1;
      context.strokeStyle = accent;
      context.lineWidth = Math.max(3, Math.min(7, height * 0.35));
      context.beginPath();
      context.moveTo(x(mu[j] - 2 * sigma[j]), y);
      context.lineTo(x(mu[j] + 2 * sigma[j]), y);
      context.stroke();
      this.paintDot(context, [x(at[j]), y], ink);
    });
  }

  paintDot(context, [x, y], ink) {
    context.beginPath();
    context.arc(x, y, 4.5, 0, 2 * Math.PI);
    context.fillStyle = ink;
    context.fill();
    context.lineWidth = 1.5;
    context.strokeStyle = getComputedStyle(this.root).getPropertyValue("--st-background-color").trim();
    context.stroke();
  }

  dispose() {
    clearInterval(this.timer);
    cancelAnimationFrame(this.frameRequest);
    this.observer.disconnect();
    this.given.dispose();
    this.drawn.dispose();
  }
}

export default function (component) {
  return mount(Diagram, component);
}
