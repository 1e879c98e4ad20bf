import { type Bytes, copyBytes, MillraceError, parse, utf8 } from '@millrace/base';
import { z } from 'zod';
import type { EventRequest } from './event.ts';
import { MAP_SALT_LENGTH, type MapProof, type MapValue, mapKey, verifyMapProof } from './map-tree.ts';
import type { LoggedEvent } from './opening.ts';
import { HASH_LENGTH } from './tree.ts';

// The root of the map is logged like any other event, in an account of its own. It covers all entries before its own.

/** Account of the events that log the root of the map. */
export const MAP_ACCOUNT = 'map';

const bytes = (length: number) => z.instanceof(Uint8Array).refine((value) => value.length === length);
const bodySchema = z.strictObject({ root: bytes(HASH_LENGTH), salt: bytes(MAP_SALT_LENGTH) });

export interface MapRoot {
  readonly root: Bytes;
  readonly salt: Bytes;
}

/** @param size number of entries that the map covers */
export function mapRequest(size: number, { root, salt }: MapRoot, actor: string): EventRequest {
  return { account: MAP_ACCOUNT, type: 'mapped', actor, body: { root, salt }, eventId: `map/${size}` };
}

/** @throws {MillraceError} E_LEDGER_ENTRY unless the event logs the root of a map */
export function readMapRoot({ event, index }: LoggedEvent): MapRoot {
  if (event.account !== MAP_ACCOUNT || event.type !== 'mapped')
    throw new MillraceError('E_LEDGER_ENTRY', `entry ${index} is not the root of the account map`);
  const { root, salt } = parse(bodySchema, event.body, `entry ${index}`, 'E_LEDGER_ENTRY');
  return { root: copyBytes(root), salt: copyBytes(salt) };
}

/** Whether the map holds this newest event of the account, or none if undefined. */
export function verifyAccountInMap(
  { root, salt }: MapRoot,
  account: string,
  newest: MapValue | undefined,
  proof: MapProof,
): boolean {
  return verifyMapProof(root, mapKey(salt, utf8(account)), newest, proof);
}
