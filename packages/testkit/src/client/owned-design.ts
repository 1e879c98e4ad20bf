import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, systemRandom } from '@millrace/base';
import type { Installation } from '@millrace/cli';
import { SEALED_BYTES } from '@millrace/client/parts';
import { userKey } from '@millrace/identity';
import { encodeManifest, type Manifest, readManifest, sealPrivatePart } from '@millrace/vault';

export interface OwnedDesign {
  readonly design: string;
  readonly bytes: Bytes;
  readonly manifest: Manifest;
  readonly secret: Bytes;
}

/** The manifest of a design of the installation's owner. Segment n is filled with the byte n. */
export async function ownedDesign({ layout }: Installation, segments = 3): Promise<OwnedDesign> {
  const owner = await readFile(join(layout.user('owner'), 'user.key'));
  const [nonce, secret] = [systemRandom(16), systemRandom(32)];
  const hashOf = (n: number) => createHash('sha256').update(new Uint8Array(SEALED_BYTES).fill(n)).digest();
  const part = { name: 'part.gcode', nonce, designSecret: secret, time: { model: 1 } };
  const bytes = encodeManifest({
    owner: userKey(owner).publicKey,
    custody: 'owner',
    kind: 'gcode',
    size: (segments - 1) * 16_370 + 1,
    segments,
    nonce,
    hashes: new Uint8Array(Buffer.concat(Array.from({ length: segments }, (_, n) => hashOf(n)))),
    times: new Uint32Array(segments),
    contentMac: new Uint8Array(32),
    private: sealPrivatePart(owner, { ...part, material: { name: 'PLA', milligrams: 0 } }),
  });
  const manifest = readManifest(bytes);
  return { design: manifest.designId, bytes, manifest, secret };
}
