import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Closer, createLogger, silentLogger, systemClock, systemRandom } from '@millrace/base';
import { type Ledger, openCheckpoint, parseVerifierKey } from '@millrace/ledger';
import { MemoryStore, openTestLedger, request } from '@millrace/testkit/ledger/helpers';
import { createWitness, openWitnessFolder, serveWitness } from '@millrace/witness';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createCheckpointPublisher } from '../src/control/checkpoint-publisher.ts';

let closer: Closer;
let ledger: Ledger;
let log: string[];
beforeEach(async () => {
  closer = new Closer();
  log = [];
  ledger = await openTestLedger(new MemoryStore());
  await ledger.append(request('machine-0', 'machine'));
});
afterEach(() => closer.close());

async function witness(name: string) {
  const path = await mkdtemp(join(tmpdir(), 'millrace-publisher-'));
  closer.add({ close: () => rm(path, { recursive: true, force: true }) });
  const folder = await openWitnessFolder({ path, name, logs: [ledger.logKey], random: systemRandom });
  const opened = createWitness({ folder, clock: systemClock, logger: silentLogger });
  const address = { host: '127.0.0.1', port: 0 };
  const server = await serveWitness({ witness: opened, address, logger: silentLogger });
  closer.add(server);
  return { url: `http://127.0.0.1:${server.address.port}/`, key: opened.key, close: server.close };
}

const publish = (witnesses: readonly { url: string; key: string }[], of = ledger, timeoutMs = 10_000) =>
  closer.add(
    createCheckpointPublisher({
      ledger: of,
      witnesses: witnesses.map(({ url, key }) => ({ url, key })),
      everyMs: 3_600_000,
      timeoutMs,
      logger: createLogger('test', { destination: { write: (line: string) => void log.push(line) } }),
    }),
  );

const signersOf = (checkpoint: Uint8Array, ...keys: readonly { key: string }[]) => {
  const witnesses = keys.map(({ key }) => parseVerifierKey(key));
  const opened = openCheckpoint(checkpoint, { logKey: parseVerifierKey(ledger.logKey), witnesses });
  return { size: opened.size, names: opened.cosignatures.map(({ name }) => name) };
};

describe('the published checkpoint', () => {
  it('has the cosignatures of all witnesses, for every head that is requested', async () => {
    const [a, b] = [await witness('a.example'), await witness('b.example')];
    const publisher = publish([a, b]);
    expect(signersOf(await publisher.newest(), a, b)).toEqual({ size: 1, names: ['a.example', 'b.example'] });
    await ledger.append(request('machine-1', 'machine'));
    expect(signersOf(publisher.current(), a, b).size).toBe(1);
    expect(signersOf(await publisher.newest(), a, b)).toEqual({ size: 2, names: ['a.example', 'b.example'] });
    expect(signersOf(publisher.current(), a, b).size).toBe(2);
  });

  it('is published without a witness that does not answer, and with it once it answers again', async () => {
    const [a, b] = [await witness('a.example'), await witness('b.example')];
    const publisher = publish([a, { ...b, url: 'http://127.0.0.1:9/' }]);
    expect(signersOf(await publisher.newest(), a, b).names).toEqual(['a.example']);
    await ledger.append(request('machine-1', 'machine'));
    await publisher.newest();
    expect(log.filter((line) => line.includes('did not sign'))).toHaveLength(1);
    const again = publish([a, b]);
    expect(signersOf(await again.newest(), a, b).names).toEqual(['a.example', 'b.example']);
  });

  it('is published without hostile witnesses: silent, endless, circling, forging, garbage, redirecting', async () => {
    const honest = await witness('a.example');
    let size = 0;
    const manners: Record<string, (request: IncomingMessage, response: ServerResponse) => unknown> = {
      silent: () => undefined,
      endless: (_, response) => {
        const more = () => response.write(new Uint8Array(1 << 16), more);
        more();
      },
      circling: (_, response) => {
        size = (size + 1) % 2;
        response.writeHead(409, { 'content-type': 'text/x.tlog.size' }).end(`${size}\n`);
      },
      forging: (_, response) => response.end('— b.example AAAAAAAA\n'),
      babbling: (_, response) => response.end('yes'),
      redirecting: (_, response) => response.writeHead(302, { location: honest.url }).end(),
    };
    for (const [manner, answer] of Object.entries(manners)) {
      const server = createServer(answer);
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port } = server.address() as AddressInfo;
      const hostile = { url: `http://127.0.0.1:${port}/`, key: (await witness('b.example')).key };
      const publisher = publish([honest, hostile], ledger, manner === 'silent' ? 1_000 : 20_000);
      expect([manner, signersOf(await publisher.newest(), honest, hostile).names]).toEqual([manner, ['a.example']]);
      server.closeAllConnections();
      server.close();
    }
  });

  it('is rejected by a witness after the log was restored to an older state and extended', async () => {
    const a = await witness('a.example');
    await ledger.append(request('machine-1', 'machine'));
    await publish([a]).newest();
    const restored = await openTestLedger(new MemoryStore());
    await restored.append(request('machine-0', 'machine'));
    const publisher = publish([a], restored);
    expect(signersOf(await publisher.newest(), a)).toEqual({ size: 1, names: [] });
    await restored.append(request('machine-x', 'machine'));
    expect(signersOf(await publisher.newest(), a).names).toEqual([]);
    await restored.append(request('machine-y', 'machine'));
    expect(signersOf(await publisher.newest(), a).names).toEqual([]);
    expect(log.filter((line) => line.includes('does not extend')).length).toBeGreaterThan(0);
  });

  it('is the newest checkpoint of the log when there are no witnesses', async () => {
    const publisher = publish([]);
    await ledger.append(request('machine-1', 'machine'));
    expect(publisher.current()).toEqual(ledger.checkpoint());
  });
});
