import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Closable, sleep } from '@millrace/base';

/** A span as a collector reads it. */
export interface CollectedSpan {
  readonly service: string;
  readonly node: string;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly failed: boolean;
  readonly attributes: Readonly<Record<string, unknown>>;
}

/** A collector of traces: OTLP over HTTP, JSON. */
export interface Collector extends Closable {
  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly endpoint: string;
  /** Bodies and headers exactly as they arrived. */
  readonly received: string[];
  spans(): CollectedSpan[];
  /** Waits until the spans fulfil a condition. */
  until(reached: (spans: CollectedSpan[]) => boolean, limitMs?: number): Promise<CollectedSpan[]>;
  close(): Promise<void>;
}

interface Attribute {
  readonly key: string;
  readonly value: { readonly stringValue?: string; readonly intValue?: number };
}

interface Export {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly {
        readonly name: string;
        readonly traceId: string;
        readonly spanId: string;
        readonly parentSpanId?: string;
        readonly attributes: readonly Attribute[];
        readonly status: { readonly code: number };
      }[];
    }[];
  }[];
}

const valuesOf = (attributes: readonly Attribute[]): Record<string, unknown> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue]));

export async function startCollector(): Promise<Collector> {
  const received: string[] = [];
  const bodies: Export[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      received.push(`${request.method} ${request.url}\n${JSON.stringify(request.headers)}\n${text}`);
      bodies.push(JSON.parse(text) as Export);
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const spans = () =>
    bodies.flatMap(({ resourceSpans }) =>
      resourceSpans.flatMap(({ resource, scopeSpans }) => {
        const { 'service.name': service, 'service.instance.id': node } = valuesOf(resource.attributes);
        return scopeSpans.flatMap((scope) =>
          scope.spans.map(({ name, traceId, spanId, parentSpanId = '', attributes, status }) => ({
            ...{ service: String(service), node: String(node), name, traceId, spanId, parentSpanId },
            ...{ failed: status.code === 2, attributes: valuesOf(attributes) },
          })),
        );
      }),
    );
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    spans,
    until: async (reached, limitMs = 60_000) => {
      const end = performance.now() + limitMs;
      while (!reached(spans())) {
        if (performance.now() > end)
          throw new Error(
            `the collector has only: ${[...new Set(spans().map(({ service, name }) => `${service} ${name}`))]}`,
          );
        await sleep(50);
      }
      return spans();
    },
    close: () => {
      server.closeAllConnections();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
