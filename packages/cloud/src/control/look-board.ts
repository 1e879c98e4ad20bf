import type { controlRoutes } from '@millrace/api';
import type { Bytes } from '@millrace/base';
import type { z } from 'zod';
import { CommandBoard } from './command-board.ts';
import { ONLINE_MS } from './limits.ts';

/** What a machine gets when somebody looks. */
export type Look = NonNullable<z.input<typeof controlRoutes.machineCalls.look.answer.schema>['look']>;

/** Requests for pictures on their way to machines, by machine. */
export class LookBoard extends CommandBoard<Look, Bytes> {
  readonly #seen = new Map<string, number>();

  /** The agent of a machine waits until somebody looks: it has a camera. @param now ms since 1970 */
  waits(machine: string, now: number): void {
    this.#seen.set(machine, now);
  }

  has(machine: string, now: number): boolean {
    return now - (this.#seen.get(machine) ?? Number.NEGATIVE_INFINITY) < ONLINE_MS;
  }
}
