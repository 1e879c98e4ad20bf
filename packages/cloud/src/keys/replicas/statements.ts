import {
  type Bytes,
  type CborValue,
  decodeCbor,
  encodeCbor,
  equalBytes,
  hkdf,
  MillraceError,
  parse,
  utf8,
  wipe,
} from '@millrace/base';
import { hmacSha256 } from '@millrace/base/crypto';
import { z } from 'zod';

/** A keys node, of which there are several replicas. */
export interface ReplicatedNode {
  readonly installation: string;
  /** The node's id in the directory. */
  readonly node: string;
}

const envelope = z.strictObject({ body: z.instanceof(Uint8Array), mac: z.instanceof(Uint8Array) });

/**
 * What the replicas of a keys node write into their keyspace for each other: CBOR {body, mac}, where mac is
 * HMAC-SHA-256 under a key that only they have (spec/vault.md, section 7). Who can write to the keyspace can withhold
 * and repeat such statements, but not make one.
 */
export class Statements {
  readonly #key: Bytes;
  readonly node: ReplicatedNode;

  /** @param kek the node's key-encrypting key; the caller wipes it */
  constructor(node: ReplicatedNode, kek: Uint8Array) {
    this.node = node;
    this.#key = hkdf([kek], utf8(node.installation), utf8(`millrace/v1/keys-replicas/${node.node}`));
  }

  /** @param place where it is written: it is valid nowhere else */
  make(place: string, body: CborValue): Bytes {
    const bytes = encodeCbor(body);
    return encodeCbor({ body: bytes, mac: this.#mac(place, bytes) });
  }

  /** @throws {MillraceError} E_AUTH if it is no statement of this node's replicas at this place */
  read<S extends z.ZodType>(schema: S, place: string, bytes: Uint8Array): z.output<S> {
    const what = `statement ${place}`;
    const { body, mac } = parse(envelope, decodeCbor(bytes, what, 'E_AUTH'), what, 'E_AUTH');
    if (!equalBytes(mac, this.#mac(place, body)))
      throw new MillraceError('E_AUTH', `the ${what} was not made by a replica of ${this.node.node}`);
    return parse(schema, decodeCbor(body, what, 'E_AUTH'), what, 'E_AUTH');
  }

  close(): void {
    wipe(this.#key);
  }

  #mac(place: string, body: Uint8Array): Bytes {
    const mac = hmacSha256(this.#key);
    mac.update(utf8(`${place}\0`));
    mac.update(body);
    return mac.digest();
  }
}
