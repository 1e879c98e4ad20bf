import { join } from 'node:path';
import { type Clock, type RandomSource, wipe } from '@millrace/base';
import {
  type createReceiver,
  type Receiver,
  type ReceiverOptions,
  SEED_BYTES,
  SESSION_ID_BYTES,
  TableMemory,
} from '@millrace/live-matrix';
import { z } from 'zod';
import type { MachineConfig, MatrixSettings } from './config.ts';
import { readIfThere, writeDurably } from './files.ts';

const measuredSchema = z.strictObject({ settings: z.string(), tableMs: z.number().int().nonnegative() });

/** Receivers of this machine, and how long a table takes here: the keys node chooses a revision's length by it. */
export interface Tables {
  /** Milliseconds of the latest table; 0 before the first. */
  readonly ms: number;
  note(tableMs: number): void;
  open(sessionId: Uint8Array, seed: Uint8Array, signal: AbortSignal): Promise<Receiver>;
  /** Builds one table to see, unless one of these settings has been built here before. */
  measure(signal: AbortSignal): Promise<void>;
}

export interface TableModules {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly receiver: typeof createReceiver;
}

export function createTables(config: MachineConfig, modules: TableModules): Tables {
  const { clock, random, receiver } = modules;
  const { order, suite, hints, threads, engine } = config.agent;
  const path = join(config.data, 'table.json');
  const settings = [order, suite, hints, threads ?? 'auto', engine ?? 'auto'].join(' ');
  const memory = new TableMemory();
  let latest = 0;
  const tables: Tables = {
    get ms() {
      return latest;
    },
    note: (tableMs) => {
      latest = Math.max(1, Math.round(tableMs));
    },
    open: (sessionId, seed, signal) => receiver({ ...receiverOptions(config.agent, sessionId, seed, signal), memory }),
    measure: async (signal) => {
      if (latest > 0) return;
      latest = (await readMeasured(path, settings)) ?? 0;
      if (latest > 0) return;
      const seed = random(SEED_BYTES);
      const began = clock.monotonic();
      const receiver = await tables.open(random(SESSION_ID_BYTES), seed, signal).finally(() => wipe(seed));
      tables.note(clock.monotonic() - began);
      await receiver.close();
      await writeDurably(path, `${JSON.stringify({ settings, tableMs: latest })}\n`);
    },
  };
  return tables;
}

function receiverOptions(
  { order, suite, hints, threads, engine }: MatrixSettings,
  sessionId: Uint8Array,
  seed: Uint8Array,
  signal: AbortSignal,
): ReceiverOptions {
  return {
    parameters: { order, suite, hints },
    sessionId,
    seed,
    signal,
    ...(threads === undefined ? {} : { threads }),
    ...(engine === undefined ? {} : { engine }),
  };
}

async function readMeasured(path: string, settings: string): Promise<number | undefined> {
  const bytes = await readIfThere(path);
  if (bytes === undefined) return undefined;
  try {
    const measured = measuredSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
    return measured.settings === settings ? measured.tableMs : undefined;
  } catch {
    return undefined; // measured anew
  }
}
