import { type Bytes, copyBytes } from '@millrace/base';
import type { NodeRole } from '@millrace/protocol';
import {
  applyOuterLayer,
  CONTENT_BYTES,
  openSegment,
  readManifest,
  type SliceCell,
  sealSegment,
} from '@millrace/vault';
import { filesOf, type Haystack } from '../scan.ts';
import type { Licensed } from './honest.ts';
import { type HostileInstallation, openHostileInstallation } from './hostile-installation.ts';
import { type HostileRelay, ownRelay } from './hostile-relay.ts';
import { override } from './override.ts';

/** An installation in which one attacker controls some of the nodes. */
export interface Coalition extends HostileInstallation {
  readonly members: readonly NodeRole[];
  readonly relay: HostileRelay;
  has(...roles: readonly NodeRole[]): boolean;
}

/** Number of segments of every design. */
export const SEGMENTS = 6;

export interface TestInstallation extends Coalition {
  /** Designs in custody of the owner and of the keys node. */
  readonly job: Licensed;
  readonly kept: Licensed;
  /** Data of another tenant. */
  readonly theirs: Licensed;
}

export async function openCoalition(members: readonly NodeRole[]): Promise<Coalition> {
  const system = await openHostileInstallation();
  return {
    ...system,
    members,
    relay: ownRelay(system.nodes.distribution.relay),
    has: (...roles) => roles.every((role) => members.includes(role)),
  };
}

/** Places, outer keys and content keys of a design, from the keys node. */
export function keysOf(system: HostileInstallation, { design, content }: Licensed): Promise<SliceCell[]> {
  return system.nodes.keys.parts.playbook.slice(design, 0, Math.ceil(content.length / CONTENT_BYTES));
}

/** Sealed segments, from cells and outer keys. */
export async function sealedOf(system: HostileInstallation, job: Licensed): Promise<Bytes[]> {
  const slice = await keysOf(system, job);
  const { cells } = system.nodes.segments.parts;
  return Promise.all(slice.map(async ({ index, outerKey }) => applyOuterLayer(outerKey, await cells.read(index))));
}

/** Number of segments that a candidate design secret opens. */
export async function opened(
  system: HostileInstallation,
  job: Licensed,
  sealed: readonly Bytes[],
  secrets: readonly Uint8Array[],
): Promise<number> {
  const { nonce, segments } = readManifest(await system.nodes.keys.parts.playbook.manifest(job.design));
  const slice = await keysOf(system, job);
  return slice.filter(({ segment: number, cek }) =>
    secrets.some((designSecret) => {
      try {
        const place = { designNonce: nonce, number, final: number === segments - 1 };
        const content = openSegment({ cek, designSecret, sealed: sealed[number] ?? new Uint8Array(), ...place });
        const own = job.content.subarray(number * CONTENT_BYTES, (number + 1) * CONTENT_BYTES);
        return Buffer.from(content.subarray(0, own.length)).equals(own);
      } catch {
        return false;
      }
    }),
  ).length;
}

/** All data of the members about a job: folders, relayed messages, cells without their outer layer. */
export async function lootOf(system: Coalition, job: Licensed): Promise<Haystack[]> {
  const loot: Haystack[] = [];
  for (const role of system.members) loot.push(...filesOf(system.installation.layout.node(role)));
  if (system.has('distribution')) loot.push(...system.relay.seen.map(({ leg, bytes }) => ({ name: leg, bytes })));
  if (system.has('keys', 'segments'))
    for (const [i, bytes] of (await sealedOf(system, job)).entries()) loot.push({ name: `sealed ${i}`, bytes });
  return loot;
}

/** Replaces the content of every sent segment, sealed with the design's own keys if the members have them. */
export async function forgeContent(
  system: Coalition,
  job: Licensed,
  content: Uint8Array,
  designSecret: Uint8Array,
): Promise<() => void> {
  const { nonce, segments } = readManifest(await system.nodes.keys.parts.playbook.manifest(job.design));
  const forged = new Map<string, Bytes>();
  for (const { segment: number, index, outerKey, cek } of await keysOf(system, job)) {
    const piece = new Uint8Array(CONTENT_BYTES);
    piece.set(content.subarray(number * CONTENT_BYTES, (number + 1) * CONTENT_BYTES));
    const place = { designNonce: nonce, number, final: number === segments - 1 };
    const sealed = sealSegment({ cek, designSecret, content: piece, ...place });
    forged.set(Buffer.from(index).toString('hex'), applyOuterLayer(outerKey, sealed));
  }
  const { cells } = system.nodes.segments.parts;
  const read = cells.read.bind(cells);
  return override(cells, 'read', async (index) => {
    const cell = forged.get(Buffer.from(index).toString('hex'));
    return cell === undefined ? read(index) : copyBytes(cell);
  });
}

/** Makes every member alter its messages. @returns a function that restores the original code */
export function spoil(system: Coalition): () => void {
  const undo: (() => void)[] = [];
  const flip = (bytes: Uint8Array, at: number): Bytes => {
    const changed = copyBytes(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    return changed;
  };
  if (system.has('segments')) {
    const { cells } = system.nodes.segments.parts;
    const read = cells.read.bind(cells);
    let count = 0;
    undo.push(override(cells, 'read', async (index) => (count++ === 2 ? flip(await read(index), 99) : read(index))));
  }
  if (system.has('keys')) {
    const { playbook } = system.nodes.keys.parts;
    const slice = playbook.slice.bind(playbook);
    undo.push(
      override(playbook, 'slice', async (design, from, to) =>
        (await slice(design, from, to)).map((cell) =>
          cell.segment === 3 ? { ...cell, cek: flip(cell.cek, 5) } : cell,
        ),
      ),
    );
  }
  if (system.has('distribution')) {
    let frames = 0;
    system.relay.meddle = (leg, bytes) =>
      leg === 'from segments' && bytes[0] === 2 && frames++ === 4 ? [flip(bytes, 300)] : [bytes];
    undo.push(() => system.relay.behave());
  }
  return () => {
    for (const step of undo) step();
  };
}

/** Makes the members stop working. @returns a function that makes them continue */
export function strike(system: Coalition): () => void {
  const undo: (() => void)[] = [];
  const { control, keys, segments } = system.nodes;
  if (system.has('control')) undo.push(override(control.context.mailbox, 'send', async () => undefined));
  if (system.has('keys')) undo.push(override(keys.parts.streams, 'open', async () => undefined));
  if (system.has('segments')) undo.push(override(segments.parts.streams, 'open', async () => undefined));
  if (system.has('distribution')) {
    system.relay.meddle = () => [];
    undo.push(() => system.relay.behave());
  }
  return () => {
    for (const step of undo) step();
  };
}
