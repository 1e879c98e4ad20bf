/** Pixels of a canvas for a pixel of the page; more would not be seen. */
const MAX_RATIO = 2;

/** Draws a canvas again, once for each frame of the screen, after something has changed: also its size and the theme. */
export class Frame {
  readonly #canvas: HTMLCanvasElement;
  readonly #draw: () => void;
  readonly #sizes: ResizeObserver;
  readonly #theme = matchMedia('(prefers-color-scheme: dark)');
  readonly #ended = new AbortController();
  #asked = 0;

  /** @param resized the size or the theme has changed; called before `draw` */
  constructor(canvas: HTMLCanvasElement, resized: () => void, draw: () => void) {
    this.#canvas = canvas;
    this.#draw = draw;
    this.#sizes = new ResizeObserver(() => {
      const { ratio } = this;
      canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
      canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
      resized();
      this.ask();
    });
    this.#sizes.observe(canvas);
    const changed = () => {
      resized();
      this.ask();
    };
    this.#theme.addEventListener('change', changed, { signal: this.#ended.signal });
  }

  get ratio(): number {
    return Math.min(devicePixelRatio, MAX_RATIO);
  }

  ask(): void {
    if (this.#asked !== 0) return;
    this.#asked = requestAnimationFrame(() => {
      this.#asked = 0;
      if (this.#canvas.width > 1) this.#draw();
    });
  }

  close(): void {
    this.#sizes.disconnect();
    this.#ended.abort();
    cancelAnimationFrame(this.#asked);
  }
}
