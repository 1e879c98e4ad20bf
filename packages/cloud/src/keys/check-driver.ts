import { MillraceError, type Mutex, sleep, toHex } from '@millrace/base';
import type { CheckReport, CheckRun, Playbook } from '@millrace/vault';
import type { VaultMail } from './vault-mail.ts';

const AGAIN_MS = 50;

export interface CheckDriverModules {
  readonly playbook: Playbook;
  readonly vaultMail: VaultMail;
  /** Steps of sweeps and parts of checks take turns. */
  readonly turn: Mutex;
  /** The epoch to which a sweep is under way or due; undefined when none is. */
  readonly sweepTo: () => number | undefined;
  readonly signal: AbortSignal;
}

/** Takes checks of the vault through their parts, and lets sweeps go on between them. */
export class CheckDriver {
  readonly #modules: CheckDriverModules;
  /** The sweep that was under way or due when the last check began. */
  #heldUp: number | undefined;

  constructor(modules: CheckDriverModules) {
    this.#modules = modules;
  }

  async run(deep: boolean): Promise<CheckReport> {
    const { turn } = this.#modules;
    await this.#giveWay();
    let run: CheckRun | undefined;
    try {
      run = await turn.run(() => this.#begin(deep));
      const begun = run;
      for (let more = true; more; ) {
        more = await turn.run(() => this.#answered(begun));
        await run.ownRecords(); // takes long, and nothing has to wait for it
      }
      return run.report();
    } finally {
      run?.end();
    }
  }

  /** A check compares all places at once, and holds a sweep up meanwhile: each sweep is held up by one check only. */
  async #giveWay(): Promise<void> {
    const { sweepTo, signal } = this.#modules;
    for (let to = sweepTo(); to !== undefined && to === this.#heldUp; to = sweepTo()) await sleep(AGAIN_MS, signal);
    this.#heldUp = sweepTo();
  }

  async #begin(deep: boolean): Promise<CheckRun> {
    const { playbook, signal } = this.#modules;
    for (;;) {
      const run = await playbook.beginCheck({ deep });
      if (run !== undefined) return run;
      await sleep(AGAIN_MS, signal); // a message of a sweep is under way
    }
  }

  /** All parts that have to be answered in one turn. @returns whether there may be more of them */
  async #answered(run: CheckRun): Promise<boolean> {
    const { vaultMail, signal } = this.#modules;
    do {
      const part = await run.next().catch((error: unknown) => {
        if (error instanceof MillraceError && error.code === 'E_UNAVAILABLE') return 'later' as const;
        throw error;
      });
      if (part === undefined) return false;
      if (part === 'later') {
        await sleep(AGAIN_MS, signal); // a step of a sweep was broken off
        return true;
      }
      const { check, part: number } = part;
      const posted = await vaultMail.post(part, (message) =>
        message.type === 'checked' && message.part === number && toHex(message.check) === toHex(check)
          ? message
          : undefined,
      );
      run.take(await posted.answer());
    } while (run.holdsSweep);
    return true;
  }
}
