// A slider that shows one frame of a sprite while it moves, and tells the server where it was let go.

class FilmStrip extends Strip {
  constructor(parent) {
    const sprite = new Sprite();
    super(parent, sprite.canvas);
    this.sprite = sprite;
  }

  snap(place) {
    return Math.round(place);
  }

  update(data) {
    this.root.classList.toggle("compact", data.compact);
    this.sprite.canvas.setAttribute("aria-label", data.label);
    super.update(data);
  }

  load() {
    this.sprite.load(this.data, () => {
      this.layOut();
      this.request();
    });
  }

  layOut() {
    const room = this.root.clientWidth;
    if (room && this.data) this.sprite.resize(this.data.scale, this.data.compact ? room / 3 : room);
  }

  draw() {
    return this.sprite.draw(this.index);
  }

  dispose() {
    super.dispose();
    this.sprite.dispose();
  }
}

export default function (component) {
  return mount(FilmStrip, component);
}
