import { type Bytes, copyBytes, MillraceError } from '@millrace/base';
import type { LinkControl, ReleasingRole } from '@millrace/protocol';

type Release = Extract<LinkControl, { type: 'release' }>;

/** The shares that both proactive nodes released for one permit, still sealed. */
export type SealedReleases = Readonly<Record<ReleasingRole, Bytes>>;

/** Permits whose shares are kept: releases may arrive before the answer with the permit. */
const MAX_PERMITS = 8;

/** Shares of job packages that the nodes release for this machine. */
export class Releases {
  readonly #machine: string;
  readonly #byPermit = new Map<string, Partial<Record<ReleasingRole, Bytes>>>();
  #arrived: () => void = () => undefined;

  /** @param machine key name of this machine */
  constructor(machine: string) {
    this.#machine = machine;
  }

  deliver({ machine, permitId, role, sealed }: Release): void {
    if (machine !== this.#machine) return;
    this.#byPermit.set(permitId, { ...this.#byPermit.get(permitId), [role]: copyBytes(sealed) });
    const oldest = this.#byPermit.keys().next().value;
    if (this.#byPermit.size > MAX_PERMITS && oldest !== undefined) this.#byPermit.delete(oldest);
    this.#arrived();
  }

  /** Waits for the shares of a permit. @throws {MillraceError} E_TIMEOUT */
  async take(permitId: string, timeoutMs: number, signal: AbortSignal): Promise<SealedReleases> {
    const late = AbortSignal.timeout(timeoutMs);
    const ended = AbortSignal.any([signal, late]);
    for (;;) {
      signal.throwIfAborted();
      const { keys, segments } = this.#byPermit.get(permitId) ?? {};
      if (keys !== undefined && segments !== undefined) {
        this.#byPermit.delete(permitId);
        return { keys, segments };
      }
      if (late.aborted) throw new MillraceError('E_TIMEOUT', 'the cloud did not release its shares of the package');
      await new Promise<void>((resolve) => {
        this.#arrived = resolve;
        ended.addEventListener('abort', () => resolve(), { once: true });
      });
    }
  }
}
