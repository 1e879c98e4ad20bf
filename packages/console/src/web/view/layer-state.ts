import { type LayerPath, layerAt } from '@millrace/gcode';
import { signal } from '@preact/signals';
import { type LayerSource, openLayers } from './layer-source.ts';
import type { LayerTable } from './messages.ts';

/** The state of a viewer: the file that it reads, the layer and the move that it shows. */
export class LayerState {
  readonly progress = signal<{ readonly share: number; readonly layers: number }>({ share: 0, layers: 0 });
  readonly model = signal<'STL' | '3MF' | undefined>(undefined);
  readonly failure = signal<unknown>(undefined);
  readonly table = signal<LayerTable | undefined>(undefined);
  /** The layer that was read last. */
  readonly path = signal<LayerPath | undefined>(undefined);
  /** The layer that is asked for. */
  readonly layer = signal(0);
  /** Number of moves of `path` that are shown as made. */
  readonly made = signal(0);
  readonly travel = signal(false);
  readonly byTool = signal(false);
  readonly space = signal(false);
  readonly follow = signal(true);

  readonly #source: LayerSource;
  #part: ((path: LayerPath) => void) | undefined;
  /** Bytes that a machine has made, if it is followed. */
  #madeBytes: number | undefined;

  constructor(file: File) {
    this.#source = openLayers(file, {
      progress: (share, layers) => {
        this.progress.value = { share, layers };
      },
      model: (format) => {
        this.model.value = format;
      },
      opened: (table) => {
        this.table.value = table;
        if (this.#madeBytes === undefined) this.go(Math.min(1, table.count - 1));
        else this.goTo(this.#madeBytes);
      },
      layer: (path) => {
        this.path.value = path;
        this.made.value = this.#followed(path) ?? path.kinds.length;
      },
      part: (path) => this.#part?.(path),
      failed: (error) => {
        this.failure.value = error;
      },
    });
  }

  /** The first layer that can be shown: layer 0 only if there is something before the first layer. */
  get first(): number {
    const table = this.table.value;
    return table !== undefined && table.count > 1 && table.moves[0] === 0 ? 1 : 0;
  }

  get last(): number {
    return (this.table.value?.count ?? 1) - 1;
  }

  /** Shows a layer, which is the nearest one that exists. A person who does that no longer follows the machine. */
  go(layer: number): void {
    this.#want(layer);
    this.follow.value = false;
  }

  /** Shows moves of the layer up to one. */
  goToMove(made: number): void {
    this.made.value = Math.min(Math.max(made, 0), this.path.value?.kinds.length ?? 0);
    this.follow.value = false;
  }

  /** Shows where a machine is that has made so many bytes of the file. */
  goTo(bytes: number): void {
    this.#madeBytes = bytes;
    const { table, path } = { table: this.table.value, path: this.path.value };
    if (table === undefined || !this.follow.value) return;
    const layer = layerAt(table, Math.max(bytes - 1, 0));
    this.#want(layer);
    if (path?.layer === layer) this.made.value = this.#followed(path) ?? this.made.value;
  }

  setFollow(follow: boolean): void {
    this.follow.value = follow;
    if (follow && this.#madeBytes !== undefined) this.goTo(this.#madeBytes);
  }

  /** Has layers read, one after the other. A second call ends the first. */
  readParts(layers: readonly number[], part: (path: LayerPath) => void): void {
    this.#part = part;
    this.#source.wantParts(layers);
  }

  close(): void {
    this.#source.close();
  }

  #want(layer: number): void {
    const next = Math.min(Math.max(layer, this.first), this.last);
    if (next === this.layer.value && this.path.value?.layer === next) return;
    this.layer.value = next;
    this.#source.want(next);
  }

  /** Number of moves that a followed machine has made. */
  #followed({ lines }: LayerPath): number | undefined {
    const bytes = this.#madeBytes;
    if (bytes === undefined || !this.follow.value) return undefined;
    let made = 0;
    while (made < lines.length && (lines[made] as number) < bytes) made += 1;
    return made;
  }
}
