import type { Command } from 'commander';
import type { Add } from './add-command.ts';

/** Commands that follow a log from outside. */
export function addMonitor(ledger: Command, add: Add): void {
  add(
    ledger,
    'monitor',
    'follow the public ledger of an installation: every new head has to extend the one before; exit code 6 on an alarm',
    async (context, _, options) => (await import('./commands/monitor.ts')).monitor(context, options),
  )
    .option('--url <url>', 'where the log is served (default: by the installation)')
    .option('--log-key <key...>', 'verifier key of the log, or a file that holds it (default: the installation’s)')
    .option('--authority <file>', 'authority of the server’s certificate, PEM (default: the installation’s)')
    .option('--folder <folder>', 'what was seen last, and evidence (default: .millrace-monitor/LOG)')
    .option('--witness <key@url...>', 'a witness that has to agree: verifier key, @, submission prefix')
    .option('--witness-authority <file>', 'authority of the witnesses’ certificates, PEM')
    .option('--certificate <file...>', 'certificates whose checkpoints have to lie on the same history')
    .option(
      '--account',
      'verify the user’s own accounts as well (documents, and that no newest event is hidden), and show their events',
    )
    .option('--every <seconds>', 'time between two looks', '10')
    .option('--once', 'look once');
}

/** Commands for logs of other installations. They need no installation. */
export function addWitness(program: Command, add: Add): void {
  add(
    program,
    'witness <folder>',
    'sign the heads of transparency logs that extend what was signed before, and no others (C2SP tlog-witness)',
    async (context, [folder = ''], options) =>
      (await import('./commands/witness.ts')).witness(context, folder, options),
  )
    .option('--name <name>', 'name of the witness’s key, such as example.org/witness; needed for a new folder')
    .option('--log-key <key...>', 'verifier key of a log, or a file that holds it; added to those of the folder')
    .option('--listen <host:port>', 'address to listen on', '127.0.0.1:7620')
    .option('--certificate <file>', 'certificate for HTTPS, PEM (default: HTTP; requests and answers are signed)')
    .option('--certificate-key <file>', 'key of the certificate, PEM');
}
