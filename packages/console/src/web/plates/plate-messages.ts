import type { ErrorCode } from '@millrace/base';
import type { Plate } from './plate-files.ts';

// What a page asks the worker that unpacks a 3MF file, and what it answers.

export type PlateRequest =
  | { readonly type: 'list'; readonly file: File }
  | { readonly type: 'unpack'; readonly file: File; readonly part: string };

export type PlateAnswer =
  | { readonly type: 'plates'; readonly plates: readonly Plate[] }
  | { readonly type: 'progress'; readonly done: number; readonly total: number }
  | { readonly type: 'unpacked'; readonly gcode: Blob }
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string };
