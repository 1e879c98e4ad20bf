import { appendFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Bytes, concatBytes, systemClock, systemRandom, toBase64, utf8, writeDurably } from '@millrace/base';
import type { Installation } from '@millrace/cli';
import { type InstallationSession, openSession, openUser } from '@millrace/cli';
import { keyName } from '@millrace/identity';
import { contentKeysInfo, openFromBox } from '@millrace/protocol';
import {
  codeOf,
  type KeysBox,
  keysBox,
  keyView,
  temporaryFolder,
  testInstallation,
} from '@millrace/testkit/client/helpers';
import { CONTENT_BYTES, openPrivatePart, openSegment, readManifest } from '@millrace/vault';
import { beforeAll, describe, expect, it } from 'vitest';
import { designKind, designKindOfFile, designKinds } from '../src/design-kinds.ts';
import { prepareFile } from '../src/node/file-source.ts';
import { makeFolder } from '../src/node/files.ts';
import type { PreparedDesign } from '../src/prepared.ts';
import { readRecord, withName } from '../src/records.ts';
import { withSecret } from '../src/secret.ts';

const sample = fileURLToPath(new URL('../../../samples/impeller.gcode', import.meta.url));
let installation: Installation;
let owner: InstallationSession;
let uploads: string;
let box: KeysBox;

beforeAll(async () => {
  installation = await testInstallation();
  const { run } = installation.layout;
  await makeFolder(run.folder);
  const nowhere = { host: '127.0.0.1', port: 1 };
  await writeDurably(run.addresses, JSON.stringify({ control: nowhere, distribution: nowhere }));
  const session = await openSession({ installation, user: 'owner', clock: systemClock, random: systemRandom });
  box = await keysBox(installation);
  const view = await keyView(installation, session.signer.publicKey);
  owner = { ...session, api: { ...session.api, attachmentBox: async () => box.document, key: async () => view } };
  uploads = join(owner.user.folder, 'uploads');
});

const quiet = () => undefined;

/** Decrypts the design, as the keys node and a licensed machine could together. */
async function open(prepared: PreparedDesign): Promise<Bytes> {
  const manifest = readManifest(await prepared.manifest());
  const info = contentKeysInfo(prepared.state.design, owner.signer.publicKey);
  const ceks = await openFromBox(box, info, await prepared.keys());
  const { designSecret } = await withSecret(owner.user, (secret) =>
    openPrivatePart(secret, manifest.private ?? new Uint8Array()),
  );
  const file = await prepared.openSegments();
  const pieces: Bytes[] = [];
  for (let number = 0; number < manifest.segments; number += 1) {
    const cek = ceks.slice(32 * number, 32 * (number + 1));
    const final = number === manifest.segments - 1;
    const place = { designNonce: manifest.nonce, number, final };
    pieces.push(openSegment({ cek, designSecret, ...place, sealed: await file.read(number) }));
  }
  await file.close();
  return concatBytes(...pieces).slice(0, manifest.size);
}

describe('a G-code file', () => {
  it('is sealed byte for byte, with its times, so that only the keys node’s key opens it', async () => {
    const seen: number[] = [];
    const prepared = await prepareFile(owner, sample, {}, (done) => seen.push(done));
    const bytes = new Uint8Array(await readFile(sample));
    expect(await open(prepared)).toEqual(bytes);
    const manifest = readManifest(await prepared.manifest());
    expect(manifest).toMatchObject({ kind: 'gcode', size: bytes.length });
    expect(manifest.designId).toBe(prepared.state.design);
    expect(manifest).toMatchObject({ custody: 'owner', owner: owner.signer.publicKey });
    expect(prepared.state.segments).toBe(Math.ceil(bytes.length / CONTENT_BYTES));
    const seconds = manifest.times.reduce((sum, tenths) => sum + tenths, 0) / 10_000;
    // The slicer says 46 min 37 s. The motion model and the heating that the slicer leaves out differ a little.
    expect(seconds).toBeGreaterThan(30 * 60);
    expect(seconds).toBeLessThan(75 * 60);
    expect(seen.at(-1)).toBe(bytes.length);
    await prepared.remove();
  });

  it('has name, box, material, times and picture sealed to the owner, and none of them in clear', async () => {
    const prepared = await prepareFile(owner, sample, { name: 'secret impeller', material: 'PETG' }, quiet);
    const bytes = await prepared.manifest();
    for (const text of ['secret impeller', 'impeller', 'PETG', 'PNG'])
      expect(Buffer.from(bytes).includes(text), text).toBe(false);
    const manifest = readManifest(bytes);
    const sealed = manifest.private ?? new Uint8Array();
    const part = await withSecret(owner.user, (secret) => openPrivatePart(secret, sealed));
    expect(part).toMatchObject({ name: 'secret impeller', nonce: manifest.nonce, material: { name: 'PETG' } });
    expect(part.box?.slice(0, 3)).toEqual([5_000, 4_000, 280]);
    // The slicer leaves out heating and homing, 101 s.
    expect(part.time.slicer).toBe(2_797_000);
    expect(Math.abs((part.time.model - 101_000) / 2_797_000 - 1)).toBeLessThan(0.05);
    expect(part.thumbnail?.subarray(1, 4)).toEqual(utf8('PNG'));
    expect(part.thumbnail?.length).toBeLessThanOrEqual(32_768);
    const other = await openUser(installation, 'operator');
    const operator = await withSecret(other, (secret) =>
      codeOf(Promise.resolve().then(() => openPrivatePart(secret, sealed))),
    );
    other.close();
    expect(operator).toBe('E_SEAL');

    // This computer reads it from the owner's record, another one from the private part that control keeps.
    const { design } = prepared.state;
    expect(await readRecord(owner, design)).toMatchObject({ name: 'secret impeller', time: { slicer: 2_797 } });
    expect(await readFile(join(join(owner.user.folder, 'designs', design), 'thumbnail.png'))).toEqual(
      Buffer.from(part.thumbnail ?? []),
    );
    await rm(join(owner.user.folder, 'designs', design), { recursive: true });
    const key = keyName(owner.signer.publicKey);
    const core = toBase64(manifest.core);
    const of = { owner: key, addedBy: { key } };
    const shown = { design, name: 'design 1234', core, ...of, custody: 'owner', kind: 'gcode' } as const;
    const view = { ...shown, size: 1, segments: 1, state: 'stored', maintenance: 'rekey' } as const;
    const elsewhere = { ...owner, api: { ...owner.api, privatePart: async () => sealed } };
    expect(await withName(elsewhere, view)).toMatchObject({ name: 'secret impeller' });
    expect(await withName(owner, view)).toMatchObject({ name: 'secret impeller' });
    await prepared.remove();
  });

  it('leaves no plaintext of the design in the owner’s upload folder', async () => {
    const prepared = await prepareFile(owner, sample, {}, quiet);
    const folder = join(uploads, prepared.state.design);
    const design = await readFile(sample);
    for (const name of await readdir(folder)) {
      const stored = await readFile(join(folder, name));
      for (let at = 0; at + 16 <= design.length; at += 4_096) {
        expect(stored.includes(design.subarray(at, at + 16))).toBe(false);
      }
    }
    await prepared.remove();
  });

  it('is reused when its upload was interrupted, and prepared again when it has changed', async () => {
    const file = join(await temporaryFolder(), 'part.gcode');
    await writeFile(file, 'G28\nG1 X10 F600\n');
    const first = await prepareFile(owner, file, {}, quiet);
    expect((await prepareFile(owner, file, {}, quiet)).state.design).toBe(first.state.design);
    await appendFile(file, 'G1 X20\n');
    const second = await prepareFile(owner, file, {}, quiet);
    expect(second.state.design).not.toBe(first.state.design);
    expect(Buffer.from(await open(second)).toString()).toBe('G28\nG1 X10 F600\nG1 X20\n');
    await first.remove();
    await second.remove();
  });
});

describe('a binary file', () => {
  it('is timed by the rate of the sink', async () => {
    const file = join(await temporaryFolder(), 'data.bin');
    await writeFile(file, systemRandom(40_000));
    expect(await codeOf(prepareFile(owner, file, {}, quiet))).toBe('E_INPUT');
    const prepared = await prepareFile(owner, file, { bytesPerSecond: 16_370, name: 'noise' }, quiet);
    const manifest = readManifest(await prepared.manifest());
    expect(manifest).toMatchObject({ kind: 'binary', segments: 3 });
    expect([...manifest.times].map((tenths) => Math.round(tenths / 100))).toEqual([100, 100, 44]);
    expect(await open(prepared)).toEqual(new Uint8Array(await readFile(file)));
    await prepared.remove();
  });
});

describe('the kind of a design', () => {
  it('follows from the file name unless it is given', () => {
    for (const name of ['a.gcode', 'b.GCO', 'c.nc']) expect(designKindOfFile(name).kind).toBe('gcode');
    for (const name of ['a.bin', 'gcode', 'b.stl']) expect(designKindOfFile(name).kind).toBe('binary');
    expect(designKinds.map(({ kind }) => designKind(kind).kind)).toEqual(['gcode', 'binary']);
  });

  it('is rejected when this client cannot estimate its time', async () => {
    const file = join(await temporaryFolder(), 'axis.steps');
    await writeFile(file, systemRandom(100));
    expect(await codeOf(prepareFile(owner, file, { kind: 'steps', bytesPerSecond: 100 }, quiet))).toBe('E_INPUT');
  });
});

describe('a file that cannot be sealed', () => {
  it.each([
    ['an empty file', 'empty.gcode', '', 'E_DESIGN_EMPTY'],
    ['a line that cannot be executed', 'bad.gcode', 'G28\nG1 Xten\n', 'E_GCODE'],
  ])('%s is rejected with its code, and leaves nothing behind', async (_, name, text, code) => {
    const file = join(await temporaryFolder(), name);
    await writeFile(file, text);
    expect(await codeOf(prepareFile(owner, file, {}, quiet))).toBe(code);
    expect(await readdir(uploads)).toEqual([]);
  });

  it('a missing file, and a folder', async () => {
    expect(await codeOf(prepareFile(owner, '/no/such/file.gcode', {}, quiet))).toBe('E_NOT_FOUND');
    expect(await codeOf(prepareFile(owner, await temporaryFolder(), {}, quiet))).toBe('E_INPUT');
  });

  it('a file that changes while it is read', async () => {
    const file = join(await temporaryFolder(), 'growing.gcode');
    await writeFile(file, 'G28\n');
    let grown = false;
    const grow = () => {
      if (!grown) void appendFile(file, 'G1 X1 F600\n');
      grown = true;
    };
    expect(await codeOf(prepareFile(owner, file, {}, grow))).toBe('E_CONFLICT');
    expect(await readdir(uploads)).toEqual([]);
  });

  it('an interruption by the user', async () => {
    const stop = new AbortController();
    const session = { ...owner, signal: stop.signal };
    await expect(prepareFile(session, sample, {}, () => stop.abort(new Error('interrupted')))).rejects.toThrow(
      'interrupted',
    );
    expect(await readdir(uploads)).toEqual([]);
  });
});
