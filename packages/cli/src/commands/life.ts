import { readFile } from 'node:fs/promises';
import { MillraceError, toHex } from '@millrace/base';
import {
  acceptPart,
  appointInspectors,
  createNames,
  inspectPart,
  pick,
  retirePart,
  type Session,
  transferPart,
} from '@millrace/client';
import { retirementReasons, sha256 } from '@millrace/protocol';
import { commandName } from '../output/command-name.ts';
import { type Context, withSession } from './context.ts';
import { formatCertificate } from './objects.ts';

// Commands for a part after its completion. Each signs a document that the part's certificate shows from then on.

export function transfer(context: Context, name: string, options: { readonly to: string }): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const object = await objectNamed(session, name);
    const to = await createNames(session).party(await transferPart(session, object, options.to));
    context.terminal.result(
      { object, to },
      `Object ${object} is offered to ${to} for 14 days. It changes hands when they run \`${commandName} object accept ${object}\`.`,
    );
  });
}

export function accept(context: Context, name: string): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const object = await objectNamed(session, name);
    const summary = await acceptPart(session, object);
    context.terminal.result(
      { object, accepted: true },
      [`Object ${object} is yours. What you have accepted:`, formatCertificate(summary)].join('\n'),
    );
  });
}

export interface AppointOptions {
  readonly inspector?: readonly string[];
  readonly none?: boolean;
}

export function appoint(context: Context, name: string, { inspector = [], none }: AppointOptions): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    if (inspector.length > 0 === (none === true))
      throw new MillraceError('E_INPUT', 'give either --inspector or --none');
    const object = await objectNamed(session, name);
    await appointInspectors(session, object, inspector);
    context.terminal.result(
      { object, inspectors: inspector },
      inspector.length === 0
        ? `Only the owner of object ${object} may inspect it now.`
        : `Inspections of object ${object} may be signed by its owner and by ${inspector.join(', ')}.`,
    );
  });
}

export interface InspectOptions {
  readonly passed?: boolean;
  readonly failed?: boolean;
  readonly method?: string;
  readonly report?: string;
}

export function inspect(context: Context, name: string, options: InspectOptions): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const { passed, failed, method } = options;
    if ((passed === true) === (failed === true)) throw new MillraceError('E_INPUT', 'give either --passed or --failed');
    const report = options.report === undefined ? undefined : await readReport(context.path(options.report));
    const object = await objectNamed(session, name);
    const result = passed ? 'passed' : 'failed';
    await inspectPart(session, object, { result, method, report });
    const document = report && toHex(sha256(report));
    context.terminal.result(
      { object, result, method, document },
      [
        `Object ${object}: inspection ${result}.`,
        ...(document === undefined ? [] : [`Keep the report: the certificate has its SHA-256 ${document}.`]),
      ].join('\n'),
    );
  });
}

async function readReport(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new MillraceError('E_INPUT', `--report: cannot read ${file}`, { cause });
  }
}

export function retire(context: Context, name: string, options: { readonly reason: string }): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const reason = retirementReasons.find((known) => known === options.reason);
    if (reason === undefined)
      throw new MillraceError(
        'E_INPUT',
        `--reason: expected one of ${retirementReasons.join(', ')}; not ${options.reason}`,
      );
    const object = await objectNamed(session, name);
    await retirePart(session, object, reason);
    context.terminal.result({ object, reason }, `Object ${object} is retired: ${reason}. Nothing can follow.`);
  });
}

async function objectNamed({ api }: Session, name: string): Promise<string> {
  return pick('object', name, await api.objects(), ({ object }) => [object]).object;
}
