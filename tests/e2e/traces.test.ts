import { randomBytes } from 'node:crypto';
import { toBase64, toHex, utf8 } from '@millrace/base';
import type { PrintView, Session } from '@millrace/client';
import { type CollectedSpan, type Collector, startCollector } from '@millrace/testkit/collector';
import { gcode } from '@millrace/testkit/designs';
import { license, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { factorFor } from '@millrace/testkit/pace';
import { scan } from '@millrace/testkit/scan';
import { secretsOf } from '@millrace/testkit/secrets';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Traces of four real nodes, read by a real collector: what they show, and what they must not show.

const design = gcode(300_000);
const NAME = 'turbine-blade-7713.gcode';
const HEADER = `secret-of-the-collector-${toHex(randomBytes(8))}`;
const roles = ['control', 'distribution', 'segments', 'keys'] as const;
let collector: Collector;
let system: TestInstallation;
let owner: Session;
let operator: Session;
let id: string;
let licence: string;
let print: PrintView;

beforeAll(async () => {
  collector = await startCollector();
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
    OTEL_EXPORTER_OTLP_HEADERS: `authorization=${HEADER}`,
    OTEL_BSP_SCHEDULE_DELAY: '200',
  };
  system = await createTestInstallation({
    machine: { factor: await factorFor(design, 4) },
    maintenance: { periodMs: 2_000, density: 50 },
    environment: Object.fromEntries(roles.map((role) => [role, { env }])),
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
  ({ design: id } = await store(system, owner, design, { name: NAME }));
  licence = await license(system, owner, id, 1);
  print = await untilEnded(operator, await order(system, operator, licence));
  // Distribution does not see that a stream is complete: its span ends with the machine's link.
  await system.processes.machine.stop();
});
afterAll(async () => {
  await system?.close();
  await collector?.close();
});

const named = (spans: readonly CollectedSpan[], service: string, name: string) =>
  spans.filter((span) => span.service === `millrace-${service}` && span.name === name);

describe('traces', () => {
  it('follow a permit from the machine’s question through the mail to the stream', async () => {
    expect(print).toMatchObject({ state: 'completed' });
    const spans = await collector.until(
      (all) => named(all, 'segments', 'stream').length > 0 && named(all, 'distribution', 'relay').length > 0,
    );
    const [permit] = named(spans, 'control', 'permit').filter(({ failed }) => !failed);
    const trace = spans.filter(({ traceId }) => traceId === permit?.traceId);
    const steps = trace.map(({ service, name, attributes }) => {
      const { 'millrace.message': message = '' } = attributes;
      return `${service} ${name} ${message}`.trim();
    });
    for (const step of [
      'millrace-control permit',
      'millrace-control ledger.append',
      'millrace-keys mail stream.open',
      'millrace-segments mail stream.open',
      'millrace-segments mail stream.session',
      'millrace-segments stream',
    ])
      expect(steps).toContain(step);
    const stream = trace.find(({ name }) => name === 'stream');
    expect(stream?.attributes['millrace.revisions']).toBeGreaterThan(0);
  });

  it('show sweeps, with their messages at the segments node', async () => {
    const ofSweep = (all: readonly CollectedSpan[]) => {
      const sweeps = new Set(named(all, 'keys', 'sweep').map(({ traceId }) => traceId));
      return named(all, 'segments', 'mail').filter(({ traceId }) => sweeps.has(traceId));
    };
    const spans = await collector.until((all) => ofSweep(all).length > 0);
    expect(ofSweep(spans)[0]?.attributes['millrace.from']).toBe('keys');
  });

  it('name routes, statuses and error codes of requests', async () => {
    await expect(owner.api.print('0'.repeat(32))).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    const spans = await collector.until((all) =>
      all.some(({ attributes }) => attributes['millrace.code'] === 'E_NOT_FOUND'),
    );
    expect(spans.find(({ attributes }) => attributes['millrace.code'] === 'E_NOT_FOUND')?.attributes).toEqual({
      'http.route': 'GET /v1/prints/:id',
      'http.response.status_code': 404,
      'millrace.code': 'E_NOT_FOUND',
    });
  });

  it('of a node are continued, those of a user are not', async () => {
    const traceIds = { segments: 'c'.repeat(32), owner: 'd'.repeat(32) };
    for (const caller of ['owner', 'segments'] as const) {
      const traceparent = `00-${traceIds[caller]}-${'1'.repeat(16)}-01`;
      await system.call('control', caller, { method: 'GET', path: '/v1/directory', headers: { traceparent } });
    }
    const spans = await collector.until((all) => all.some(({ traceId }) => traceId === traceIds.segments));
    await system.call('control', 'owner', { method: 'GET', path: '/v1/no-such-path' });
    await collector.until((all) => all.some(({ attributes }) => attributes['http.route'] === 'none'));
    expect(collector.spans().some(({ traceId }) => traceId === traceIds.owner)).toBe(false);
    expect(spans.length).toBeGreaterThan(0);
  });
});

describe('what leaves the nodes', () => {
  it('holds no id, name, secret or piece of the design', async () => {
    const identities = await Promise.all(
      (['owner', 'operator', 'machine'] as const).map((who) => system.identity(who)),
    );
    const hidden: readonly (readonly [string, string | Uint8Array])[] = [
      ['design', id],
      ['name of the design', NAME],
      ['licence', licence],
      ['print', print.print],
      ['object', objectOf(print)],
      ['machine', system.machine],
      ['installation', system.installation.directory.installation],
      ['folder', system.home],
      ...(await secretsOf(system)).map(({ name, bytes }) => [name, bytes] as const),
      ...identities.map(({ certificate }, index) => [`certificate ${index}`, certificate] as const),
    ];
    const forms = (needle: string | Uint8Array) =>
      typeof needle === 'string' ? [needle] : [toHex(needle), toBase64(needle)];
    const findIn = (text: string) =>
      hidden.filter(([, needle]) => forms(needle).some((form) => text.includes(form))).map(([name]) => name);
    // The header is for the collector; its own words are not searched.
    const text = collector.received.join('\n');
    expect(text).toContain(HEADER);
    expect(findIn(text)).toEqual([]);
    expect(scan([{ name: 'spans', bytes: utf8(text) }], design)).toEqual([]);
    // Controls: each is found where it is.
    expect(findIn(hidden.flatMap(([, needle]) => forms(needle)).join('\n'))).toHaveLength(hidden.length);
    const planted = utf8(`${text}${toHex(design.subarray(5_000, 5_064))}`);
    expect(scan([{ name: 'spans', bytes: planted }], design)).not.toEqual([]);
  });

  it('has only attributes and names of the lists', () => {
    const spans = collector.spans();
    expect([...new Set(spans.flatMap(({ attributes }) => Object.keys(attributes)))].sort()).toEqual([
      'http.response.status_code',
      'http.route',
      'millrace.cells',
      'millrace.code',
      'millrace.from',
      'millrace.message',
      'millrace.revisions',
      'millrace.writes',
    ]);
    const others = spans.filter(({ name, attributes }) => name !== attributes['http.route']).map(({ name }) => name);
    expect([...new Set(others)].sort()).toEqual(['ledger.append', 'mail', 'permit', 'relay', 'stream', 'sweep']);
  });
});
