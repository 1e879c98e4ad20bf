import { MillraceError, sleep } from '@millrace/base';
import { auditLedger } from '@millrace/client';
import { formatFields } from '../output/format.ts';
import { createProgress } from '../output/progress.ts';
import { type Context, withSession } from './context.ts';

const CHECK_LIMIT_MS = 60 * 60_000;

export function verifyLedger(context: Context): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { terminal } = context;
    const progress = createProgress(terminal, 'ledger');
    const audit = await auditLedger(session, (done, total) => progress.update(done, total)).finally(() =>
      progress.finish(),
    );
    // The control node also checks the tiles and indices, which only its store contains.
    const store = await session.api.ledgerCheck();
    if (store.ok === false) {
      throw new MillraceError('E_LEDGER_ENTRY', 'the control node reports that the store of its ledger is damaged', {
        data: { problems: store.problems ?? [] },
      });
    }
    terminal.result(
      { ok: true, ...audit },
      [
        'The ledger is complete: every entry matches the signed checkpoint.',
        formatFields(
          [
            ['log', audit.log],
            ['entries', String(audit.size)],
            ['opened', `${audit.opened} entries, of ${audit.accounts} accounts that you may read`],
            ['objects', `${audit.objects} under your licences, each with every signed document`],
            ['newest', `events of ${audit.newest} accounts, proven by the map of accounts`],
            ['absent', `${audit.absent} objects under your licences, proven not to exist`],
            ...(audit.map === undefined
              ? []
              : [['map', `recomputed over ${audit.map} entries: certificates are complete up to there`] as const]),
            ['root', audit.root],
            ['extends', audit.seen === undefined ? 'first verification' : `the ${audit.seen} entries verified before`],
          ],
          '  ',
        ),
      ].join('\n'),
    );
  });
}

/** Exit code 6 if the vault has problems. */
export function checkVault(context: Context, options: { deep?: boolean }): Promise<number> {
  return withSession(context, 'admin', async (session) => {
    const { terminal, clock, signal } = context;
    const { api } = session;
    const check = await api.beginVaultCheck(options.deep === true);
    const end = clock.monotonic() + CHECK_LIMIT_MS;
    let view = await api.vaultCheck(check);
    for (; view.state === 'running'; view = await api.vaultCheck(check)) {
      if (clock.monotonic() > end) throw new MillraceError('E_TIMEOUT', 'the check of the vault did not end in time');
      await sleep(200, signal);
    }
    const problems = Array.isArray(view.problems) ? (view.problems as unknown[]) : [];
    const clean = problems.length === 0;
    const { check: _id, state: _state, problems: _problems, ...counts } = view;
    terminal.result(
      { clean, ...view },
      [
        clean ? 'The vault is clean.' : `The vault has ${problems.length} problem(s):`,
        ...problems.map((problem) => `  ${typeof problem === 'string' ? problem : JSON.stringify(problem)}`),
        formatFields(
          Object.entries(counts).map(
            ([key, value]) => [key, typeof value === 'object' ? JSON.stringify(value) : String(value)] as const,
          ),
          '  ',
        ),
      ].join('\n'),
    );
    return clean ? 0 : 6;
  });
}
