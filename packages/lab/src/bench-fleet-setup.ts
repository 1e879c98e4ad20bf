import { createHash, hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Bytes, copyBytes, systemClock, systemRandom, toHex } from '@millrace/base';
import type { NodeConfig } from '@millrace/cloud';
import { windowFor } from '@millrace/cloud/parts';
import { DesignEstimator } from '@millrace/gcode';
import { type Authority, createAuthority, fingerprint, generateP256Key, p256Key } from '@millrace/identity';
import {
  type Addresses,
  type Directory,
  type NodeRole,
  nodeRoles,
  type SessionBinding,
  type StreamParameters,
} from '@millrace/protocol';
import { CONTENT_BYTES, SEGMENT_BYTES } from '@millrace/vault';

/** Mean consumption of a machine, design bytes per second. */
export const DRAW = 2_000;
/** Sealed segments that all machines print repeatedly; every session sends them under its own seed. */
const CELLS = 64;
/** Segments of the design: enough for any run. */
const SEGMENTS = 2_500;
const SAMPLE = new URL('../../../samples/impeller.gcode', import.meta.url);

/** An installation in memory, which is sent to the processes. */
export interface FleetSetup {
  readonly directory: Directory;
  readonly addresses: Addresses;
  readonly authority: Authority['identity'];
  readonly nodes: Readonly<Record<NodeRole, { readonly tls: Authority['identity']; readonly identity: Bytes }>>;
  /** Expected consumption of every segment, 0.1 ms. */
  readonly times: readonly number[];
  readonly folder: string;
}

export async function createFleetSetup(folder: string, ports: readonly [number, number]): Promise<FleetSetup> {
  const authority = await createAuthority('fleet', systemClock.now());
  const nodes = Object.fromEntries(
    await Promise.all(
      nodeRoles.map(async (role) => {
        const tls = await authority.issue({ role, id: `${role}-1` }, ['127.0.0.1']);
        return [role, { tls, identity: generateP256Key().exportSecret() }] as const;
      }),
    ),
  ) as FleetSetup['nodes'];
  const entryOf = (role: NodeRole) => ({
    id: `${role}-1`,
    role,
    addresses: [],
    fingerprint: fingerprint(nodes[role].tls.certificate),
    identity: toHex(p256Key(nodes[role].identity).publicKey),
  });
  return {
    directory: {
      version: 2,
      installation: toHex(systemRandom(16)),
      name: 'fleet',
      authority: authority.identity.certificate,
      nodes: nodeRoles.map(entryOf),
      permitKey: entryOf('control').identity,
      logKey: 'none',
      adminKey: `02${toHex(systemRandom(32))}`,
    },
    // Machines connect from several addresses of this computer, because each address has only 28,231 client ports.
    addresses: { control: { host: '127.0.0.1', port: ports[0] }, distribution: { host: '0.0.0.0', port: ports[1] } },
    authority: authority.identity,
    nodes,
    times: segmentTimes(),
    folder,
  };
}

/** A node's configuration, reduced to what the bench needs. */
export function configOf(fleet: FleetSetup, role: NodeRole): NodeConfig {
  const { tls, identity } = fleet.nodes[role];
  return {
    role,
    id: `${role}-1`,
    folder: `${fleet.folder}/${role}`,
    directory: fleet.directory,
    tls,
    identity: p256Key(identity),
    maintenance: { periodMs: 0, density: 100 } as NodeConfig['maintenance'],
    boxes: {
      mail: { periodMs: 600_000, retentionMs: 0 },
      attachments: { periodMs: 3_600_000, retentionMs: 86_400_000 },
    },
    chaffPercent: 0,
    staging: { designsPerOwner: 1, bytesPerOwner: 1e9, bytes: 1e9 },
    checks: { everyMs: 0, deepEveryMs: 0, afterStartMs: 0 },
    ledger: { listen: false, witnesses: [], everyMs: 1_000 },
    browsers: { listen: false },
    console: { listen: false },
    webhooks: { networks: [], http: false, retryMs: 5_000 },
    secret: () => Promise.reject(new Error('the bench has no such secret')),
  };
}

/** Segment durations of a real print, repeated and scaled to the fleet's mean consumption. */
function segmentTimes(): readonly number[] {
  const estimator = new DesignEstimator({});
  estimator.push(readFileSync(SAMPLE));
  // Without the last segment, which is not full, and the first two, in which the machine heats up and prints the first
  // layer.
  const seconds = [...estimator.finish().times].slice(2, -1);
  const mean = seconds.reduce((sum, one) => sum + one, 0) / seconds.length;
  const stretch = (CONTENT_BYTES / DRAW / mean) * 10_000;
  return Array.from({ length: SEGMENTS }, (_, i) => Math.round((seconds[i % seconds.length] ?? mean) * stretch));
}

/** Start position of each machine in the print. */
export function timesOf(fleet: FleetSetup, machine: string): readonly number[] {
  const begin = Number.parseInt(machine.slice(0, 4), 16) % SEGMENTS;
  return [...fleet.times.slice(begin), ...fleet.times.slice(0, begin)];
}

export function parametersOf(fleet: FleetSetup, machine: string): StreamParameters {
  return {
    object: `${machine}-1`,
    design: 'de'.repeat(16),
    designNonce: new Uint8Array(16),
    segments: SEGMENTS,
    from: 0,
    size: SEGMENTS * CONTENT_BYTES,
    window: windowFor(fleet.times, 1),
    order: 24,
    suite: 'keccak256',
    hints: 'dense',
    layer: 'ctr',
    revisionMs: 5_000,
  };
}

/** Stands in for the hash of a machine's documents. */
export function bindingOf(machine: string, session: Uint8Array): SessionBinding {
  return { openingHash: sha256(machine), session, licence: 'fleet', serial: machine };
}

/** A stored cell, the same in every process. Returns a copy, as a store does. */
export function createCells(): (segment: number) => Bytes {
  const cells = Array.from({ length: CELLS }, (_, i) =>
    copyBytes(createHash('shake256', { outputLength: SEGMENT_BYTES }).update(`cell ${i}`).digest()),
  );
  return (segment) => copyBytes(cells[segment % CELLS] ?? new Uint8Array(SEGMENT_BYTES));
}

/** Outer key and content key of a segment, 64 bytes, derived so that the machine can check them. */
export function keysOf(segment: number): Bytes {
  return new Uint8Array(hkdfSync('sha256', 'fleet', '', String(segment), 64));
}

function sha256(text: string): Bytes {
  return copyBytes(createHash('sha256').update(text).digest());
}
