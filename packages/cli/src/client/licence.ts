import { type Bytes, concatBytes, fromHex, MillraceError, utf8, wipe } from '@millrace/base';
import { seal } from '@millrace/identity';
import { registrationHash, sha256 } from '@millrace/protocol';
import { machineFromJson } from '../installation/description.ts';
import { findUser } from '../installation/open.ts';
import type { MachineView } from './answers.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

const DAY_MS = 86_400_000;

export interface LicenceTerms {
  /** Full identifier of the design. */
  readonly design: string;
  readonly objects: number;
  /** Names, serial numbers or identifiers. */
  readonly machines: readonly string[];
  /** None allows every material. */
  readonly materials: readonly string[];
  readonly days: number;
  /** User who may press print. */
  readonly holder: string;
}

/** Signs a licence, seals its secret to the keys node. Returns the licence's identifier. */
export async function grantLicence(session: Session, terms: LicenceTerms): Promise<string> {
  const { api, directory, installation, clock, random } = session;
  const machines = await namedMachines(session, terms.machines);
  const secret = random(32);
  const info = concatBytes(utf8('millrace/v1/licence-secret/'), fromHex(terms.design));
  let sealed: Bytes;
  try {
    sealed = await seal(fromHex(directory.nodes.keys.box), info, secret);
  } finally {
    wipe(secret);
  }
  const now = clock.now();
  const transaction = await signNew(session, {
    type: 'licence.grant',
    design: terms.design,
    objects: terms.objects,
    machines,
    materials: [...terms.materials],
    // A node's clock may be behind the owner's.
    notBefore: Math.max(0, now - DAY_MS),
    notAfter: now + Math.ceil(terms.days * DAY_MS),
    holder: fromHex(findUser(installation.description, terms.holder).publicKey),
    secretHash: sha256(sealed),
  });
  await api.submit(transaction.bytes, { secret: sealed });
  return transaction.id;
}

/** Machines with the hash of the registration that the owner means: their own copy of it before the node's word. */
async function namedMachines(session: Session, names: readonly string[]) {
  const { machines: known } = session.installation.description;
  let listed: readonly MachineView[] | undefined;
  const found: { machine: string; registration: Bytes }[] = [];
  for (const name of names) {
    const own = known.find((entry) =>
      [entry.name, entry.registration.machine, entry.registration.serial].includes(name),
    );
    if (own !== undefined) {
      const machine = machineFromJson(own.registration);
      found.push({ machine: machine.machine, registration: registrationHash(machine) });
      continue;
    }
    listed ??= await session.api.machines();
    const view = listed.find((machine) => machine.machine === name || machine.serial === name);
    if (view?.registration === undefined) throw new MillraceError('E_NOT_FOUND', `there is no machine ${name}`);
    found.push({ machine: view.machine, registration: fromHex(view.registration) });
  }
  return found;
}
