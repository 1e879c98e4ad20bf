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

/** The machine's identity key and the installation. Files of other machines are rejected. */
export interface StateSigner {
  readonly key: MachineKey;
  readonly installation: string;
}

export interface SignedFile<T> {
  /** @throws {MillraceError} E_STORE if the file is damaged or belongs to another machine */
  read(): Promise<T | undefined>;
  write(value: T): Promise<void>;
  clear(): Promise<void>;
}

/**
 * A file of the agent's state: a COSE_Sign1 by the machine's identity key over a CBOR map. An edited file is rejected.
 * A restored older file is not detected here; the counts of both proactive nodes protect against that.
 * @param label kind of content, so that no other file is accepted in its place
 * @param remedy what the operator can do if the file cannot be read
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
