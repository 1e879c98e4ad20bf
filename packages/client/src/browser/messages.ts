import type { ErrorCode } from '@millrace/base';
import type { Counted, DesignFacts, SealedDesign } from '@millrace/vault';
import type { Observed } from '../design-kinds.ts';
import type { SealTerms } from '../sealer.ts';

/** The part of MessagePort used here. */
export interface Port {
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  postMessage(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  close(): void;
}

/** Message from a page to the worker: a design, and the port for the further messages. */
export interface SealRequest {
  readonly terms: SealTerms;
  readonly blob: Blob;
  readonly port: Port;
}

export type ToWorker =
  | { readonly type: 'stored' }
  | { readonly type: 'facts'; readonly facts: DesignFacts }
  | { readonly type: 'abort' };

export type FromWorker =
  | { readonly type: 'segment'; readonly number: number; readonly sealed: Uint8Array }
  | { readonly type: 'describe'; readonly counted: Counted; readonly observed: Observed }
  | { readonly type: 'progress'; readonly done: number; readonly total: number }
  | { readonly type: 'sealed'; readonly design: SealedDesign }
  | {
      readonly type: 'failed';
      readonly code: ErrorCode;
      readonly message: string;
      readonly data: Readonly<Record<string, unknown>>;
    };
