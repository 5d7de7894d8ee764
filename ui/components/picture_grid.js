// A grid of pictures from one sprite; the visitor selects one, and the server is told which.

// By key: the version and index that the server knows. Outlives a grid that leaves the page and comes back.
const agreed = new Map();

const GAP = 4; // pixels between pictures

// As many columns as fit, or some fewer where else the last row would be less than half full.
function columnsOf(count, fit) {
  const over = (columns) => count % columns || columns;
  for (let columns = fit; count > fit && columns > fit / 2; columns--)
    if (over(columns) >= columns / 2) return columns;
  return fit;
}

class PictureGrid {
  constructor(parent) {
    this.tiles = [];
    this.sheets = [];
    this.root = element("div", { class: "root", "data-testid": "picture-grid", role: "group" });
    this.pictures = element("div", { class: "pictures" });
    this.root.append(this.pictures);
    this.pictures.addEventListener("click", (event) => {
      const tile = event.target.closest("button");
      if (tile) this.select(this.tiles.findIndex(({ button }) => button === tile));
    });
    this.pictures.addEventListener("keydown", (event) => this.steer(event));
    parent.append(this.root);
    this.observer = new ResizeObserver(() => this.layOut());
    this.observer.observe(this.root);
  }

  update(data) {
    const known = agreed.get(data.key);
    if (known?.version !== data.version) agreed.set(data.key, { version: data.version, index: data.index });
    this.data = data;
    this.root.setAttribute("aria-label", data.label);
    while (this.tiles.length > data.frame.count) this.tiles.pop().button.remove();
    while (this.tiles.length < data.frame.count) this.tiles.push(this.tile());
    this.tiles.forEach(({ button, caption }, index) => {
      caption.textContent = data.captions?.[index] ?? "";
      caption.hidden = !data.captions;
      button.dataset.marked = data.marked.includes(index);
      const place = data.columns
        ? "row " + (Math.floor(index / data.columns) + 1) + ", column " + ((index % data.columns) + 1)
        : "picture " + (index + 1);
      const words = [place, data.captions?.[index], data.marked.includes(index) && "marked"];
      button.setAttribute("aria-label", words.filter(Boolean).join(", "));
    });
    this.layOut();
    this.mark();
    this.load();
  }

  tile() {
    const picture = element("span", { class: "picture" });
    const caption = element("span", { class: "caption", "aria-hidden": "true" });
    const button = element("button", { type: "button", tabindex: "-1" }, picture, caption);
    this.pictures.append(button);
    return { button, picture, caption };
  }

  load() {
    const { content, sprite, frame } = this.data;
    if (content === this.content) return;
    this.content = content;
    const sheet = new Image();
    sheet.src = URL.createObjectURL(spriteBlob(sprite));
    sheet.decode().then(() => {
      if (this.content !== content) return URL.revokeObjectURL(sheet.src);
      this.frame = frame;
      this.layOut();
      this.forget(1);
      this.sheets.unshift(sheet); // the old pictures stay beneath the new until those are drawn
      this.pictures.style.setProperty("--sheets", this.sheets.map(({ src }) => `url("${src}")`).join());
    });
  }

  // Let go of all sheets but the latest ones.
  forget(kept) {
    for (const { src } of this.sheets.splice(kept)) URL.revokeObjectURL(src);
  }

  layOut() {
    const room = this.root.clientWidth;
    if (!room || !this.data) return;
    const { scale, columns } = this.data;
    const frame = this.frame ?? this.data.frame;
    const each = columns ? (room - 2 * (columns - 1)) / columns - 2 : room - 8; // less the gaps between them, and their borders
    this.pictures.style.gridTemplateColumns = columns ? `repeat(${columns}, max-content)` : "";
    this.pictures.classList.toggle("fixed", Boolean(columns));
    const pixel = wholeScale(scale, frame.width, each);
    this.pictures.style.setProperty("--width", `${frame.width * pixel}px`);
    this.pictures.style.setProperty("--height", `${frame.height * pixel}px`);
    this.pictures.style.setProperty("--columns", frame.columns);
    this.pictures.style.setProperty("--rows", Math.ceil(frame.count / frame.columns));
    if (!columns) this.pictures.style.maxWidth = `${this.rowWidth(room)}px`;
    this.tiles.forEach(({ picture }, index) => {
      picture.style.setProperty("--column", index % frame.columns);
      picture.style.setProperty("--row", Math.floor(index / frame.columns));
    });
  }

  rowWidth(room) {
    const tile = GAP + Math.max(...this.tiles.map(({ button }) => button.offsetWidth));
    return columnsOf(this.tiles.length, Math.max(1, Math.floor((room + GAP) / tile))) * tile;
  }

  mark() {
    const { index } = agreed.get(this.data.key);
    this.tiles.forEach(({ button }, place) => button.setAttribute("aria-pressed", place === index));
    this.makeReachable(index ?? 0);
  }

  // One tile at a time is reached by the tab key; the arrow keys go on from there.
  makeReachable(index) {
    this.tiles.forEach(({ button }, place) => (button.tabIndex = place === index ? 0 : -1));
  }

  steer(event) {
    const here = this.tiles.findIndex(({ button }) => button === event.target);
    const top = this.tiles[0].button.offsetTop;
    const columns = this.tiles.filter(({ button }) => button.offsetTop === top).length;
    const last = this.tiles.length - 1;
    const goal = {
      ArrowLeft: here - 1, ArrowRight: here + 1, ArrowUp: here - columns, ArrowDown: here + columns, Home: 0, End: last,
    }[event.key];
    if (goal === undefined) return;
    event.preventDefault();
    if (goal < 0 || goal > last) return;
    this.makeReachable(goal);
    this.tiles[goal].button.focus();
  }

  select(index) {
    const known = agreed.get(this.data.key);
    if (index === known.index) return;
    known.index = index;
    this.mark();
    this.report("picked", { index, version: known.version });
  }

  dispose() {
    this.observer.disconnect();
    this.content = null;
    this.forget(0);
  }
}

export default function (component) {
  return mount(PictureGrid, component);
}
