// A diagonal Gaussian over the true posterior: drag its mean and its widths, and read the ELBO as it moves.

const REST_MS = 350; // after the last key
const WALK_MS = 2500; // to play how q was improved
const CLOUD = 120;
const STEM = 22; // pixels from q's 1 σ to its white handles, so that all can be had where q is small
const TINY = 7; // pixels: with a smaller 1 σ, q and the posterior are shown within an open ring
const RING = 10;
const CUT = 26; // pixels of the bars before the break in them
const COLOURS = { reconstruction: "#d9622b", kl: "#2f7fc1", gap: "#8a4fbf", evidence: "#8a93a3" };
const LOG_2PI = Math.log(2 * Math.PI);

function normalDraws(count) {
  let state = 12345;
  const uniform = () => ((state = (1103515245 * state + 12345) % 2147483648) + 0.5) / 2147483648;
  const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  return Array.from({ length: count }, () => [normal(), normal()]);
}

// N(0, I) on a lattice in units of σ: places and weights.
function lattice(step, reach) {
  const points = [];
  for (let a = -reach; a <= reach; a += step)
    for (let b = -reach; b <= reach; b += step)
      if (a * a + b * b <= reach * reach) points.push([a, b, Math.exp(-(a * a + b * b) / 2)]);
  const total = points.reduce((sum, point) => sum + point[2], 0);
  return points.map(([a, b, weight]) => [a, b, weight / total]);
}

const nats = (value) => `${decimals(value, 2)} nats`;

class PosteriorPad {
  constructor(parent) {
    this.canvas = element("canvas", { tabindex: "0", role: "application", "aria-describedby": "hint" });
    this.context = this.canvas.getContext("2d");
    this.picture = new Sprite();
    this.caption = element("div");
    this.bars = element("div", { class: "bars" });
    this.table = element("table");
    this.root = element(
      "div", { class: "root", "data-testid": "posterior-pad" },
      element("div", { class: "pad" },
        element("div", {},
          element("div", { class: "plane" }, this.canvas),
          element("div", { class: "below" },
            element("div", { class: "hint", id: "hint" },
              "Drag the centre or a white handle. Keys: arrows move μ; with Shift they change σ."),
            saveButton(() => saveStage(this.root, "td", "True posterior and q")))),
        element("div", { class: "side" },
          element("div", { class: "decoded" }, this.picture.canvas, this.caption), this.bars, this.table)),
    );
    this.cloud = normalDraws(CLOUD);
    this.lattice = lattice(0.25, 4);
    this.reports = 0;
    this.rows = {};
    for (const [name, text, colour] of [
      ["evidence", "log p(x)", COLOURS.evidence], ["elbo", "ELBO", null], ["reconstruction", "reconstruction", COLOURS.reconstruction],
      ["kl", "KL(q ‖ p(z))", COLOURS.kl], ["gap", "gap, KL(q ‖ p(z|x))", COLOURS.gap], ["sum", "ELBO + gap", null],
    ]) {
      const label = element("td"), value = element("td", { "data-value": name });
      label.append(element("span", { class: "swatch", style: `background:${colour ?? "transparent"}` }), text);
      this.rows[name] = value;
      this.table.append(element("tr", ["evidence", "sum"].includes(name) ? { class: "total" } : {}, label, value));
    }
    this.listen();
    parent.append(this.root);
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.canvas);
  }

  listen() {
    this.handle = null;
    const on = (name, handler, options) => this.canvas.addEventListener(name, handler, options);
    on("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.arrive();
      this.handle = this.nearest(event);
      if (this.handle === null) return;
      event.preventDefault();
      this.canvas.focus({ preventScroll: true });
      this.canvas.setPointerCapture(event.pointerId);
      const end = this.handle === "mu" ? this.q.mu : this.q.mu.map((value, j) => value + this.q.sigma[j] + this.stem());
      this.grip = this.at(event).map((value, j) => value - end[j]);
    });
    on("pointermove", (event) => this.handle !== null && this.drag(this.at(event)));
    const letGo = () => {
      if (this.handle === null) return;
      this.handle = null;
      this.commit();
    };
    on("pointerup", letGo);
    on("pointercancel", letGo);
    // A finger on q drags it; anywhere else on a phone it scrolls the page.
    const hold = (event) => this.nearest(event.touches[0]) !== null && event.preventDefault();
    on("touchstart", hold, { passive: false });
    on("keydown", (event) => this.press(event));
  }

  press(event) {
    const axis = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1] }[event.key];
    if (!axis) return;
    event.preventDefault();
    this.arrive();
    const [j, sign] = axis;
    if (event.shiftKey) this.put("sigma", j, this.q.sigma[j] * Math.exp(0.05 * sign));
    else this.put("mu", j, this.q.mu[j] + 0.01 * sign * (this.data.window[1] - this.data.window[0]));
    this.draw();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.commit(), REST_MS);
  }

  drag(place) {
    if (this.handle === "mu") place.forEach((value, j) => this.put("mu", j, value - this.grip[j]));
    else {
      const j = this.handle;
      this.put("sigma", j, place[j] - this.grip[j] - this.stem() - this.q.mu[j]);
    }
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.draw();
    });
  }

  // μ stays within the window, σ between a 300th and a half of its width, and within what Python believes; one that
  // lies beyond goes no farther out.
  put(part, j, value) {
    const [from, to] = this.data.window.slice(2 * j, 2 * j + 2), now = this.q[part][j];
    const [low, high] = part === "mu" ? [from, to] : [(to - from) / 300, Math.min((to - from) / 2, this.data.largest)];
    this.q[part][j] = Math.min(Math.max(value, Math.min(low, now)), Math.max(high, now));
  }

  commit() {
    clearTimeout(this.timer);
    const { mu, sigma } = this.q;
    const text = JSON.stringify(this.q);
    if (text === this.known) return;
    this.known = text;
    this.root.dataset.reports = ++this.reports;
    this.report("released", { subject: this.data.content, mu: [...mu], sigma: [...sigma] });
  }

  update(data) {
    const fresh = data.content !== this.data?.content;
    this.data = data;
    if (fresh) {
      cancelAnimationFrame(this.playing);
      this.walked = data.walk.length;
      const bytes = Uint8Array.from(atob(data.logLikelihood), (letter) => letter.charCodeAt(0));
      this.fit = new Float32Array(bytes.buffer);
      this.q = { mu: [...data.q.mu], sigma: [...data.q.sigma] };
      this.known = JSON.stringify(this.q);
      this.density = this.paintDensity();
      this.picture.load(data, () => {
        this.picture.resize(Math.max(1, Math.round(96 / data.frame.width)), 140);
        this.draw();
      });
      if (data.walk.length && !window.matchMedia("(prefers-reduced-motion: reduce)").matches) this.play();
    }
    this.draw();
  }

  // Goes the walk once more, with all the numbers.
  play() {
    const began = performance.now(), { walk } = this.data;
    const frame = (now) => {
      const done = Math.max(0, (now - began) / WALK_MS);
      if (done >= 1) return this.arrive();
      this.walked = Math.floor(done * walk.length) + 1;
      const [a, b, c, d] = walk[this.walked - 1];
      this.q = { mu: [a, b], sigma: [c, d] };
      this.draw();
      this.playing = requestAnimationFrame(frame);
    };
    this.playing = requestAnimationFrame(frame);
  }

  // At the end of the walk, at once.
  arrive() {
    if (this.walked === this.data.walk.length && !this.playing) return;
    cancelAnimationFrame(this.playing);
    this.playing = null;
    this.walked = this.data.walk.length;
    this.q = JSON.parse(this.known);
    this.draw();
  }

  // p(z|x) over the window, as the opacity of one colour.
  paintDensity() {
    const { steps: n, window: [x0, x1, y0, y1] } = this.data;
    const side = document.createElement("canvas");
    side.width = side.height = n;
    const context = side.getContext("2d"), image = context.createImageData(n, n);
    const joint = new Float64Array(n * n);
    let top = -Infinity;
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        const x = x0 + (i / (n - 1)) * (x1 - x0), y = y0 + (j / (n - 1)) * (y1 - y0);
        joint[i * n + j] = this.fit[i * n + j] - (x * x + y * y) / 2;
        top = Math.max(top, joint[i * n + j]);
      }
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        const pixel = 4 * ((n - 1 - j) * n + i);
        image.data.set([63, 144, 218, 235 * Math.sqrt(Math.exp(joint[i * n + j] - top))], pixel);
      }
    context.putImageData(image, 0, 0);
    return side;
  }

  // log p(x|z) between the points of the grid; beyond it, as at its edge.
  logLikelihood(x, y) {
    const { steps: n, window: [x0, x1, y0, y1] } = this.data;
    const a = Math.min(Math.max(((x - x0) / (x1 - x0)) * (n - 1), 0), n - 1.001);
    const b = Math.min(Math.max(((y - y0) / (y1 - y0)) * (n - 1), 0), n - 1.001);
    const i = Math.floor(a), j = Math.floor(b), u = a - i, v = b - j, at = i * n + j, fit = this.fit;
    return (1 - u) * ((1 - v) * fit[at] + v * fit[at + 1]) + u * ((1 - v) * fit[at + n] + v * fit[at + n + 1]);
  }

  // Exact where q was left, else off the grid.
  terms() {
    const { left, numbers } = this.data;
    if (JSON.stringify(left) === JSON.stringify(this.q)) return { ...numbers, sum: numbers.elbo + numbers.gap };
    const { mu, sigma } = this.q;
    let fit = 0, squares = 0;
    for (const [a, b, weight] of this.lattice) {
      const x = mu[0] + sigma[0] * a, y = mu[1] + sigma[1] * b;
      fit += weight * this.logLikelihood(x, y);
      squares += weight * (x * x + y * y);
    }
    const logSigma = Math.log(sigma[0]) + Math.log(sigma[1]);
    const kl = 0.5 * (mu[0] ** 2 + mu[1] ** 2 + sigma[0] ** 2 + sigma[1] ** 2 - 2) - logSigma;
    const elbo = fit - kl;
    // log q − log p(z|x), averaged over q: its own sum, with p(z|x) = p(x|z) p(z) / p(x).
    const gap = -(1 + LOG_2PI) - logSigma - (fit - squares / 2 - LOG_2PI) + this.data.logEvidence;
    return { evidence: this.data.logEvidence, elbo, reconstruction: -fit, kl, gap, sum: elbo + gap };
  }

  scale() {
    const [x0, x1, y0, y1] = this.data.window, side = this.canvas.clientWidth;
    return {
      side,
      x: (value) => ((value - x0) / (x1 - x0)) * side,
      y: (value) => ((y1 - value) / (y1 - y0)) * side,
      length: (value) => (value / (x1 - x0)) * side,
    };
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect(), [x0, x1, y0, y1] = this.data.window;
    return [
      x0 + ((event.clientX - box.left) / box.width) * (x1 - x0),
      y1 - ((event.clientY - box.top) / box.height) * (y1 - y0),
    ];
  }

  // A stem in units of z.
  stem() {
    const [x0, x1] = this.data.window;
    return (STEM / this.canvas.clientWidth) * (x1 - x0);
  }

  // What lies beyond the window stands at its edge.
  handles() {
    const { x, y, side } = this.scale(), { mu, sigma } = this.q;
    const right = Math.min(x(mu[0] + sigma[0]) + STEM, side - 8), top = Math.max(y(mu[1] + sigma[1]) - STEM, 8);
    return [["mu", x(mu[0]), y(mu[1])], [0, right, y(mu[1])], [1, x(mu[0]), top]];
  }

  nearest(event) {
    const box = this.canvas.getBoundingClientRect();
    const far = ([, x, y]) => Math.hypot(event.clientX - box.left - x, event.clientY - box.top - y);
    const handles = this.handles().map((handle) => ({ handle: handle[0], distance: far(handle) }));
    const found = handles.reduce((a, b) => (b.distance < a.distance ? b : a));
    if (found.distance < 22) return found.handle;
    const [x, y] = this.at(event), { mu, sigma } = this.q;
    return Math.hypot((x - mu[0]) / sigma[0], (y - mu[1]) / sigma[1]) < 2 ? "mu" : null;
  }

  draw() {
    if (!this.data || !this.canvas.clientWidth) return;
    const density = window.devicePixelRatio || 1, side = this.canvas.clientWidth;
    if (this.canvas.width !== Math.round(side * density)) this.canvas.width = this.canvas.height = Math.round(side * density);
    const context = this.context, style = getComputedStyle(this.root);
    const ink = style.getPropertyValue("--st-text-color"), primary = style.getPropertyValue("--st-primary-color");
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, side, side);
    context.imageSmoothingEnabled = true;
    context.drawImage(this.density, 0, 0, side, side);
    const { x, y, length } = this.scale(), { mu, sigma } = this.q;
    const ellipse = (cx, cy, rx, ry, colour, width, dash = []) => {
      context.beginPath();
      context.setLineDash(dash);
      context.ellipse(x(cx), y(cy), length(rx), length(ry), 0, 0, 2 * Math.PI);
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.stroke();
      context.setLineDash([]);
    };
    context.globalAlpha = 0.35;
    for (let r = 0.25; r <= 4; r += 0.25) ellipse(0, 0, r, r, ink, r % 1 ? 0.4 : 1);
    context.globalAlpha = 1;
    const { encoder, walk } = this.data;
    ellipse(encoder.mu[0], encoder.mu[1], encoder.sigma[0], encoder.sigma[1], ink, 1, [4, 4]);
    if (walk.length) {
      context.beginPath();
      walk.slice(0, this.walked).forEach(([a, b], i) => (i ? context.lineTo(x(a), y(b)) : context.moveTo(x(a), y(b))));
      context.strokeStyle = COLOURS.gap;
      context.lineWidth = 2;
      context.stroke();
    }
    const tiny = length(Math.max(...sigma)) < TINY;
    context.fillStyle = primary;
    context.globalAlpha = 0.5;
    for (const [a, b] of tiny ? [] : this.cloud) {
      context.beginPath();
      context.arc(x(mu[0] + sigma[0] * a), y(mu[1] + sigma[1] * b), 1.7, 0, 2 * Math.PI);
      context.fill();
    }
    context.globalAlpha = 1;
    ellipse(mu[0], mu[1], sigma[0], sigma[1], primary, tiny ? 1 : 2.5);
    ellipse(mu[0], mu[1], 2 * sigma[0], 2 * sigma[1], primary, tiny ? 0.6 : 1.2);
    this.drawHandles(context, primary, tiny);
    this.drawAxes(context, ink, side);
    this.readOut();
  }

  drawHandles(context, primary, tiny) {
    const [[, cx, cy], ...widths] = this.handles(), from = tiny ? RING : 0;
    const disc = (px, py, radius, colour) => {
      context.beginPath();
      context.arc(px, py, radius, 0, 2 * Math.PI);
      context.fillStyle = colour;
      context.lineWidth = tiny ? 1.2 : 2;
      context.fill();
      context.stroke();
    };
    context.strokeStyle = primary;
    for (const [, px, py] of widths) {
      context.beginPath();
      context.moveTo(cx + from * Math.sign(px - cx), cy + from * Math.sign(py - cy));
      context.lineTo(px, py);
      context.lineWidth = 1.2;
      context.stroke();
      disc(px, py, tiny ? 5 : 7, "white");
    }
    disc(cx, cy, tiny ? RING : 5, tiny ? "transparent" : primary);
  }

  drawAxes(context, ink, side) {
    const [x0, x1, y0, y1] = this.data.window;
    context.fillStyle = ink;
    context.font = `11px ${getComputedStyle(this.root).fontFamily}`;
    const text = (value, px, py, align) => {
      context.textAlign = align;
      context.fillText(value, px, py);
    };
    text(`z₁ = ${decimals(x0, 2)}`, 6, side - 6, "left");
    text(`z₁ = ${decimals(x1, 2)}`, side - 6, side - 6, "right");
    text(`z₂ = ${decimals(y1, 2)}`, 6, 14, "left");
    text(`z₂ = ${decimals(y0, 2)}`, 6, side - 20, "left");
  }

  readOut() {
    const terms = this.terms(), { mu, sigma } = this.q, { window: [x0, x1, y0, y1], side } = this.data;
    for (const [name, cell] of Object.entries(this.rows)) cell.textContent = nats(terms[name]);
    this.root.dataset.elbo = terms.elbo;
    this.root.dataset.sum = terms.sum;
    this.root.dataset.handles = JSON.stringify(this.handles().map(([, px, py]) => [px, py])); // of μ, σ₁, σ₂ on the canvas
    const pair = (values) => `(${values.map((value) => decimals(value, 3)).join(", ")})`;
    const beyond = mu[0] < x0 || mu[0] > x1 || mu[1] < y0 || mu[1] > y1;
    this.caption.textContent = `${beyond ? "Not decoded: beyond what is drawn," : "Decoded at"} μ = ${pair(mu)}, σ = ${pair(sigma)}`;
    this.picture.canvas.style.visibility = beyond ? "hidden" : "visible";
    this.canvas.setAttribute("aria-label",
      `True posterior and q with μ ${pair(mu)}, σ ${pair(sigma)}; ELBO ${nats(terms.elbo)}, gap ${nats(terms.gap)}`);
    const column = Math.round(((mu[0] - x0) / (x1 - x0)) * (side - 1));
    const row = Math.round(((y1 - mu[1]) / (y1 - y0)) * (side - 1));
    this.picture.draw(row * side + column);
    this.drawBars(terms);
  }

  // Both bars end at −ELBO: above, what it is made of; below, what of it is −log p(x) and what is the gap. They are cut:
  // what comes before `start` is left out at the break.
  drawBars({ evidence, elbo, reconstruction, kl, gap }) {
    const least = Math.min(reconstruction, -evidence);
    const start = least - 0.1 * Math.abs(least);
    const end = -elbo + 0.02 * (-elbo - start);
    const width = this.bars.clientWidth || 320;
    const place = (value) => CUT + Math.max(0, Math.min(width - CUT, ((value - start) / (end - start)) * (width - CUT)));
    const bar = (y, left, to, colour) =>
      `<rect x="${left}" y="${y}" width="${Math.max(0, place(to) - left)}" height="20" fill="${colour}"/>`;
    const tear = (x) => `L${x + 3} 27 L${x - 3} 37 L${x + 3} 47 L${x - 3} 57 L${x} 65`;
    const tearUp = (x) => `L${x} 65 L${x - 3} 57 L${x + 3} 47 L${x - 3} 37 L${x + 3} 27 L${x} 15`;
    this.bars.innerHTML =
      `<svg viewBox="0 0 ${width} 96" role="img" aria-label="−ELBO = reconstruction + KL = −log p(x) + gap">` +
      `<text x="0" y="11" class="faint">−ELBO = reconstruction + KL(q ‖ p(z))</text>` +
      bar(17, 0, reconstruction, COLOURS.reconstruction) + bar(17, place(reconstruction), -elbo, COLOURS.kl) +
      bar(41, 0, -evidence, COLOURS.evidence) + bar(41, place(-evidence), -elbo, COLOURS.gap) +
      `<path class="break" d="M${CUT / 2 - 2} 15 ${tear(CUT / 2 - 2)} ${tearUp(CUT / 2 + 3)} Z"/>` +
      `<text x="0" y="76">${start > 0 ? "0" : "…"}</text><text x="${CUT}" y="76">${decimals(start, 0)}</text>` +
      `<text x="${width}" y="76" text-anchor="end">${decimals(-elbo, 2)} nats</text>` +
      `<text x="0" y="93" class="faint">−ELBO = −log p(x) + gap</text></svg>`;
  }

  dispose() {
    clearTimeout(this.timer);
    cancelAnimationFrame(this.waiting);
    cancelAnimationFrame(this.playing);
    this.observer.disconnect();
    this.picture.dispose();
  }
}

export default function (component) {
  return mount(PosteriorPad, component);
}
