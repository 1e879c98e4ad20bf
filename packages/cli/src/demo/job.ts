import { copyFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError, sleep } from '@millrace/base';
import type { DesignView } from '../client/answers.ts';
import { type CertificateSummary, checkCertificate } from '../client/certificates.ts';
import { grantLicence } from '../client/licence.ts';
import { type PrintOutcome, requestPrint, requireCompleted, watchPrint } from '../client/print.ts';
import type { Session } from '../client/session.ts';
import { addDesign } from '../commands/design.ts';
import { watchWithProgress } from '../commands/print.ts';
import { hasSystemCode, makeFolder, replaceFile } from '../installation/files.ts';
import { machineFiles } from '../installation/layout.ts';
import type { Terminal } from '../output/terminal.ts';

export const OBJECTS = 2;

/** What one printed object leaves behind. */
export interface MadeObject {
  readonly outcome: PrintOutcome;
  readonly object: string;
  readonly certificate: string;
  readonly summary: CertificateSummary;
  readonly picture: string;
}

/** The parts of the main job, in order; each throws when what it shows does not hold. */
export interface Job {
  readonly owner: Session;
  readonly operator: Session;
  readonly terminal: Terminal;
  readonly machine: { readonly name: string; readonly machine: string; readonly material: string };
}

export function storeDesign({ owner, terminal }: Job, file: string): Promise<DesignView> {
  return addDesign(owner, terminal, file, { kind: 'gcode' });
}

export function license({ owner, operator, machine }: Job, design: DesignView): Promise<string> {
  return grantLicence(owner, {
    design: design.design,
    objects: OBJECTS,
    machines: [machine.name],
    materials: [machine.material],
    days: 30,
    holder: operator.user.name,
  });
}

export async function makeObject(job: Job, licence: string, label: string): Promise<PrintOutcome> {
  const print = await requestPrint(job.operator, licence, job.machine.machine);
  const outcome = await watchWithProgress(job.operator, job.terminal, print, label);
  requireCompleted(outcome);
  return outcome;
}

/**
 * One print more than the licence allows: it has to be refused, with the code for it.
 * @throws {MillraceError} E_INTERNAL when it is not
 */
export async function expectRefusal({ operator, machine }: Job, licence: string): Promise<MillraceError> {
  try {
    const print = await requestPrint(operator, licence, machine.machine);
    requireCompleted(await watchPrint(operator, print, () => undefined));
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'E_LICENCE_EXHAUSTED') return error;
    throw error;
  }
  throw new MillraceError('E_INTERNAL', `the licence allows ${OBJECTS} objects, and one more was made`);
}

/** Exports the certificate, verifies it with the log's key alone, and fetches the picture of the tool's path. */
export async function proveObject(job: Job, outcome: PrintOutcome): Promise<MadeObject> {
  const { owner, machine } = job;
  const { object } = outcome.view;
  if (object === undefined) throw new MillraceError('E_INTERNAL', 'a completed print names no object');
  const { layout } = owner.installation;
  await makeFolder(layout.certificates);
  const bytes = await owner.api.certificate(object);
  const summary = await checkCertificate(bytes, owner.directory.logKey);
  if (summary.object !== object || summary.state !== 'completed') {
    throw new MillraceError('E_CERTIFICATE', `the certificate says that ${summary.object} is ${summary.state}`);
  }
  const certificate = join(layout.certificates, `${object}.certificate`);
  await replaceFile(certificate, bytes, 0o644);
  const drawn = join(layout.machine(machine.name), machineFiles.data, 'objects', object);
  const picture = await fetchPicture(owner, drawn, join(layout.certificates, object));
  return { outcome, object, certificate, summary, picture };
}

/** The virtual machine draws where its tool went when it is done: a moment after the last report, perhaps. */
async function fetchPicture({ clock, signal }: Session, drawn: string, copy: string): Promise<string> {
  const end = clock.monotonic() + 15_000;
  for (;;) {
    for (const extension of ['.png', '.svg']) {
      if (!(await hasContent(drawn + extension))) continue;
      await copyFile(drawn + extension, copy + extension);
      return copy + extension;
    }
    if (clock.monotonic() > end)
      throw new MillraceError('E_MACHINE', `the machine drew no picture (${drawn}.png or .svg)`);
    await sleep(200, signal);
  }
}

async function hasContent(path: string): Promise<boolean> {
  try {
    return (await stat(path)).size > 0;
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT')) return false;
    throw error;
  }
}
