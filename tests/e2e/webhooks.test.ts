import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Closer } from '@millrace/base';
import type { WebhookMessageView, WebhookSecret } from '@millrace/client';
import { createAuthority } from '@millrace/identity';
import { millrace } from '@millrace/testkit/cli';
import { randomDesign } from '@millrace/testkit/designs';
import { license, order, store, untilEnded } from '@millrace/testkit/job';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';

// An operator's program is called when a print changes: over HTTPS, with failures, and with control killed in between.

const design = randomDesign(2 * 16_370);
const rate = Math.ceil(design.length / 0.4);

interface Told {
  readonly message: string;
  readonly type: string;
  readonly id: string | undefined;
}

const closer = new Closer();
let system: TestInstallation;
/** What the receiver has accepted, verified. */
const told: Told[] = [];
let refusals = 0;
let isDown = true;
let secret = '';
let url = '';

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'millrace webhooks '));
  closer.add({ close: () => rm(folder, { recursive: true, force: true }) });
  const authority = await createAuthority('company', Date.now());
  const { certificate, key } = await authority.issue({ role: 'control', id: 'erp' }, ['localhost']);
  const file = join(folder, 'company.pem');
  await writeFile(file, authority.identity.certificate);
  const server = createServer({ cert: certificate, key: Buffer.from(key) }, (request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      if (isDown) {
        refusals++;
        return response.writeHead(500).end();
      }
      const headers = request.headers as Record<string, string>;
      const { type, data } = new Webhook(secret).verify(body, headers) as { type: string; data: { id?: string } };
      told.push({ message: headers['webhook-id'] ?? '', type, id: data.id });
      response.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closer.add({
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  });
  url = `https://localhost:${(server.address() as AddressInfo).port}/millrace`;
  const webhooks = { networks: ['127.0.0.0/8'], authority: file, retryMs: 50 };
  system = closer.add(
    await createTestInstallation({
      machine: { kind: 'sink', factor: 1, bytesPerSecond: rate },
      settings: { control: { webhooks } },
    }),
  );
}, 120_000);
afterAll(() => closer.close());

const run = async <T>(...argv: string[]): Promise<T> => {
  const { exit, json, stderr } = await millrace(system.home, 'webhook', ...argv, '--user', 'operator', '--json');
  expect(exit, stderr).toBe(0);
  return json as T;
};
const messages = async () => (await run<{ messages: WebhookMessageView[] }>('messages', 'erp')).messages;
const until = (check: () => unknown) => vi.waitFor(check, { timeout: 60_000, interval: 200 });

it('a receiver that fails, and control that is killed, lose no message', { timeout: 180_000 }, async () => {
  const plain = await millrace(system.home, 'webhook', 'create', 'http://localhost/', '--name', 'x', '--json');
  expect(plain.code).toBe('E_INPUT');
  ({ secret } = await run<WebhookSecret>('create', url, '--name', 'erp', '--kind', 'print'));

  const [owner, operator] = [await system.session('owner'), await system.session('operator')];
  const stored = await store(system, owner, design, { name: 'a.bin', kind: 'binary', bytesPerSecond: rate });
  const licence = await license(system, owner, stored.design, 1);
  const { print } = await untilEnded(operator, await order(system, operator, licence));
  await until(() => expect(refusals).toBeGreaterThan(2));
  const waiting = await messages();
  expect(waiting.length).toBeGreaterThan(2);
  expect(waiting.every(({ state, change }) => state === 'waiting' && change?.id === print)).toBe(true);

  await system.processes.control.kill();
  isDown = false;
  await system.processes.control.start();
  await until(async () => expect((await messages()).map(({ state }) => state)).not.toContain('waiting'));
  const prints = () => told.filter(({ type }) => type === 'print.changed');
  expect(new Set(prints().map(({ message }) => message))).toEqual(new Set(waiting.map(({ message }) => message)));
  expect(prints().every(({ id }) => id === print)).toBe(true);
  expect(told.filter(({ type }) => type === 'reset')).toHaveLength(1);

  // Everything after the first message, once more.
  const [first, ...later] = waiting.map(({ message }) => message).sort();
  const before = told.length;
  await run('replay', 'erp', '--after', first ?? '');
  await until(() =>
    expect(new Set(told.slice(before).map(({ message }) => message))).toEqual(
      new Set([...later, ...told.filter(({ type }) => type === 'reset').map(({ message }) => message)]),
    ),
  );

  await run('test', 'erp');
  await until(() => expect(told.at(-1)?.type).toBe('test'));
  ({ secret } = await run<WebhookSecret>('rotate', 'erp'));
  await run('test', 'erp');
  await until(() => expect(told.filter(({ type }) => type === 'test')).toHaveLength(2));
  await run('delete', 'erp');
  expect(await run('list')).toEqual({ webhooks: [] });
  // Neither the log nor anything else of control names the secret.
  expect(await system.log('control')).not.toContain(secret.slice('whsec_'.length));
});
