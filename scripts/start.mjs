// npm start [-- FILE] [--once] [--home FOLDER]: installs and builds if needed, then runs the main job. Runs the command
// in this process, so that it receives signals directly.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root, setup } from './setup.mjs';

setup();
const main = join(root, 'packages/cli/dist/program/main.js');
process.argv = [process.argv[0], main, 'demo', ...process.argv.slice(2).map(fromWhereItWasTyped)];
await import(pathToFileURL(main).href);

/** npm changes to the root of the repository. Relative paths are relative to the caller's folder. */
function fromWhereItWasTyped(argument) {
  const typedIn = process.env.INIT_CWD;
  if (typedIn === undefined || argument.startsWith('-') || existsSync(argument)) return argument;
  const file = resolve(typedIn, argument);
  return existsSync(file) ? file : argument;
}
