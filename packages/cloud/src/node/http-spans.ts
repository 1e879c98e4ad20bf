import { noTracer, type Span, type Tracer } from '@millrace/base';
import type { FastifyInstance, FastifyRequest } from 'fastify';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The answer may take long because it waits for something to happen. Such requests have no span. */
    waits?: boolean;
  }
}

const spans = new WeakMap<FastifyRequest, Span>();

/** The span of a request, if it has one. */
export function spanOf(request: FastifyRequest): Span | undefined {
  return spans.get(request);
}

/**
 * Gives each request a span with its route, its status and its error code.
 * @param options.parentOf `traceparent` of the span that the request continues; undefined if it begins a trace
 */
export function traceRequests(
  server: FastifyInstance,
  tracer: Tracer,
  options: { readonly listener?: string; readonly parentOf?: (request: FastifyRequest) => string | undefined },
): void {
  if (tracer === noTracer) return;
  const { listener, parentOf } = options;
  const of = listener === undefined ? {} : { listener };
  server.addHook('onRequest', (request, _reply, done) => {
    if (request.routeOptions.config.waits) return done();
    const { url } = request.routeOptions;
    const route = url === undefined ? 'none' : `${request.method} ${url}`;
    const span = tracer.start('http', { route, ...of }, parentOf?.(request));
    spans.set(request, span);
    tracer.within(span, done);
  });
  // The body was read in another context.
  server.addHook('preHandler', (request, _reply, done) => {
    const span = spans.get(request);
    if (span === undefined) done();
    else tracer.within(span, done);
  });
  server.addHook('onResponse', async (request, reply) => {
    const span = spans.get(request);
    span?.set({ status: reply.statusCode });
    span?.end();
  });
}
