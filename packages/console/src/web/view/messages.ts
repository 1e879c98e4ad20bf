import type { ErrorCode } from '@millrace/base';
import type { LayerIndex, LayerPath } from '@millrace/gcode';

// What the page asks the worker that reads a G-code file, and what it answers.

/** What the page needs of the index. The places from which reading can begin stay in the worker. */
export type LayerTable = Omit<LayerIndex, 'states'>;

export type ViewRequest =
  | { readonly type: 'open'; readonly file: File }
  | { readonly type: 'layer'; readonly layer: number }
  /** Layers one after the other: each is answered by a `part` of the same call. A new call ends the one before. */
  | { readonly type: 'parts'; readonly layers: readonly number[]; readonly call: number };

export type ViewAnswer =
  | { readonly type: 'progress'; readonly bytes: number; readonly layers: number }
  /** The file has a shape, not the path of a tool. */
  | { readonly type: 'model'; readonly format: 'STL' | '3MF' }
  | { readonly type: 'index'; readonly table: LayerTable }
  | { readonly type: 'layer'; readonly path: LayerPath }
  | { readonly type: 'part'; readonly path: LayerPath; readonly call: number }
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string };
