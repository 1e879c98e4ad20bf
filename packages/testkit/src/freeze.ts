/** A process of a test that can stand still, as by SIGSTOP: it awaits `thawed` before each of its steps. */
export class Freeze {
  #frozen: { readonly thawed: Promise<void>; readonly thaw: () => void } | undefined;

  /** Undefined unless the process stands still. */
  get thawed(): Promise<void> | undefined {
    return this.#frozen?.thawed;
  }

  freeze(): void {
    if (this.#frozen !== undefined) return;
    let thaw = () => {};
    const thawed = new Promise<void>((resolve) => {
      thaw = resolve;
    });
    this.#frozen = { thawed, thaw };
  }

  thaw(): void {
    this.#frozen?.thaw();
    this.#frozen = undefined;
  }
}
