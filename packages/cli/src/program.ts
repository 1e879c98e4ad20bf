import { MillraceError, toMillraceError } from '@millrace/base';
import { printCommands } from '@millrace/protocol/shapes';
import { Command, CommanderError, Option, type OutputConfiguration } from 'commander';
import type { Action, Add, Group } from './add-command.ts';
import { addCases } from './case-commands.ts';
import { addClouds } from './cloud-commands.ts';
import { type CommonOptions, createContext, type Io } from './commands/context.ts';
import { addGroups } from './group-commands.ts';
import { addPackages } from './job-package-commands.ts';
import { addMonitor, addWitness } from './ledger-commands.ts';
import { addLicences } from './licence-commands.ts';
import { addMachines } from './machine-commands.ts';
import { addMaterials } from './material-commands.ts';
import { addMigrate } from './migrate-command.ts';
import { addNodes } from './node-commands.ts';
import { addObjects } from './object-commands.ts';
import { createTerminal } from './output/terminal.ts';
import { addSettings } from './settings-commands.ts';
import { addOrganisationSignIn, addSignIn } from './sign-in-commands.ts';
import { addUsage } from './usage-commands.ts';

export const VERSION = '0.1.0';

/** Exit code after an interrupt, as in shells. */
const INTERRUPTED = 130;

/**
 * Runs one command line and returns its exit code: 0, or that of the error's code. It never throws and shows no stack.
 * @param argv without the program and the script
 */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const { stdout, stderr, signal } = io;
  const json = argv.includes('--json');
  let exit = 0;
  const program = createProgram(io, (code) => {
    exit = code;
  });
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return exit;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0; // --help, --version
    const terminal = createTerminal({ stdout, stderr, json });
    if (signal.aborted) {
      terminal.say('interrupted');
      return INTERRUPTED;
    }
    const coded = error instanceof CommanderError ? usageError(error) : toMillraceError(error);
    terminal.error(coded);
    return coded.exit;
  }
}

function usageError(error: CommanderError): MillraceError {
  const message = error.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ');
  return new MillraceError('E_INPUT', error.code === 'commander.help' ? 'no command was given: see --help' : message);
}

export function createProgram(io: Io, exited: (code: number) => void): Command {
  const { stdout, stderr } = io;
  const program = new Command('millrace')
    .description('Secure remote manufacturing: N parts of a design on a machine that you do not control.')
    .version(VERSION)
    // Options after `print pause` are those of `pause`, not of `print`. Commands below inherit this.
    .enablePositionalOptions();

  const add = (parent: Command, usage: string, description: string, action: Action): Command => {
    const command = parent.command(usage).description(description);
    command
      .addOption(new Option('--json', 'one JSON document on standard output, everything else on standard error'))
      .addOption(new Option('--home <folder>', 'folder of the installation (default: $MILLRACE_HOME or ./.millrace)'))
      .addOption(new Option('--user <name>', 'act as this user of the installation'));
    command.action(async (...given: unknown[]) => {
      const values = command.opts<CommonOptions>();
      const code = await action(createContext(io, values), given.slice(0, -2) as string[], values as never);
      exited(typeof code === 'number' ? code : 0);
    });
    return command;
  };
  const group = (name: string, description: string) => program.command(name).description(description);

  addInstallation(program, add);
  addNodes(group, add);
  addMachines(group, add);
  addGroups(group, add);
  addSettings(group, add);
  addOwner(group, add);
  addLicences(group, add);
  addPackages(group, add);
  addOperator(program, group, add);
  addMaterials(group, add);
  addUsage(program, add);
  addCases(group, add);
  addObjects(group, add);
  addProofs(group, add);
  addKeys(program, group, add);
  addPeople(group, add);
  addClouds(group, add);
  addSignIn(program, group, add);
  addPeer(program, add);
  addWitness(program, add);
  add(
    program,
    'demo [file]',
    'demonstrate the whole process, from a design to two parts',
    async (context, [file], options) => {
      const { demo } = await import('./demo/demo.ts');
      return demo(context, file, options);
    },
  ).option('--once', 'exit after the summary, with exit code 0 only if every step succeeded');

  return settle(program, {
    writeOut: (text) => void stdout.write(text),
    writeErr: (text) => void stderr.write(text),
    outputError: () => undefined, // run() prints it in the same form as other errors
  });
}

function addInstallation(program: Command, add: Add): void {
  add(
    program,
    'init',
    'create an installation: authority, nodes, administrator, a virtual machine',
    async (context, _, options) => {
      const { init } = await import('./commands/init.ts');
      return init(context, options);
    },
  )
    .option('--name <name>', 'name of the installation')
    .option('--without-nodes', 'its nodes will be on hosts of their own: docs/several-hosts.md')
    .option('--no-people', 'enrol no first organisations and people: invite your own with `user invite`')
    .option('--factor <n>', 'how much faster than real time the virtual machine runs');
  add(program, 'up', 'start the nodes and the machine agents, and keep them running', async (context, _, options) => {
    const { up } = await import('./commands/up.ts');
    return up(context, options);
  })
    .option('--control-port <port>', 'port of the control node (default: 7601, or a free one)')
    .option('--distribution-port <port>', 'port of the distribution node (default: 7602, or a free one)')
    .option('--ledger-port <port>', 'port of the public ledger (default: 7603, or a free one)')
    .option('--console-port <port>', 'port of the console (default: 7604, or a free one)')
    .option('--browsers-port <port>', 'port to which browsers upload (default: 7605, or a free one)');
  add(program, 'down', 'stop what `up` started', async (context) => {
    const { down } = await import('./commands/status.ts');
    return down(context);
  });
  add(
    program,
    'status',
    'show processes, restarts and the state of the control node; exit code 5 if a process is not running',
    async (context) => {
      const { status } = await import('./commands/status.ts');
      return status(context);
    },
  );
  add(
    program,
    'console',
    'show an address that signs one browser in to the console, once, for reading: also as the administrator',
    async (context, _, options) => (await import('./commands/console.ts')).openConsole(context, options),
  ).option('--origin <url>', 'address of the console (default: the one of this installation)');
  add(program, 'metrics', 'print metrics of all nodes in the Prometheus text format', async (context) => {
    const { metrics } = await import('./commands/metrics.ts');
    return metrics(context);
  });
  add(
    program,
    'recover <node>',
    'accept the current state of a node although other nodes have seen a newer one (see docs/runbooks/recover.md)',
    async (context, [node = ''], options) => (await import('./commands/recover.ts')).recover(context, node, options),
  ).option('--accept-loss', 'accept that the node’s lost data stays lost');
  addMigrate(program, add);
  add(program, 'logs [name]', 'show the logs of one process or of all', async (context, [name], options) => {
    const { logs } = await import('./commands/logs.ts');
    return logs(context, name, options);
  })
    .option('-f, --follow', 'keep printing new lines')
    .option('-n, --lines <count>', 'number of lines', '100');
}

function addOwner(group: Group, add: Add): void {
  const design = group('design', 'designs: what an owner seals and stores');
  add(
    design,
    'add <file>',
    'seal a design on this computer (STL and 3MF are sliced first), upload it, and wait until it is stored',
    async (context, [file = ''], options) => {
      const commands = await import('./commands/design.ts');
      return commands.add(context, file, options);
    },
  )
    .option('--name <name>', 'name of the design (default: name of the file)')
    .option('--kind <kind>', 'gcode or binary (default: by the name of the file)')
    .option('--material <name>', 'intended material', 'PLA')
    .option('--profile <file>', 'for STL and 3MF: the slicing profile (default: PLA, 0.4 mm nozzle, 0.28 mm layers)')
    .option('--rate <bytes>', 'for binary: bytes a second that a sink takes')
    .option(
      '--maintenance <mode>',
      'how its cells are renewed: rekey (default), delta (the storage node learns no key) or key-homomorphic (the same with a token of 32 bytes; for designs of up to 65,480 bytes)',
    )
    .option(
      '--custody <who>',
      'who holds the design secret: owner (the cloud cannot open the design) or keys (the keys node keeps it, so that licences need no secret from you)',
      'owner',
    )
    .option('--approvals <n>', 'how many approvals every licence needs (default: one of each approver)')
    .option('--approver <user...>', 'who may approve licences: users or key names; the owner may be one')
    .option('--keep [folder]', 'keep an offline copy, sealed, for repairs (default: copies in the user’s folder)');
  add(
    design,
    'delete <design>',
    'delete a design: its keys are destroyed at once, its cells with the next epoch',
    async (context, [id = '']) => (await import('./commands/designs.ts')).remove(context, id),
  );
  add(
    design,
    'maintenance <design> <mode>',
    'renew its cells by rekey or delta, starting with the next sweep',
    async (context, [id = '', mode = '']) => (await import('./commands/designs.ts')).maintain(context, id, mode),
  );
  add(
    design,
    'share <design>',
    'let other designers of the organisation, or your other devices, open the design (new designs are shared by default)',
    async (context, [id = ''], options: { with?: string[] }) =>
      (await import('./commands/designs.ts')).share(context, id, options.with),
  ).option('--with <key...>', 'only these keys or persons (default: every designer)');
  add(
    design,
    'repair <design> [folder]',
    'upload missing segments again, from the offline copy that `design add --keep` made',
    async (context, [id = '', folder]) => (await import('./commands/designs.ts')).repair(context, id, folder),
  );
  add(design, 'list', 'list the designs of the user', async (context) =>
    (await import('./commands/design.ts')).list(context),
  );
}

function addOperator(program: Command, group: Group, add: Add): void {
  const print = add(program, 'print', 'order a print: request one object of a licence', async (context, _, options) =>
    (await import('./commands/print.ts')).print(context, options),
  )
    .option('--licence <id>', 'identifier of the licence, or its beginning')
    .option('--machine <name>', 'the machine (default: the only one that the licence names)')
    .option('--at <home>', 'for a machine of another cloud: home folder in which your key is enrolled there')
    .option('--start-within <minutes>', 'the print expires unless its machine has started by then', '15')
    .option('--watch', 'follow the print to its end; exit code 0 only if the object is made');
  const commands = {
    pause: 'pause the machine that makes a print',
    resume: 'end a pause that was made from elsewhere',
    cancel: 'end a running print; its object is used (a print that waits: `queue cancel`)',
    stop: 'emergency stop of the machine that makes a print; it takes no work until it is resumed there',
  } as const;
  for (const command of printCommands)
    add(print, `${command} <print>`, commands[command], async (context, [id = ''], options) =>
      (await import('./commands/print-command.ts')).command(context, command, id, options),
    ).option('--cause <text>', 'goes to the ledger');
  add(
    program,
    'rehearse',
    'ask a machine whether a design fits its policy, material and spool; nothing moves, and no object is counted',
    async (context, _, options) => (await import('./commands/rehearse.ts')).rehearse(context, options),
  )
    .requiredOption('--licence <id>', 'identifier of the licence, or its beginning')
    .option('--machine <name>', 'the machine (default: the only one that the licence names)')
    .option('--within <minutes>', 'it expires unless the machine has taken it by then', '15');
  const queue = group('queue', 'the queue: prints that wait for their machines, in the order in which they are made');
  add(queue, 'list', 'list the prints that wait', async (context, _, options) =>
    (await import('./commands/queue.ts')).list(context, options),
  ).option('--machine <name>', 'of this machine only');
  add(queue, 'cancel <print>', 'cancel a print that waits; it uses no object', async (context, [id = '']) =>
    (await import('./commands/queue.ts')).cancel(context, id),
  );
  add(
    queue,
    'first <print>',
    'make a print that waits the next of yours on its machine; prints of others keep their turn',
    async (context, [id = '']) => (await import('./commands/queue.ts')).first(context, id),
  );
  add(queue, 'clear', 'cancel every print of the user that waits', async (context, _, options) =>
    (await import('./commands/queue.ts')).clear(context, options),
  ).option('--machine <name>', 'of this machine only');
}

function addProofs(group: Group, add: Add): void {
  const certificate = group('certificate', 'certificates: portable proof of an object');
  add(
    certificate,
    'export <object>',
    'write the certificate of an object to a file',
    async (context, [id = ''], options) =>
      (await import('./commands/objects.ts')).exportCertificate(context, id, options),
  )
    .option('--out <file>', 'the file (default: OBJECT.certificate)')
    .option('--html [file]', 'also write a page that verifies itself in a browser (default: OBJECT.html)')
    .option('--label [file]', 'also write a paper label with a QR code, PNG (default: OBJECT.png)')
    .option('--label-pdf [file]', 'also write the label as a PDF of its size (default: OBJECT.pdf)')
    .option(
      '--witness <key...>',
      'witnesses whose signatures the page verifies: verifier keys, or files that hold them',
    )
    .option('--proofs <folder>', 'also write proofs for other programs (docs/verify-a-certificate.md)');
  add(
    certificate,
    'verify <file>',
    'verify a certificate, or the one in a page, offline',
    async (context, [file = ''], options) =>
      (await import('./commands/objects.ts')).verifyCertificateFile(context, file, options),
  )
    .option('--log-key <key>', 'key of the log, or a file that holds it (default: the installation’s)')
    .option('--owner <key>', 'key of the design’s owner, or a file that holds it')
    .option('--authority <key>', 'key of the administrator, or a file that holds it (default: the installation’s)')
    .option('--witness <key...>', 'verifier key of a witness, or a file that holds it')
    .option('--quorum <n>', 'how many of these witnesses must have signed (default: 0)')
    .option('--label <text>', 'text of the QR code on the part: it has to belong to this certificate');

  const backup = group('backup', 'encrypted backups of all nodes; the installation has to be stopped');
  const keyed = (command: Command) =>
    command.option('--key <file>', 'file of the backups’ keys (default: backup.keys of the user admin)');
  keyed(
    add(
      backup,
      'create <file>',
      'create a backup; the keys of older backups are destroyed',
      async (context, [file = ''], options) => (await import('./commands/backup.ts')).create(context, file, options),
    ),
  ).option('--keep-older', 'keep the keys of older backups');
  keyed(
    add(backup, 'restore <file>', 'restore the nodes from a backup', async (context, [file = ''], options) =>
      (await import('./commands/backup.ts')).restore(context, file, options),
    ),
  ).option('--accept-loss', 'restore control as well: later permits and deletions are lost');
  keyed(
    add(backup, 'destroy', 'destroy the keys of all backups', async (context, _, options) =>
      (await import('./commands/backup.ts')).destroy(context, options),
    ),
  );
  const ledger = group('ledger', 'the ledger of the installation');
  add(ledger, 'verify', 'download the ledger and recompute it against its signed checkpoint', async (context) =>
    (await import('./commands/checks.ts')).verifyLedger(context),
  );
  addMonitor(ledger, add);
  addAnchors(group, add);
  const vault = group('vault', 'the vault: where sealed designs rest');
  add(vault, 'check', 'check cells and playbooks; exit code 6 if something is wrong', async (context, _, options) =>
    (await import('./commands/checks.ts')).checkVault(context, options),
  ).option('--deep', 'read every cell as well');
}

/** Commands for foreign logs to which checkpoints are written. */
function addAnchors(group: Group, add: Add): void {
  const anchor = group(
    'anchor',
    'anchors: checkpoints of the ledger in external logs, which make a rewritten ledger detectable',
  );
  const configured = (command: Command) =>
    command.requiredOption('--anchors <file>', 'anchors.json: which foreign logs, and how (docs/anchors.md)');
  add(anchor, 'deploy', 'deploy the contract on an EVM chain, once for each chain', async (context, _, options) =>
    (await import('./commands/anchor.ts')).deploy(context, options),
  )
    .requiredOption('--rpc <url>', 'JSON-RPC address of a node of the chain')
    .requiredOption('--key <file>', 'private key that pays, as 64 hexadecimal digits');
  configured(
    add(anchor, 'submit', 'anchor the newest checkpoint of the ledger', async (context, _, options) =>
      (await import('./commands/anchor.ts')).submit(context, options),
    ),
  )
    .option('--out <file>', 'where its proof is written (default: SIZE.anchor)')
    .option(
      '--object <id>',
      'use an account of this object on chains that have accounts (default: the whole ledger’s)',
    );
  configured(
    add(anchor, 'upgrade <file>', 'complete a proof: Bitcoin takes some hours', async (context, [file = ''], options) =>
      (await import('./commands/anchor.ts')).upgrade(context, file, options),
    ),
  );
  add(
    anchor,
    'certificate <file>',
    'join a certificate with an anchored checkpoint',
    async (context, [file = ''], options) => (await import('./commands/anchor.ts')).bundle(context, file, options),
  )
    .requiredOption('--anchor <file>', 'the output of `anchor submit`')
    .option('--out <file>', 'the file (default: FILE.anchored)');
  configured(
    add(anchor, 'verify <file>', 'verify an anchored certificate', async (context, [file = ''], options) =>
      (await import('./commands/anchor.ts')).verify(context, file, options),
    ),
  )
    .option('--log-key <key>', 'key of the log, or a file that holds it (default: the installation’s)')
    .option('--owner <key>', 'key of the design’s owner, or a file that holds it')
    .option('--authority <key>', 'key of the administrator, or a file that holds it (default: the installation’s)');
}

function addPeople(group: Group, add: Add): void {
  const people = () => import('./commands/people.ts');
  const org = group('org', 'organisations: brands, bureaus, suppliers, auditors');
  add(org, 'create <name>', 'create an organisation (administrator)', async (context, [name = ''], options) =>
    (await people()).createOrg(context, name, options),
  ).requiredOption('--kind <kind...>', 'brand, bureau, supplier, auditor');
  add(org, 'list', 'list the organisations', async (context) => (await people()).listOrgs(context));
  add(org, 'show <org>', 'show an organisation, its people and their keys', async (context, [id = '']) =>
    (await people()).showOrg(context, id),
  );

  addOrganisationSignIn(org, add);
  const user = group('user', 'people in organisations, and their keys');
  const terms = (command: Command) =>
    command
      .option('--days <n>', 'how long the invitation can be used', '7')
      .option('--key-days <n>', 'how long a key that is enrolled by it counts', '365');
  terms(
    add(user, 'invite <name>', 'invite a person: shows a secret text, once', async (context, [name = ''], options) =>
      (await people()).inviteUser(context, name, options),
    ),
  )
    .option('--org <org>', 'the organisation (default: your own)')
    .requiredOption('--role <role...>', 'owner-admin, designer, operator, auditor, certifier')
    .option('--person <id>', 'invite this person again: to renew a key, or with other roles');
  terms(
    add(user, 'add-device', 'invite another device of yours: shows a secret text, once', async (context, _, options) =>
      (await people()).addDevice(context, options),
    ),
  );
  const orgOption = (command: Command) => command.option('--org <org>', 'the organisation (default: your own)');
  orgOption(
    add(user, 'list', 'list people, keys, invitations and what was revoked', async (context, _, options) =>
      (await people()).listUsers(context, options),
    ),
  );
  orgOption(
    add(
      user,
      'revoke <who>',
      'revoke a person, a key or an invitation: what it signs from now on counts nowhere',
      async (context, [who = ''], options) => (await people()).revokeUser(context, who, options),
    ),
  ).option('--keep <what>', 'what the key has signed that still counts: all or none', 'all');
}

/** Commands for the installation's keys and certificates, and their rotation. */
function addKeys(program: Command, group: Group, add: Add): void {
  const key = group('key', 'keys and certificates of the installation');
  add(key, 'list', 'list every certificate and key with its date of expiry', async (context) =>
    (await import('./commands/keys.ts')).list(context),
  );
  add(
    key,
    'rotate <what>',
    'replace tls, identity, permit, log, users or authority; nodes restart one after the other, prints continue',
    async (context, [what = ''], options) => (await import('./commands/keys.ts')).rotate(context, what, options),
  )
    .option('--node <role>', 'rotate for this node only (with tls and identity)')
    .option('--overlap <days>', 'how long the old key is accepted; 0 for a stolen key (default: 7)');
  add(program, 'renew', 'renew the certificates that expire within 30 days', async (context, _, options) =>
    (await import('./commands/keys.ts')).renew(context, options),
  ).option('--all', 'renew all certificates');
}

/** Commands for transfers between two computers. They need no installation. */
function addPeer(program: Command, add: Add): void {
  const keyed = (command: Command) =>
    command
      .option('--key <file>', 'authenticate by keys instead of a code: our key (`millrace peer-key` creates one)')
      .option('--peer <fingerprint>', 'fingerprint of the other end’s key');
  keyed(
    add(program, 'receive', 'receive data from another computer; shows a code', async (context, _, options) =>
      (await import('./commands/peer.ts')).receive(context, options),
    ),
  )
    .option('--listen <host:port>', 'address to listen on (default: all interfaces, a free port)', ':0')
    .option('--output <file>', 'where the data is written; - is standard output')
    .option('--force', 'replace the file if it exists');
  keyed(
    add(
      program,
      'send <file>',
      'send a file, or - for standard input, to a receiver',
      async (context, [file = ''], options) => (await import('./commands/peer.ts')).send(context, file, options),
    ),
  )
    .requiredOption('--to <host:port>', 'address of the receiver')
    .option('--code-file <file>', 'read the receiver’s code from a file (default: ask for it)')
    .option('--code <code>', 'the receiver’s code; visible to other users of this computer')
    .option('--order <order>', 'order of the live matrix, 16 or 24', '16')
    .option('--chaff <percent>', 'add 0 to 100 percent of chaff to hide how much is sent (uses sparse hints)');
  add(
    program,
    'peer-key <file>',
    'show the fingerprint of a key for --key; creates the key if there is none',
    async (context, [file = '']) => (await import('./commands/peer.ts')).peerKey(context, file),
  );
}

/** Settings shared by all commands: where text goes, and no exit from inside. */
function settle(command: Command, output: OutputConfiguration): Command {
  command.configureOutput(output).exitOverride().showSuggestionAfterError();
  for (const child of command.commands) settle(child, output);
  return command;
}
