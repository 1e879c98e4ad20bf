import { fromBase64, systemRandom, toHex } from '@millrace/base';
import { generateP256Key, keyName } from '@millrace/identity';
import { readMapRoot, verifyAccountInMap } from '@millrace/ledger';
import { licenceAccount, type Machine, machineAccount, objectId } from '@millrace/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import { mapProofs } from '../src/control/map-proofs.ts';
import { userActor } from '../src/node/policy.ts';
import { codeOf, controlFixture, type UserName } from './control-fixture.ts';

let fixture: Awaited<ReturnType<typeof controlFixture>>;
let machine: Machine;
let licence: string;
/** An object of the licence that a former holder has made, and the next one. */
let made: string;
let next: string;

beforeAll(async () => {
  fixture = await controlFixture();
  const key = generateP256Key();
  machine = {
    ...{ machine: keyName(key.publicKey), publicKey: key.publicKey, serial: 'SN-1' },
    ...{ kind: 'virtual', profile: { factor: 1 } },
  };
  await fixture.submit('admin', { type: 'machine.register', machine });
  const design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
  licence = await fixture.grant(design, [machine], { objects: 3 });
  [made, next] = [objectId(licence, 1), objectId(licence, 2)];
  const { records, ledger } = fixture.context;
  const print = await fixture.print(licence, machine, 'holder');
  await records.claims.create(`${licence}/1`, { print });
  await records.prints.update(print, (record) => ({ ...record, holder: nameOf('other'), number: 1, object: made }));
  await ledger.append({ account: made, type: 'ordered', actor: 'other', body: {}, eventId: 'made' });
});

const nameOf = (who: UserName) => keyName(fixture.keys[who].publicKey);
function ask(who: UserName, accounts: string[], size = fixture.context.ledger.size) {
  const { context } = fixture;
  return mapProofs(context, userActor(context.directory, nameOf(who)), { size, accounts });
}

describe('proofs of the map of accounts', () => {
  it('are of a logged root that covers the caller’s head', async () => {
    const { ledger } = fixture.context;
    const { size } = ledger;
    const { index, proofs } = await ask('owner', [licenceAccount(licence), made, next]);
    expect(index).toBe(size);
    const root = readMapRoot(await ledger.entry(index));
    for (const [i, account] of [licenceAccount(licence), made, next].entries()) {
      const { siblings = [], other, newest } = proofs[i] ?? {};
      const decoded = {
        siblings: siblings.map(fromBase64),
        other: other && { ...other, key: fromBase64(other.key), hash: fromBase64(other.hash) },
      };
      expect(newest === undefined).toBe(account === next);
      expect(verifyAccountInMap(root, account, await ledger.head(account), decoded)).toBe(true);
    }
    // The root covers this head, too.
    expect((await ask('owner', [next])).index).toBe(index);
    expect(ledger.size).toBe(size + 1);
  });

  it('are given for accounts that the caller may read, and for objects that its licence does not have', async () => {
    const cells: Record<string, string[]> = {};
    const foreign = objectId(toHex(systemRandom(16)), 1);
    const accounts = [machineAccount(machine.machine), licenceAccount(licence), made, next, foreign, 'licence:none'];
    for (const who of ['admin', 'owner', 'holder', 'approver', 'other'] as const) {
      cells[who] = [];
      for (const account of accounts) cells[who].push(await codeOf(ask(who, [account])));
    }
    const [yes, no] = ['done', 'E_FORBIDDEN'];
    expect(cells).toEqual({
      admin: [yes, no, no, no, no, no],
      owner: [yes, yes, yes, yes, no, no],
      // The holder did not make the first object.
      holder: [yes, yes, no, yes, no, no],
      approver: [yes, no, no, no, no, no],
      other: [yes, no, yes, no, no, no],
    });
    // One account that it may not read is enough.
    expect(await codeOf(ask('holder', [next, made]))).toBe(no);
  });

  it('are refused for a head that the ledger has not reached', async () => {
    expect(await codeOf(ask('owner', [next], fixture.context.ledger.size + 1))).toBe('E_INPUT');
  });
});
