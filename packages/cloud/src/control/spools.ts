import { type Bytes, equalBytes, MillraceError, toHex } from '@millrace/base';
import { parseSign1 } from '@millrace/identity';
import {
  type LoadedSpool,
  type PermitRequest,
  requireUnexpired,
  type SpoolProof,
  type TransactionOf,
  verifySpool,
} from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import type { SpoolRecord, SpoolStatementRecord } from './material-records.ts';
import { replay } from './replay.ts';
import type { Submitted } from './submitted.ts';

// Control's record of spools: where each is loaded, and how much of it was used. A machine has one spool, a spool one
// machine.

/** Loads and unloads are rare, and concern two records at a time. */
const MUTEX = 'spools';

/**
 * Records an operator's statement that a spool is loaded on a machine.
 * @throws {MillraceError} E_FORBIDDEN, E_MACHINE_UNKNOWN, E_NOT_FOUND (unknown supplier), E_CONFLICT (loaded on another
 *   machine, or a machine of another cloud), E_STATE (the machine has another spool, or a newer statement is known),
 *   E_MATERIAL (expired or used up), and as `verifySpool`
 */
export function loadSpool(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'spool.load'>>,
): Promise<{ spool: string }> {
  const { mutexes, records, directory, clock } = context;
  return mutexes.run(MUTEX, async () => {
    authorize(actor, 'spool.load');
    const { machine, certificate, number } = body;
    const found = await records.machines.get(machine);
    if (found === undefined) throw new MillraceError('E_MACHINE_UNKNOWN', `no machine ${machine} is registered`);
    if (found.cloud !== undefined)
      throw new MillraceError('E_CONFLICT', `machine ${machine} belongs to another cloud: load the spool there`);
    const proof: SpoolProof = {
      load: bytes,
      operator: credential,
      ...(certificate === undefined ? {} : { supplier: await credentialOf(context, certificate) }),
    };
    const loaded = await verifySpool(proof, machine, directory);
    const { certified, spool, name, serial, grams } = loaded;
    if (certified !== undefined) requireUnexpired(certified, clock.now());
    const known = await records.spools.get(spool);
    if (known?.machine !== undefined && known.machine !== machine)
      throw new MillraceError(
        'E_CONFLICT',
        `spool ${spool} is loaded on machine ${known.machine}: its operator unloads it there first`,
      );
    requireNewer(known, number);
    if (known !== undefined) requireLeft(known);
    const other = (await spoolOn(context, machine))?.spool;
    if (other !== undefined && other !== spool)
      throw new MillraceError('E_STATE', `spool ${other} is loaded on this machine: unload it first`);
    const party = actor.member?.organisation ?? actor.name;
    const signed = { transaction: bytes, credential, ...(proof.supplier && { supplier: proof.supplier }) };
    await keepStatement(context, body.id, { ...{ spool, machine, party, used: known?.used ?? 0 }, ...signed });
    await records.spools.put(spool, {
      ...{ spool, machine, number, by: actor.name, at: clock.now(), ...proof, name, used: known?.used ?? 0 },
      party,
      ...(certified && {
        certifiedBy: { organisation: certified.supplier.organisation, name: certified.supplier.name },
      }),
      ...(serial === undefined ? {} : { serial }),
      ...(grams === undefined ? {} : { grams }),
    });
    return { spool };
  });
}

/** @throws {MillraceError} E_NOT_FOUND, E_FORBIDDEN, E_STATE */
export function unloadSpool(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'spool.unload'>>,
): Promise<{ spool: string }> {
  const { mutexes, records } = context;
  return mutexes.run(MUTEX, async () => {
    const { spool, machine, number } = body;
    const record = await records.spools.require(spool);
    authorize(actor, 'spool.unload', { holder: record.party });
    if (record.machine !== machine)
      throw new MillraceError('E_STATE', `spool ${spool} is not loaded on machine ${machine}`);
    requireNewer(record, number);
    const { party, used } = record;
    await keepStatement(context, body.id, { ...{ spool, machine, party, used }, transaction: bytes, credential });
    const { machine: _left, ...rest } = record;
    await records.spools.put(spool, { ...rest, number });
    return { spool };
  });
}

/**
 * Runs before the spool's record changes: the same statement again replaces itself.
 * @throws {MillraceError} E_REPLAY for another statement with the id of a kept one
 */
async function keepStatement(
  { records, clock }: ControlContext,
  id: Uint8Array,
  stated: Omit<SpoolStatementRecord, 'statement' | 'at'>,
): Promise<void> {
  const statement = toHex(id);
  const known = await records.spoolStatements.get(statement);
  if (known !== undefined && !equalBytes(known.transaction, stated.transaction)) throw replay(statement);
  await records.spoolStatements.put(statement, { statement, at: clock.now(), ...stated });
}

function requireNewer(known: SpoolRecord | undefined, number: number): void {
  if (known === undefined || number > known.number) return;
  throw new MillraceError('E_STATE', `a newer statement on spool ${known.spool} is known`);
}

/** @throws {MillraceError} E_MATERIAL */
function requireLeft({ spool, grams, used }: SpoolRecord): void {
  if (grams === undefined || used < grams) return;
  throw new MillraceError(
    'E_MATERIAL',
    `spool ${spool} is used up: ${used} of ${grams} g were reported; the operator loads another one: \`millrace spool load\``,
  );
}

/** The credential of a certificate's signer, as control verified it at the enrolment. */
async function credentialOf({ records }: ControlContext, certificate: Uint8Array): Promise<Bytes> {
  const key = toHex(parseSign1(certificate).keyId);
  const user = await records.users.get(key);
  if (user === undefined) throw new MillraceError('E_NOT_FOUND', `the supplier’s key ${key} is not enrolled here`);
  return new Uint8Array(user.document);
}

async function spoolOn({ records }: ControlContext, machine: string): Promise<SpoolRecord | undefined> {
  for await (const [, record] of records.spools.list({ index: 'machine', group: machine })) return record;
  return undefined;
}

/** What is left on the machine's spool by the reports so far, g; undefined if that is not known. */
export async function leftOn(context: ControlContext, machine: string): Promise<number | undefined> {
  const record = await spoolOn(context, machine);
  return record?.grams === undefined ? undefined : Math.max(0, Math.floor(record.grams - record.used));
}

/** The proof of the machine's spool, for its agent. */
export async function loadedOn(context: ControlContext, machine: string): Promise<{ spool?: SpoolProof }> {
  const record = await spoolOn(context, machine);
  if (record === undefined) return {};
  const { load, operator, supplier } = record;
  return { spool: { load, operator, ...(supplier && { supplier }) } };
}

/**
 * The certified spool of a machine that visits another cloud, which gets the newest statement on it in the visa.
 * @throws {MillraceError} E_MATERIAL if it is used up
 */
export async function spoolForVisit(
  context: ControlContext,
  machine: string,
): Promise<Pick<SpoolRecord, 'spool' | 'load'> | undefined> {
  const record = await spoolOn(context, machine);
  if (record?.supplier === undefined) return undefined;
  requireLeft(record);
  return record;
}

/**
 * Requires that the spool is the one that is loaded on the machine, by the newest statement, and is not used up.
 * @throws {MillraceError} E_MATERIAL
 */
export async function requireLoaded(
  { records }: ControlContext,
  { spool }: LoadedSpool,
  machine: string,
  request: PermitRequest,
): Promise<void> {
  const record = await records.spools.get(spool);
  const why =
    record === undefined || record.machine === undefined
      ? 'is not loaded'
      : record.machine !== machine
        ? `is loaded on machine ${record.machine}`
        : request.spool !== undefined && !equalBytes(request.spool.load, record.load)
          ? 'was loaded again since'
          : undefined;
  if (record === undefined || why !== undefined)
    throw new MillraceError('E_MATERIAL', `spool ${spool} ${why}: the operator loads it: \`millrace spool load\``);
  requireLeft(record);
}
