import type { SpoolStatementView } from '@millrace/api';
import { fromBase64, fromHex, MillraceError, toHex, toMillraceError } from '@millrace/base';
import { parseSign1 } from '@millrace/identity';
import type { LoggedEvent } from '@millrace/ledger';
import {
  type Directory,
  ignoringRevocations,
  onlyKey,
  readSpoolLoad,
  spoolFacts,
  verifyBy,
  verifyCredential,
  verifyMachineDocument,
  verifyMachineRegistration,
  verifySpool,
  verifyTransaction,
  visitAccount,
} from '@millrace/protocol';
import { type AuditResult, auditLedger } from './audit.ts';
import type { Session } from './session.ts';
import { balanceSite, type MachineStatement, type SiteBalance, type SpoolStatement } from './site-balance.ts';

export interface SiteReport extends SiteBalance {
  readonly machine: string;
  readonly serial: string;
  readonly audit: AuditResult;
}

/**
 * Material in and out of one machine, its prints and its odometer, reconciled. The machine's figures come from the
 * ledger, which is audited, and are verified to the machine's registration; statements on spools are verified to the
 * administrator's key. Grams that control has counted for a spool are its own record, which is what is checked.
 * @param period `from` ≤ time < `to`, ms since 1970
 * @throws {MillraceError} as `auditLedger`; E_NOT_FOUND, E_CONFLICT (a machine of another cloud), E_EVIDENCE (a document
 *   in the ledger, or a statement on a spool, is not what its signer signed)
 */
export async function siteReport(
  session: Session,
  machine: string,
  period: { readonly from?: number | undefined; readonly to?: number | undefined },
  progress: (done: number, total: number) => void,
): Promise<SiteReport> {
  const { api, directory } = session;
  const view = (await api.machines()).find((each) => each.machine === machine);
  if (view === undefined) throw new MillraceError('E_NOT_FOUND', `there is no machine ${machine}`);
  if (view.cloud !== undefined)
    throw new MillraceError('E_CONFLICT', `machine ${machine} belongs to another cloud: ask there for its report`);
  const { publicKey, serial, ...registered } = await verifyMachineRegistration(fromBase64(view.document), directory);
  if (registered.machine !== machine)
    throw new MillraceError('E_MACHINE_UNKNOWN', 'control shows the registration of another machine');

  // In this order, so that the ledger has at least the reports that control had counted at each statement.
  const spools = await Promise.all(
    (await api.spoolStatements(machine)).map((each) => verified(each, machine, directory)),
  );
  const before = await countsOf(session);
  const documents: (Pick<LoggedEvent, 'index' | 'event'> & { readonly document: Uint8Array })[] = [];
  const audit = await auditLedger(session, progress, ({ index, event }) => {
    const document = documentOf(event);
    if (document !== undefined && toHex(parseSign1(document).keyId) === machine)
      documents.push({ index, event, document });
  });
  const after = await countsOf(session);
  const counts = new Map(
    [...after].map(([spool, used]) => [spool, { before: before.get(spool) ?? used, after: used }]),
  );

  const statements: MachineStatement[] = [];
  for (const { index, event, document } of documents) {
    const { body } = await proven(`entry ${index} of the ledger`, () =>
      verifyMachineDocument(document, directory.installation, onlyKey(publicKey), 'any time'),
    );
    const { account: object, time, type } = event;
    if (
      body.type === 'report'
        ? body.object !== object
        : body.type === 'visit.report' && visitAccount(body.visit) !== object
    )
      throw new MillraceError('E_EVIDENCE', `entry ${index} of the ledger: it has the report of another object`);
    const common = { index, time, object, issued: body.issued };
    if (body.type === 'permit.request') {
      const load = body.spool && readSpoolLoad(body.spool.load);
      const loaded = load && { spool: spoolFacts(load).spool, statement: toHex(load.id) };
      statements.push({ ...common, kind: 'asked', odometer: body.odometer, loaded });
    } else if (body.type === 'report' || body.type === 'visit.report') {
      const { odometer, used } = body;
      statements.push({ ...common, kind: 'ended', completed: type === 'completed', odometer, used });
    }
  }
  const { from = 0, to = Number.POSITIVE_INFINITY } = period;
  return { machine, serial, audit, ...balanceSite({ statements, spools, counts }, { from, to }) };
}

/** The document of the machine behind an event: a request for a permit, or the report of an end. */
function documentOf({ type, body, evidence = [] }: LoggedEvent['event']): Uint8Array | undefined {
  const [first, second] = evidence;
  if (type === 'permitted' || (type === 'machine' && body.fact === 'resumed')) return second;
  return type === 'completed' || type === 'failed' ? first : undefined;
}

async function countsOf({ api }: Session): Promise<ReadonlyMap<string, number>> {
  return new Map((await api.spools()).map(({ spool, used }) => [spool, used]));
}

/** Verifies a statement as of its date: a key that was revoked since has still signed it. */
async function verified(
  { statement, spool, at, used, ...view }: SpoolStatementView,
  machine: string,
  current: Directory,
): Promise<SpoolStatement> {
  const directory = ignoringRevocations(current);
  const [transaction, operator] = [fromBase64(view.transaction), fromBase64(view.credential)];
  const common = { statement, spool, at, used };
  return proven(`the statement ${statement} on spool ${spool}`, async () => {
    const signer = operator.length === 0 ? undefined : await verifyCredential(operator, directory);
    const { body } =
      signer === undefined
        ? await verifyTransaction(transaction, directory.installation, onlyKey(fromHex(directory.adminKey)), 'any time')
        : await verifyBy(signer, transaction, directory);
    const by = signer?.name ?? 'the administrator';
    const other = () => new MillraceError('E_CONFLICT', 'it says something else than control');
    if (toHex(body.id) !== statement) throw other();
    if (body.type === 'spool.unload') {
      if (body.spool !== spool || body.machine !== machine) throw other();
      return { ...common, kind: 'unload', by };
    }
    const supplier = view.supplier === undefined ? {} : { supplier: fromBase64(view.supplier) };
    const loaded = await verifySpool({ load: transaction, operator, ...supplier }, machine, directory);
    const { name, serial, grams, certified } = loaded;
    if (loaded.spool !== spool) throw other();
    const content = { name, serial, supplier: certified?.supplier.name, grams };
    return { ...common, kind: 'load', by, content };
  });
}

async function proven<T>(what: string, check: () => Promise<T>): Promise<T> {
  try {
    return await check();
  } catch (cause) {
    throw new MillraceError('E_EVIDENCE', `${what}: ${toMillraceError(cause).message}`, { cause });
  }
}
