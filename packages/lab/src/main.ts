import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { MillraceError, toMillraceError } from '@millrace/base';
import { type Bench, formatReport, type SavedReport } from './bench.ts';

/** Benches by name; each is loaded only when it runs. */
const benches: Readonly<Record<string, () => Promise<Bench>>> = {
  fleet: async () => (await import('./bench-fleet.ts')).benchFleet,
  hash: async () => (await import('./bench-hash.ts')).benchHash,
  'hash-failures': async () => (await import('./bench-hash-failures.ts')).benchHashFailures,
  ledger: async () => (await import('./bench-ledger.ts')).benchLedger,
  lists: async () => (await import('./bench-lists.ts')).benchLists,
  machine: async () => (await import('./bench-machine.ts')).benchMachine,
  nodes: async () => (await import('./bench-nodes.ts')).benchNodes,
  scale: async () => (await import('./bench-scale.ts')).benchScale,
  stream: async () => (await import('./bench-stream.ts')).benchStream,
  vault: async () => (await import('./bench-vault.ts')).benchVault,
};

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean', default: false } },
  });
  const [name = '', ...args] = positionals;
  const load = Object.hasOwn(benches, name) ? benches[name] : undefined;
  if (load === undefined) {
    throw new MillraceError(
      'E_INPUT',
      `usage: npm run bench -- NAME [--json]; NAME is one of ${Object.keys(benches).join(', ')}`,
    );
  }
  const bench = await load();
  const [busy = 0] = loadavg();
  const report = await bench((text) => process.stderr.write(`${text}\n`), args);
  const saved: SavedReport = { bench: name, date: new Date().toISOString().slice(0, 10), load: busy, ...report };
  process.stdout.write(`${values.json ? JSON.stringify(saved, null, 1) : formatReport(report)}\n`);
}

main().catch((error: unknown) => {
  const coded = toMillraceError(error);
  process.stderr.write(`${coded.code}: ${coded.message}\n`);
  process.exit(coded.exit);
});
