#!/usr/bin/env node
// The command, before and after a build: npm links it when it installs.
import { existsSync } from 'node:fs';

const main = new URL('../dist/program/main.js', import.meta.url);
if (!existsSync(main)) {
  process.stderr.write('\n  error   Millrace is not built yet\n  remedy  Run `npm run setup` in the repository.\n\n');
  process.exit(2);
}
await import(main.href);
