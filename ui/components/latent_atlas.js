// Keeps a sprite atlas of thumbnails where the latent maps of a page find it, so that it is sent once.

export default function (component) {
  return mount(LatentAtlas, component);
}

class LatentAtlas {
  constructor() {
    this.root = element("div");
    this.atlases = globalThis.latentAtlases ??= new Map();
  }

  update({ id, tile, columns, per_page: perPage, pages }) {
    if (this.id === id) return;
    this.dispose();
    this.id = id;
    this.atlas = { tile, columns, perPage, pages: [] };
    this.atlases.set(id, this.atlas);
    pages.forEach((source, index) => this.decode(this.atlas, source, index));
  }

  async decode(atlas, source, index) {
    const page = await decodeSprite(source);
    if (this.atlas !== atlas) return page.close();
    atlas.pages[index] = page;
    globalThis.dispatchEvent(new CustomEvent("latent-atlas", { detail: this.id }));
  }

  dispose() {
    if (this.atlases.get(this.id) === this.atlas) this.atlases.delete(this.id);
    this.atlas?.pages.forEach((page) => page.close());
    this.atlas = null;
  }
}
