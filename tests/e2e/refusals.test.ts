import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { copyBytes, encodeCbor, errorCodes, isErrorCode, systemRandom, toBase64, toHex } from '@millrace/base';
import { type PreparedDesign, type Session, signNew, storeDesign } from '@millrace/client';
import { prepareFile } from '@millrace/client/node';
import { openApi } from '@millrace/cloud/parts';
import { createAuthority, keyName, openAuthority } from '@millrace/identity';
import { createHttpClient, nodeOf, PROTOCOL, PROTOCOL_HEADER, sha256 } from '@millrace/protocol';
import { millrace } from '@millrace/testkit/cli';
import { gcode, randomDesign } from '@millrace/testkit/designs';
import { enrol } from '@millrace/testkit/enrol';
import { type Answer, call } from '@millrace/testkit/http';
import { eventsOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { setDriver } from '@millrace/testkit/settings';
import {
  type Caller,
  createTestInstallation,
  MACHINE,
  type TestInstallation,
} from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let system: TestInstallation;
let owner: Session;
let operator: Session;
beforeAll(async () => {
  system = await createTestInstallation({ machine: { factor: 100_000 } });
  owner = await system.session('owner');
  operator = await system.session('operator');
});
afterAll(() => system?.close());

/** Checks that the answer is one coded error in the specified form. Returns its status and code, e.g. "400 E_INPUT". */
function refusalOf({ status, text, error, type }: Answer): string {
  expect(error, text).toBeDefined();
  const problem = JSON.parse(text) as Record<string, unknown>;
  const members = ['code', 'data', 'detail', 'remedy', 'retryable', 'status', 'title', 'type'];
  expect(Object.keys(problem).sort()).toEqual(members);
  expect(problem.status).toBe(status);
  expect(type).toBe('application/problem+json');
  expect(Object.keys(error ?? {}).sort()).toEqual(['code', 'data', 'message', 'remedy']);
  const code = error?.code;
  if (!isErrorCode(code)) throw new Error(`no code of ours: ${text}`);
  expect(status).toBe(errorCodes[code].http);
  expect(error?.remedy).toBe(errorCodes[code].remedy);
  expect(text).not.toMatch(/\n\s+at |\bat .+:\d+:\d+|node_modules|\/src\/|\.js:/);
  return `${status} ${code}`;
}

const post = (caller: Caller, path: string, json: unknown) =>
  system.call('control', caller, { method: 'POST', path, json });
const get = (caller: Caller, path: string, node: 'control' | 'distribution' = 'control') =>
  system.call(node, caller, { method: 'GET', path });

describe('the control node', () => {
  it('rejects an invalid body and names the field', async () => {
    const transaction = toBase64(systemRandom(40));
    for (const [body, field] of [
      [{ transaction, extra: 1 }, 'extra'],
      [{ transaction: 7 }, 'transaction'],
      [{}, 'transaction'],
      [{ transaction, attachments: { other: '' } }, 'other'],
      [{ transaction, attachments: { manifest: 5 } }, 'manifest'],
      [[], ''],
      ['text', ''],
      [null, ''],
    ] as const) {
      const answer = await post('owner', '/v1/transactions', body);
      expect(refusalOf(answer), JSON.stringify(body)).toBe('400 E_INPUT');
      expect(answer.text).toContain(field);
    }
  });

  it('rejects bodies that are not JSON, base64 or COSE, or of unknown type', async () => {
    const raw = (body: string, type: string) =>
      system.call('control', 'owner', {
        method: 'POST',
        path: '/v1/transactions',
        body,
        headers: { 'content-type': type },
      });
    expect(refusalOf(await raw('{"transaction":', 'application/json'))).toBe('400 E_INPUT');
    expect(refusalOf(await raw('x', 'text/plain'))).toBe('400 E_INPUT');
    expect(refusalOf(await raw('x', 'application/octet-stream'))).toBe('400 E_INPUT');
    expect(refusalOf(await post('owner', '/v1/transactions', { transaction: 'not base64 !' }))).toBe('400 E_INPUT');
    const random = { transaction: toBase64(systemRandom(200)) };
    expect(refusalOf(await post('owner', '/v1/transactions', random))).toMatch(/^(400 E_INPUT|401 E_SIGNATURE)$/);
    const cbor = { transaction: toBase64(encodeCbor({ type: 'print.request' })) };
    expect(refusalOf(await post('owner', '/v1/transactions', cbor))).toMatch(/^(400 E_INPUT|401 E_SIGNATURE)$/);
  });

  it('rejects unknown fields and wrong types inside a signed transaction', async () => {
    const job = await enrol(system, { objects: 1, machines: 1 });
    const good = { type: 'print.request', licence: job.licence, machine: job.machines[0]?.machine ?? '' } as const;
    for (const body of [
      { ...good, colour: 'red' },
      { ...good, licence: 5 },
      { ...good, machine: 'virtual-1' },
      { type: 'print.request', licence: job.licence },
      { type: 'print.everything' },
    ]) {
      const answer = await job.submit('operator', await job.sign(job.operator, body as never));
      expect(refusalOf(answer), JSON.stringify(body)).toBe('400 E_INPUT');
    }
  });

  it('rejects unknown paths and methods', async () => {
    for (const [method, path] of [
      ['GET', '/'],
      ['GET', '/v1/nothing'],
      ['DELETE', '/v1/designs'],
      ['GET', '/v1/../../etc/passwd'],
      ['GET', '/v1/%'],
      ['PUT', '/v1/transactions'],
    ] as const) {
      expect(refusalOf(await system.call('control', 'owner', { method, path })), path).toMatch(
        method === 'GET' ? /^(404 E_NOT_FOUND|400 E_INPUT)$/ : /^405 E_METHOD$/,
      );
    }
    const { status, headers } = await system.call('control', 'owner', { method: 'OPTIONS', path: '/v1/designs' });
    expect([status, headers.allow]).toEqual([204, 'GET, HEAD, OPTIONS']);
    const wrong = await system.call('control', 'owner', { method: 'DELETE', path: '/v1/designs' });
    expect(wrong.headers.allow).toBe('GET, HEAD, OPTIONS');
  });

  it('answers 404 for unknown ids', async () => {
    const id = toHex(systemRandom(16));
    for (const path of [
      `designs/${id}`,
      `licences/${id}`,
      `prints/${id}`,
      `objects/${id}-1`,
      `objects/${id}-1/certificate`,
    ])
      expect(refusalOf(await get('owner', `/v1/${path}`)), path).toBe('404 E_NOT_FOUND');
    expect(refusalOf(await get('admin', `/v1/vault/checks/${id}`))).toBe('404 E_NOT_FOUND');
    for (const user of ['owner', 'operator'] as const) {
      expect(refusalOf(await get(user, `/v1/vault/checks/${id}`))).toBe('403 E_FORBIDDEN');
      expect(refusalOf(await post(user, '/v1/vault/checks', { deep: true }))).toBe('403 E_FORBIDDEN');
    }
    expect(refusalOf(await get('owner', '/v1/designs/..%2F..'))).toBe('404 E_NOT_FOUND');
    expect(refusalOf(await get('owner', '/v1/ledger/tile/0/999'))).toMatch(/^(404 E_NOT_FOUND|400 E_INPUT)$/);
    expect(refusalOf(await get('owner', '/v1/ledger/tile/x'))).toMatch(/^(404 E_NOT_FOUND|400 E_INPUT)$/);
  });

  it('rejects a body that is too large before it is sent, and accepts a long one', async () => {
    const tls = await system.identity('owner');
    const { directory } = system.installation;
    const { authority } = directory;
    const client = createHttpClient({
      addresses: () => [system.addresses.control],
      tls: { authority, identity: tls, pin: nodeOf(directory, 'control').fingerprint },
    });
    for (let round = 0; round < 5; round++)
      await expect(client.call('POST', '/v1/transactions', { body: new Uint8Array(80 << 20) })).rejects.toMatchObject({
        code: 'E_TOO_LARGE',
      });
    await expect(client.call('POST', '/v1/transactions', { body: new Uint8Array(3 << 20) })).rejects.toMatchObject({
      code: 'E_INPUT',
    });
    client.close();
  });

  it('rejects a body that is too large', async () => {
    // The request declares its length and is rejected before the body is sent.
    const answer = await system.call('control', 'owner', {
      method: 'POST',
      path: '/v1/transactions',
      body: '{"transaction":"',
      headers: { 'content-type': 'application/json', 'content-length': String(65 * 1024 * 1024) },
    });
    expect(refusalOf(answer)).toBe('413 E_TOO_LARGE');
  });

  it('shows no user the data of another', async () => {
    const job = await enrol(system, { objects: 2, machines: 1 });
    const print = await job.print(0);
    expect(refusalOf(await get('admin', `/v1/prints/${print}`))).toBe('403 E_FORBIDDEN');
    expect(refusalOf(await get('operator', `/v1/designs/${job.design}`))).toBe('403 E_FORBIDDEN');
    expect(refusalOf(await get('admin', `/v1/licences/${job.licence}`))).toBe('403 E_FORBIDDEN');
  });
});

describe('certificates and roles', () => {
  it('users’ routes are for users, nodes’ routes for nodes', async () => {
    const id = toHex(systemRandom(16));
    for (const caller of ['machine', 'segments', 'keys', 'distribution'] as const)
      expect(refusalOf(await get(caller, '/v1/designs')), caller).toBe('401 E_AUTH');
    for (const path of ['/v1/mailbox?wait=0&consumer=x'])
      for (const caller of ['owner', 'machine', 'admin'] as const)
        expect(refusalOf(await get(caller, path))).toBe('401 E_AUTH');
    const machine = `/v1/machines/${system.machine}/next`;
    for (const caller of ['owner', 'machine', 'segments', 'keys'] as const) {
      const body = encodeCbor({ wait: 0 });
      const answer = await system.call('control', caller, { method: 'POST', path: machine, body });
      expect(refusalOf(answer), caller).toBe('401 E_AUTH');
    }
    expect(refusalOf(await post('segments', '/v1/maintenance', {}))).toBe('401 E_AUTH');
    for (const [from, to] of [
      ['distribution', 'control'],
      ['distribution', 'keys'],
      ['segments', 'segments'],
    ] as const) {
      const mail = { method: 'POST', path: `/v1/mailbox/${to}-1?id=x`, body: new Uint8Array(200) };
      expect(refusalOf(await system.call('control', from, mail)), `${from} to ${to}`).toBe('403 E_FORBIDDEN');
    }
    const progress = { acked: 1, revision: 1 };
    for (const from of ['distribution', 'keys'] as const)
      expect(refusalOf(await post(from, `/v1/progress/${id}-1`, progress)), from).toBe('401 E_AUTH');
    for (const caller of ['machine', 'control', 'keys'] as const)
      expect(refusalOf(await get(caller, `/v1/uploads/${id}`, 'distribution')), caller).toBe('401 E_AUTH');
    expect(refusalOf(await get('owner', `/v1/uploads/${id}/0`, 'distribution'))).toBe('401 E_AUTH');
    expect(refusalOf(await system.call('distribution', 'owner', { method: 'DELETE', path: `/v1/uploads/${id}` }))).toBe(
      '401 E_AUTH',
    );
  });

  it('a certificate of another authority reaches nothing', async () => {
    const { directory } = system.installation;
    const stranger = await createAuthority('another', Date.now());
    for (const node of ['control', 'distribution'] as const)
      for (const party of [
        { role: 'user', name: keyName(owner.signer.publicKey) },
        { role: 'keys', id: 'keys-1' },
      ] as const) {
        const identity = await stranger.issue(party);
        const attempt = call(system.addresses[node], directory, node, identity, { method: 'GET', path: '/v1/designs' });
        await expect(attempt).rejects.toThrow();
      }
  });

  it('a certificate with a node’s name that is not pinned is rejected', async () => {
    const { layout, directory } = system.installation;
    const authority = await openAuthority(
      {
        certificate: await readFile(layout.authority.certificate, 'utf8'),
        key: new Uint8Array(await readFile(layout.authority.key)),
      },
      () => Date.now(),
    );
    for (const role of ['keys', 'segments', 'distribution'] as const) {
      const identity = await authority.issue({ role, id: `${role}-1` });
      const path = '/v1/mailbox?wait=0&consumer=x';
      const answer = await call(system.addresses.control, directory, 'control', identity, { method: 'GET', path });
      expect(refusalOf(answer), role).toBe('401 E_AUTH');
    }
  });
});

describe('a process of another version', () => {
  const far = String(PROTOCOL + 2);
  const parties = ['admin', 'owner', 'operator', 'segments', 'keys', 'machine'] as const;
  const stating = (caller: Caller, node: 'control' | 'distribution', stated: string) =>
    system.call(node, caller, { method: 'GET', path: '/v1/directory', headers: { [PROTOCOL_HEADER]: stated } });

  it('is refused by control and distribution if it is too far away, with whatever keys', async () => {
    for (const node of ['control', 'distribution'] as const) {
      for (const caller of parties) {
        const answer = await stating(caller, node, far);
        expect(refusalOf(answer), `${caller} at ${node}`).toBe('409 E_VERSION');
        expect(answer.headers[PROTOCOL_HEADER]).toBe(String(PROTOCOL));
        expect(refusalOf(await stating(caller, node, 'newest'))).toBe('400 E_INPUT');
      }
      for (const stated of [PROTOCOL - 1, PROTOCOL, PROTOCOL + 1])
        expect((await stating('owner', node, String(stated))).status).toBe(200);
    }
  });

  it('gets no link', async () => {
    for (const [caller, path] of [
      ['machine', '/v1/machine'],
      ['segments', '/v1/node'],
    ] as const) {
      const upgrade = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' };
      const headers = { ...upgrade, 'sec-websocket-key': toBase64(systemRandom(16)), [PROTOCOL_HEADER]: far };
      expect((await system.call('distribution', caller, { method: 'GET', path, headers })).status).toBe(409);
    }
  });
});

describe('uploads', () => {
  let prepared: PreparedDesign;
  let ticket = '';
  const uploads = (method: string, path: string, body?: Uint8Array, caller: Caller = 'owner') =>
    system.call('distribution', caller, {
      method,
      headers: ticket === '' ? {} : { 'millrace-ticket': ticket },
      path: `/v1/uploads/${path}`,
      ...(body === undefined ? {} : { body }),
    });

  /** A design of ten segments, announced to control. */
  async function announced(): Promise<PreparedDesign> {
    const file = join(system.scratch, `up-${toHex(systemRandom(4))}.bin`);
    await writeFile(file, randomDesign(10 * 16_370));
    const made = await prepareFile(owner, file, { kind: 'binary', bytesPerSecond: 100_000 }, () => undefined);
    const [manifest, keys] = [await made.manifest(), await made.keys()];
    const transaction = await signNew(owner, {
      type: 'design.add',
      design: made.state.design,
      manifestHash: sha256(manifest),
      keysHash: sha256(keys),
    });
    await owner.api.submit(transaction.bytes, { manifest, keys });
    return made;
  }
  async function upload(made: PreparedDesign, count: number, change = (bytes: Uint8Array, _n: number) => bytes) {
    const file = await made.openSegments();
    for (let n = 0; n < count; n++) await owner.api.upload(made.state.design, n, change(await file.read(n), n));
    await file.close();
  }

  it('of a wrong size, number or name are rejected', async () => {
    prepared = await announced();
    const { design } = prepared.state;
    const segment = systemRandom(16_386);
    expect(refusalOf(await uploads('PUT', `${design}/0`, segment))).toBe('403 E_FORBIDDEN');
    expect(refusalOf(await get('operator', `/v1/designs/${design}/ticket`))).toBe('403 E_FORBIDDEN');
    ({ ticket } = JSON.parse((await get('owner', `/v1/designs/${design}/ticket`)).text) as { ticket: string });
    for (const caller of ['operator', 'admin'] as const)
      expect(refusalOf(await uploads('PUT', `${design}/0`, segment, caller)), caller).toBe('403 E_FORBIDDEN');
    expect(refusalOf(await uploads('PUT', `${toHex(systemRandom(16))}/0`, segment))).toBe('403 E_FORBIDDEN');
    expect(refusalOf(await uploads('PUT', `${design}/10`, segment))).toBe('400 E_INPUT');
    expect(refusalOf(await uploads('PUT', `${design}/0`, systemRandom(16_385)))).toBe('400 E_INPUT');
    expect(refusalOf(await uploads('PUT', `${design}/0`, systemRandom(33 * 16_386)))).toBe('413 E_TOO_LARGE');
    expect(refusalOf(await uploads('PUT', `${design}/-1`, systemRandom(16_386)))).toBe('400 E_INPUT');
    expect(refusalOf(await uploads('PUT', `${design}/1e9`, systemRandom(16_386)))).toBe('400 E_INPUT');
    expect(refusalOf(await uploads('PUT', '..%2F..%2Fx/0', systemRandom(16_386)))).toBe('403 E_FORBIDDEN');
    expect(refusalOf(await uploads('PUT', `${design}/0`))).toBe('400 E_INPUT');
  });

  it('that are incomplete store no design, and can be continued', async () => {
    await upload(prepared, 6);
    const { design } = prepared.state;
    await owner.api.designUploaded(design);
    // The design is not stored yet: the vault requests the missing segments, and then has all of them.
    const view = await storeDesign(owner, { ...prepared, earlier: true }, () => undefined);
    expect(view).toMatchObject({ design, state: 'stored' });
  });

  it('with one flipped bit are rejected with E_SEGMENT', async () => {
    const made = await announced();
    await upload(made, 10, (bytes, n) => {
      const changed = copyBytes(bytes);
      if (n === 7) changed[12_345] = (changed[12_345] ?? 0) ^ 0x10;
      return changed;
    });
    await expect(storeDesign(owner, { ...made, earlier: true }, () => undefined)).rejects.toMatchObject({
      code: 'E_SEGMENT',
    });
    const { design } = made.state;
    expect(await owner.api.design(design)).toMatchObject({ state: 'refused', code: 'E_SEGMENT' });
    // No licence can be granted for it.
    await expect(license(system, owner, design, 1)).rejects.toMatchObject({ code: 'E_STATE' });
  });
});

describe('a machine that is unplugged during a print', () => {
  it('fails with E_MACHINE in the ledger, and the next print works', async () => {
    const stored = await store(system, owner, gcode(200_000), { name: 'unplug.gcode' });
    const licence = await license(system, owner, stored.design, 2);
    await system.processes.machine.stop();
    await setDriver(system.installation.layout, MACHINE, { faults: { unpluggedAtLine: 3_000 } });
    await system.processes.machine.start();
    const view = await untilEnded(operator, await order(system, operator, licence));
    expect(view).toMatchObject({ state: 'failed', code: 'E_MACHINE' });
    const object = objectOf(view);
    expect((await eventsOf(owner, object)).at(-1)).toBe('failed');
    const { events } = await owner.api.object(object);
    expect(events.at(-1)?.body).toMatchObject({ code: 'E_MACHINE' });
    expect(await machineObject(system, object)).toMatchObject({ event: 'failed', code: 'E_MACHINE' });
    const next = await untilEnded(operator, await order(system, operator, licence));
    expect(next).toMatchObject({ state: 'completed' });
  });
});

describe('a design that the machine cannot execute', () => {
  it('is rejected by the owner’s client, which names the line', async () => {
    const broken = new TextEncoder().encode('G28\nG1 X10 Y10\nG1 Xten\n');
    await expect(store(system, owner, broken, { name: 'broken.gcode' })).rejects.toMatchObject({ code: 'E_GCODE' });
  });
});

describe('the command', () => {
  it('has an exit code for every kind of error, and prints no stack trace', async () => {
    const id = toHex(systemRandom(16));
    for (const [args, exit, code] of [
      [['nonsense'], 2, 'E_INPUT'],
      [['design', 'add'], 2, 'E_INPUT'],
      [['design', 'add', '/nowhere/part.gcode'], 4, 'E_NOT_FOUND'],
      [['object', 'show', `${id}-1`], 4, 'E_NOT_FOUND'],
      [['print', '--licence', id], 4, 'E_NOT_FOUND'],
      [['up', '--control-port', '99999'], 2, 'E_INPUT'],
      [['init'], 3, 'E_CONFLICT'],
    ] as const) {
      const result = await millrace(system.home, ...args, '--json');
      expect(`${args.join(' ')}: ${result.exit} ${result.code}`).toBe(`${args.join(' ')}: ${exit} ${code}`);
      expect(result.stdout + result.stderr).not.toMatch(/\n\s+at /);
    }
  });
});

describe('the OpenAPI document', () => {
  it('lists every route of the server with its roles', async () => {
    const served = JSON.parse((await get('owner', '/v1/openapi.json')).text) as typeof openApi;
    expect(served).toEqual(JSON.parse(JSON.stringify(openApi)));
    const wrong: string[] = [];
    for (const [path, operations] of Object.entries(served.paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        const { 'x-callers': callers } = operation as { 'x-callers': string[] };
        const filled = path.replace('{path}', '0/000').replace(/\{[a-z]+\}/g, toHex(systemRandom(16)));
        const concrete = path === '/v1/events' ? `${filled}?seconds=0` : filled; // else it does not end
        const answer = await system.call('control', 'owner', {
          method: method.toUpperCase(),
          path: concrete,
          ...(method === 'get' ? {} : { json: {} }),
        });
        const refused = answer.error?.code === 'E_AUTH';
        if (refused === callers.includes('user') || answer.error?.code === 'E_METHOD') wrong.push(`${method} ${path}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});
