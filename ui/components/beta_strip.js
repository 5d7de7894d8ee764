// One thumb for β: reconstructions, samples, the latent map and the place on the rate–distortion curve move together.

const PLOT = { left: 46, right: 10, top: 8, bottom: 36 };
const DOT = 2.5; // CSS pixels
const ALPHA = 200; // of 255
const LINES = 7; // of equal D + βR on either side of the tangent

class BetaStrip extends Strip {
  constructor(parent) {
    const sprites = { reconstructions: new Sprite(), samples: new Sprite() };
    const plots = { map: new Plot(), curve: new Plot() };
    const words = {};
    const panel = (name, canvas) => {
      words[name] = element("figcaption");
      return element("figure", { class: name }, words[name], canvas);
    };
    super(
      parent,
      panel("reconstructions", sprites.reconstructions.canvas),
      panel("samples", sprites.samples.canvas),
      panel("map", plots.map.canvas),
      panel("curve", plots.curve.canvas),
    );
    Object.assign(this, { sprites, plots, words });
    this.root.classList.add("beta");
  }

  // Between two frames pictures fade and points glide: the thumb may stand anywhere.
  snap(place) {
    return place;
  }

  update(data) {
    const { map, curve } = data;
    if (map.positions !== this.data?.map.positions) this.setPoints(map);
    for (const [name, canvas] of [["map", this.plots.map.canvas], ["curve", this.plots.curve.canvas]]) {
      this.words[name].textContent = data[name].label;
      canvas.setAttribute("aria-label", data[name].label);
    }
    for (const [name, sprite] of Object.entries(this.sprites)) {
      this.words[name].textContent = data[name].label;
      sprite.canvas.setAttribute("aria-label", data[name].label);
    }
    this.plots.map.show({ x: map.extent, y: map.extent }, map.axes, true);
    this.plots.curve.show(room(curve), ["R, nats", "D, nats"], false);
    super.update(data);
    [this.first.textContent, this.last.textContent] = data.ends;
  }

  setPoints({ positions, classes, colours, reach }) {
    const shades = colours.map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
    this.places = Float32Array.from(unpack(positions, Int16Array), (step) => (step * reach) / 32767);
    this.paint = Uint8Array.from([...unpack(classes, Uint8Array)].flatMap((i) => [...shades[i], ALPHA]));
    this.points = new Float32Array(this.paint.length / 2);
  }

  load() {
    for (const [name, sprite] of Object.entries(this.sprites)) {
      sprite.load(this.data[name], () => {
        this.layOut();
        this.request();
      });
    }
  }

  layOut() {
    if (!this.root.clientWidth || !this.data) return;
    const sprites = Object.values(this.sprites);
    const room = Math.min(...sprites.map((sprite) => sprite.canvas.parentElement.clientWidth)); // alike in size
    for (const sprite of sprites) sprite.resize(this.data.scale, room);
    for (const plot of Object.values(this.plots)) plot.resize(this.root);
    this.request();
  }

  draw() {
    if (!this.plots.curve.size) return false;
    const pictures = Object.values(this.sprites).map((sprite) => sprite.draw(this.index));
    const place = this.index / this.data.every;
    this.drawMap(place);
    this.drawCurve(place);
    return pictures.every(Boolean);
  }

  drawMap(place) {
    const plot = this.plots.map;
    const drawing = plot.begin();
    drawing.circles([1, 2, 3]);
    const { points, places } = this;
    const low = Math.min(Math.floor(place), places.length / points.length - 2);
    const weight = place - low;
    const [from, to] = [low * points.length, (low + 1) * points.length];
    for (let i = 0; i < points.length; i++) points[i] = (1 - weight) * places[from + i] + weight * places[to + i];
    drawing.dots(points, this.paint);
    drawing.end();
  }

  drawCurve(place) {
    const { context, ...plot } = this.plots.curve.begin();
    const { rate, distortion, logBeta } = this.data.curve;
    const at = (values) => mix(values, place);
    const [r, d, beta] = [at(rate), at(distortion), Math.exp(at(logBeta))];
    const { view, ink } = this.plots.curve;
    // Along each line D + βR is the same; the one through the marker is the tangent, for training minimises the sum.
    const span = view.y[1] - view.y[0] + beta * (view.x[1] - view.x[0]);
    context.strokeStyle = ink;
    context.lineWidth = 1;
    for (let i = -LINES; i <= LINES; i++) {
      const sum = d + beta * r + (i * span) / (2 * LINES);
      context.globalAlpha = i ? 0.13 : 0.8;
      plot.line(view.x[0], sum - beta * view.x[0], view.x[1], sum - beta * view.x[1]);
    }
    context.globalAlpha = 1;
    context.strokeStyle = this.plots.curve.accent;
    context.lineWidth = 2.5;
    context.lineJoin = "round";
    context.beginPath();
    rate.forEach((value, i) => context.lineTo(plot.x(value), plot.y(distortion[i])));
    context.stroke();
    context.fillStyle = this.plots.curve.accent;
    context.strokeStyle = this.plots.curve.paper;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(plot.x(r), plot.y(d), 6.5, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
    plot.end();
  }

  dispose() {
    super.dispose();
    for (const sprite of Object.values(this.sprites)) sprite.dispose();
  }
}

// A canvas with axes: the ground is drawn once a size, what moves over it at every frame.
class Plot {
  constructor() {
    this.canvas = element("canvas", { role: "img" });
    this.context = this.canvas.getContext("2d");
    this.ground = element("canvas");
    this.layer = element("canvas");
    this.raster = new DotRaster(this.layer);
  }

  // view {x: [low, high], y: [low, high]}, titles of both axes; `even`: a unit is as long on either.
  show(view, titles, even) {
    Object.assign(this, { wanted: view, titles, even, size: null });
  }

  resize(root) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const density = window.devicePixelRatio || 1;
    const styles = getComputedStyle(root);
    const border = styles.getPropertyValue("--st-border-color") || "#ccc";
    const size = [width, height, density, styles.color, border].join(" ");
    if (!width || !this.wanted || size === this.size) return;
    Object.assign(this, { size, width, height, density, ink: styles.color });
    this.paper = styles.getPropertyValue("--st-background-color");
    this.accent = styles.getPropertyValue("--st-primary-color");
    for (const canvas of [this.canvas, this.ground]) {
      canvas.width = Math.round(width * density);
      canvas.height = Math.round(height * density);
    }
    this.plot = {
      left: PLOT.left, top: PLOT.top, width: width - PLOT.left - PLOT.right, height: height - PLOT.top - PLOT.bottom,
    };
    this.layer.width = Math.round(this.plot.width * density);
    this.layer.height = Math.round(this.plot.height * density);
    this.view = this.even ? this.squared() : this.wanted;
    this.drawGround(this.ground.getContext("2d"), styles.fontFamily, border);
  }

  squared() {
    const { x, y } = this.wanted;
    const { width, height } = this.plot;
    const unit = Math.max((x[1] - x[0]) / width, (y[1] - y[0]) / height);
    const around = ([low, high], pixels) => [(low + high - unit * pixels) / 2, (low + high + unit * pixels) / 2];
    return { x: around(x, width), y: around(y, height) };
  }

  x(value) {
    const [low, high] = this.view.x;
    return this.plot.left + ((value - low) / (high - low)) * this.plot.width;
  }

  y(value) {
    const [low, high] = this.view.y;
    return this.plot.top + (1 - (value - low) / (high - low)) * this.plot.height;
  }

  drawGround(context, family, border) {
    const { plot, view, density } = this;
    const bottom = plot.top + plot.height;
    context.setTransform(density, 0, 0, density, 0, 0);
    context.font = `12px ${family}`;
    context.strokeStyle = border;
    context.fillStyle = this.ink;
    context.globalAlpha = 0.8;
    context.strokeRect(plot.left + 0.5, plot.top + 0.5, plot.width - 1, plot.height - 1);
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const { value, text } of ticks(view.y, plot.height / 42)) context.fillText(text, plot.left - 6, this.y(value));
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const { value, text } of ticks(view.x, plot.width / 60)) context.fillText(text, this.x(value), bottom + 5);
    context.fillText(this.titles[0], plot.left + plot.width / 2, bottom + 21);
    context.translate(1, plot.top + plot.height / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(this.titles[1], 0, 0);
  }

  // The ground, and what is needed to draw on it, within the frame, until `end`.
  begin() {
    const { context, density, plot, view } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.ground, 0, 0);
    context.setTransform(density, 0, 0, density, 0, 0);
    context.save();
    context.beginPath();
    context.rect(plot.left, plot.top, plot.width, plot.height);
    context.clip();
    const [x, y] = [(value) => this.x(value), (value) => this.y(value)];
    return {
      context, x, y,
      line: (x0, y0, x1, y1) => {
        context.beginPath();
        context.moveTo(x(x0), y(y0));
        context.lineTo(x(x1), y(y1));
        context.stroke();
      },
      circles: (radii) => {
        context.strokeStyle = this.ink;
        context.globalAlpha = 0.35;
        context.lineWidth = 1;
        for (const radius of radii) {
          context.beginPath();
          context.arc(x(0), y(0), (radius * plot.width) / (view.x[1] - view.x[0]), 0, 2 * Math.PI);
          context.stroke();
        }
      },
      dots: (points, paint) => {
        const [x0, x1, y0, y1] = [...view.x, ...view.y];
        const scale = (plot.width * density) / (x1 - x0);
        this.raster.draw(points, paint, points.length / 2, { x: (x0 + x1) / 2, y: (y0 + y1) / 2, scale, radius: DOT * density });
        context.globalAlpha = 1;
        context.drawImage(this.layer, plot.left, plot.top, plot.width, plot.height);
      },
      end: () => context.restore(),
    };
  }
}

function mix(values, place) {
  const low = Math.min(Math.floor(place), values.length - 2);
  return values[low] + (place - low) * (values[low + 1] - values[low]);
}

// The curve with some air around it, from rate 0 on.
function room({ rate, distortion }) {
  const [most, low, high] = [Math.max(...rate), Math.min(...distortion), Math.max(...distortion)];
  const air = 0.06 * (high - low) || 1;
  return { x: [-0.03 * most, 1.05 * most || 1], y: [low - air, high + air] };
}

export default function (component) {
  return mount(BetaStrip, component);
}
