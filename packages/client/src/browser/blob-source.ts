import { MillraceError } from '@millrace/base';
import type { ByteSource } from '../prepare.ts';

/** A blob as a source of a design. The blob itself can be sent to a worker. */
export interface BlobSource extends ByteSource {
  readonly blob: Blob;
}

/** @param name default: the name of a file; a blob has none */
export function blobSource(
  blob: Blob & { readonly name?: string; readonly lastModified?: number },
  name = blob.name,
): BlobSource {
  return {
    blob,
    size: blob.size,
    identity: { path: name ?? 'design', size: blob.size, mtimeMs: blob.lastModified ?? 0 },
    chunks: () => chunksOf(blob),
    // A blob whose file changed can no longer be read, so reading it has already failed.
    requireUnchanged: async () => undefined,
  };
}

/** @throws {MillraceError} E_CONFLICT if the file behind the blob was changed or removed */
export async function* chunksOf(blob: Blob): AsyncGenerator<Uint8Array> {
  const reader = blob.stream().getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } catch (cause) {
    throw new MillraceError('E_CONFLICT', 'the file changed while it was read', { cause });
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
