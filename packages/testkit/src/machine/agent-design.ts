import { createHash } from 'node:crypto';
import { type Bytes, systemRandom } from '@millrace/base';
import { generateUserKey, type MemorySigner } from '@millrace/identity';
import { type SecretBinding, sealDesignSecret, sealEnvelopeKey } from '@millrace/protocol';
import {
  applyOuterLayer,
  CONTENT_BYTES,
  type Custody,
  contentMac,
  encodeManifest,
  envelopeKey,
  HashTree,
  type Manifest,
  readManifest,
  sealEnvelope,
  sealSegment,
} from '@millrace/vault';

/** A design as stored by the vault: one cell and its two keys (k_e ‖ CEK) for each segment. */
export interface StoredDesign {
  readonly bytes: Bytes;
  readonly owner: MemorySigner;
  readonly secret: Bytes;
  readonly manifest: Manifest;
  readonly tree: HashTree;
  readonly cells: readonly Bytes[];
  readonly keys: readonly Bytes[];
}

export interface StoreOptions {
  readonly owner?: MemorySigner;
  readonly custody?: Custody;
  readonly kind?: string;
  /** How far the design goes; CBOR. Sealed under its secret. */
  readonly envelope?: Bytes;
}

export function storeDesign(
  bytes: Bytes,
  { owner = generateUserKey(), custody = 'owner', kind = 'gcode', envelope }: StoreOptions = {},
) {
  const [nonce, secret] = [systemRandom(16), systemRandom(32)];
  const segments = Math.ceil(bytes.length / CONTENT_BYTES);
  const keys = Array.from({ length: segments }, () => systemRandom(64));
  const sealed = keys.map((key, number) => sealPiece({ bytes, key, nonce, secret, number, segments }));
  const mac = contentMac({ cek: cekOf(keys[0] ?? new Uint8Array()), designSecret: secret });
  mac.update(bytes);
  const manifest = readManifest(
    encodeManifest({
      owner: owner.publicKey,
      custody,
      kind,
      size: bytes.length,
      segments,
      nonce,
      hashes: new Uint8Array(Buffer.concat(sealed.map((one) => createHash('sha256').update(one).digest()))),
      times: new Uint32Array(segments),
      contentMac: mac.digest(),
      private: undefined,
      envelope: envelope && sealEnvelope({ designSecret: secret, nonce }, envelope),
    }),
  );
  const cells = sealed.map((one, number) => applyOuterLayer(outerOf(keys[number] ?? new Uint8Array()), one));
  return { bytes, owner, secret, manifest, tree: new HashTree(manifest.hashes), cells, keys } satisfies StoredDesign;
}

/** What a licence seals to a machine: the design secret, or the key of the envelope if the keys node has custody. */
export async function sealedSecrets(
  { manifest: { custody, nonce }, secret: designSecret }: StoredDesign,
  machine: { readonly publicKey: Uint8Array },
  binding: SecretBinding,
): Promise<{ readonly secret: Bytes } | { readonly envelopeKey: Bytes }> {
  if (custody === 'owner') return { secret: await sealDesignSecret(machine, binding, designSecret) };
  return { envelopeKey: await sealEnvelopeKey(machine, binding, envelopeKey({ designSecret, nonce })) };
}

/**
 * The same design with other bytes, sealed under its own keys and secret, as a cloud that has all of them could forge
 * it.
 */
export function withOtherBytes(design: StoredDesign, bytes: Bytes): StoredDesign {
  const { keys, secret, manifest } = design;
  const { nonce, segments } = manifest;
  const cells = keys.map((key, number) =>
    applyOuterLayer(outerOf(key), sealPiece({ bytes, key, nonce, secret, number, segments })),
  );
  return { ...design, bytes, cells };
}

const outerOf = (key: Bytes) => key.subarray(0, 32);
const cekOf = (key: Bytes) => key.subarray(32);

function sealPiece(options: {
  bytes: Bytes;
  key: Bytes;
  nonce: Bytes;
  secret: Bytes;
  number: number;
  segments: number;
}): Bytes {
  const { bytes, key, nonce, secret, number, segments } = options;
  const content = new Uint8Array(CONTENT_BYTES);
  content.set(bytes.subarray(number * CONTENT_BYTES, (number + 1) * CONTENT_BYTES));
  const place = { designNonce: nonce, number, final: number === segments - 1 };
  return sealSegment({ cek: cekOf(key), designSecret: secret, content, ...place });
}
