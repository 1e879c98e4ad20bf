/**
 * What a span may say. A span has no other attributes, so that no id, name, address or text of a person, a design or a
 * machine can get into one.
 */
export interface SpanAttributes {
  /** Method and declared path of a route, such as `GET /v1/prints/:print`; never the requested path. */
  readonly route?: string;
  /** HTTP status. */
  readonly status?: number;
  /** Listener of a node, such as `console`. */
  readonly listener?: string;
  /** Type of a message between nodes, such as `stream.session`. */
  readonly message?: string;
  /** Role of the node that sent the message. */
  readonly from?: string;
  /** Error code (docs/errors.md). */
  readonly code?: string;
  /** Cells of the vault. */
  readonly cells?: number;
  /** Writes of a round. */
  readonly writes?: number;
  /** Revisions of a stream. */
  readonly revisions?: number;
}

export type SpanName = 'http' | 'permit' | 'mail' | 'stream' | 'relay' | 'ledger.append' | 'sweep';

export interface Span {
  set(attributes: SpanAttributes): void;
  /** @param error only its code is recorded */
  end(error?: unknown): void;
}

/** Records which work belongs together and how long it takes. Code with this port writes spans and never reads them. */
export interface Tracer {
  /**
   * Starts a span, which the caller ends.
   * @param parent W3C `traceparent` of a span in another process; default: the present span. Ignored if malformed.
   */
  start(name: SpanName, attributes?: SpanAttributes, parent?: string): Span;
  /** Does work whose spans are children of this one. */
  within<T>(span: Span, work: () => T): T;
  /** Does work in a span of its own, which ends when the work ends. */
  run<T>(name: SpanName, attributes: SpanAttributes, work: (span: Span) => Promise<T>, parent?: string): Promise<T>;
  /** W3C `traceparent` of the present span, for another process; undefined without a span. */
  traceparent(): string | undefined;
}

const noSpan: Span = { set: () => undefined, end: () => undefined };

/** Records nothing. */
export const noTracer: Tracer = {
  start: () => noSpan,
  within: (_span, work) => work(),
  run: (_name, _attributes, work) => work(noSpan),
  traceparent: () => undefined,
};
