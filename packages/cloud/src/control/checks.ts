import { MillraceError, systemRandom, toHex } from '@millrace/base';

interface Check {
  readonly started: number;
  result?: unknown;
}

/** Running and finished checks of the vault; the newest hundred, in memory. */
export class CheckBoard {
  readonly #checks = new Map<string, Check>();

  begin(): string {
    const id = toHex(systemRandom(16));
    this.#checks.set(id, { started: Date.now() });
    const oldest = this.#checks.keys().next().value;
    if (this.#checks.size > 100 && oldest !== undefined) this.#checks.delete(oldest);
    return id;
  }

  report(id: string, result: unknown): void {
    const check = this.#checks.get(id);
    if (check !== undefined) check.result = result;
  }

  /** @throws {MillraceError} E_NOT_FOUND */
  show(id: string): object {
    const check = this.#checks.get(id);
    if (check === undefined) throw new MillraceError('E_NOT_FOUND', `no check ${id}`);
    return check.result === undefined
      ? { check: id, state: 'running' }
      : { check: id, state: 'done', ...(check.result as object) };
  }
}
