import { join } from 'node:path';
import { type Bytes, decodeCbor, equalBytes, MillraceError, parse, toHex, toMillraceError, wipe } from '@millrace/base';
import {
  type Filament,
  filamentGrams,
  type JobEnvelope,
  jobEnvelopeSchema,
  pla,
  type Rehearsed,
  type SafetyPolicy,
  violatedRules,
} from '@millrace/gcode';
import { keyName } from '@millrace/identity';
import {
  MAX_REHEARSALS,
  nameOfMaterial,
  openEnvelopeKey,
  ownerParty,
  partyOf,
  type RehearsalResult,
  type RehearsalRule,
  readTransaction,
  rehearsalRules,
  requireApproved,
  requireLicensed,
  requireMaterial,
  sameParty,
  sha256,
  signMachineDocument,
  type TransactionOf,
  verifyAmendments,
  verifyCredential,
  verifyLicence,
  verifyOrder,
} from '@millrace/protocol';
import { envelopeKey, openEnvelope, readCore } from '@millrace/vault';
import { z } from 'zod';
import { canMake } from '../drivers/contract.ts';
import type { MachineConfig } from './config.ts';
import type { RehearsalWork } from './control-calls.ts';
import { type Design, designSecretOf } from './licensed-design.ts';
import type { AgentParts } from './parts.ts';
import { checkRegistration, checkValidity } from './permit.ts';
import { signedFile } from './signed-file.ts';

/** Validity of an answer: it may wait a long time on the machine's disk. */
const ANSWER_MS = 30 * 86_400_000;

type Parts = Pick<AgentParts, 'config' | 'driver' | 'spool' | 'outbox' | 'clock' | 'random' | 'logger'>;
type Asked = TransactionOf<'rehearsal.request'>;
interface Licensed {
  /** The terms in force. */
  readonly licence: TransactionOf<'licence.grant'>;
  readonly design: Design;
}
type Judgement = Pick<RehearsalResult, 'outcome' | 'rules' | 'policy' | 'code'>;

const countsSchema = z.strictObject({ rehearsals: z.number().int().nonnegative() });

/**
 * Rehearses a design: compares its envelope with the policy, the material and the spool of this machine, and signs the
 * answer for both sides. Nothing moves, and no byte of the design is here.
 * @throws {MillraceError} E_PERMIT if control gave other documents; E_DISK_FULL, E_STORE
 */
export async function rehearse(parts: Parts, work: RehearsalWork): Promise<void> {
  const { config, outbox, clock, random, logger } = parts;
  const { rehearsal } = work;
  const asked = readTransaction(work.request.transaction);
  const granted = readTransaction(work.licence.transaction);
  if (asked.type !== 'rehearsal.request' || granted.type !== 'licence.grant' || toHex(asked.id) !== rehearsal)
    throw new MillraceError('E_PERMIT', 'what came with the rehearsal is not its request and licence');
  const { licence } = asked;
  const judgement = await judged(parts, work, asked);
  logger.info({ rehearsal, licence, ...judgement }, 'design rehearsed');
  const issued = clock.now();
  const answer = await signMachineDocument(config.machineKey, config.directory.installation, {
    type: 'rehearsal.result',
    ...{ id: random(16), issued, expires: issued + ANSWER_MS },
    ...{ rehearsal, request: sha256(work.request.transaction), licence, design: granted.design },
    machine: keyName(config.machineKey.publicKey),
    ...judgement,
  });
  await outbox.add(answer);
}

async function judged(parts: Parts, work: RehearsalWork, asked: Asked): Promise<Judgement> {
  const policy = parts.config.safety !== undefined;
  try {
    const { licence, design } = await checkRehearsal(parts, work, asked);
    await count(parts, asked.licence);
    const rules = await violated(parts, work, { licence, design });
    return { outcome: rules.length === 0 ? 'fits' : 'does-not-fit', rules, policy };
  } catch (cause) {
    const error = toMillraceError(cause);
    if (error.retryable) throw error;
    parts.logger.warn({ err: error, rehearsal: work.rehearsal }, 'rehearsal refused');
    return { outcome: 'refused', rules: [], policy, code: error.code };
  }
}

/**
 * Verifies what a permit would need, apart from what is counted: the owner has licensed the design for this machine, and
 * an operator of the holder asks.
 * @throws {MillraceError} as `checkPermit`
 */
async function checkRehearsal({ config, clock }: Parts, work: RehearsalWork, asked: Asked): Promise<Licensed> {
  const { directory, machineKey } = config;
  const now = clock.now();
  const refuse = (why: string) => new MillraceError('E_PERMIT', `the rehearsal ${why}`);
  const owner = partyOf(await verifyCredential(work.licence.credential, directory));
  const { body: licence } = await verifyLicence(work.licence, owner, directory);
  if (toHex(licence.id) !== asked.licence) throw refuse('came with another licence');
  if (asked.machine !== keyName(machineKey.publicKey)) throw refuse('is for another machine');
  checkValidity(licence, now);
  const design = readCore(work.core);
  const isOwned = sameParty(ownerParty(design), owner);
  if (!equalBytes(design.coreHash, licence.core) || design.designId !== licence.design || !isOwned)
    throw refuse('came with another design');
  const { approvals } = design;
  const amended = await verifyAmendments(work.licence.transaction, work.amendments, { owner, approvals, directory });
  requireApproved(amended);
  await verifyOrder(amended, work.request, directory, now);
  checkRegistration(config, work);
  const { machine, membership } = work;
  await requireLicensed(machine, asked.machine, amended.terms, { membership, directory });
  return { licence: amended.terms, design };
}

/**
 * Counts the rehearsals of a licence: each tells whoever sets the policy a little about the design.
 * @throws {MillraceError} E_QUOTA
 */
async function count({ config }: Parts, licence: string): Promise<void> {
  const signer = { key: config.machineKey, installation: config.directory.installation };
  const file = signedFile(join(config.data, 'rehearsals', `${licence}.state`), signer, {
    label: `rehearsals/${licence}`,
    schema: countsSchema,
    remedy: 'the licence is not rehearsed on this machine any more',
  });
  const { rehearsals } = (await file.read()) ?? { rehearsals: 0 };
  if (rehearsals >= MAX_REHEARSALS)
    throw new MillraceError('E_QUOTA', `a licence is rehearsed on a machine at most ${MAX_REHEARSALS} times`);
  await file.write({ rehearsals: rehearsals + 1 });
}

async function violated(parts: Parts, work: RehearsalWork, licensed: Licensed): Promise<RehearsalRule[]> {
  const { driver, config } = parts;
  const { design } = licensed;
  if (!canMake(driver.capabilities, design.kind)) return ['kind'];
  const { safety } = config;
  const machine = safety && (await rehearsed(parts, safety));
  const envelope = await envelopeOf(parts, work, licensed);
  const rules = new Set<RehearsalRule>(machine === undefined ? [] : violatedRules(envelope, machine));
  if (!(await hasMaterial(parts, work, licensed))) rules.add('material');
  if (work.left !== undefined && filamentGrams(envelope.filament, filamentOf(parts)) > work.left) rules.add('spool');
  return rehearsalRules.filter((rule) => rules.has(rule));
}

/** @throws {MillraceError} E_STATE: a mill does not know where it stands; E_MACHINE */
async function rehearsed({ driver, config }: Parts, policy: SafetyPolicy): Promise<Rehearsed> {
  const dialect = config.drivers.get(config.kind).appliesSafety;
  if (dialect === 'printer') return { dialect, policy };
  if (dialect === undefined || driver.frame === undefined)
    throw new MillraceError('E_STATE', 'the driver of this machine does not say where the machine stands');
  return { dialect, policy, frame: await driver.frame() };
}

/** @throws {MillraceError} E_SEGMENT (not the envelope that the owner has signed), E_SEAL, E_LICENCE_INVALID */
async function envelopeOf({ config }: Parts, work: RehearsalWork, { licence, design }: Licensed): Promise<JobEnvelope> {
  const { envelopeHash } = design;
  if (envelopeHash === undefined || !equalBytes(sha256(work.envelope), envelopeHash))
    throw new MillraceError('E_SEGMENT', 'the envelope is not the one that the owner has signed');
  const key = await envelopeKeyOf(config, { licence, design });
  let plain: Uint8Array | undefined;
  try {
    plain = openEnvelope(key, work.envelope);
    return parse(jobEnvelopeSchema, decodeCbor(plain, 'envelope'), 'envelope');
  } finally {
    wipe(key, plain);
  }
}

/**
 * The key of the envelope: sealed to this machine, or derived from the design secret that is.
 * @returns 32 bytes, the caller wipes them
 * @throws {MillraceError} E_LICENCE_INVALID, E_SEAL
 */
async function envelopeKeyOf({ machineKey, directory }: MachineConfig, { licence, design }: Licensed): Promise<Bytes> {
  const { installation } = directory;
  const named = { licence: toHex(licence.id), design: licence.design };
  const own = licence.machines.find(({ machine }) => machine === keyName(machineKey.publicKey));
  if (own?.envelopeKey !== undefined) return openEnvelopeKey(machineKey, { installation, ...named }, own.envelopeKey);
  const of = { licence, permit: named };
  const designSecret = await designSecretOf(design, of, undefined, { machineKey, installation });
  try {
    return envelopeKey({ designSecret, nonce: design.nonce });
  } finally {
    wipe(designSecret);
  }
}

async function hasMaterial({ config, spool, clock }: Parts, { machine }: RehearsalWork, { licence }: Licensed) {
  const { materials } = licence;
  const { material, proof } = spool;
  if (materials.length > 0 && !materials.some((allowed) => nameOfMaterial(allowed) === material)) return false;
  try {
    const rules = { directory: config.directory, now: clock.now(), begins: true };
    await requireMaterial({ material, ...(proof && { spool: proof }) }, machine, licence, rules);
    return true;
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'E_MATERIAL') return false;
    throw error;
  }
}

/** The loaded filament as far as its spool says, else PLA of 1.75 mm. */
function filamentOf({ spool }: Parts): Filament {
  const { diameter, density } = spool.filament;
  return {
    diameterMm: diameter === undefined ? pla.diameterMm : diameter / 1_000,
    densityGramsPerCm3: density === undefined ? pla.densityGramsPerCm3 : density / 1_000,
  };
}
