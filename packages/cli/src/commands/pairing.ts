import { MillraceError, writeDurably } from '@millrace/base';
import { pick } from '@millrace/client';
import { admitPairing, openPairings, pairMachine, toJsonFile } from '@millrace/client/node';
import type { Machine } from '@millrace/protocol';
import { machineToJson } from '../installation/description.ts';
import { requireName } from '../installation/layout.ts';
import type { Installation } from '../installation/open.ts';
import { referenceOf } from '../installation/reference.ts';
import type { InstallationSession } from '../installation/session.ts';
import { commandName } from '../output/command-name.ts';
import { formatFields, formatTable } from '../output/format.ts';
import { authorityOf } from '../rotation/rotate.ts';
import { type Context, withSession } from './context.ts';
import { checkedTerms, keyText, type MachineOptions } from './machine.ts';

/** TLS certificates of machines at other places are not renewed from here. */
const CERTIFICATE_MS = 3 * 365 * 86_400_000;

/**
 * Enters the pairing code that an agent at another place shows. The administrator also admits the machine; other
 * operators leave that to the administrator.
 */
export function pair(
  context: Context,
  code: string,
  options: MachineOptions & { readonly name: string },
): Promise<void> {
  const name = requireName(options.name);
  const terms = checkedTerms(options);
  return withSession(context, 'admin', async (session) => {
    const { terminal } = context;
    const { directory, addresses } = await referenceOf(session.installation);
    const { distribution } = addresses;
    requireNewName(session.installation, name, terms.serial);
    const { pairing, machine } = await pairMachine(session, code, { name, ...terms }, { directory, distribution });
    await remember(session.installation, name, terms.material, machine);
    const admits = session.user.name === 'admin';
    if (admits) await admit(context, session, pairing);
    const { serial, kind } = machine;
    terminal.result(
      { name, machine: machine.machine, serial, kind, admitted: admits },
      [
        `The agent’s keys are verified: ${name} is paired.`,
        formatFields(
          [
            ['machine', machine.machine],
            ['kind', kind],
            ['serial number', serial],
            ['key', keyText(machine)],
          ],
          '  ',
        ),
        admits
          ? 'It is registered. The agent starts within seconds.'
          : `The administrator admits it: \`${commandName} machine admit ${name}\`. Leave the agent running.`,
      ].join('\n'),
    );
  });
}

/** Registers a machine that an operator has paired. Without a name, lists those that wait. */
export function admitMachine(context: Context, wanted: string | undefined): Promise<void> {
  return withSession(context, 'admin', async (session) => {
    const { terminal } = context;
    const waiting = await openPairings(session);
    if (wanted === undefined) {
      const rows = waiting.map(({ pairing: { name, machine }, by }) => [
        name,
        machine.machine,
        machine.kind,
        machine.serial,
        by.organisation === undefined ? by.name : `${by.name}, ${by.organisation}`,
        keyText(machine),
      ]);
      terminal.result(
        {
          waiting: waiting.map(({ pairing: { name, machine }, by }) => ({ name, ...machineToJson(machine), by })),
        },
        rows.length === 0
          ? 'No machine waits. An agent has to run, and an operator has to have entered its code.'
          : formatTable(['name', 'machine', 'kind', 'serial number', 'paired by', 'key'], rows),
      );
      return;
    }
    const found = pick('paired machine', wanted, waiting, ({ pairing: { name, machine } }) => [
      machine.machine,
      machine.serial,
      name,
    ]);
    const { name, machine, material } = found.pairing;
    requireNewName(session.installation, name, machine.serial);
    await admit(context, session, found.id);
    await remember(session.installation, name, material, machine);
    terminal.result(
      { name, machine: machine.machine, serial: machine.serial, by: found.by },
      `Machine ${name} is registered. Its agent starts within seconds.`,
    );
  });
}

async function admit({ clock }: Context, session: InstallationSession, id: string): Promise<void> {
  const authority = await authorityOf(session.installation, clock);
  const found = pick('paired machine', id, await openPairings(session), (waiting) => [waiting.id]);
  await admitPairing(session, found, authority, clock.now() + CERTIFICATE_MS);
}

/** @throws {MillraceError} E_CONFLICT if another machine has the name in this folder */
function requireNewName({ description }: Installation, name: string, serial: string): void {
  if (description.machines.some((known) => known.name === name && known.registration.serial !== serial))
    throw new MillraceError('E_CONFLICT', `there is a machine ${name} already`);
}

/** Makes the machine known by its name in this folder. */
async function remember(
  { layout, description }: Installation,
  name: string,
  material: string,
  machine: Machine,
): Promise<void> {
  const entry = { name, material, registration: machineToJson(machine), elsewhere: true as const };
  const others = description.machines.filter(({ registration }) => registration.machine !== machine.machine);
  await writeDurably(layout.installation, toJsonFile({ ...description, machines: [...others, entry] }), 0o644);
}
