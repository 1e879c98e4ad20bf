import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type Closable, MillraceError, type SpanAttributes, silentLogger, type Tracer } from '@millrace/base';
import { type Collector, startCollector } from '@millrace/testkit/collector';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openTracer } from '../src/node/tracing.ts';

const node = { role: 'control', id: 'control-1' } as const;
let collector: Collector;
let tracer: (Tracer & Closable) | undefined;

beforeAll(async () => {
  collector = await startCollector();
});
afterAll(() => collector.close());
afterEach(() => {
  for (const name of Object.keys(process.env)) if (name.startsWith('OTEL_')) delete process.env[name];
});

/** The exporter itself reads the environment, too. */
async function open(env: Record<string, string>): Promise<Tracer & Closable> {
  Object.assign(process.env, env);
  tracer = await openTracer(node, process.env, silentLogger);
  if (tracer === undefined) throw new Error('traces are off');
  return tracer;
}

const on = () => open({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint });

describe('the settings', () => {
  it.each([
    {},
    { OTEL_EXPORTER_OTLP_ENDPOINT: '' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', OTEL_SDK_DISABLED: 'true' },
  ])('leave traces off: %j', async (env) => {
    expect(await openTracer(node, env, silentLogger)).toBeUndefined();
  });

  it('load no code of OpenTelemetry while traces are off, and load it otherwise', () => {
    const module = fileURLToPath(new URL('../dist/node/tracing.js', import.meta.url));
    const loaded = (endpoint: string) => {
      const code = `
        import { createRequire } from 'node:module';
        const { openTracer } = await import(${JSON.stringify(module)});
        const log = { info() {}, warn() {} };
        const tracer = await openTracer({ role: 'keys', id: 'keys-1' }, process.env, log);
        await tracer?.close();
        const all = Object.keys(createRequire(import.meta.url).cache);
        console.log(all.filter((name) => name.includes('opentelemetry')).length);`;
      const env = { ...process.env, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint };
      const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], { env });
      expect(String(stderr)).toBe('');
      return Number(String(stdout));
    };
    expect(loaded('')).toBe(0);
    expect(loaded(collector.endpoint)).toBeGreaterThan(10);
  });

  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' };
  it.each([
    ['OTEL_EXPORTER_OTLP_ENDPOINT', { OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' }],
    ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', { ...endpoint, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'ftp://x' }],
    ['OTEL_EXPORTER_OTLP_PROTOCOL', { ...endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }],
    ['OTEL_TRACES_SAMPLER', { ...endpoint, OTEL_TRACES_SAMPLER: 'always_off' }],
    [
      'OTEL_TRACES_SAMPLER_ARG',
      { ...endpoint, OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '2' },
    ],
  ])('are refused with E_CONFIG if %s is wrong', async (name, env) => {
    await expect(openTracer(node, env, silentLogger)).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining(name),
    });
  });

  it('record a share of the traces that begin here, and those that another node records', async () => {
    const none = await open({
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0',
    });
    none.start('sweep').end();
    const traceId = '5'.repeat(32);
    none.start('mail', {}, `00-${traceId}-${'7'.repeat(16)}-01`).end();
    await none.close();
    expect(collector.spans().map((span) => [span.name, span.traceId])).toEqual([['mail', traceId]]);
  });
});

describe('a span', () => {
  it('has only attributes of the list, in their form, and of an error only its code', async () => {
    const traces = await on();
    const hidden = 'impeller-4711';
    const error = new MillraceError('E_LICENCE_EXHAUSTED', `all objects of ${hidden} are made`, {
      data: { design: hidden },
      cause: new Error(hidden),
    });
    const work = traces.run(
      'permit',
      { code: hidden, route: `GET /v1/designs/${hidden}?q=1`, from: hidden },
      async (span) => {
        span.set({
          [hidden]: 1,
          message: hidden,
          cells: -1,
          status: Number.NaN,
          listener: `${hidden}!`,
        } as SpanAttributes);
        span.set({ cells: 12, message: 'stream.session', from: 'keys', route: 'GET /v1/designs/:design' });
        throw error;
      },
    );
    await expect(work).rejects.toBe(error);
    await traces.close();
    expect(collector.spans().at(-1)).toMatchObject({
      name: 'permit',
      service: 'millrace-control',
      node: 'control-1',
      failed: true,
      attributes: {
        'http.route': 'GET /v1/designs/:design',
        'millrace.cells': 12,
        'millrace.message': 'stream.session',
        'millrace.from': 'keys',
        'millrace.code': 'E_LICENCE_EXHAUSTED',
      },
    });
    expect(collector.received.at(-1)).not.toContain(hidden);
    // Control: what is allowed is found.
    expect(collector.received.at(-1)).toContain('stream.session');
  });

  it('is a child of the span around it, or of one in another process', async () => {
    const traces = await on();
    expect(traces.traceparent()).toBeUndefined();
    const parent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    let passedOn: string | undefined;
    await traces.run(
      'mail',
      {},
      async () => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        passedOn = traces.traceparent();
        await traces.run('stream', {}, async () => undefined);
      },
      parent,
    );
    traces.start('sweep', {}, `00-${'0'.repeat(32)}-${'b'.repeat(16)}-01`).end();
    await traces.close();
    const [stream, mail, sweep] = collector.spans().slice(-3);
    expect(mail).toMatchObject({ name: 'mail', traceId: 'a'.repeat(32), parentSpanId: 'b'.repeat(16) });
    expect(stream).toMatchObject({ name: 'stream', traceId: 'a'.repeat(32), parentSpanId: mail?.spanId });
    expect(passedOn).toBe(`00-${'a'.repeat(32)}-${mail?.spanId}-01`);
    expect(sweep).toMatchObject({ name: 'sweep', parentSpanId: '' });
    expect(sweep?.traceId).not.toBe('0'.repeat(32));
  });

  it('is dropped, with one warning, if the collector does not answer', async () => {
    const warned: unknown[] = [];
    const logger = { ...silentLogger, info: () => undefined, warn: (...words: unknown[]) => warned.push(words) };
    Object.assign(process.env, {
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
      OTEL_EXPORTER_OTLP_TIMEOUT: '300',
    });
    const traces = await openTracer(node, process.env, logger as unknown as typeof silentLogger);
    traces?.start('sweep').end();
    await traces?.close();
    await expect.poll(() => warned.length, { timeout: 30_000 }).toBe(1);
    expect(warned[0]).toMatchObject([{ err: { code: 'E_UNAVAILABLE' } }, expect.stringContaining('spans not sent')]);
  });
});
