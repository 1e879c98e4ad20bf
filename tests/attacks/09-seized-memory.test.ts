import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { concatBytes, toHex } from '@millrace/base';
import { availableEngines, type EngineName } from '@millrace/live-matrix';
import { known } from '@millrace/testkit/attacks/known';
import { nextSecret, revisionKeys } from '@millrace/testkit/live-matrix/second';
import { memoryOf } from '@millrace/testkit/process-memory';
import { Needle } from '@millrace/testkit/scan';
import { afterEach, describe, expect, it } from 'vitest';

// Row 9 for a real process: its whole memory is searched for the keys of all revisions so far.

const REVISION = 12;
const engines = availableEngines().map(({ name }) => name);
const entry = fileURLToPath(new URL('../../packages/testkit/src/seized.mjs', import.meta.url));

let child: ChildProcess | undefined;
afterEach(() => child?.kill('SIGKILL'));

/** The secrets by revision: s, and the values derived from it. */
function secretsOf(seed: Uint8Array, revisions: number): { secret: Uint8Array; keys: Record<string, Uint8Array> }[] {
  let secret = seed;
  return Array.from({ length: revisions }, () => {
    const now = { secret, keys: revisionKeys(secret) };
    secret = nextSecret(secret);
    return now;
  });
}

async function seize(seed: Uint8Array, engine: EngineName): Promise<number> {
  const running = spawn(process.execPath, [entry], { stdio: ['pipe', 'pipe', 'inherit'] });
  child = running;
  const session = toHex(known('row 9 memory session', 16));
  const cells = toHex(known('row 9 memory cell', 600));
  running.stdin.end(JSON.stringify({ seed: toHex(seed), session, cells, revision: REVISION, engine }));
  await new Promise((resolve, reject) => {
    running.stdout.once('data', resolve);
    running.once('exit', () => reject(new Error('it ended before it was there')));
  });
  return running.pid ?? 0;
}

describe('the memory of a receiver’s process', () => {
  it.each(engines)(
    'has the keys of r - 1 and r and the secret of r + 1, and nothing of earlier revisions (engine %s)',
    async (engine) => {
      const seed = known('row 9 memory seed', 32);
      const pid = await seize(seed, engine);
      const all = secretsOf(seed, REVISION + 2);
      const memory = [...memoryOf('seized', pid)].map(({ name, bytes }) => ({ name, bytes: new Uint8Array(bytes) }));
      expect(memory.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBeGreaterThan(20_000_000);
      const places = (...secrets: readonly (Uint8Array | undefined)[]) => {
        const needle = new Needle(concatBytes(...secrets.map((secret) => secret ?? new Uint8Array())));
        return memory.filter((part) => needle.find(part) !== undefined).map(({ name }) => name);
      };
      for (const r of [REVISION - 1, REVISION]) {
        for (const key of ['table', 'mac', 'parity'])
          expect(places(all[r]?.keys[key]), `${key} of ${r}`).not.toEqual([]);
      }
      expect(places(all[REVISION + 1]?.secret)).not.toEqual([]);
      const expired = all.slice(0, REVISION - 1).flatMap(({ secret, keys }) => [secret, ...Object.values(keys)]);
      expect(places(...expired.slice(1))).toEqual([]);
      // The secrets from which the kept keys were derived are erased too.
      expect(places(all[REVISION - 1]?.secret, all[REVISION]?.secret)).toEqual([]);
    },
  );
});
