import { readFile } from 'node:fs/promises';
import { decodeCbor, encodeCbor, silentLogger, systemRandom, toHex } from '@millrace/base';
import { openAuthority } from '@millrace/identity';
import { connectLink, decodeLink, encodeControl, type LinkSocket, nodeOf } from '@millrace/protocol';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';

// Hundreds of agents wait for work at the real control and distribution nodes, and other requests are still answered.
// Nothing is timed: the order of the answers is checked.

const AGENTS = 300;
const WAIT_MS = 30_000;

interface Event {
  readonly agent: number;
  readonly call: number;
  readonly type: 'answer' | 'error';
  readonly body: unknown;
}

let system: TestInstallation;
const links: LinkSocket[] = [];
const events: Event[] = [];
let machines: string[];

const [POLL, CALL, SECOND_CALL, SECOND_POLL] = [1, 2, 3, 4];
const of = (call: number | undefined) => events.filter((event) => event.call === call);
const until = (what: () => number, count: number) =>
  vi.waitFor(() => expect(what()).toBe(count), { timeout: 120_000, interval: 50 });

beforeAll(async () => {
  system = await createTestInstallation({ start: ['control', 'distribution'] });
  const { layout, directory } = system.installation;
  const certificate = await readFile(layout.authority.certificate, 'utf8');
  const key = new Uint8Array(await readFile(layout.authority.key));
  const authority = await openAuthority({ certificate, key }, () => Date.now());
  machines = Array.from({ length: AGENTS }, () => toHex(systemRandom(16)));
  let open = 0;
  for (const [agent, name] of machines.entries()) {
    const identity = await authority.issue({ role: 'machine', name });
    const tls = { authority: directory.authority, identity, pin: nodeOf(directory, 'distribution').fingerprint };
    const options = {
      addresses: () => [system.addresses.distribution],
      path: '/v1/machine',
      tls,
      logger: silentLogger,
    };
    const message = (bytes: Uint8Array) => {
      const told = decodeLink(bytes, false);
      if (told.kind !== 'control') return;
      const { type } = told.message;
      if (type === 'answer' && 'call' in told.message)
        events.push({ agent, call: told.message.call, type, body: decodeCbor(told.message.body, 'answer') });
      if (type === 'error' && 'call' in told.message)
        events.push({ agent, call: told.message.call, type, body: told.message.code });
    };
    links.push(connectLink(options, { message, open: () => void open++ }));
  }
  await until(() => open, AGENTS);
}, 180_000);

afterAll(async () => {
  for (const link of links) link.close();
  await system?.close();
});

function say(agent: number, call: number | undefined, method: 'next' | 'report', body: object): void {
  links[agent]?.send(encodeControl({ type: 'call', call: call ?? 0, method, body: encodeCbor(body as never) }));
}

it('other calls are answered while all agents wait', async () => {
  const everybody = [...machines.keys()];
  for (const agent of everybody) say(agent, POLL, 'next', { wait: WAIT_MS });
  // Twice: by the second time all polls have long reached control.
  for (const call of [CALL, SECOND_CALL]) {
    for (const agent of everybody) say(agent, call, 'report', { report: systemRandom(100) });
    await until(() => of(call).length, AGENTS);
  }
  expect((await system.call('control', 'operator', { method: 'GET', path: '/v1/machines' })).status).toBe(200);
  expect(of(POLL)).toEqual([]);
  expect(new Set([...of(CALL), ...of(SECOND_CALL)].map(({ type }) => type))).toEqual(new Set(['error']));

  // A new poll of an agent ends its own first one, and no other agent's.
  for (const agent of [7, 8]) say(agent, SECOND_POLL, 'next', { wait: 0 });
  await until(() => of(SECOND_POLL).length, 2);
  expect(of(SECOND_POLL).map(({ body }) => body)).toEqual([{}, {}]);
  expect(of(POLL).map(({ agent, body }) => [agent, body])).toEqual([
    [7, 'E_CONFLICT'],
    [8, 'E_CONFLICT'],
  ]);
}, 180_000);

it('a machine that calls home continuously is refused and does not affect others', async () => {
  const flood = 2_000;
  events.length = 0;
  for (let call = 100; call < 100 + flood; call++) say(0, call, 'report', { report: systemRandom(100) });
  say(1, CALL, 'report', { report: systemRandom(100) });
  await until(() => events.filter(({ agent }) => agent === 0).length, flood);
  await until(() => of(CALL).length, 1);
  const codes = new Set(events.filter(({ agent }) => agent === 0).map(({ body }) => body));
  expect(codes).toContain('E_UNAVAILABLE');
}, 120_000);
