import { type Bytes, toHex, utf8 } from '@millrace/base';
import { codeOf, MemoryStore, origin, request, signer, stepClock, story } from '@millrace/testkit/ledger/helpers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeCertificate,
  encodeCertificate,
  exportCertificate,
  openLedger,
  verifyCertificate,
} from '../src/index.ts';
import { entryKey, mapPageKey, mapPagePrefix } from '../src/keys.ts';
import { readMapRoot } from '../src/map-root.ts';
import { proveInMap, updateMap } from '../src/map-store.ts';
import { bitOf, EMPTY_HASH, type MapLeaf, mapKey, mapLeafHash, mapNodeHash, verifyMapProof } from '../src/map-tree.ts';

/** Root by the definition, for comparison. */
function naiveMapRoot(leaves: readonly MapLeaf[], depth = 0): Bytes {
  const [only, second] = leaves;
  if (only === undefined) return EMPTY_HASH;
  if (second === undefined) return mapLeafHash(only);
  const half = (bit: 0 | 1) => leaves.filter(({ key }) => bitOf(key, depth) === bit);
  return mapNodeHash(naiveMapRoot(half(0), depth + 1), naiveMapRoot(half(1), depth + 1));
}

/** Keys with long common prefixes, which make deep trees. */
const keys = fc
  .tuple(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.integer({ min: 0, max: 255 }))
  .map(([tail, common]) => {
    const key = new Uint8Array(32).fill(0x5a);
    for (let bit = common; bit < 256; bit++) {
      const mask = 0x80 >> (bit & 7);
      const byte = key[bit >> 3] ?? 0;
      key[bit >> 3] = ((tail[bit >> 3] ?? 0) & mask) === 0 ? byte & ~mask : byte | mask;
    }
    return key;
  });
const leaf = fc.record({
  key: keys,
  sequence: fc.nat(),
  hash: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Uint8Array.from(bytes)),
});

async function apply(store: MemoryStore, leaves: readonly MapLeaf[]): Promise<Bytes> {
  const { root, writes } = await updateMap(store, leaves);
  await store.batch(writes);
  return root;
}

const unique = (leaves: readonly MapLeaf[]) => [...new Map(leaves.map((item) => [toHex(item.key), item])).values()];

describe('the map of accounts', () => {
  test('has the root of its definition after any updates, and proves every key and no other value', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(leaf, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 5 }),
        keys,
        async (batches, stranger) => {
          const store = new MemoryStore();
          const model = new Map<string, MapLeaf>();
          let root = EMPTY_HASH;
          for (const batch of batches) {
            const leaves = unique(batch);
            root = await apply(store, leaves);
            for (const item of leaves) model.set(toHex(item.key), item);
            expect(root).toEqual(naiveMapRoot([...model.values()]));
          }
          for (const key of [...[...model.values()].map((item) => item.key), stranger]) {
            const expected = model.get(toHex(key));
            const { leaf: found, proof } = await proveInMap(store, key);
            expect(found).toEqual(expected);
            expect(verifyMapProof(root, key, expected, proof)).toBe(true);
            const other = { sequence: (expected?.sequence ?? 0) + 1, hash: new Uint8Array(32) };
            expect(verifyMapProof(root, key, other, proof)).toBe(false);
            if (expected !== undefined) {
              expect(verifyMapProof(root, key, undefined, proof)).toBe(false);
              expect(verifyMapProof(root, key, undefined, { ...proof, other: expected })).toBe(false);
            }
            expect(verifyMapProof(mapLeafHash({ key, ...other }), key, expected, proof)).toBe(false);
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  test('a proof with one bit changed proves nothing', async () => {
    const store = new MemoryStore();
    const salt = new Uint8Array(32).fill(1);
    const leaves = Array.from({ length: 300 }, (_, i) => ({
      key: mapKey(salt, utf8(`account-${i}`)),
      sequence: i,
      hash: new Uint8Array(32).fill(i),
    }));
    const root = await apply(store, leaves);
    expect(root).toEqual(naiveMapRoot(leaves));
    for (const name of ['account-7', 'nobody', 'someone']) {
      const key = mapKey(salt, utf8(name));
      const { leaf: found, proof } = await proveInMap(store, key);
      expect(found?.sequence).toBe(name === 'account-7' ? 7 : undefined);
      expect(verifyMapProof(root, key, found, proof)).toBe(true);
      for (let i = 0; i < proof.siblings.length; i++) {
        const siblings = proof.siblings.map((hash) => Uint8Array.from(hash));
        const changed = siblings[i] as Bytes;
        changed[i] = (changed[i] ?? 0) ^ 1;
        expect(verifyMapProof(root, key, found, { ...proof, siblings })).toBe(false);
      }
      expect(verifyMapProof(root, key, found, { ...proof, siblings: proof.siblings.slice(1) })).toBe(false);
      expect(verifyMapProof(root, key, found, { ...proof, siblings: [...proof.siblings, EMPTY_HASH] })).toBe(false);
    }
  });

  test('a missing or damaged page is an error, and never another root', async () => {
    const store = new MemoryStore();
    const salt = new Uint8Array(32);
    const leaves = Array.from({ length: 40 }, (_, i) => ({
      key: mapKey(salt, utf8(`a${i}`)),
      sequence: 0,
      hash: new Uint8Array(32),
    }));
    await apply(store, leaves);
    for (const [key, value] of [...store.map].filter(([hex]) => hex.startsWith(toHex(mapPagePrefix)))) {
      if (key === toHex(mapPageKey(0, new Uint8Array()))) continue;
      for (const wrong of [undefined, value.subarray(1), Uint8Array.from([3, ...value.subarray(1)])]) {
        const damaged = store.clone();
        if (wrong === undefined) damaged.map.delete(key);
        else damaged.map.set(key, wrong);
        expect(await codeOf(() => updateMap(damaged, leaves))).toBe('E_LEDGER_ENTRY');
      }
    }
  });
});

const openMapped = (store = new MemoryStore(), changes = 1_000) =>
  openLedger({ store, signer, origin, clock: stepClock(), map: { changes } });

describe('a ledger with a map', () => {
  test('logs the root of all accounts, and proves each of them at its newest event', async () => {
    const store = new MemoryStore();
    const ledger = await openMapped(store);
    await ledger.appendMany(story());
    const logged = await ledger.logMap();
    expect(logged).toMatchObject({ index: 9, event: { account: 'map', type: 'mapped', sequence: 0 } });
    const { root, salt } = readMapRoot(logged);
    const names = ['licence-1', 'machine-1', 'object-1', 'object-2'];
    const proofs = await ledger.mapProofs(names);
    expect(proofs?.logged).toEqual(logged);
    for (const [i, name] of names.entries()) {
      const head = name === 'object-2' ? undefined : await ledger.head(name);
      const value = head && { sequence: head.sequence, hash: head.hash };
      const proof = proofs?.proofs[i];
      if (proof === undefined) throw new Error('no proof');
      expect(verifyMapProof(root, mapKey(salt, utf8(name)), value, proof)).toBe(true);
      expect(verifyMapProof(root, mapKey(salt, utf8(name)), { sequence: 9, hash: logged.hash }, proof)).toBe(false);
    }
    expect((await ledger.check()).ok).toBe(true);
    expect(await ledger.logMap()).toEqual(logged);
    expect(ledger.size).toBe(10);
  });

  test('reads each page once for many proofs, and pages beside each other', async () => {
    const store = new MemoryStore();
    const ledger = await openMapped(store);
    await ledger.appendMany(Array.from({ length: 300 }, (_, i) => request(`object-${i}`, 'ordered')));
    await ledger.logMap();
    const read: string[] = [];
    let [running, most] = [0, 0];
    const get = store.get.bind(store);
    store.get = async (key) => {
      read.push(toHex(key));
      most = Math.max(most, ++running);
      await new Promise(setImmediate);
      running--;
      return get(key);
    };
    const proofs = await ledger.mapProofs(Array.from({ length: 200 }, (_, i) => `object-${i}`));
    expect(proofs?.proofs).toHaveLength(200);
    expect(new Set(read).size).toBe(read.length);
    expect(most).toBeGreaterThan(8);
  });

  test('keeps salt and map when it is reopened, and maps what was appended before', async () => {
    const store = new MemoryStore();
    const first = await openMapped(store);
    await first.appendMany(story().slice(0, 4));
    const before = readMapRoot(await first.logMap());
    await first.appendMany(story().slice(4));
    const second = await openMapped(store);
    const after = readMapRoot(await second.logMap());
    expect(after.salt).toEqual(before.salt);
    expect(after.root).not.toEqual(before.root);
    const [map] = await second.account('map');
    const leaves = (await second.accounts()).map(({ account, sequence, hash }) => ({
      key: mapKey(after.salt, utf8(account)),
      // The second root covers the entry of the first one, and not its own.
      ...(account === 'map' ? { sequence: 0, hash: map?.hash as Bytes } : { sequence, hash }),
    }));
    expect(after.root).toEqual(naiveMapRoot(leaves));
    expect((await second.check()).ok).toBe(true);
  });
});

describe('a certificate with the map', () => {
  /** The log of the example, then a second object under the same licence and machine, then the map. */
  async function mappedLog() {
    const ledger = await openMapped();
    await ledger.appendMany(story());
    await ledger.appendMany(story('object-2').slice(2));
    const logged = await ledger.logMap();
    return { ledger, logged, certificate: await exportCertificate(ledger, 'object-1') };
  }

  test('proves that it holds all events of its accounts up to the logged root', async () => {
    const { ledger, logged, certificate } = await mappedLog();
    const verified = verifyCertificate(certificate, { logKey: ledger.logKey });
    expect(verified.completeTo).toBe(logged.index);
    expect(verified.events).toHaveLength(7);
    expect(encodeCertificate(decodeCertificate(certificate))).toEqual(certificate);
    await ledger.append(request('object-1', 'retired'));
    const later = verifyCertificate(await exportCertificate(ledger, 'object-1'), { logKey: ledger.logKey });
    expect(later).toMatchObject({ completeTo: logged.index, state: 'retired' });
  });

  test('is refused without an event of the object, the licence or the machine', async () => {
    const { ledger } = await mappedLog();
    await ledger.append(request('licence-1', 'inspected'));
    await ledger.append(request('object-1', 'inspected', { eventId: 'again' }));
    await ledger.logMap();
    const whole = decodeCertificate(await exportCertificate(ledger, 'object-1'));
    expect(verifyCertificate(encodeCertificate(whole), { logKey: ledger.logKey }).completeTo).toBe(19);
    for (const index of [17, 18]) {
      const entries = whole.entries.filter((entry) => entry.index !== index);
      const cut = encodeCertificate({ ...whole, entries });
      expect(await codeOf(() => verifyCertificate(cut, { logKey: ledger.logKey }))).toBe('E_LEDGER_PROOF');
    }
    // Without the map the same certificate verifies, and claims less.
    const { map: _, ...silent } = { ...whole, entries: whole.entries.filter(({ index }) => index !== 18) };
    expect(verifyCertificate(encodeCertificate(silent), { logKey: ledger.logKey }).completeTo).toBeUndefined();
  });

  test('is refused with proofs of other accounts, of an older map, or of another event', async () => {
    const { ledger, certificate } = await mappedLog();
    const parts = decodeCertificate(certificate);
    const { map } = parts;
    const foreign = decodeCertificate(await exportCertificate(ledger, 'object-2')).map;
    if (map === undefined || foreign === undefined) throw new Error('no map');
    const [, , ...rest] = map.accounts;
    const [first, second] = map.accounts;
    if (first === undefined || second === undefined) throw new Error('no proofs');
    const event = parts.entries[3];
    if (event === undefined) throw new Error('no entry');
    const wrongs: [typeof map, string][] = [
      [{ ...map, accounts: [second, first, ...rest] }, 'E_LEDGER_PROOF'],
      [{ ...map, accounts: foreign.accounts }, 'E_LEDGER_PROOF'],
      [{ ...map, accounts: map.accounts.slice(1) }, 'E_CERTIFICATE'],
      [{ ...map, index: map.index - 1 }, 'E_LEDGER_PROOF'],
      [{ ...event, accounts: map.accounts }, 'E_LEDGER_ENTRY'],
    ];
    for (const [wrong, code] of wrongs)
      expect(
        await codeOf(() => verifyCertificate(encodeCertificate({ ...parts, map: wrong }), { logKey: ledger.logKey })),
      ).toBe(code);
  });

  test('a check finds a changed page, a foreign account, and a root that the map does not have', async () => {
    const store = new MemoryStore();
    const ledger = await openMapped(store);
    await ledger.appendMany(story());
    await ledger.logMap();
    const damages: ((copy: MemoryStore) => Promise<unknown>)[] = [
      async (copy) => {
        const [key] = [...copy.map.keys()].filter((hex) => hex.startsWith(toHex(mapPagePrefix)));
        const page = Uint8Array.from(copy.map.get(key ?? '') ?? []);
        page[page.length - 1] = (page.at(-1) ?? 0) ^ 1;
        copy.map.set(key ?? '', page);
      },
      async (copy) =>
        apply(copy, [{ key: mapKey(new Uint8Array(32), utf8('x')), sequence: 0, hash: new Uint8Array(32) }]),
      async (copy) => {
        for (const key of copy.map.keys()) if (key.startsWith(toHex(mapPagePrefix))) copy.map.delete(key);
      },
    ];
    for (const damage of damages) {
      const copy = store.clone();
      await damage(copy);
      const { ok, problems } = await (await openMapped(copy)).check();
      expect(ok).toBe(false);
      expect(problems.map(({ part }) => part)).toContain('map');
    }
  });

  test('a damaged opening stops neither the ledger nor its appends, only the map', async () => {
    const store = new MemoryStore();
    await (await openMapped(store)).appendMany(story());
    const record = Uint8Array.from((await store.get(entryKey(3))) ?? []);
    record[50] = (record[50] ?? 0) ^ 1;
    await store.batch([{ put: entryKey(3), value: record }]);
    const ledger = await openMapped(store, 2);
    await ledger.appendMany(story('object-2').slice(2));
    expect(await codeOf(() => ledger.logMap())).toBe('E_LEDGER_ENTRY');
    expect(ledger.size).toBe(16);
  });

  test('the map is logged by itself after enough changes, and a damaged map does not stop appends', async () => {
    const store = new MemoryStore();
    const ledger = await openMapped(store, 10);
    for (let i = 0; i < 25; i++) await ledger.append(request(`machine-${i}`, 'machine'));
    expect((await ledger.account('map')).length).toBe(2);
    expect((await ledger.check()).ok).toBe(true);
    for (const key of store.map.keys()) if (key.startsWith(toHex(mapPagePrefix))) store.map.set(key, new Uint8Array(1));
    for (let i = 25; i < 50; i++) await ledger.append(request(`machine-${i}`, 'machine'));
    expect((await ledger.account('map')).length).toBe(2);
    expect(await codeOf(() => ledger.logMap())).toBe('E_LEDGER_ENTRY');
  });
});
