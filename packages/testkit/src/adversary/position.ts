import { afterAll, beforeAll, describe, test } from 'vitest';

/** The goals of an attacker. */
export const goals = {
  read: 'read the design',
  alter: 'alter what is executed',
  more: 'print more than N',
  elsewhere: 'print with another machine or material',
  forge: 'forge a certificate',
  tenants: 'read another tenant’s data',
  deny: 'stop others',
} as const;
export type Goal = keyof typeof goals;

/**
 * `held`: the attack fails. `denial only`: the attack only stops something. `limit`: the attack succeeds, as the test
 * shows; `why` explains why this is accepted.
 */
export type Verdict = 'held' | 'denial only' | 'limit';

/** One attack: description, verdict, reason, and test. */
export interface Attack<W> {
  readonly verdict: Verdict;
  readonly tried: string;
  readonly why: string;
  readonly test: (system: W) => Promise<void>;
}

type Attacks<W> = readonly [Attack<W>, ...Attack<W>[]];

/** An attacker with the real keys of a position and modified code. Each position has an attack for every goal. */
export interface Position<W> {
  readonly name: string;
  /** The keys and data of the position. */
  readonly holds: string;
  /** The installation that all attacks share. */
  open(): Promise<W>;
  close(system: W): Promise<void>;
  readonly attacks: Readonly<Record<Goal, Attacks<W>>>;
}

/** The part of a position that the matrix shows. */
export interface Row {
  readonly name: string;
  readonly holds: string;
  readonly attacks: Readonly<Record<Goal, readonly Omit<Attack<never>, 'test'>[]>>;
}

const attack =
  (verdict: Verdict) =>
  <W>(tried: string, why: string, run: (system: W) => Promise<void>): Attack<W> => ({ verdict, tried, why, test: run });

export const held = attack('held');
export const limit = attack('limit');
export const denialOnly = attack('denial only');

/** Registers the tests of a position, one for each goal. */
export function play<W>(position: Position<W>): void {
  describe(position.name, () => {
    let system: W | undefined;
    beforeAll(async () => {
      system = await position.open();
    });
    afterAll(async () => {
      if (system !== undefined) await position.close(system);
    });
    for (const [goal, title] of Object.entries(goals) as [Goal, string][])
      for (const { verdict, tried, test: run } of position.attacks[goal])
        test(`${title} | ${verdict} | ${tried}`, async () => {
          if (system === undefined) throw new Error('the installation did not open');
          await run(system);
        });
  });
}
