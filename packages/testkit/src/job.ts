import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeCbor, sleep, toHex } from '@millrace/base';
import { machineFiles } from '@millrace/cli/parts';
import {
  type DesignView,
  grantLicence,
  type PrintView,
  requestPrint,
  type Session,
  storeDesign,
} from '@millrace/client';
import { prepareFile } from '@millrace/client/node';
import { parseSign1 } from '@millrace/identity';
import { sha256 } from '@millrace/protocol';
import { folderOf, type TestInstallation } from './test-installation.ts';

export interface StoreOptions {
  readonly name?: string;
  readonly kind?: 'gcode' | 'binary';
  readonly bytesPerSecond?: number;
  readonly maintenance?: 'rekey' | 'delta' | 'key-homomorphic';
  readonly custody?: 'owner' | 'keys';
}

/** Writes the design to a file, seals it and stores it, as `millrace design add` does. */
export async function store(
  system: Pick<TestInstallation, 'scratch'>,
  owner: Session,
  content: Uint8Array,
  options: StoreOptions = {},
): Promise<DesignView> {
  const file = join(system.scratch, options.name ?? 'part.gcode');
  await writeFile(file, content);
  const prepared = await prepareFile(owner, file, options, () => undefined);
  return storeDesign(owner, prepared, () => undefined);
}

export function license(
  system: Pick<TestInstallation, 'machine'>,
  owner: Session,
  design: string,
  objects: number,
): Promise<string> {
  return grantLicence(owner, {
    design,
    objects,
    machines: [system.machine],
    materials: [],
    days: 1,
    holder: 'operator',
  });
}

export function order(system: Pick<TestInstallation, 'machine'>, operator: Session, licence: string): Promise<string> {
  return requestPrint(operator, licence, system.machine);
}

/** Polls a print until `reached` holds. Fails after a timeout with the print's last state. */
export async function untilPrint(
  session: Session,
  print: string,
  reached: (view: PrintView) => boolean,
  limitMs = 180_000,
): Promise<PrintView> {
  const end = performance.now() + limitMs;
  let last: PrintView | undefined;
  while (performance.now() < end) {
    last = await session.api.print(print);
    if (reached(last)) return last;
    await sleep(20);
  }
  throw new Error(`the print did not reach the state: ${JSON.stringify(last)}`);
}

const ended = new Set(['completed', 'failed', 'alarmed', 'refused', 'cancelled']);

export function untilEnded(session: Session, print: string, limitMs?: number): Promise<PrintView> {
  return untilPrint(session, print, ({ state }) => ended.has(state), limitMs);
}

export function objectOf({ object, ...view }: PrintView): string {
  if (object === undefined) throw new Error(`the print has no object: ${JSON.stringify(view)}`);
  return object;
}

/** Files of an object that the agent left at the machine. */
export interface MachineObject {
  readonly object: string;
  readonly event: 'completed' | 'failed';
  readonly code?: string;
  readonly reason?: string;
  readonly segments: number;
  readonly bytes: number;
  readonly sha256?: string;
  readonly wire: number;
  readonly overhead?: number;
  readonly sessions: number;
  readonly starvedSeconds: number;
  readonly machineSeconds: number;
}

/** Waits for the file, because the agent writes it after its last report, shortly after the end of the print. */
export async function machineObject(
  system: Pick<TestInstallation, 'installation'>,
  object: string,
): Promise<MachineObject> {
  const path = join(folderOf(system.installation, 'machine'), machineFiles.data, 'objects', `${object}.json`);
  for (let attempt = 0; ; attempt++) {
    try {
      return JSON.parse(await readFile(path, 'utf8')) as MachineObject;
    } catch (error) {
      if (attempt === 200) throw error;
      await sleep(50);
    }
  }
}

/** The run record that a restarted agent would find. */
export async function runRecordOf(
  system: TestInstallation,
): Promise<{ readonly started: boolean; readonly segments: number }> {
  const path = join(folderOf(system.installation, 'machine'), machineFiles.data, 'run.state');
  const { payload } = parseSign1(new Uint8Array(await readFile(path)));
  return decodeCbor(payload, 'run') as { started: boolean; segments: number };
}

export const hashOf = (content: Uint8Array): string => toHex(sha256(content));

/** Types of an object's events in the ledger. */
export async function eventsOf(session: Session, object: string): Promise<string[]> {
  return (await session.api.object(object)).events.map(({ type }) => type);
}
