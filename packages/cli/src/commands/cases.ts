import { readFile, writeFile } from 'node:fs/promises';
import { MillraceError } from '@millrace/base';
import { type CaseView, createNames, decideCase, openCase, pick, reportFailure, type Session } from '@millrace/client';
import { hasSystemCode } from '@millrace/client/node';
import { type CaseReason, caseReasons, cleanPhoto } from '@millrace/protocol';
import { commandName } from '../output/command-name.ts';
import { formatFields, formatTable } from '../output/format.ts';
import { type Context, withSession } from './context.ts';
import { licenceNamed } from './licence.ts';

export interface OpenOptions {
  readonly reason: string;
  readonly note?: string;
  readonly photo?: string;
}

export function open(context: Context, print: string, options: OpenOptions): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const view = pick('print', print, await session.api.prints(), (each) => [each.print, each.object ?? each.print]);
    const photo = options.photo === undefined ? undefined : cleanPhoto(await readPhoto(context.path(options.photo)));
    const report = { reason: reasonNamed(options.reason), text: options.note, photo };
    const object = await reportFailure(session, view, report);
    context.terminal.result(
      { object, state: 'open', reason: report.reason },
      `The case of object ${object} is open. The owner decides: \`${commandName} case decide ${object} --credit\`.`,
    );
  });
}

/** @throws {MillraceError} E_NOT_FOUND */
async function readPhoto(path: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    throw new MillraceError('E_NOT_FOUND', `there is no readable photo ${path}`, { cause });
  }
}

/** Replaces no file. @throws {MillraceError} E_CONFLICT */
async function writePhoto(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await writeFile(path, bytes, { flag: 'wx' });
  } catch (cause) {
    if (!hasSystemCode(cause, 'EEXIST')) throw cause;
    throw new MillraceError('E_CONFLICT', `there is a file ${path} already: name a new one`, { cause });
  }
}

function reasonNamed(text: string): CaseReason {
  const found = caseReasons.find((reason) => reason === text);
  if (found === undefined)
    throw new MillraceError('E_INPUT', `--reason: expected one of ${caseReasons.join(', ')}; not ${text}`);
  return found;
}

export function list(context: Context): Promise<void> {
  return withSession(context, 'owner', async ({ api }) => {
    const cases = await api.cases();
    context.terminal.result(
      { cases },
      cases.length === 0
        ? 'No cases.'
        : formatTable(
            ['object', 'reason', 'reported', 'state'],
            cases.map(({ object, reason, created, state }) => [object, reason, new Date(created).toISOString(), state]),
          ),
    );
  });
}

/** Shows a case. The owner sees its text, and its photo in a file. */
export function show(context: Context, object: string, { photo: file }: { readonly photo?: string }): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const view = await caseNamed(session, object);
    const evidence = await openCase(session, view);
    const photo = evidence?.photo;
    const names = createNames(session);
    const [reporter, decider] = [await names.key(view.reported), view.decided && (await names.key(view.decided))];
    if (file !== undefined) {
      if (photo === undefined) throw new MillraceError('E_NOT_FOUND', `the case of ${view.object} has no photo`);
      await writePhoto(context.path(file), photo.bytes);
    }
    const { report: _signed, credential: _attested, ...shown } = view;
    context.terminal.result(
      { ...shown, text: evidence?.text, photo: photo?.type },
      [
        `Object ${view.object}: ${view.state}`,
        formatFields(
          [
            ['reason', view.reason],
            ['reported', `${new Date(view.created).toISOString()} by ${reporter}`],
            ['text', evidence?.text ?? '-'],
            ['photo', photo === undefined ? '-' : (file ?? `${photo.type}; write it with --photo FILE`)],
            ['decided', view.byPolicy ? 'by the licence’s policy' : decider === undefined ? '-' : `by ${decider}`],
            ['note', view.note ?? '-'],
          ],
          '  ',
        ),
      ].join('\n'),
    );
  });
}

export interface DecideOptions {
  readonly credit?: boolean;
  readonly deny?: boolean;
  readonly note?: string;
}

export function decide(context: Context, object: string, { credit, deny, note }: DecideOptions): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    if ((credit === true) === (deny === true)) throw new MillraceError('E_INPUT', 'give either --credit or --deny');
    const view = await caseNamed(session, object);
    await decideCase(session, view, { credit: credit === true, note });
    context.terminal.result(
      { object: view.object, state: credit ? 'credited' : 'denied' },
      credit
        ? `Object ${view.object} is credited: licence ${view.licence} has one more object. The failed one is final.${await restoredText(session, view)}`
        : `The credit of object ${view.object} is denied.`,
    );
  });
}

/** What the owner has to do if a restore may have lost the same credit. */
async function restoredText(session: Session, view: CaseView): Promise<string> {
  const { licence, suspended } = await licenceNamed(session, view.licence);
  if (suspended === undefined) return '';
  return ` Since a backup was restored: sign how many objects are left (at most ${suspended.most}), \`${commandName} licence resume ${licence} --left N\`.`;
}

async function caseNamed({ api }: Session, object: string): Promise<CaseView> {
  return pick('case', object, await api.cases(), (view) => [view.object]);
}
