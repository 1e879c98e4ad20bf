import { MillraceError, type RwLock, sleep, toHex } from '@millrace/base';
import type { CheckReport, CheckRun, Playbook } from '@millrace/vault';
import type { VaultMail } from './vault-mail.ts';

const AGAIN_MS = 50;

export interface CheckDriverModules {
  readonly playbook: Playbook;
  readonly vaultMail: VaultMail;
  /** Steps of sweeps, which share it, and parts of checks take turns. */
  readonly turn: RwLock;
  /** The target epoch of a sweep that is in progress or due; otherwise undefined. */
  readonly sweepTo: () => number | undefined;
  readonly signal: AbortSignal;
}

/** Runs checks of the vault part by part. Sweeps may proceed between parts. */
export class CheckDriver {
  readonly #modules: CheckDriverModules;
  /** Target epoch of the sweep that was in progress or due when the last check began. */
  #heldUp: number | undefined;

  constructor(modules: CheckDriverModules) {
    this.#modules = modules;
  }

  async run(deep: boolean): Promise<CheckReport> {
    const { turn, vaultMail } = this.#modules;
    await vaultMail.ready(); // storing waits while a check compares the places
    await this.#giveWay();
    let run: CheckRun | undefined;
    try {
      const begun = await this.#begin(deep);
      run = begun;
      for (let more = true; more; ) {
        more = await turn.write(() => this.#answered(begun));
        await run.ownRecords(); // slow, but holds up nothing else
      }
      return run.report();
    } finally {
      run?.end();
    }
  }

  /** A check compares all places at once and delays a sweep meanwhile. Each sweep is delayed by one check at most. */
  async #giveWay(): Promise<void> {
    const { sweepTo, signal } = this.#modules;
    for (let to = sweepTo(); to !== undefined && to === this.#heldUp; to = sweepTo()) await sleep(AGAIN_MS, signal);
    this.#heldUp = sweepTo();
  }

  async #begin(deep: boolean): Promise<CheckRun> {
    const { playbook, turn, signal } = this.#modules;
    for (;;) {
      const run = await turn.write(() => playbook.beginCheck({ deep }));
      if (run !== undefined) return run;
      // A step of a sweep was interrupted, perhaps by the end of the former process. It needs the turn to be repeated.
      await sleep(AGAIN_MS, signal);
    }
  }

  /** Runs all parts that must be answered in one turn. @returns whether there may be more parts */
  async #answered(run: CheckRun): Promise<boolean> {
    const { vaultMail, signal } = this.#modules;
    do {
      const part = await run.next().catch((error: unknown) => {
        if (error instanceof MillraceError && error.code === 'E_UNAVAILABLE') return 'later' as const;
        throw error;
      });
      if (part === undefined) return false;
      if (part === 'later') {
        await sleep(AGAIN_MS, signal); // a step of a sweep was interrupted
        return true;
      }
      const { check, part: number } = part;
      const answer = await vaultMail.ask(part, (message) =>
        message.type === 'checked' && message.part === number && toHex(message.check) === toHex(check)
          ? message
          : undefined,
      );
      run.take(answer);
    } while (run.holdsSweep);
    return true;
  }
}
