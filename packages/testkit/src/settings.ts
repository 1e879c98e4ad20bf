import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Layout } from '@millrace/cli/parts';
import { machineFiles, nodeFiles } from '@millrace/cli/parts';
import type { NodeRole } from '@millrace/protocol';

export interface MachineChoice {
  readonly kind?: string;
  /** Registered speed factor. */
  readonly factor?: number;
  readonly bytesPerSecond?: number;
  readonly order?: 16 | 24 | 'auto';
  readonly suite?: 'keccak256' | 'turboshake128' | 'auto';
  /** With `auto`: time above which a table is too slow, ms. */
  readonly slowTableMs?: number;
  readonly hints?: 'dense' | 'sparse';
  /** Driver settings that differ from the registered ones, such as an attacker's factor, or faults. */
  readonly driver?: Readonly<Record<string, unknown>>;
  readonly stallMs?: number;
  readonly giveUpMs?: number;
  readonly threads?: number;
  readonly engine?: 'native' | 'wasm-simd' | 'wasm' | 'ts';
}

export interface MaintenanceChoice {
  readonly periodMs: number;
  /** Percentage of real cells. */
  readonly density: number;
  readonly budget?: { readonly bytesPerSecond?: number; readonly coreShare?: number; readonly moneyPerMonth?: number };
}

type Json = Record<string, unknown>;

async function change(path: string, edit: (json: Json) => Json): Promise<void> {
  const json = JSON.parse(await readFile(path, 'utf8')) as Json;
  await writeFile(path, `${JSON.stringify(edit(json), null, 2)}\n`);
}

/** Changes the machine's settings in its folder and, before it is registered, also in the installation. */
export async function setMachine(layout: Layout, name: string, choice: MachineChoice): Promise<void> {
  const { kind = 'virtual', factor = 1, bytesPerSecond, driver = {} } = choice;
  const { order = 16, suite = 'keccak256', hints = 'dense', stallMs = 3_000, giveUpMs = 60_000 } = choice;
  const { threads, engine, slowTableMs } = choice;
  const profile = bytesPerSecond === undefined ? { factor } : { factor, bytesPerSecond };
  await change(join(layout.machine(name), machineFiles.settings), (json) => ({
    ...json,
    kind,
    profile,
    driver,
    agent: {
      order,
      suite,
      hints,
      stallMs,
      giveUpMs,
      ...(threads === undefined ? {} : { threads }),
      ...(slowTableMs === undefined ? {} : { slowTableMs }),
      ...(engine === undefined ? {} : { engine }),
    },
  }));
  await change(layout.installation, (json) => ({
    ...json,
    machines: (json.machines as { name: string; registration: Json }[]).map((machine) =>
      machine.name === name ? { ...machine, registration: { ...machine.registration, kind, profile } } : machine,
    ),
  }));
}

/** Changes only the driver's settings: the machine's real behaviour, not its registration. */
export async function setDriver(
  layout: Layout,
  name: string,
  driver: Readonly<Record<string, unknown>>,
): Promise<void> {
  await change(join(layout.machine(name), machineFiles.settings), (json) => ({ ...json, driver }));
}

/**
 * Sets the chaff hints for every 100 data hints, in streams of sparse hints. The keys node reads the setting when it
 * starts.
 */
export async function setChaff(layout: Layout, chaffPercent: number): Promise<void> {
  await change(join(layout.node('keys'), nodeFiles.settings), (json) => ({ ...json, chaffPercent }));
}

export async function setMaintenance(layout: Layout, maintenance: MaintenanceChoice): Promise<void> {
  await change(join(layout.node('keys'), nodeFiles.settings), (json) => ({ ...json, maintenance }));
}

/** Adds fields to the settings of a node, which reads them when it starts. */
export async function setNode(layout: Layout, role: NodeRole, fields: Json): Promise<void> {
  await change(join(layout.node(role), nodeFiles.settings), (json) => ({ ...json, ...fields }));
}

export interface BoxChoice {
  readonly periodMs: number;
  readonly retentionMs: number;
}

/**
 * Sets how often box keys are made and how long they are kept. Control, segments and keys nodes read it when they
 * start.
 */
export async function setBoxes(
  layout: Layout,
  boxes: { readonly mail: BoxChoice; readonly attachments: BoxChoice },
): Promise<void> {
  for (const role of ['control', 'segments', 'keys'] as const)
    await change(join(layout.node(role), nodeFiles.settings), (json) => ({ ...json, boxes }));
}
