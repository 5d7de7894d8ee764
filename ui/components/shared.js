// What every component needs: elements, numbers to read, sprite pictures, packed numbers, whole-pixel scales.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// With a true minus sign, and without one before a nought.
function decimals(value, digits) {
  return value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
}

function unpack(base64, Type) {
  return new Type(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer);
}

function spriteBlob(url) {
  const comma = url.indexOf(",");
  const bytes = unpack(url.slice(comma + 1), Uint8Array);
  return new Blob([bytes], { type: url.slice(5, url.indexOf(";")) });
}

async function decodeSprite(url) {
  return createImageBitmap(spriteBlob(url));
}

// A canvas that shows one frame of a sprite at a time, a square of whole pixels for each of the frame's.
class FrameCanvas {
  constructor() {
    this.canvas = element("canvas", { role: "img" });
    this.context = this.canvas.getContext("2d", { alpha: false });
  }

  resize(frame, scale) {
    if (this.canvas.width !== frame.width || this.canvas.height !== frame.height) {
      this.canvas.width = frame.width;
      this.canvas.height = frame.height;
    }
    this.canvas.style.width = `${frame.width * scale}px`;
    this.canvas.style.aspectRatio = `${frame.width} / ${frame.height}`;
  }

  draw(bitmap, frame, index) {
    const left = (index % frame.columns) * frame.width;
    const top = Math.floor(index / frame.columns) * frame.height;
    const { width, height } = frame;
    this.context.drawImage(bitmap, left, top, width, height, 0, 0, width, height);
  }
}

// A sprite's frames on a canvas. The old ones stay until new ones are decoded.
class Sprite extends FrameCanvas {
  load({ content, sprite, frame }, then) {
    this.coming = frame;
    if (content === this.content) return;
    this.content = content;
    decodeSprite(sprite).then((bitmap) => {
      if (this.content !== content) return bitmap.close();
      this.bitmap?.close();
      this.bitmap = bitmap;
      this.frame = frame;
      then();
    });
  }

  resize(scale, room) {
    const frame = this.frame ?? this.coming;
    if (frame) super.resize(frame, wholeScale(scale, frame.width, room));
  }

  // Between two whole numbers, one frame fades into the next. Whether there was anything to draw.
  draw(index) {
    if (!this.bitmap) return false;
    const place = Math.min(index, this.frame.count - 1);
    super.draw(this.bitmap, this.frame, Math.floor(place));
    this.context.globalAlpha = place % 1;
    if (place % 1) super.draw(this.bitmap, this.frame, Math.ceil(place));
    this.context.globalAlpha = 1;
    return true;
  }

  dispose() {
    this.content = null;
    this.bitmap?.close();
    this.bitmap = null;
  }
}

// The largest scale up to `wanted` that fits: a whole number of the screen's own pixels, of which a phone has 2 or 3
// for each CSS pixel.
function wholeScale(wanted, width, room) {
  const density = Math.max(1, window.devicePixelRatio || 1);
  return Math.max(1, Math.min(wanted, Math.floor((room * density) / width) / density));
}

// One instance for each place on the page. The page calls the component again at every change of its data, and
// calls the clean-up of a call that has been overtaken too: only the latest call's clean-up may take it down.
function mount(Component, { data, parentElement, setStateValue, setTriggerValue }) {
  const instance = (parentElement.instance ??= new Component(parentElement));
  const turn = (instance.turn = (instance.turn ?? 0) + 1);
  instance.report = setStateValue;
  instance.trigger = setTriggerValue;
  instance.update(data);
  return () => {
    if (instance.turn !== turn) return;
    instance.dispose();
    instance.root.remove();
    delete parentElement.instance;
  };
}
