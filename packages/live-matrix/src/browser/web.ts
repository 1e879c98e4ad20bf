/*
 * The part of the browser API used here (HTML standard: workers, cross-origin isolation), so that compiling does not
 * need the DOM library.
 */

export interface WebWorker {
  postMessage(message: unknown): void;
  addEventListener(kind: 'message', listener: (event: { readonly data: unknown }) => void): void;
  addEventListener(kind: 'error', listener: (event: { readonly message?: string }) => void): void;
  terminate(): void;
}

export interface WebScope {
  readonly Worker?: new (url: URL, options: { readonly type: 'module' }) => WebWorker;
  /** Whether memory can be shared with workers: the page was sent with COOP and COEP headers. */
  readonly crossOriginIsolated?: boolean;
  readonly navigator?: { readonly hardwareConcurrency?: number };
}

export const web = globalThis as WebScope;

/** Within a worker: the thread that created it. */
export interface WorkerScope {
  postMessage(message: unknown): void;
  onmessage: ((event: { readonly data: unknown }) => void) | null;
}
