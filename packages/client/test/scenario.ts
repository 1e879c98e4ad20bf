import { type Bytes, fromHex, type RandomSource, systemClock, toBase64, u32be, wipe } from '@millrace/base';
import { userKey } from '@millrace/identity';
import { type Directory, sha256 } from '@millrace/protocol';
import {
  type Api,
  type ByteSource,
  createMemoryStorage,
  type PreparedDesign,
  prepare,
  type Sealer,
  type Session,
  signNew,
} from '../src/index.ts';

/** What an owner needs to prepare a design, as JSON, so that it can also be passed to a page. */
export interface Given {
  readonly directory: Directory;
  /** The keys node's box key, signed, hexadecimal. */
  readonly box: string;
  /** The administrator's registration of the owner, hexadecimal. */
  readonly credential: string;
  /** The owner's secp256k1 secret, hexadecimal. */
  readonly secret: string;
  readonly design: string;
  readonly now: number;
}

export interface Outcome {
  readonly manifest: Bytes;
  readonly keys: Bytes;
  readonly segments: readonly Bytes[];
  readonly transaction: Bytes;
}

/** A deterministic source of random bytes. */
function repeatable(): RandomSource {
  let calls = 0;
  return (length) => {
    const bytes = new Uint8Array(length);
    const seed = u32be(calls++);
    for (let at = 0; at < length; at += 32) bytes.set(sha256(seed, u32be(at)).subarray(0, length - at), at);
    return bytes;
  };
}

function ownerOf({ directory, box, credential, secret, now }: Given): Session {
  const signer = userKey(fromHex(secret));
  return {
    directory,
    signer,
    user: { name: 'owner', signer },
    contacts: { users: [], machines: [] },
    storage: createMemoryStorage(),
    api: {
      attachmentBox: async () => fromHex(box),
      key: async (key) => ({ key, name: 'owner', credential: toBase64(fromHex(credential)) }),
    } as Partial<Api> as Api,
    clock: { ...systemClock, now: () => now },
    random: repeatable(),
    close: () => signer.close(),
  };
}

async function contentsOf(prepared: PreparedDesign): Promise<Omit<Outcome, 'transaction'>> {
  const file = await prepared.openSegments();
  const segments: Bytes[] = [];
  for (let n = 0; n < prepared.state.segments; n++) segments.push(await file.read(n));
  await file.close();
  return { manifest: await prepared.manifest(), keys: await prepared.keys(), segments };
}

/** Prepares a design as its owner and signs a transaction. */
export async function prepareAndSign<S extends ByteSource>(
  given: Given,
  source: S,
  sealer: Sealer<S>,
): Promise<Outcome> {
  const owner = ownerOf(given);
  try {
    const prepared = await prepare(owner, source, { material: 'PETG' }, sealer, () => undefined);
    const contents = await contentsOf(prepared);
    const { bytes } = await signNew(owner, { type: 'design.delete', design: prepared.state.design });
    return { ...contents, transaction: bytes };
  } finally {
    owner.close();
  }
}

/** Chunks of odd lengths, each valid until the next one is read. */
export function textSource(text: string): ByteSource {
  const bytes = new TextEncoder().encode(text);
  return {
    size: bytes.length,
    identity: { path: 'part.gcode', size: bytes.length, mtimeMs: 1 },
    chunks: async function* () {
      for (let at = 0; at < bytes.length; at += 10_007) {
        const chunk = bytes.slice(at, at + 10_007);
        yield chunk;
        wipe(chunk);
      }
    },
    requireUnchanged: async () => undefined,
  };
}
