import type { LayerPath } from '@millrace/gcode';

/** What a picture of a path shows. */
export interface Shown {
  /** The layer that was read last. */
  readonly path: LayerPath | undefined;
  /** Number of its moves that are made. */
  readonly made: number;
  readonly travel: boolean;
  /** Colours say which tool; otherwise, which feature. */
  readonly byTool: boolean;
}

/** A picture of a path on a canvas. */
export interface Picture {
  show(shown: Shown): void;
  fit(): void;
  /** Around the middle. */
  zoom(factor: number): void;
  close(): void;
}
