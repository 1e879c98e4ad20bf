#!/usr/bin/env node
import { fileURLToPath } from 'node:url';
import { systemClock, systemRandom, toMillraceError } from '@millrace/base';
import { createTerminal } from './output/terminal.ts';
import { run } from './program.ts';
import { builtEntries } from './supervisor/children.ts';
import { stopSignals } from './supervisor/signals.ts';

const { stdout, stderr, argv } = process;

// The reader of standard output may exit (`millrace logs | head`): end the command without an error.
stdout.on('error', () => process.exit(0));

const unforeseen = (error: unknown) => {
  createTerminal({ stdout, stderr, json: argv.includes('--json') }).error(toMillraceError(error));
  process.exit(1);
};
process.on('uncaughtException', unforeseen);
process.on('unhandledRejection', unforeseen);

let onSecondInterrupt = () => process.exit(130);
const stop = stopSignals(
  process,
  () => performance.now(),
  () => onSecondInterrupt(),
);

const code = await run(argv.slice(2), {
  stdout,
  stderr,
  clock: systemClock,
  random: systemRandom,
  cwd: process.cwd(),
  env: process.env,
  entries: builtEntries,
  sample: fileURLToPath(new URL('../../../samples/impeller.gcode', import.meta.url)),
  profile: fileURLToPath(new URL('../../../samples/impeller.ini', import.meta.url)),
  signal: stop.signal,
  onSecondInterrupt: (action) => {
    onSecondInterrupt = () => {
      action();
      return process.exit(130);
    };
  },
});
stop.dispose();
// Output to a pipe may still be in transit.
process.exitCode = code;
// After Ctrl-C, a reader that does not read must not keep the process alive. The unreferenced timer does not either.
if (stop.signal.aborted) setTimeout(() => process.exit(code), 1_000).unref();
