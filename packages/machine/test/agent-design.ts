import { type Bytes, systemRandom } from '@millrace/base';
import { applyOuterLayer, CONTENT_BYTES, sealSegment } from '@millrace/vault';

/** A design as the vault holds it: one cell and its two keys (k_e ‖ CEK) for each segment. */
export interface StoredDesign {
  readonly bytes: Bytes;
  readonly nonce: Bytes;
  readonly cells: readonly Bytes[];
  readonly keys: readonly Bytes[];
}

export function storeDesign(bytes: Bytes): StoredDesign {
  const designNonce = systemRandom(16);
  const segments = Math.ceil(bytes.length / CONTENT_BYTES);
  const keys = Array.from({ length: segments }, () => systemRandom(64));
  const cells = keys.map((key, number) => {
    const content = new Uint8Array(CONTENT_BYTES);
    content.set(bytes.subarray(number * CONTENT_BYTES, (number + 1) * CONTENT_BYTES));
    const cek = key.subarray(32);
    const sealed = sealSegment({ cek, content, designNonce, number, final: number === segments - 1 });
    return applyOuterLayer(key.subarray(0, 32), sealed);
  });
  return { bytes, nonce: designNonce, cells, keys };
}
