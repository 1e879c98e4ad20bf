import { connect } from 'node:tls';
import { isErrorCode } from '@millrace/base';
import { clientTls, nodeOf } from '@millrace/protocol';
import { mutate } from '@millrace/testkit/fuzz/mutate';
import { Random } from '@millrace/testkit/fuzz/random';
import { oddRequest } from '@millrace/testkit/fuzz/requests';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// The two listening nodes as real processes get requests of every party with invalid paths, headers or bodies, and
// bytes that are not HTTP. Each request gets a coded error or succeeds, none causes a fault, and both keep running.

const REQUESTS = Number(process.env.MILLRACE_REQUESTS ?? 400);
const AT_ONCE = 4;
const seed = Number(process.env.MILLRACE_SEED ?? Date.now() % 2 ** 31);
/** An answer in flight may be lost when the node closes the connection because of an unwanted body. */
const LOST = /ECONNRESET|EPIPE|socket hang up/;

let system: TestInstallation;
beforeAll(async () => {
  system = await createTestInstallation({ start: ['control', 'distribution'] });
});
afterAll(() => system?.close());

describe(`seed ${seed}`, () => {
  it('invalid requests get a coded answer', async () => {
    const wrong: string[] = [];
    const statuses = new Set<number>();
    let next = 0;
    const work = async () => {
      for (let number = next++; number < REQUESTS; number = next++) {
        const { node, caller, ...request } = oddRequest(new Random(seed + number * 2 ** 32));
        const what = `${number}: ${caller} ${request.method} ${request.path.slice(0, 200)}`;
        try {
          const { status, error } = await system.call(node, caller, request);
          statuses.add(status);
          const coded = status < 400 || (isErrorCode(error?.code) && error.code !== 'E_INTERNAL');
          if (status === 500 || !coded) wrong.push(`${what}: ${status} ${JSON.stringify(error)}`);
        } catch (error) {
          // A request that Node's client refuses to send does not count.
          const code = error instanceof Error && 'code' in error ? String(error.code) : '';
          if (!LOST.test(String(error)) && !/^ERR_(INVALID_CHAR|UNESCAPED_CHARACTERS|HTTP)/.test(code))
            wrong.push(`${what}: ${error}`);
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    expect(wrong).toEqual([]);
    expect([...statuses].sort()).toEqual(expect.arrayContaining([200, 400, 401, 404]));
  });

  it('bytes that are not HTTP end only the connection', async () => {
    const sample = Buffer.from(
      'PUT /v1/uploads/x/0 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n',
    );
    const upgrade = Buffer.from(
      'GET /v1/machine HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff',
      'latin1',
    );
    const { directory } = system.installation;
    for (let number = 0; number < 40; number++) {
      const random = new Random(seed + number * 2 ** 32);
      const node = random.pick(['control', 'distribution'] as const);
      const identity = await system.identity(random.pick(['machine', 'segments', 'owner'] as const));
      const tls = clientTls({ authority: directory.authority, identity, pin: nodeOf(directory, node).fingerprint });
      const socket = connect({ ...system.addresses[node], ...tls });
      socket.on('error', () => undefined);
      socket.resume();
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      socket.once('secureConnect', () => socket.end(mutate([sample, upgrade], random)));
      socket.setTimeout(2_000, () => socket.destroy());
      await closed;
    }
  });

  it('both nodes keep running, without an internal error in their logs', async () => {
    for (const node of ['control', 'distribution'] as const) {
      expect(system.processes[node].running).toBe(true);
      const log = await system.log(node);
      expect(
        log.split('\n').filter((line) => /"msg":"request failed: internal error|"level":"fatal"/.test(line)),
      ).toEqual([]);
    }
    expect((await system.call('control', 'admin', { method: 'GET', path: '/v1/status' })).status).toBe(200);
  });
});
