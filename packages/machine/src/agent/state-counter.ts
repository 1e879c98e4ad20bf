import { join } from 'node:path';
import { hexOf, MillraceError, Mutex, toHex, utf8 } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { z } from 'zod';
import { type StateSigner, signedFile } from './signed-file.ts';

const uint = z.number().int().nonnegative();

const schema = z.strictObject({
  /** What the counter said when it was last recorded. */
  value: uint,
  /** Reads begun since then: each may have increased the counter, or not. */
  reads: uint,
  /** SHA-256 of the names of the begun objects; absent if the administrator has accepted whatever is there. */
  begun: hexOf(32).optional(),
  /** The same after the change that is under way. */
  next: hexOf(32).optional(),
  /** The state was older than the counter, which said this. It is not read again. */
  refused: uint.optional(),
});
type State = z.output<typeof schema>;

/** Holds the list of begun objects to the monotonic counter of the machine's token (docs/adr/0081). */
export interface StateCounter {
  /**
   * Counts a change.
   * @param added the object that `write` adds to the list
   * @throws {MillraceError} E_STORE if the list is not the one that was counted, E_HSM
   */
  change(write: () => Promise<void>, added?: string): Promise<void>;
}

/**
 * Each start and each change reads the counter, which goes up by one, and records what it said. A restored disk knows
 * an older number. A read that was not recorded, because the agent was killed, is allowed for: it was announced on the
 * disk before.
 * @param names of the begun objects
 * @returns one that counts nothing if the token has no counter
 * @throws {MillraceError} E_STORE if the state is older than the counter, E_HSM
 */
export async function openStateCounter(
  folder: string,
  signer: StateSigner,
  names: () => Promise<readonly string[]>,
): Promise<StateCounter> {
  const counter = signer.key.token?.counter;
  if (counter === undefined) return { change: (write) => write() };
  const path = join(folder, 'counter.state');
  const file = signedFile(path, signer, { label: 'counter', schema, remedy: 'put it back as it was' });
  let state: State = (await file.read()) ?? { value: counter.since, reads: 0 };
  const refuse = async (read: number) => {
    if (state.refused === undefined) await record({ ...state, refused: read });
    throw new MillraceError(
      'E_STORE',
      'the list of begun objects is not the one that the token’s counter has counted: an older state was restored, ' +
        'files were removed or added, or another program has read the counter. If that was on purpose, and nothing ' +
        `was made since: remove ${path}, and set token.counter in machine.json to ${read}`,
      { data: { recorded: state.value, counter: read } },
    );
  };
  const record = async (next: State) => {
    await file.write(next);
    state = next;
  };
  if (state.refused !== undefined) await refuse(state.refused);
  const changes = new Mutex();
  const change: StateCounter['change'] = (write, added) =>
    changes.run(async () => {
      const { value, reads, begun, next } = state;
      const there = await names();
      const now = digest(there);
      const after = digest(added === undefined ? there : [...there, added]);
      const isWhole = begun === undefined || now === begun || now === next;
      await record({ ...state, reads: reads + 1, ...(isWhole && { begun: now, next: after }) });
      const read = await counter.read();
      const isOwn = read > value && read <= value + 1 + reads;
      if (!isOwn || !isWhole) await refuse(read);
      await write();
      await record({ value: read, reads: 0, begun: after });
    });
  await change(async () => undefined);
  return { change };
}

function digest(names: readonly string[]): string {
  return toHex(sha256(utf8([...names].sort().join('\n'))));
}
