import { type Bytes, systemClock, systemRandom, toHex } from '@millrace/base';
import { generateP256Key, generateUserKey, type P256Key } from '@millrace/identity';
import { type Machine, type PermitRequest, signTransaction, type VerifiedOpening } from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
import { registerKey } from '@millrace/testkit/protocol/support';
import { beforeEach, describe, expect, it } from 'vitest';
import { finishInterrupted } from '../src/control/interrupted.ts';
import { callHome } from '../src/control/permits.ts';
import { keepCounts } from '../src/streaming/admin.ts';
import { ObjectRepository } from '../src/streaming/objects.ts';
import { codeOf, controlFixture } from './control-fixture.ts';
import { signPermitRequest } from './permit-request.ts';

let fixture: Awaited<ReturnType<typeof controlFixture>>;
let machine: Machine;
let key: P256Key;
let design: string;
let licence: string;
let number: number;

beforeEach(async () => {
  fixture = await controlFixture();
  key = generateP256Key();
  machine = await fixture.addMachine('SN-1', key);
  design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
  licence = await fixture.grant(design, [machine], { objects: 5 });
  number = 0;
});

type Change = 'suspend' | 'reinstate' | 'revoke' | 'stop';
const body = (change: Change, at = ++number) => {
  const common = { licence, number: at };
  if (change === 'suspend') return { type: 'licence.suspend', ...common } as const;
  if (change === 'reinstate') return { type: 'licence.reinstate', ...common } as const;
  return { type: 'licence.revoke', ...common, stop: change === 'stop' } as const;
};
const say = (change: Change, at?: number, who: 'owner' | 'holder' | 'admin' = 'owner') =>
  codeOf(fixture.submit(who, body(change, at)));
const print = () => codeOf(fixture.print(licence, machine));

async function home(of: string, changes: Partial<PermitRequest> = {}): Promise<string> {
  const { context } = fixture;
  const wanted = { print: of, issued: systemClock.now(), ...changes };
  const request = await signPermitRequest(key, context.directory.installation, wanted);
  return codeOf(callHome(context, machine.machine, request));
}

const facts = async () =>
  (await fixture.context.ledger.account(`licence:${licence}`)).map(({ event }) => event.body.fact ?? event.type);
const stateOf = async (of: string) => {
  const { state, code } = await fixture.context.records.prints.require(of);
  return code === undefined ? state : `${state} ${code}`;
};

describe('a licence at control', () => {
  it('suspended: rejects requests and new permits, refuses queued prints, resumes permitted ones', async () => {
    const [begun, waiting] = [await fixture.print(licence, machine), await fixture.print(licence, machine)];
    expect(await home(begun)).toBe('done');
    expect(await say('suspend')).toBe('done');
    expect(await print()).toBe('E_LICENCE_SUSPENDED');
    expect(await stateOf(waiting)).toBe('refused E_LICENCE_SUSPENDED');
    expect(await home(begun, { from: 1 })).toBe('done');
    expect(await say('suspend')).toBe('E_STATE');
    expect(await say('reinstate')).toBe('done');
    // A refused print stays refused: the holder has to request it again.
    expect(await stateOf(waiting)).toBe('refused E_LICENCE_SUSPENDED');
    expect(await home(waiting)).toBe('E_STATE');
    expect(await print()).toBe('done');
    expect(await facts()).toEqual(['licensed', 'suspended', 'reinstated']);
  });

  it('revoked: permanently; `stop` also denies permits to objects in progress', async () => {
    const begun = await fixture.print(licence, machine);
    expect(await home(begun)).toBe('done');
    expect(await say('revoke')).toBe('done');
    expect(await print()).toBe('E_LICENCE_REVOKED');
    expect(await home(begun, { from: 1 })).toBe('done');
    for (const change of ['suspend', 'reinstate'] as const) expect(await say(change)).toBe('E_LICENCE_REVOKED');
    expect(await say('revoke')).toBe('E_STATE');
    expect(await say('stop')).toBe('done');
    expect(await home(begun, { from: 2 })).toBe('E_LICENCE_REVOKED');
    expect(await facts()).toEqual(['licensed', 'revoked', 'revoked']);
  });

  it('can be changed only by its owner, with a newer statement than the last', async () => {
    for (const who of ['holder', 'admin'] as const) expect(await say('revoke', undefined, who)).toBe('E_FORBIDDEN');
    expect(await say('suspend', 10)).toBe('done');
    for (const old of [9, 10]) expect(await say('reinstate', old)).toBe('E_CONFLICT');
    expect(await print()).toBe('E_LICENCE_SUSPENDED');
    expect(await say('reinstate', 11)).toBe('done');
    expect(await say('suspend', 10)).toBe('E_CONFLICT');
    expect(await print()).toBe('done');
  });

  it('completes a statement at the next start that a killed process left half-done', async () => {
    const waiting = await fixture.print(licence, machine);
    const { context } = fixture;
    const { send } = context.mailbox;
    context.mailbox.send = () => Promise.reject(new Error('killed'));
    await expect(fixture.submit('owner', body('suspend'))).rejects.toThrow('killed');
    context.mailbox.send = send;
    expect(await print()).toBe('E_LICENCE_SUSPENDED');
    expect(await stateOf(waiting)).toBe('queued');
    await finishInterrupted(context);
    expect(await stateOf(waiting)).toBe('refused E_LICENCE_SUSPENDED');
    expect(await facts()).toEqual(['licensed', 'suspended']);
    const mail = await fixture.queue.claim('segments-1', { consumer: 'test', limit: 100, leaseMs: 1_000 });
    expect(mail.filter(({ id }) => id.includes('status/'))).toHaveLength(1);
  });

  it('has a permit in the ledger before a later statement, although the permit’s mail failed', async () => {
    const early = await fixture.print(licence, machine);
    const { context } = fixture;
    const { send } = context.mailbox;
    context.mailbox.send = () => Promise.reject(new Error('no room'));
    expect(await home(early)).not.toBe('done');
    context.mailbox.send = send;
    expect(await say('revoke')).toBe('done');
    const revoked = (await context.ledger.account(`licence:${licence}`)).at(-1)?.index ?? 0;
    const [ordered] = await context.ledger.account(`${licence}-1`);
    expect(ordered?.index).toBeLessThan(revoked);
  });
});

describe('racing prints and permits', () => {
  it('permit exactly N objects of a licence for N, for every N from 1 to 20', async () => {
    for (let n = 1; n <= 20; n++) {
      licence = await fixture.grant(design, [machine], { objects: n });
      const racers = Array.from({ length: n + 5 }, async () => {
        const asked = await fixture.print(licence, machine).catch(({ code }: { code: string }) => code);
        return asked.startsWith('E_') ? asked : home(asked, { run: systemRandom(16) });
      });
      const outcomes = await Promise.all(racers);
      expect(outcomes.filter((one) => one === 'done')).toHaveLength(n);
      expect(outcomes.filter((one) => one === 'E_LICENCE_EXHAUSTED')).toHaveLength(5);
      const accounts = Array.from({ length: n + 1 }, (_, i) => fixture.context.ledger.account(`${licence}-${i + 1}`));
      const permitted = (await Promise.all(accounts)).map((events) => events.length > 0);
      expect(permitted).toEqual([...new Array<boolean>(n).fill(true), false]);
    }
  }, 120_000);

  it('a licence for no objects cannot be granted', async () => {
    expect(await codeOf(fixture.grant(design, [machine], { objects: 0 }))).toBe('E_INPUT');
  });
});

describe('racing prints, permits and a statement', () => {
  it.each(['suspend', 'revoke', 'stop'] as const)('after %s is acknowledged no object is ordered', async (change) => {
    const { context } = fixture;
    licence = await fixture.grant(design, [machine], { objects: 60 });
    let [made, acknowledged] = [0, false];
    let statement: Promise<void> | undefined;
    const lateDone: string[] = [];
    const racer = async () => {
      const late = acknowledged;
      const asked = await fixture.print(licence, machine).catch(() => undefined);
      if (asked === undefined || (await home(asked, { run: systemRandom(16) })) !== 'done') return;
      if (late) lateDone.push(asked);
      if (++made === 5)
        statement = fixture.submit('owner', body(change)).then(() => {
          acknowledged = true;
        });
    };
    const lanes = Array.from({ length: 8 }, async () => {
      for (let i = 0; i < 12; i++) await racer();
    });
    await Promise.all(lanes);
    await statement;
    expect(lateDone).toEqual([]);
    const stated = (await context.ledger.account(`licence:${licence}`)).at(-1)?.index ?? 0;
    const { permitted } = await objectsOf();
    expect(permitted.length).toBeGreaterThanOrEqual(5);
    expect(permitted.length).toBeLessThan(60);
    expect(Math.max(...permitted)).toBeLessThan(stated);
    for await (const [, { state }] of context.records.prints.list()) expect(state).not.toBe('queued');
  });

  /** The log indexes of the permits of all objects. */
  async function objectsOf() {
    const permitted: number[] = [];
    for (let i = 1; i <= 60; i++)
      for (const { event, index } of await fixture.context.ledger.account(`${licence}-${i}`))
        if (event.type === 'permitted') permitted.push(index);
    return { permitted };
  }
});

describe('a licence at a proactive node', () => {
  const owner = generateUserKey();
  let book: ObjectRepository;
  let store: MemoryRecords;
  let grant: Bytes;
  const hex = () => toHex(systemRandom(16));
  const installation = hex();
  const admin = generateUserKey();
  const directory = { installation, adminKey: toHex(admin.publicKey) } as never;
  const sign = (content: object, signer = owner, id = systemRandom(16)) =>
    signTransaction(signer, installation, { ...content, id, issued: 0, expires: 1 } as never);

  const opening = (object: number) =>
    ({
      permit: { object: `${licence}-${object}`, print: hex(), machine: hex(), licence, design: hex(), number: object },
      request: { run: systemRandom(16), from: 0 },
      transfers: [],
    }) as unknown as VerifiedOpening;
  /** The permit of each object's newest session. */
  const permits = new Map<string, string>();
  const use = (opened: VerifiedOpening) => {
    const permit = hex();
    permits.set(opened.permit.object, permit);
    return codeOf(book.use(opened, permit));
  };
  const take = async (change: Change, at?: number, signer = owner) =>
    codeOf(
      book.setStatus(
        {
          type: 'licence.status',
          licence: grant,
          licenceSigner: await registerKey(admin, installation, owner.publicKey),
          transaction: await sign(body(change, at), signer),
          credential: await registerKey(admin, installation, signer.publicKey),
        },
        { directory, ownerOf: () => ({ owner: owner.publicKey }) },
      ),
    );
  const give = (object: string) =>
    codeOf(book.give(object, permits.get(object) ?? '', { from: 0, to: 1, acked: 0, segments: 9, window: 4 }));

  beforeEach(async () => {
    const id = systemRandom(16);
    licence = toHex(id);
    store = new MemoryRecords();
    book = new ObjectRepository(store);
    grant = await sign(
      {
        type: 'licence.grant',
        design: hex(),
        core: new Uint8Array(32),
        objects: 5,
        machines: [{ machine: hex(), registration: new Uint8Array(32) }],
        materials: [],
        notBefore: 0,
        notAfter: 1,
        holder: new Uint8Array(33).fill(2),
        secretHash: new Uint8Array(32),
        telemetryKey: new Uint8Array(65),
        disclose: [],
      },
      owner,
      id,
    );
  });

  it('starts no object while it is suspended or revoked, and finishes started ones', async () => {
    const begun = opening(1);
    expect(await use(begun)).toBe('done');
    expect(await take('suspend')).toBe('done');
    expect(await use(opening(2))).toBe('E_LICENCE_SUSPENDED');
    expect([await use(begun), await give(begun.permit.object)]).toEqual(['done', 'done']);
    expect(await take('reinstate')).toBe('done');
    expect(await use(opening(2))).toBe('done');
    expect(await take('revoke')).toBe('done');
    expect(await use(opening(3))).toBe('E_LICENCE_REVOKED');
    expect([await use(begun), await give(begun.permit.object)]).toEqual(['done', 'done']);
    expect(await take('stop')).toBe('done');
    expect([await use(begun), await give(begun.permit.object)]).toEqual(['E_LICENCE_REVOKED', 'E_LICENCE_REVOKED']);
  });

  it('accepts statements of its owner only, and no old one again, whoever delivers it', async () => {
    for (const signer of [generateUserKey(), generateUserKey()])
      expect(await take('reinstate', 99, signer)).toBe('E_AUTH');
    await take('suspend', 5);
    await take('reinstate', 4);
    await take('reinstate', 5);
    expect(await use(opening(1))).toBe('E_LICENCE_SUSPENDED');
    await take('revoke', 3);
    await take('reinstate', 100);
    expect(await use(opening(1))).toBe('E_LICENCE_REVOKED');
  });

  it('keeps its status when the node is restored to an older state', async () => {
    await take('revoke');
    const older = new MemoryRecords();
    await keepCounts(store, older);
    book = new ObjectRepository(older);
    expect(await use(opening(1))).toBe('E_LICENCE_REVOKED');
  });
});
