// The decoded picture at any place of a plane, blended from the four nearest cells of an atlas of it.

class PlanePad {
  constructor() {
    this.canvas = element("canvas", { class: "decoded" });
    this.context = this.canvas.getContext("2d");
  }

  // plane: { atlas, extent: [x0, x1, y0, y1], side }, its cells in reading order, the first at x0, y1; or nothing.
  update(plane) {
    this.plane = plane;
  }

  // The atlas' pixels, RGBA, once they have arrived.
  pixels() {
    const atlas = this.plane && globalThis.latentAtlases?.get(this.plane.atlas);
    const page = atlas?.pages[0];
    if (page && this.page !== page) {
      this.page = page;
      [this.canvas.width, this.canvas.height] = atlas.tile;
      this.picture = this.context.createImageData(...atlas.tile);
      const whole = new OffscreenCanvas(page.width, page.height).getContext("2d", { willReadFrequently: true });
      whole.drawImage(page, 0, 0);
      this.source = whole.getImageData(0, 0, page.width, page.height);
    }
    return page ? this.source : null;
  }

  // Draws what is decoded at (x, y); false where the atlas does not reach.
  draw(x, y) {
    const source = this.pixels();
    if (!source) return false;
    const { extent: [x0, x1, y0, y1], side } = this.plane;
    const across = ((x - x0) / (x1 - x0)) * (side - 1);
    const down = ((y1 - y) / (y1 - y0)) * (side - 1);
    if (!(across >= 0 && across <= side - 1 && down >= 0 && down <= side - 1)) return false;
    const column = Math.min(Math.floor(across), side - 2), row = Math.min(Math.floor(down), side - 2);
    this.blend(source, column, row, across - column, down - row);
    this.context.putImageData(this.picture, 0, 0);
    return true;
  }

  blend({ data, width: stride }, column, row, right, below) {
    const { data: blended, width, height } = this.picture;
    const topLeft = 4 * (row * height * stride + column * width);
    const toRight = 4 * width, toBelow = 4 * height * stride;
    const a = (1 - right) * (1 - below), b = right * (1 - below), c = (1 - right) * below, d = right * below;
    for (let y = 0, i = 0; y < height; y++) {
      for (let from = topLeft + 4 * y * stride, end = from + toRight; from < end; from++, i++) {
        blended[i] = a * data[from] + b * data[from + toRight] + c * data[from + toBelow] + d * data[from + toBelow + toRight];
      }
    }
  }
}
