// Keeps the places of a map's points where the map finds them by their name, so that they are sent once, as bytes.

const NAME_LENGTH = 32;

export default function (component) {
  return mount(LatentPoints, component);
}

class LatentPoints {
  constructor() {
    this.root = element("div");
    this.points = globalThis.latentPoints ??= new Map();
  }

  // bytes: the name in ASCII, then x and y of each point as float32, little-endian.
  update(bytes) {
    const name = new TextDecoder().decode(bytes.subarray(0, NAME_LENGTH));
    if (this.name === name) return;
    this.dispose();
    this.name = name;
    this.places = new Float32Array(bytes.slice(NAME_LENGTH).buffer);
    this.points.set(name, this.places);
    globalThis.dispatchEvent(new CustomEvent("latent-points", { detail: name }));
  }

  dispose() {
    if (this.points.get(this.name) === this.places) this.points.delete(this.name);
  }
}
