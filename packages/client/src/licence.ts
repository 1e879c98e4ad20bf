import type { LicenceView, MachineView } from '@millrace/api';
import { type Bytes, fromBase64, MillraceError, toHex, wipe } from '@millrace/base';
import {
  type Disclosure,
  licenceSecretInfo,
  type Machine,
  registrationHash,
  sealDesignSecret,
  sha256,
  usualDisclosures,
  verifyMachineRegistration,
} from '@millrace/protocol';
import { sealAttachment } from './attachments.ts';
import { ownDesign, ownDesignSecret } from './own-design.ts';
import { sealingPoint } from './owner-view.ts';
import { holderKey } from './people.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

const DAY_MS = 86_400_000;

export interface LicenceTerms {
  /** Full identifier of the design. */
  readonly design: string;
  readonly objects: number;
  /** Names, serial numbers or identifiers. */
  readonly machines: readonly string[];
  /** An empty list allows every material. */
  readonly materials: readonly string[];
  readonly days: number;
  /** Who may order prints: name of a contact, or key name of an operator. */
  readonly holder: string;
  /** What the holder may see of a running print. Default: nothing of the design. */
  readonly disclose?: readonly Disclosure[];
}

/**
 * Signs a licence: binds it to the design's core, seals its secret to the keys node and the design secret to each
 * machine.
 * @returns the licence's identifier
 * @throws {MillraceError} E_NOT_FOUND, E_FORBIDDEN, E_SEGMENT, E_SIGNATURE or E_AUTH for a machine that the
 *   administrator did not register
 */
export async function grantLicence(session: Session, terms: LicenceTerms): Promise<string> {
  const { api, directory, clock, random, signer } = session;
  const machines = await namedMachines(session, terms.machines);
  const design = await ownDesign(session, terms.design);
  const id = random(16);
  const binding = { installation: directory.installation, licence: toHex(id), design: terms.design };
  const entries = machines.map((machine) => ({ machine: machine.machine, registration: registrationHash(machine) }));
  const designSecret = design.custody === 'owner' ? await ownDesignSecret(session, design) : undefined;
  const secret = random(32);
  let sealed: Bytes;
  const sealedToMachines: Bytes[] = [];
  try {
    sealed = await sealAttachment(session, terms.design, licenceSecretInfo(terms.design, signer.publicKey), secret);
    if (designSecret !== undefined)
      for (const machine of machines) sealedToMachines.push(await sealDesignSecret(machine, binding, designSecret));
  } finally {
    wipe(secret, designSecret);
  }
  const now = clock.now();
  const transaction = await signNew(
    session,
    {
      type: 'licence.grant',
      design: terms.design,
      core: design.coreHash,
      objects: terms.objects,
      machines: entries.map((entry, i) => {
        const own = sealedToMachines[i];
        return own === undefined ? entry : { ...entry, secret: own };
      }),
      materials: [...terms.materials],
      // A node's clock may be behind the owner's.
      notBefore: Math.max(0, now - DAY_MS),
      notAfter: now + Math.ceil(terms.days * DAY_MS),
      holder: await holderKey(session, terms.holder),
      secretHash: sha256(sealed),
      telemetryKey: await sealingPoint(session),
      disclose: [...(terms.disclose ?? usualDisclosures)],
    },
    id,
  );
  await api.submit(transaction.bytes, { secret: sealed });
  return transaction.id;
}

/**
 * Signs how many objects of a suspended licence are left.
 * @throws {MillraceError} E_STATE if the licence does not wait for this, E_INPUT if the number is too high
 */
export async function resumeLicence(session: Session, view: LicenceView, objects: number): Promise<void> {
  const { licence, suspended } = view;
  if (suspended === undefined) throw new MillraceError('E_STATE', `licence ${licence} is not suspended`);
  if (objects > suspended.most)
    throw new MillraceError('E_INPUT', `at most ${suspended.most} objects of licence ${licence} can be left`);
  const { restore } = suspended;
  const { bytes } = await signNew(session, { type: 'licence.resume', licence, restore, objects });
  await session.api.submit(bytes);
}

/**
 * Resolves the names of machines. The owner's copy of a registration is preferred to the node's, which is accepted only
 * with the administrator's signature.
 */
async function namedMachines(session: Session, names: readonly string[]): Promise<Machine[]> {
  const { machines: known } = session.contacts;
  let listed: readonly MachineView[] | undefined;
  const found = new Map<string, Machine>();
  for (const name of names) {
    const own = known.find((entry) => [entry.name, entry.machine, entry.serial].includes(name));
    if (own !== undefined) {
      const machine = own.registration();
      found.set(machine.machine, machine);
      continue;
    }
    listed ??= await session.api.machines();
    const view = listed.find((machine) => machine.machine === name || machine.serial === name);
    if (view === undefined) throw new MillraceError('E_NOT_FOUND', `there is no machine ${name}`);
    const machine = await verifyMachineRegistration(fromBase64(view.document), session.directory);
    if (machine.machine !== view.machine)
      throw new MillraceError('E_MACHINE_UNKNOWN', `control shows the registration of another machine than ${name}`);
    found.set(machine.machine, machine);
  }
  return [...found.values()];
}
