import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type Closable,
  type Logger,
  MillraceError,
  type Span,
  type SpanAttributes,
  type SpanName,
  systemClock,
  type Tracer,
  toMillraceError,
  within,
} from '@millrace/base';
import type { NodeRole } from '@millrace/protocol';
import {
  type Attributes,
  type Context,
  isSpanContextValid,
  type Span as OtlpSpan,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';

/** Time for the last spans when the process ends, ms. */
const CLOSE_MS = 2_000;
/** Between two reports of a collector that does not answer, ms. */
const COMPLAIN_MS = 60_000;

const isCount = (value: unknown) => Number.isSafeInteger(value) && Number(value) >= 0;
const matches = (pattern: RegExp) => (value: unknown) => typeof value === 'string' && pattern.test(value);

/**
 * The attributes that leave the process, and the form of their values. What does not have this form is left out, whoever
 * set it.
 */
const allowed: { readonly [K in keyof SpanAttributes]-?: readonly [name: string, is: (value: unknown) => boolean] } = {
  // Parameters of a declared path begin with a colon.
  route: ['http.route', matches(/^(none|[A-Z]{3,7} \/[a-z0-9/:*._-]{0,120})$/i)],
  status: ['http.response.status_code', (value) => isCount(value) && Number(value) < 600],
  listener: ['millrace.listener', matches(/^[a-z]{1,20}$/)],
  message: ['millrace.message', matches(/^[a-z]{1,20}(\.[a-z]{1,20}){0,3}$/)],
  from: ['millrace.from', matches(/^(control|segments|keys|distribution)$/)],
  code: ['millrace.code', matches(/^E_[A-Z_]{1,40}$/)],
  cells: ['millrace.cells', isCount],
  writes: ['millrace.writes', isCount],
  revisions: ['millrace.revisions', isCount],
};

function allowedOf(attributes: SpanAttributes): Attributes {
  const entries = Object.entries(attributes).flatMap(([key, value]) => {
    const rule = allowed[key as keyof SpanAttributes] as (typeof allowed)['route'] | undefined;
    return rule?.[1](value) === true ? [[rule[0], value] as const] : [];
  });
  return Object.fromEntries(entries);
}

const kinds: { readonly [N in SpanName]?: SpanKind } = { http: SpanKind.SERVER, mail: SpanKind.CONSUMER };

class SentSpan implements Span {
  readonly otlp: OtlpSpan;

  constructor(otlp: OtlpSpan) {
    this.otlp = otlp;
  }

  set(attributes: SpanAttributes): void {
    this.otlp.setAttributes(allowedOf(attributes));
  }

  end(error?: unknown): void {
    if (error !== undefined) {
      // The code only: a message may name a person or a design.
      this.set({ code: toMillraceError(error).code });
      this.otlp.setStatus({ code: SpanStatusCode.ERROR });
    }
    this.otlp.end();
  }
}

/**
 * Sends spans to the collector of OTEL_EXPORTER_OTLP_ENDPOINT (OTLP over HTTP, JSON), in batches. A collector that does
 * not answer costs spans and nothing else.
 * @param options.share of traces that begin here and are recorded, 0 to 1
 */
export function createOtlpTracer(options: {
  readonly role: NodeRole;
  readonly id: string;
  readonly share: number;
  readonly logger: Logger;
}): Tracer & Closable {
  const { role, id, share, logger } = options;
  const provider = new TracerProvider({
    // No detectors: they would add the arguments of the process and the name of the host.
    resource: resourceFromAttributes({ 'service.name': `millrace-${role}`, 'service.instance.id': id }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(share) }),
    spanProcessors: [new BatchSpanProcessor({ exporter: complaining(new OTLPTraceExporter(), logger) })],
  });
  const otlp = provider.getTracer('millrace');
  const present = new AsyncLocalStorage<SentSpan>();

  const start: Tracer['start'] = (name, attributes = {}, parent) => {
    const around = parentContext(parent) ?? contextOf(present.getStore());
    const shown = name === 'http' ? (attributes.route ?? name) : name;
    return new SentSpan(
      otlp.startSpan(shown, { kind: kinds[name] ?? SpanKind.INTERNAL, attributes: allowedOf(attributes) }, around),
    );
  };
  const inside: Tracer['within'] = (span, work) => (span instanceof SentSpan ? present.run(span, work) : work());
  return {
    start,
    within: inside,
    run: async (name, attributes, work, parent) => {
      const span = start(name, attributes, parent);
      try {
        const result = await inside(span, () => work(span));
        span.end();
        return result;
      } catch (error) {
        span.end(error);
        throw error;
      }
    },
    traceparent: () => {
      const context = present.getStore()?.otlp.spanContext();
      if (context === undefined) return undefined;
      return `00-${context.traceId}-${context.spanId}-${context.traceFlags & TraceFlags.SAMPLED ? '01' : '00'}`;
    },
    close: async () => {
      await within(provider.shutdown(), CLOSE_MS).catch(() => undefined);
    },
  };
}

function contextOf(span: SentSpan | undefined): Context {
  return span === undefined ? ROOT_CONTEXT : trace.setSpan(ROOT_CONTEXT, span.otlp);
}

/** W3C Trace Context, version 00. */
function parentContext(text: string | undefined): Context | undefined {
  const [, traceId = '', spanId = '', flags = ''] =
    /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/.exec(text ?? '') ?? [];
  const context = { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & TraceFlags.SAMPLED, isRemote: true };
  return isSpanContextValid(context) ? trace.setSpanContext(ROOT_CONTEXT, context) : undefined;
}

/** Logs that spans were not sent, at most once a minute. */
function complaining(exporter: OTLPTraceExporter, logger: Logger): SpanExporter {
  let silentUntil = 0;
  return {
    export: (spans, done) =>
      exporter.export(spans, (result) => {
        const now = systemClock.monotonic();
        if (result.error !== undefined && now >= silentUntil) {
          silentUntil = now + COMPLAIN_MS;
          const err = new MillraceError('E_UNAVAILABLE', 'the collector does not take spans', { cause: result.error });
          logger.warn({ err }, 'spans not sent: the next batch follows');
        }
        done(result);
      }),
    forceFlush: () => exporter.forceFlush(),
    shutdown: () => exporter.shutdown(),
  };
}
