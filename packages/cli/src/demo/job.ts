import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { MillraceError, parse, sleep, writeDurably } from '@millrace/base';
import {
  type CertificateSummary,
  checkCertificate,
  type DesignView,
  grantLicence,
  type PrintOutcome,
  requestPrint,
  requireCompleted,
  SLICED_KIND,
  trustOf,
  watchPrint,
} from '@millrace/client';
import { hasSystemCode, makeFolder, readJson } from '@millrace/client/node';
import { usualDisclosures } from '@millrace/protocol';
import { z } from 'zod';
import { addDesign } from '../commands/design.ts';
import { watchWithProgress } from '../commands/print.ts';
import { machineFiles } from '../installation/layout.ts';
import type { InstallationSession } from '../installation/session.ts';
import type { Terminal } from '../output/terminal.ts';
import type { SlicedModel } from '../slicing/model.ts';

export const OBJECTS = 2;

/** The fields of the machine's local record of an object that the demo shows. */
const recordSchema = z.object({
  sha256: z.string(),
  layers: z.number(),
  hints: z.number(),
  wire: z.number(),
  bytes: z.number(),
});

/** Results of one printed object. */
export interface MadeObject {
  readonly outcome: PrintOutcome;
  readonly object: string;
  readonly certificate: string;
  readonly summary: CertificateSummary;
  readonly picture: string;
  readonly record: z.output<typeof recordSchema>;
}

/** Steps of the main job, in order. Each throws if its demonstration fails. */
export interface Job {
  readonly owner: InstallationSession;
  readonly operator: InstallationSession;
  readonly terminal: Terminal;
  readonly machine: { readonly name: string; readonly machine: string; readonly material: string };
  /** SHA-256 of the design. */
  readonly sha256: string;
}

export function storeDesign({ owner, terminal }: Job, file: string, sliced?: SlicedModel): Promise<DesignView> {
  if (sliced === undefined) return addDesign(owner, terminal, file, { kind: SLICED_KIND });
  const { path, slicer, profile, settings } = sliced;
  return addDesign(owner, terminal, path, { name: basename(file), sliced: { slicer, profile, settings } });
}

export function license({ owner, operator, machine }: Job, design: DesignView): Promise<string> {
  return grantLicence(owner, {
    design: design.design,
    objects: OBJECTS,
    machines: [machine.name],
    materials: [machine.material],
    days: 30,
    holder: operator.user.name,
    // The demonstration shows the picture that the machine draws locally.
    disclose: [...usualDisclosures, 'position'],
  });
}

export async function makeObject(job: Job, licence: string, label: string): Promise<PrintOutcome> {
  const print = await requestPrint(job.operator, licence, job.machine.machine);
  // Observe as the owner, who sees the machine's position; the operator would see no layer.
  const outcome = await watchWithProgress(job.owner, job.terminal, print, label);
  requireCompleted(outcome);
  return outcome;
}

/**
 * Requests one print more than the licence allows, and expects it to be refused with the right code.
 * @throws {MillraceError} E_INTERNAL if it is not
 */
export async function expectRefusal({ operator, machine }: Job, licence: string): Promise<MillraceError> {
  try {
    const print = await requestPrint(operator, licence, machine.machine);
    requireCompleted(await watchPrint(operator, print, () => undefined));
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'E_LICENCE_EXHAUSTED') return error;
    throw error;
  }
  throw new MillraceError('E_INTERNAL', `the licence allows ${OBJECTS} objects, but one more was made`);
}

/**
 * Exports the certificate, verifies it with the installation's keys, fetches the picture of the tool's path, and
 * compares the hash of the executed bytes with the design's.
 */
export async function proveObject(job: Job, outcome: PrintOutcome): Promise<MadeObject> {
  const { owner, machine } = job;
  const { object } = outcome.view;
  if (object === undefined) throw new MillraceError('E_INTERNAL', 'a completed print does not name its object');
  const { layout } = owner.installation;
  await makeFolder(layout.certificates);
  const bytes = await owner.api.certificate(object);
  const summary = await checkCertificate(bytes, trustOf(owner));
  if (summary.object !== object || summary.state !== 'completed') {
    throw new MillraceError('E_CERTIFICATE', `the certificate says that ${summary.object} is ${summary.state}`);
  }
  const certificate = join(layout.certificates, `${object}.certificate`);
  await writeDurably(certificate, bytes, 0o644);
  const beside = join(layout.machine(machine.name), machineFiles.data, 'objects', object);
  const picture = await fetchPicture(owner, beside, join(layout.certificates, object));
  const record = parse(recordSchema, await readJson(`${beside}.json`), `${beside}.json`, 'E_MACHINE');
  if (record.sha256 !== job.sha256) {
    throw new MillraceError('E_SEGMENT', `the machine executed other bytes than ${job.sha256}: ${record.sha256}`);
  }
  return { outcome, object, certificate, summary, picture, record };
}

/**
 * Waits for the picture of the tool's path. The virtual machine draws it shortly after the last report: SVG first, then
 * PNG.
 * @returns the path of the picture: the PNG, or the SVG if no PNG appears
 */
async function fetchPicture({ clock, signal }: InstallationSession, drawn: string, copy: string): Promise<string> {
  const end = clock.monotonic() + 60_000;
  while (!(await hasContent(`${drawn}.png`)) && clock.monotonic() < end) await sleep(200, signal);
  const kinds = ['.png', '.svg'];
  const there: string[] = [];
  for (const kind of kinds) {
    if (!(await hasContent(drawn + kind))) continue;
    await copyFile(drawn + kind, copy + kind);
    there.push(copy + kind);
  }
  const [picture] = there;
  if (picture === undefined) throw new MillraceError('E_MACHINE', `the machine drew no picture (${drawn}.png)`);
  return picture;
}

async function hasContent(path: string): Promise<boolean> {
  try {
    return (await stat(path)).size > 0;
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** SHA-256 of a file, in hexadecimal. */
export async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  } catch (cause) {
    const code = hasSystemCode(cause, 'ENOENT') ? 'E_NOT_FOUND' : 'E_INPUT';
    throw new MillraceError(code, `cannot read ${path}`, { cause });
  }
  return hash.digest('hex');
}
