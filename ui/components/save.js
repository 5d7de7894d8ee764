// A button that saves what is seen: a component's canvases, where they stand, and their captions, as one PNG.

const SAVE_ICON = "M8 1v8.2l2.8-2.8 1.1 1.1L8 11.4 4.1 7.5l1.1-1.1L8 9.2V1zM2 13h12v1.6H2z";

function saveButton(action) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  const icon = document.createElementNS("http://www.w3.org/2000/svg", "path");
  icon.setAttribute("d", SAVE_ICON);
  svg.append(icon);
  const button = element("button", { type: "button", class: "icon", title: "Save as PNG", "aria-label": "Save as PNG" }, svg);
  button.addEventListener("click", action);
  return button;
}

function download(canvas, name) {
  const file = name.replace(/[^\p{L}\p{N}.=-]+/gu, " ").trim();
  element("a", { href: canvas.toDataURL("image/png"), download: `${file}.png` }).click();
}

// The canvases in `stage`, and the texts of the elements in it that `captions` selects.
function saveStage(stage, captions, name) {
  const area = stage.getBoundingClientRect();
  const styles = getComputedStyle(stage);
  const density = Math.max(2, window.devicePixelRatio || 1);
  const margin = 8;
  const page = element("canvas", {
    width: Math.round(density * (area.width + 2 * margin)), height: Math.round(density * (area.height + 2 * margin)),
  });
  const context = page.getContext("2d");
  context.scale(density, density);
  context.fillStyle = styles.getPropertyValue("--st-background-color") || "#fff";
  context.fillRect(0, 0, page.width, page.height);
  context.translate(margin - area.left, margin - area.top);
  for (const canvas of stage.querySelectorAll("canvas")) {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    context.imageSmoothingEnabled = getComputedStyle(canvas).imageRendering !== "pixelated";
    if (width && height) context.drawImage(canvas, left, top, width, height);
  }
  context.textBaseline = "middle";
  for (const caption of stage.querySelectorAll(captions)) {
    const { left, top, width, height } = caption.getBoundingClientRect();
    const { font, color, textAlign } = getComputedStyle(caption);
    Object.assign(context, { font, fillStyle: color, textAlign: textAlign === "center" ? "center" : "left" });
    context.fillText(caption.innerText, context.textAlign === "center" ? left + width / 2 : left, top + height / 2, width);
  }
  download(page, name);
}
