import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { copyBytes, fromHex, systemClock, systemRandom, toHex } from '@millrace/base';
import { nodeFiles } from '@millrace/cli/parts';
import { keyId, p256Key } from '@millrace/identity';
import { signPermit, verifyOpening, verifyPermit } from '@millrace/protocol';
import { enrol, type Job } from '@millrace/testkit/enrol';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const N = 37;
const REQUESTS = 200;
const MACHINES = 5;
const HOUR = 3_600_000;

let system: TestInstallation;
beforeAll(async () => {
  system = await createTestInstallation({ start: ['control'] });
});
afterAll(() => system?.close());

describe(`${REQUESTS} print requests at once on a licence for ${N} objects`, () => {
  let job: Job;
  beforeAll(async () => {
    job = await enrol(system, { objects: N, machines: MACHINES });
  });

  it('get exactly 37 permits, each for a different object', async () => {
    const outcomes = await Promise.all(
      Array.from({ length: REQUESTS }, async (_, i) => {
        const machine = i % MACHINES;
        const transaction = await job.sign(job.operator, {
          type: 'print.request',
          licence: job.licence,
          machine: job.machines[machine]?.machine ?? '',
        });
        const ordered = await job.submit('operator', transaction);
        if (ordered.status !== 200) return ordered.error?.code ?? `status ${ordered.status}`;
        const { print } = JSON.parse(ordered.text) as { print: string };
        const home = await job.callHome(print, machine);
        if (home.given === undefined) return home.error?.code ?? `status ${home.status}`;
        const permitKey = fromHex(system.installation.directory.permitKey);
        const { body } = await verifyPermit(
          home.given.permit,
          system.installation.directory.installation,
          () => copyBytes(permitKey),
          systemClock.now(),
        );
        return body.number;
      }),
    );
    const numbers = outcomes.filter((outcome) => typeof outcome === 'number');
    const refused = outcomes.filter((outcome) => typeof outcome === 'string');
    expect(numbers.sort((a, b) => a - b)).toEqual(Array.from({ length: N }, (_, i) => i + 1));
    expect(new Set(refused)).toEqual(new Set(['E_LICENCE_EXHAUSTED']));
    expect(refused).toHaveLength(REQUESTS - N);
  });

  it('are recorded in the ledger exactly', async () => {
    expect(await job.owner.api.licence(job.licence)).toMatchObject({ objects: N, permitted: N });
    const objects = (await job.owner.api.objects()).filter(({ object }) => object.startsWith(job.licence));
    expect(objects).toHaveLength(N);
    for (const { events } of objects) expect(events.map(({ type }) => type)).toEqual(['ordered', 'permitted']);
  });
});

describe('a print with many concurrent calls home', () => {
  it('uses one object, with one request or many', async () => {
    const job = await enrol(system, { objects: 5, machines: 1 });
    const print = await job.print(0);
    const same = await job.request(print, 0);
    const run = systemRandom(16);
    const others = await Promise.all(Array.from({ length: 10 }, () => job.request(print, 0, { run })));
    const answers = await Promise.all([
      ...Array.from({ length: 10 }, () => job.callHome(print, 0, same)),
      ...others.map((request) => job.callHome(print, 0, request)),
    ]);
    for (const { given, error } of answers) if (given === undefined) expect(error?.code).toMatch(/^E_(STATE|REPLAY)$/);
    expect(answers.some(({ given }) => given !== undefined)).toBe(true);
    expect((await job.owner.api.licence(job.licence)).permitted).toBe(1);
  });
});

describe('transactions', () => {
  let job: Job;
  const order = (times = {}, installation?: string) =>
    job.sign(
      job.operator,
      { type: 'print.request', licence: job.licence, machine: job.machines[0]?.machine ?? '' },
      times,
      installation,
    );
  const refusal = async (transaction: Uint8Array, caller: 'operator' | 'owner' | 'admin' = 'operator') => {
    const { status, error } = await job.submit(caller, transaction);
    return `${status} ${error?.code}`;
  };
  beforeAll(async () => {
    job = await enrol(system, { objects: 1_000, machines: 1 });
  });

  it('take effect once: a replay is rejected, also after a restart', async () => {
    const transaction = await order();
    expect((await job.submit('operator', transaction)).status).toBe(200);
    expect(await refusal(transaction)).toBe('409 E_REPLAY');
    await system.processes.control.restart();
    expect(await refusal(transaction)).toBe('409 E_REPLAY');
  });

  it('sent many times concurrently take effect once', async () => {
    const transaction = await order();
    const answers = await Promise.all(Array.from({ length: 20 }, () => job.submit('operator', transaction)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(new Set(answers.flatMap(({ error }) => error?.code ?? []))).toEqual(new Set(['E_REPLAY']));
  });

  it('that are expired or dated in the future are rejected', async () => {
    const now = systemClock.now();
    expect(await refusal(await order({ issued: now - 3 * HOUR, expires: now - 2 * HOUR }))).toBe('401 E_EXPIRED');
    expect(await refusal(await order({ issued: now + 2 * HOUR, expires: now + 3 * HOUR }))).toBe('401 E_CLOCK');
  });

  it('are accepted when clocks differ by an hour', async () => {
    const now = systemClock.now();
    expect(
      (await job.submit('operator', await order({ issued: now - HOUR - 1_000, expires: now - HOUR }))).status,
    ).toBe(200);
    expect((await job.submit('operator', await order({ issued: now + HOUR, expires: now + 2 * HOUR }))).status).toBe(
      200,
    );
  });

  it('of another installation are rejected', async () => {
    expect(await refusal(await order({}, toHex(systemRandom(16))))).toBe('401 E_SIGNATURE');
  });

  it('with any byte altered are rejected', async () => {
    const transaction = await order();
    const codes = new Set<string>();
    const wrong: number[] = [];
    for (let at = 0; at < transaction.length; at++) {
      const altered = copyBytes(transaction);
      altered[at] = (altered[at] ?? 0) ^ 0x01;
      const { status, error } = await job.submit('operator', altered);
      if (status === 200 || error === undefined) wrong.push(at);
      else codes.add(error.code);
    }
    expect(wrong).toEqual([]);
    for (const code of codes) expect(['E_SIGNATURE', 'E_AUTH', 'E_INPUT']).toContain(code);
    expect(codes).toContain('E_SIGNATURE');
    expect((await job.submit('operator', transaction)).status).toBe(200);
  });

  it('of a wrong submitter, holder or administrator are rejected', async () => {
    expect(await refusal(await order(), 'owner')).toBe('403 E_FORBIDDEN');
    const body = { type: 'print.request', licence: job.licence, machine: job.machines[0]?.machine ?? '' } as const;
    expect(await refusal(await job.sign(job.owner, body), 'owner')).toBe('403 E_FORBIDDEN');
    const user = { type: 'user.register', name: 'mallory', publicKey: job.owner.signer.publicKey } as const;
    expect(await refusal(await job.sign(job.owner, user), 'owner')).toBe('403 E_FORBIDDEN');
  });
});

describe('permit requests', () => {
  let job: Job;
  const codeOf = async (print: string, request: Uint8Array, machine = 0) => {
    const { status, error } = await job.callHome(print, machine, copyBytes(request));
    return `${status} ${error?.code}`;
  };
  beforeAll(async () => {
    job = await enrol(system, { objects: 1_000, machines: 2 });
  });

  it('sent again get the same permit, and none for another print', async () => {
    const print = await job.print(0);
    const first = await job.callHome(print, 0);
    const again = await job.callHome(print, 0, first.request);
    expect(again.given?.permit).toEqual(first.given?.permit);
    expect((await job.owner.api.licence(job.licence)).permitted).toBe(1);
    // The id is used. A second request with it is a replay, whatever it asks for.
    const other = await job.print(0);
    const id = systemRandom(16);
    expect((await job.callHome(other, 0, await job.request(other, 0, { id }))).status).toBe(200);
    const third = await job.print(0);
    expect(await codeOf(third, await job.request(third, 0, { id }))).toBe('409 E_REPLAY');
  });

  it('that are expired, dated in the future, of another installation or altered are rejected', async () => {
    const print = await job.print(0);
    const now = systemClock.now();
    expect(await codeOf(print, await job.request(print, 0, { issued: now - 3 * HOUR, expires: now - 2 * HOUR }))).toBe(
      '401 E_EXPIRED',
    );
    expect(await codeOf(print, await job.request(print, 0, { issued: now + 2 * HOUR, expires: now + 3 * HOUR }))).toBe(
      '401 E_CLOCK',
    );
    expect(await codeOf(print, await job.request(print, 0, {}, toHex(systemRandom(16))))).toBe('401 E_SIGNATURE');
    const altered = await job.request(print, 0);
    altered[altered.length >> 1] = (altered[altered.length >> 1] ?? 0) ^ 1;
    expect(await codeOf(print, altered)).toMatch(/^(401 E_SIGNATURE|400 E_INPUT)$/);
    // None of these used up the print.
    expect((await job.callHome(print, 0)).status).toBe(200);
  });

  it('of another machine, serial number or material, or that start in the middle, are rejected', async () => {
    const print = await job.print(0);
    expect(await codeOf(print, await job.request(print, 1))).toBe('401 E_AUTH'); // signed by the other machine
    expect(await codeOf(print, await job.request(print, 1), 1)).toBe('403 E_FORBIDDEN');
    expect(await codeOf(print, await job.request(print, 0, { from: 1 }))).toBe('400 E_INPUT');
    expect(await codeOf(print, await job.request(print, 0, { serial: 'another' }))).toBe('403 E_MACHINE_UNKNOWN');
    expect(await codeOf(print, await job.request(print, 0, { material: 'ABS' }))).toBe('403 E_MATERIAL');
  });

  it('of another run do not take over a started print', async () => {
    const print = await job.print(0);
    expect((await job.callHome(print, 0)).status).toBe(200);
    expect(await codeOf(print, await job.request(print, 0))).toBe('409 E_STATE');
  });
});

describe('permits', () => {
  it('that are altered, expired, foreign or for another request are rejected by machine and nodes', async () => {
    const job = await enrol(system, { objects: 3, machines: 1 });
    const { directory } = system.installation;
    const print = await job.print(0);
    const home = await job.callHome(print, 0);
    if (home.given === undefined) throw new Error(home.text);
    const { permit, print: order, licence, amendments, licenceSigner, printSigner } = home.given;
    const { key: _, ...machine } = job.machines[0] ?? ({} as never);
    const permitKey = p256Key(
      new Uint8Array(await readFile(join(folderOf(system.installation, 'control'), nodeFiles.permitKey))),
    );
    const opening = {
      permit,
      request: home.request,
      print: order,
      licence,
      amendments,
      licenceSigner,
      printSigner,
      machine,
    };
    const context = {
      directory,
      now: systemClock.now(),
      designOf: async () => ({ owner: copyBytes(job.owner.signer.publicKey), coreHash: job.coreHash }),
      begun: async () => false,
      credits: async () => 0,
    };
    const { permit: genuine } = await verifyOpening(opening, context);
    const refusal = (changed: Partial<typeof opening>, now = context.now) =>
      verifyOpening({ ...opening, ...changed }, { ...context, now }).then(
        () => 'accepted',
        (error: { code?: string }) => error.code,
      );

    const altered = copyBytes(permit);
    altered[permit.length >> 1] = (altered[permit.length >> 1] ?? 0) ^ 1;
    expect(await refusal({ permit: altered })).toMatch(/^E_(SIGNATURE|INPUT)$/);
    expect(await refusal({}, context.now + 3 * HOUR)).toBe('E_EXPIRED');
    expect(await refusal({ permit: await signPermit(permitKey, toHex(systemRandom(16)), genuine) })).toBe(
      'E_SIGNATURE',
    );
    expect(await refusal({ request: await job.request(print, 0) })).toBe('E_PERMIT');
    // Only a dishonest control node could sign these.
    const forged = async (change: object) =>
      refusal({ permit: await signPermit(permitKey, directory.installation, { ...genuine, ...change }) });
    expect(await forged({ number: 4, object: `${job.licence}-4` })).toBe('E_LICENCE_EXHAUSTED');
    expect(await forged({ object: `${job.licence}-2` })).toBe('E_PERMIT');
    expect(await forged({ print: toHex(systemRandom(16)) })).toBe('E_PERMIT');
    expect(keyId(permitKey.publicKey)).toEqual(keyId(fromHex(directory.permitKey)));
    permitKey.close();
  });
});
