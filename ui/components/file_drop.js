// A place that a file can be dropped on: it shows while a file is dragged over the window, and reads what is dropped.

class FileDrop {
  // take({ name, data }) gets the file, data in base64; refuse(sentence) is told what cannot be taken.
  constructor(area, signal, { take, refuse }) {
    Object.assign(this, { area, take, refuse, most: 0 });
    this.target = element("div", { class: "drop", "data-testid": "drop-target", hidden: "" });
    area.append(this.target);
    const on = (node, type, handler) => node.addEventListener(type, handler, { signal });
    on(globalThis, "dragover", (event) => this.show(event));
    on(globalThis, "dragleave", (event) => event.relatedTarget === null && this.hide());
    on(globalThis, "drop", () => this.hide());
    on(area, "dragover", (event) => this.over(event));
    on(area, "dragleave", (event) => area.contains(event.relatedTarget) || this.target.classList.remove("over"));
    on(area, "drop", (event) => this.drop(event));
  }

  // most: bytes a file may have, 0 for no files at all.
  update(most, words) {
    this.most = most;
    this.target.textContent = words;
  }

  holdsFile(event) {
    return this.most > 0 && event.dataTransfer?.types.includes("Files");
  }

  show(event) {
    if (this.holdsFile(event)) this.target.hidden = false;
  }

  hide() {
    this.target.hidden = true;
    this.target.classList.remove("over");
  }

  over(event) {
    if (!this.holdsFile(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    this.target.classList.add("over");
  }

  async drop(event) {
    if (!this.holdsFile(event)) return;
    event.preventDefault();
    const [file, ...others] = event.dataTransfer.files;
    if (!file || others.length) {
      return this.refuse(`These are ${others.length + Boolean(file)} files. Drop one picture at a time.`);
    }
    if (file.size > this.most) {
      const size = (bytes) => `${Math.round(bytes / 2 ** 20)} MB`;
      return this.refuse(`${file.name} has ${size(file.size)}; ${size(this.most)} is the most. Make it smaller first.`);
    }
    const reader = new FileReader();
    reader.addEventListener("error", () => this.refuse(`${file.name} cannot be read. A folder? Drop one picture.`));
    reader.addEventListener("load", () => this.take({ name: file.name, data: reader.result.split(",")[1] ?? "" }));
    reader.readAsDataURL(file);
  }
}
