import type { Command } from 'commander';
import type { Add, Group } from './add-command.ts';

export function addMachines(group: Group, add: Add): void {
  const machine = group('machine', 'machines of the installation');
  add(machine, 'list', 'registered machines', async (context) =>
    (await import('./commands/objects.ts')).machines(context),
  );
  add(
    machine,
    'odometer <machine>',
    'show a machine’s own odometer beside what the ledger’s reports add up to',
    async (context, [name = '']) => (await import('./commands/odometer.ts')).show(context, name),
  );
  describing(
    add(
      machine,
      'add <name>',
      'set up a machine here; the next `up` registers it and starts its agent (see docs/machines.md)',
      async (context, [name = ''], options) =>
        (await import('./commands/machine.ts')).addMachine(context, name, options),
    )
      .option('--pkcs11 <module>', 'create the machine’s key in a token of this PKCS #11 module, not in a file')
      .option('--token <label>', 'label of the token')
      .option('--pin-file <file>', 'file with the token’s PIN (default: the PIN agent at MILLRACE_PIN_SOCKET)'),
  );
  describing(
    add(
      machine,
      'pair <code>',
      'pair the agent at another place that shows this code (see docs/sites.md)',
      async (context, [code = ''], options) => (await import('./commands/pairing.ts')).pair(context, code, options),
    ).requiredOption('--name <name>', 'name of the machine'),
  );
  add(
    machine,
    'assign <machine>',
    'state which organisation holds a machine (administrator): it may group, set and watch the machine',
    async (context, [name = ''], options) => (await import('./commands/groups.ts')).assign(context, name, options),
  ).option('--org <org>', 'the organisation (default: none, so that the machine leaves the former one)');
  add(
    machine,
    'admit [machine]',
    'register a machine that an operator has paired; without a name, list those that wait',
    async (context, [name]) => (await import('./commands/pairing.ts')).admitMachine(context, name),
  );
  const operations = {
    status: 'state of the machine, as its agent on this computer knows it',
    pause: 'pause the print, or let an idle machine begin none',
    resume: 'continue the print, or let a held machine take work again',
    cancel: 'end the print with a safe stop: heaters and spindle off',
    stop: 'emergency stop: everything off at once; the machine takes no work until it is resumed',
  } as const;
  for (const [command, what] of Object.entries(operations) as [keyof typeof operations, string][])
    add(machine, `${command} <machine>`, `${what}; needs no cloud`, async (context, [name = ''], options) =>
      (await import('./commands/machine-operation.ts')).operateMachine(context, command, name, options),
    ).option('--cause <text>', 'why; goes to the ledger with the print');
  add(
    machine,
    'safety <machine>',
    'set what designs may do on a machine: volume, speeds, temperatures, commands (see docs/machines.md)',
    async (context, [name = ''], options) =>
      (await import('./commands/machine-safety.ts')).setSafetyPolicy(context, name, options),
  ).option('--file <file>', 'the policy, as JSON (default: remove the policy)');
}

/** Options that describe a machine. */
function describing(command: Command): void {
  command
    .requiredOption('--kind <kind>', 'driver: marlin, grbl, moonraker, octoprint, virtual, sink')
    .requiredOption('--serial <number>', 'serial number that the machine reports')
    .option('--material <name>', 'the loaded material', 'PLA')
    .option('--factor <n>', 'how much faster than the model of a desktop printer it works at most', '1')
    .option('--port <port>', 'serial port, or tcp://HOST:PORT (default: the USB device with the serial number)')
    .option('--baud <speed>', 'speed of the serial port, or auto')
    .option('--url <url>', 'address of Moonraker or OctoPrint')
    .option('--api-key-file <file>', 'file with the API key of Moonraker or OctoPrint')
    .option('--trust-serial', 'do not check the serial number: for machines that report none');
}
