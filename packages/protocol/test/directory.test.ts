import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toHex } from '@millrace/base';
import { generateP256Key, generateUserKey } from '@millrace/identity';
import { createProtocolFixture } from '@millrace/testkit/protocol/support';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type DirectoryDocument,
  directoryAt,
  directoryFiles,
  fetchDirectory,
  fingerprintsOf,
  firstDocument,
  identitiesOf,
  logKeysOf,
  nodeOf,
  nodesOf,
  openDirectory,
  seenSequence,
  signDirectory,
  signPermit,
  verifyDirectory,
  verifyPermitOf,
} from '../src/index.ts';

const { directory, keys } = createProtocolFixture();
const anchor = { installation: directory.installation, adminKey: directory.adminKey };
const first = firstDocument(directory, 1_000);
const refused = { code: 'E_DIRECTORY' };

/** The next document, which lists another fingerprint of control in addition to the previous one. */
const second: DirectoryDocument = {
  ...first,
  sequence: 2,
  nodes: first.nodes.map((node) =>
    node.role === 'control'
      ? {
          ...node,
          fingerprints: [
            { fingerprint: '11'.repeat(32), since: 2_000 },
            { fingerprint: '00'.repeat(32), since: 1_000, until: 5_000 },
          ],
        }
      : node,
  ),
};

describe('a signed directory', () => {
  it('is accepted with the administrator’s signature', async () => {
    const signed = await signDirectory(keys.admin, first);
    expect(verifyDirectory(JSON.parse(JSON.stringify(signed)), anchor)).toEqual(first);
    expect(directoryAt(first, 0)).toMatchObject(directory);
  });

  it('is rejected when it was changed, signed by another key, or is for another installation', async () => {
    const signed = await signDirectory(keys.admin, first);
    expect(() => verifyDirectory({ ...signed, directory: { ...first, name: 'other' } }, anchor)).toThrow(
      expect.objectContaining(refused),
    );
    const stranger = generateUserKey();
    expect(() => verifyDirectory({ directory: first, signature: 'ab' }, anchor)).toThrow(
      expect.objectContaining(refused),
    );
    const theirs = await signDirectory(stranger, first);
    expect(() => verifyDirectory(theirs, anchor)).toThrow(expect.objectContaining(refused));
    const own = await signDirectory(stranger, { ...first, adminKey: toHex(stranger.publicKey) });
    expect(() => verifyDirectory(own, anchor)).toThrow(expect.objectContaining(refused));
    expect(() => verifyDirectory(signed, { ...anchor, installation: '00'.repeat(16) })).toThrow(
      expect.objectContaining(refused),
    );
  });

  it('has an end for every entry but the newest', async () => {
    const [newest] = first.permitKeys;
    if (newest === undefined) throw new Error('no permit key');
    for (const permitKeys of [[{ ...newest, until: 3 }], [newest, newest], []])
      await expect(signDirectory(keys.admin, { ...first, permitKeys })).rejects.toMatchObject({ code: 'E_CONFIG' });
  });
});

describe('the nodes of a directory', () => {
  const [control, ...others] = first.nodes;
  if (control === undefined) throw new Error('no node');
  /** A second segments node. */
  const added = {
    id: 'segments-2',
    role: 'segments' as const,
    addresses: [{ host: 'segments.example', port: 7_603 }],
    fingerprints: [{ fingerprint: '22'.repeat(32), since: 1_000 }],
    identities: [{ key: toHex(generateP256Key().publicKey), since: 1_000 }],
  };
  const withNodes = (...nodes: DirectoryDocument['nodes']) => ({ ...first, nodes });

  it('may share a role, and are found by role or by id', async () => {
    const document = withNodes(...first.nodes, added);
    expect(verifyDirectory(await signDirectory(keys.admin, document), anchor)).toEqual(document);
    const at = directoryAt(document, 2_000);
    expect(nodesOf(at, 'segments').map(({ id }) => id)).toEqual(['segments-1', 'segments-2']);
    expect(nodesOf(at, 'segments-2')).toMatchObject([{ role: 'segments', addresses: added.addresses }]);
    expect(fingerprintsOf(at, 'segments')).toEqual(['a'.repeat(64), '22'.repeat(32)]);
    expect(identitiesOf(at, 'segments-2')).toEqual([added.identities[0]?.key]);
    expect(nodesOf(at, 'segments-3')).toEqual([]);
    expect(() => nodeOf(at, 'segments-3')).toThrow(expect.objectContaining(refused));
  });

  it('share no id, certificate or identity, have ids that are not roles, and fill every role', async () => {
    const [fingerprints, identities] = [control.fingerprints, control.identities];
    for (const nodes of [
      [...first.nodes, { ...added, id: 'control-1' }],
      [...first.nodes, { ...added, id: 'segments' }],
      [...first.nodes, { ...added, id: 'Segments 2' }],
      [...first.nodes, { ...added, fingerprints }],
      [...first.nodes, { ...added, identities }],
      [...first.nodes, { ...added, role: 'printer' as 'segments' }],
      others,
    ])
      await expect(signDirectory(keys.admin, withNodes(...nodes))).rejects.toMatchObject({ code: 'E_CONFIG' });
  });
});

describe('the accepted keys', () => {
  it('are the newest and, until its end, the one that it replaced', () => {
    expect(fingerprintsOf(directoryAt(second, 4_999), 'control')).toEqual(['11'.repeat(32), '00'.repeat(32)]);
    expect(fingerprintsOf(directoryAt(second, 5_000), 'control')).toEqual(['11'.repeat(32)]);
    expect(fingerprintsOf(directory, 'control')).toEqual(['00'.repeat(32)]);
    expect(identitiesOf(directoryAt(second, 0), 'keys')).toEqual([nodeOf(directory, 'keys').identity]);
  });

  it('of former logs can be limited to those accepted since a given time', () => {
    const [newest] = first.logKeys;
    if (newest === undefined) throw new Error('no log key');
    const at = directoryAt(
      {
        ...first,
        logKeys: [
          { key: 'new', since: 2 },
          { ...newest, until: 10 },
        ],
      },
      50,
    );
    expect(logKeysOf(at)).toEqual(['new', directory.logKey]);
    expect(logKeysOf(at, 11)).toEqual(['new']);
  });

  it('include a former permit key for permits issued before its end', async () => {
    const day = 86_400_000;
    const next = generateP256Key();
    const at = directoryAt(
      {
        ...first,
        permitKeys: [
          { key: toHex(next.publicKey), since: day },
          { key: directory.permitKey, since: 0, until: day },
        ],
      },
      10 * day,
    );
    const permit = (issued: number) => ({
      type: 'permit' as const,
      id: new Uint8Array(16),
      issued,
      expires: issued + 120_000,
      object: `${'ab'.repeat(16)}-1`,
      print: 'ab'.repeat(16),
      licence: 'ab'.repeat(16),
      design: 'ab'.repeat(16),
      number: 1,
      machine: 'ab'.repeat(16),
      request: new Uint8Array(32),
      count: 1 as const,
    });
    const { installation } = directory;
    const before = await signPermit(keys.permit, installation, permit(day - 1));
    expect((await verifyPermitOf(at, before, 'any time')).body.issued).toBe(day - 1);
    const after = await signPermit(keys.permit, installation, permit(3 * day));
    await expect(verifyPermitOf(at, after, 'any time')).rejects.toMatchObject({ code: 'E_PERMIT' });
    const fresh = await signPermit(next, installation, permit(3 * day));
    expect((await verifyPermitOf(at, fresh, 'any time')).body.issued).toBe(3 * day);
    const foreign = await signPermit(generateP256Key(), installation, permit(3 * day));
    await expect(verifyPermitOf(at, foreign, 'any time')).rejects.toMatchObject({ code: 'E_AUTH' });
  });
});

describe('a directory file', () => {
  let folder: string;
  let path: string;
  let time = 3_000;
  const open = () => openDirectory({ path, folder, anchor, clock: { now: () => time } });
  const write = async (document: DirectoryDocument) =>
    writeFile(path, JSON.stringify(await signDirectory(keys.admin, document)));
  beforeEach(async () => {
    time = 3_000;
    folder = await mkdtemp(join(tmpdir(), 'millrace-directory-'));
    path = join(folder, directoryFiles.directory);
    await write(first);
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('is reloaded while it is in use, and drops entries that have ended', async () => {
    const file = await open();
    const { directory: live } = file;
    expect(await file.refresh()).toBe(false);
    await write(second);
    expect(await file.refresh()).toBe(true);
    expect(file.sequence).toBe(2);
    expect(fingerprintsOf(live, 'control')).toEqual(['11'.repeat(32), '00'.repeat(32)]);
    time = 6_000;
    expect(await file.refresh()).toBe(true);
    expect(fingerprintsOf(live, 'control')).toEqual(['11'.repeat(32)]);
    expect(await seenSequence(folder)).toBe(2);
  });

  it('is rejected, durably, when a newer one was seen; the loaded one is kept', async () => {
    const file = await open();
    await write(second);
    await file.refresh();
    await write(first);
    await expect(file.refresh()).rejects.toMatchObject(refused);
    expect(nodeOf(file.directory, 'control').fingerprint).toBe('11'.repeat(32));
    await expect(open()).rejects.toMatchObject(refused);
    await write({ ...first, sequence: 2 }); // the same number with different content
    await expect(open()).rejects.toMatchObject(refused);
    await write({ ...second, sequence: 3 });
    expect((await open()).sequence).toBe(3);
  });

  it('is taken from the network when it is newer, and saved', async () => {
    const file = await open();
    const signed = await signDirectory(keys.admin, second);
    expect(await file.offer(file.signed)).toBe(false);
    expect(await file.offer(JSON.parse(JSON.stringify(signed)))).toBe(true);
    expect(file.signed).toEqual(signed);
    expect(nodeOf(file.directory, 'control').fingerprint).toBe('11'.repeat(32));
    expect(await file.refresh()).toBe(false);
    expect((await open()).sequence).toBe(2);
  });

  it('is rejected from the network when it is older, different or unsigned; the loaded one is kept', async () => {
    const file = await open();
    await file.offer(await signDirectory(keys.admin, second));
    const another = await signDirectory(keys.admin, { ...second, name: 'another' });
    const stranger = await signDirectory(generateUserKey(), { ...second, sequence: 3 });
    for (const offered of [await signDirectory(keys.admin, first), another, stranger, { directory: second }, undefined])
      await expect(file.offer(offered)).rejects.toMatchObject(refused);
    expect(file.sequence).toBe(2);
    expect((await open()).sequence).toBe(2);
    await file.offer(await signDirectory(keys.admin, { ...second, sequence: 3 }));
    expect(await seenSequence(folder)).toBe(3);
  });

  it('is requested by its number', async () => {
    const file = await open();
    const asked: number[] = [];
    const answering = (answer?: unknown) => async (query: { readonly after: number }) => {
      asked.push(query.after);
      return answer;
    };
    expect(await fetchDirectory(answering(), file)).toBe(false);
    expect(await fetchDirectory(answering(await signDirectory(keys.admin, second)), file)).toBe(true);
    const old = answering(await signDirectory(keys.admin, first));
    await expect(fetchDirectory(old, file)).rejects.toMatchObject(refused);
    expect(asked).toEqual([1, 1, 2]);
  });

  it('is rejected when it is unsigned, damaged or missing', async () => {
    for (const text of ['', '{}', JSON.stringify(first), (await readFile(path, 'utf8')).replace('test', 'tent')]) {
      await writeFile(path, text);
      await expect(open()).rejects.toMatchObject(refused);
    }
    await rm(path);
    await expect(open()).rejects.toMatchObject({ code: 'E_CONFIG' });
    expect(await seenSequence(folder)).toBeUndefined();
  });
});
