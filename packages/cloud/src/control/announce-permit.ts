import { type Bytes, copyBytes, equalBytes, fromHex, MillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import type { LoggedEvent } from '@millrace/ledger';
import {
  type DirectoryNode,
  type Machine,
  orderFact,
  permitFact,
  readMachineDocument,
  readPermit,
  resumeFact,
  shareForNode,
  type TransactionOf,
} from '@millrace/protocol';
import { amended } from './amended.ts';
import type { ControlContext } from './context.ts';
import { neededMembership } from './groups.ts';
import { amendmentsOf, type LicenceRecord, readLicence } from './licence-records.ts';
import { beginRunning } from './odometers.ts';
import { isBegun, type PrintRecord, readPrint, signerOf } from './records.ts';
import { admissionOf } from './visiting-machines.ts';

type Permitted = NonNullable<PrintRecord['permit']>;

/** Completes a permit whose announcement was interrupted. Safe to repeat. */
export async function announcePermit(context: ControlContext, id: string): Promise<void> {
  const mark = await announce(context, id);
  await mark?.();
}

/**
 * Writes the ledger, then mails, so that no hint is sent for an object that is not in the ledger. Safe to repeat.
 * @returns marks the permit as announced; undefined if it is marked already
 */
export async function announce(context: ControlContext, id: string): Promise<(() => Promise<void>) | undefined> {
  const { records, mailbox } = context;
  const print = await records.prints.require(id);
  const { permit } = print;
  if (permit === undefined || permit.announced) return undefined;
  const licence = await records.licences.require(print.licence);
  const { registration: machine, document } = await records.machines.require(print.machine);
  const membership = await shownMembership(context, print, licence);
  // The odometer may advance from now on. Both writes share a commit.
  await Promise.all([
    isBegun(print) ? beginRunning(context, print.machine) : undefined,
    logPermit(context, { print, permit, licence, machine, membership }),
  ]);
  const opening = {
    permit: permit.bytes,
    request: permit.request,
    print: print.transaction,
    licence: licence.transaction,
    licenceSigner: licence.credential,
    printSigner: print.credential,
    amendments: amendmentsOf(licence),
    machine,
    membership,
    ...(print.admission === undefined ? {} : { admission: admissionOf(print.admission, document) }),
  };
  await mailbox.sendOpening(`open/${permit.permitId}`, print.design, opening, {
    serves: servesOf(readLicence(licence)),
    over: permit.distribution,
  });
  return async () => {
    await records.prints.update(id, (current) =>
      current.permit?.permitId === permit.permitId
        ? { ...current, permit: { ...current.permit, announced: true } }
        : current,
    );
  };
}

/** Which segments nodes can serve a licence: those to which the share of a job package's key is sealed. */
function servesOf({ package: packaged }: TransactionOf<'licence.grant'>) {
  if (packaged === undefined) return () => true;
  // An owner who knew of one node has sealed the share to the design's own.
  if (packaged.shares.nodes === undefined) return undefined;
  return ({ identity }: DirectoryNode) => shareForNode(packaged, fromHex(identity)) !== undefined;
}

async function logPermit(
  context: ControlContext,
  {
    print,
    permit,
    licence,
    machine,
    membership,
  }: {
    readonly print: PrintRecord;
    readonly permit: Permitted;
    readonly licence: LicenceRecord;
    readonly machine: Machine;
    readonly membership: PrintRecord['membership'];
  },
): Promise<void> {
  const { ledger, permitKeyDocument } = context;
  const { number } = print;
  if (number === undefined) throw new MillraceError('E_STORE', 'the record of a permitted print holds no number');
  const given = readPermit(permit.bytes);
  const actor = keyName(context.permitKey.publicKey);
  const evidence = [permit.bytes, permit.request, permitKeyDocument];
  const first = await ledger.find(`permitted/${print.print}`);
  if (permit.from === 0 && first === undefined) {
    const shown = print.admission === undefined ? [] : shownBy(print.admission);
    if (membership !== undefined) {
      const { statement, assignment } = membership;
      shown.push(statement.transaction, statement.credential, assignment);
    }
    await ledger.appendMany([
      {
        ...orderFact(readPrint(print), readLicence(licence), number, signerOf(print.transaction), licence.credits),
        evidence: [print.transaction, print.credential],
        eventId: `ordered/${print.print}`,
      },
      { ...permitFact(given, machine, actor), evidence: [...evidence, ...shown], eventId: `permitted/${print.print}` },
    ]);
  } else if (!isBehind(first, permit.bytes)) {
    const request = readMachineDocument(permit.request);
    if (request.type !== 'permit.request') throw new MillraceError('E_STORE', 'the print record holds no request');
    const fact = resumeFact(given, request, actor);
    await ledger.append({ ...fact, evidence, eventId: `resumed/${permit.permitId}` });
  }
}

/**
 * The membership with which the print's object began, if the terms in force need one: the owner may have named the
 * machine alone since.
 */
export async function shownMembership(
  context: Pick<ControlContext, 'records' | 'directory'>,
  print: PrintRecord,
  licence: LicenceRecord,
): Promise<PrintRecord['membership']> {
  if (print.membership === undefined) return undefined;
  const { terms } = await amended(context, licence, { begins: (print.permit?.from ?? 0) === 0 });
  return neededMembership(terms, print);
}

/** What a machine of another cloud has shown, and who signed for its spool. */
function shownBy({ visa, request, key, signers }: NonNullable<PrintRecord['admission']>): Bytes[] {
  const credentials = signers === undefined ? [] : [signers.operator, signers.supplier];
  return [visa, request, key, ...credentials].map(copyBytes);
}

/** Whether the event was written for this document. */
function isBehind(logged: LoggedEvent | undefined, document: Uint8Array): boolean {
  return logged?.event.evidence?.some((bytes) => equalBytes(bytes, document)) ?? false;
}
