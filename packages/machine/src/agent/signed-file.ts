import {
  type Bytes,
  concatBytes,
  decodeCbor,
  encodeCbor,
  fromHex,
  MillraceError,
  parse,
  removeDurably,
  utf8,
  writeDurably,
} from '@millrace/base';
import { keyId, type MachineKey, parseSign1, sign1, verifySign1, verifySignature } from '@millrace/identity';
import type { z } from 'zod';
import { readIfThere } from './files.ts';

/** The machine's identity key and the installation. No other machine's files are accepted. */
export interface StateSigner {
  readonly key: MachineKey;
  readonly installation: string;
}

export interface SignedFile<T> {
  /** @throws {MillraceError} E_STORE when the file is damaged, or not this machine's */
  read(): Promise<T | undefined>;
  write(value: T): Promise<void>;
  clear(): Promise<void>;
}

/**
 * A file of the agent's own state: a COSE_Sign1 by the machine's identity key over a CBOR map. An edited file is refused.
 * An older file that is put back is not noticed here: the counts of both proactive nodes are against that.
 * @param label what the file says, so that no other file passes for it
 * @param remedy what the operator can do when it cannot be read
 */
export function signedFile<S extends z.ZodType>(
  path: string,
  { key, installation }: StateSigner,
  { label, schema, remedy }: { label: string; schema: S; remedy: string },
): SignedFile<z.output<S>> {
  const context: Bytes = concatBytes(utf8(`millrace/v1/agent/${label}/`), fromHex(installation));
  return {
    read: async () => {
      const bytes = await readIfThere(path);
      if (bytes === undefined) return undefined;
      try {
        const message = parseSign1(bytes);
        verifySign1(message, key.algorithm, key.publicKey, context, verifySignature);
        return parse(schema, decodeCbor(message.payload, label), label, 'E_STORE');
      } catch (cause) {
        throw new MillraceError('E_STORE', `${path} is damaged, or was not written by this agent: ${remedy}`, {
          cause,
        });
      }
    },
    write: async (value) =>
      writeDurably(path, await sign1(key, keyId(key.publicKey), encodeCbor(value as never), context)),
    clear: () => removeDurably(path),
  };
}
