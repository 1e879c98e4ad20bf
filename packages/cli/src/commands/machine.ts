import { MillraceError, parse } from '@millrace/base';
import { builtInDrivers } from '@millrace/machine';
import type { NewToken } from '@millrace/machine/admin';
import type { Machine } from '@millrace/protocol';
import { requireName } from '../installation/layout.ts';
import { createMachine } from '../installation/machine.ts';
import { openInstallation } from '../installation/open.ts';
import { commandName } from '../output/command-name.ts';
import { formatFields } from '../output/format.ts';
import { authorityOf } from '../rotation/rotate.ts';
import { type Context, wholeNumber } from './context.ts';

/** Options that describe a machine. */
export interface MachineOptions {
  readonly kind: string;
  readonly serial: string;
  readonly material: string;
  readonly factor: string;
  readonly port?: string;
  readonly baud?: string;
  readonly url?: string;
  readonly apiKeyFile?: string;
  readonly trustSerial?: boolean;
}

export interface AddMachineOptions extends MachineOptions {
  readonly pkcs11?: string;
  readonly token?: string;
  readonly pinFile?: string;
}

/** Creates the folder of a machine. The next `up` registers it and starts its agent. */
export async function addMachine(context: Context, name: string, options: AddMachineOptions): Promise<void> {
  const { terminal, home, clock } = context;
  const installation = await openInstallation(home, clock);
  const { kind, serial, material, profile, driver } = checkedTerms({
    ...options,
    // The agent runs in another folder than this command.
    ...(options.apiKeyFile === undefined ? {} : { apiKeyFile: context.path(options.apiKeyFile) }),
  });
  const { machines } = installation.description;
  if (machines.some((machine) => machine.name === requireName(name)))
    throw new MillraceError('E_CONFLICT', `there is a machine ${name} already`);
  if (machines.some(({ registration }) => registration.serial === serial))
    throw new MillraceError('E_CONFLICT', `there is a machine with the serial number ${serial} already`);
  const token = newToken(context, options);
  const machine = await createMachine(installation, await authorityOf(installation, clock), {
    name,
    kind,
    serial,
    material,
    profile,
    driver,
    token,
  });
  const folder = installation.layout.machine(name);
  terminal.result(
    { name, folder, material, machine: machine.machine, serial, kind, driver, token: machine.token },
    [
      `Machine ${name} is set up.`,
      formatFields(
        [
          ['kind', kind],
          ['serial number', serial],
          ['folder', folder],
          ['key', keyText(machine)],
        ],
        '  ',
      ),
      `\`${commandName} up\` registers it and starts its agent.`,
    ].join('\n'),
  );
}

/** @throws {MillraceError} E_INPUT for an unknown kind, or for settings that its driver refuses */
export function checkedTerms(options: MachineOptions) {
  const { kind, serial, material, factor } = options;
  const driver = driverSettings(options);
  parse(builtInDrivers().get(kind).settings, { serial, ...driver }, `settings of the ${kind} driver`);
  return { kind, serial, material, profile: { factor: wholeNumber(factor, '--factor', 1, 1_000_000) }, driver };
}

/** @throws {MillraceError} E_INPUT unless module and token are named together */
function newToken({ path }: Context, { pkcs11, token, pinFile }: AddMachineOptions): NewToken | undefined {
  if (pkcs11 === undefined && token === undefined && pinFile === undefined) return undefined;
  if (pkcs11 === undefined || token === undefined)
    throw new MillraceError('E_INPUT', 'a key in a token needs both --pkcs11 MODULE and --token LABEL');
  return { module: path(pkcs11), label: token, pinFile: pinFile && path(pinFile) };
}

export function keyText({ token }: Machine): string {
  if (token === undefined) return 'in a file: whoever copies the folder can act as the machine';
  const { manufacturer, model, serial, hardware } = token;
  return `in the ${hardware ? 'hardware' : 'software'} token ${manufacturer} ${model}, ${serial}`;
}

function driverSettings({ port, baud, url, apiKeyFile, trustSerial }: MachineOptions) {
  return {
    ...(port === undefined ? {} : { port }),
    ...(baud === undefined ? {} : { baud: baud === 'auto' ? baud : wholeNumber(baud, '--baud', 1_200, 4_000_000) }),
    ...(url === undefined ? {} : { url }),
    ...(apiKeyFile === undefined ? {} : { apiKeyFile }),
    ...(trustSerial ? { trustSerial } : {}),
  };
}
