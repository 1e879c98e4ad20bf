import { fileURLToPath } from 'node:url';
import { concatBytes, fromBase64, fromHex, systemClock, toHex, utf8 } from '@millrace/base';
import { syntheticDesign } from '@millrace/gcode';
import { generateUserKey, keyId } from '@millrace/identity';
import { contentKeysInfo, openFromBox, verifyTransaction } from '@millrace/protocol';
import { keysBox, keyView, testInstallation } from '@millrace/testkit/client/helpers';
import { chromium, pageSays } from '@millrace/testkit/live-matrix/page';
import { openPrivatePart, openSegment, readManifest } from '@millrace/vault';
import { rolldown } from 'rolldown';
import { beforeAll, describe, expect, it } from 'vitest';
import { createSealer } from '../src/index.ts';
import { prepareAndSign, textSource } from './scenario.ts';

type Said = Readonly<Record<'manifest' | 'keys' | 'transaction', string>> & { readonly segments: readonly string[] };

/** Bundles a script with its imports, as a page would load it. */
async function bundle(name: string): Promise<string> {
  const build = await rolldown({
    input: fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url)),
    platform: 'browser',
    resolve: { conditionNames: ['browser', '@millrace/source', 'import', 'default'] },
  });
  const { output } = await build.generate({ format: 'esm', codeSplitting: false });
  return output[0].code;
}

if (chromium === undefined) console.log('the client in a browser: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('the client in a browser', () => {
  const signer = generateUserKey();
  const secret = signer.exportSecret();
  const design = new TextDecoder().decode(concatBytes(...syntheticDesign({ bytes: 100_000 })));
  let box: Awaited<ReturnType<typeof keysBox>>;
  let installation: string;
  let inNode: Awaited<ReturnType<typeof prepareAndSign>>;
  let said: { readonly onPage: Said; readonly inWorker: Said; readonly empty: string };

  beforeAll(async () => {
    const { directory, ...others } = await testInstallation();
    installation = directory.installation;
    box = await keysBox({ directory, ...others });
    const now = systemClock.now();
    const { credential } = await keyView({ directory, ...others }, signer.publicKey);
    const documents = { box: toHex(box.document), credential: toHex(fromBase64(credential)) };
    const given = { directory: { ...directory }, ...documents, secret: toHex(secret), design, now };
    inNode = await prepareAndSign(given, textSource(design), createSealer());
    const [script, worker] = await Promise.all(['page.ts', 'worker.ts'].map(bundle));
    const answer = await pageSays(chromium ?? '', { script: script ?? '', given: { ...given, worker } });
    expect(answer).toMatch(/^\{/);
    said = JSON.parse(answer);
  });

  it('seals a design to the same bytes as Node', () => {
    expect(said.onPage.manifest).toBe(toHex(inNode.manifest));
    expect(said.onPage.segments).toEqual(inNode.segments.map(toHex));
    expect(inNode.segments.length).toBeGreaterThan(3);
  });

  it('signs transactions that Node accepts', async () => {
    const lookup = (id: Uint8Array) => (toHex(id) === toHex(keyId(signer.publicKey)) ? signer.publicKey : undefined);
    for (const { transaction, manifest } of [said.onPage, said.inWorker]) {
      const { body } = await verifyTransaction(fromHex(transaction), installation, lookup, systemClock.now());
      expect(body).toMatchObject({ type: 'design.delete', design: readManifest(fromHex(manifest)).designId });
    }
  });

  it('seals in a worker with the worker’s randomness; the keys node and a licensed machine can open it', async () => {
    expect(said.inWorker.manifest).not.toBe(said.onPage.manifest);
    for (const one of [said.onPage, said.inWorker]) {
      const manifest = readManifest(fromHex(one.manifest));
      const ceks = await openFromBox(box, contentKeysInfo(manifest.designId, signer.publicKey), fromHex(one.keys));
      const part = openPrivatePart(secret, manifest.private ?? new Uint8Array());
      expect(part).toMatchObject({ name: 'part.gcode', material: { name: 'PETG' }, nonce: manifest.nonce });
      expect(part.time.model).toBeGreaterThan(0);
      const pieces = one.segments.map((segment, number) =>
        openSegment({
          cek: ceks.subarray(32 * number, 32 * number + 32),
          designSecret: part.designSecret,
          designNonce: manifest.nonce,
          number,
          final: number === manifest.segments - 1,
          sealed: fromHex(segment),
        }),
      );
      expect(concatBytes(...pieces).subarray(0, manifest.size)).toEqual(utf8(design));
    }
  });

  it('gets the error code of a failure in the worker', () => {
    expect(said.empty).toBe('E_DESIGN_EMPTY');
  });
});
