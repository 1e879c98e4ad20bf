// npm start [-- FILE] [--once] [--home FOLDER]: installs and builds what is missing, then does the main job.
// The command runs in this very process, so that signals reach it without a middleman.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root, setup } from './setup.mjs';

setup();
const main = join(root, 'packages/cli/dist/main.js');
process.argv = [process.argv[0], main, 'demo', ...process.argv.slice(2).map(fromWhereItWasTyped)];
await import(pathToFileURL(main).href);

/** npm changes to the root of the repository; a file may have been named from elsewhere. */
function fromWhereItWasTyped(argument) {
  const typedIn = process.env.INIT_CWD;
  if (typedIn === undefined || argument.startsWith('-') || existsSync(argument)) return argument;
  const file = resolve(typedIn, argument);
  return existsSync(file) ? file : argument;
}
