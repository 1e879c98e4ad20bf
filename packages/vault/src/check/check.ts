import {
  type Bytes,
  equalBytes,
  MillraceError,
  type Mutex,
  type RandomSource,
  systemRandom,
  toHex,
  toMillraceError,
  wipe,
} from '@millrace/base';
import type { DecoySet } from '../decoys.ts';
import { CHUNK, type Keyring } from '../keyring.ts';
import { isUnderWay } from '../lanes.ts';
import { type CheckedMessage, type CheckMessage, MAX_CHECKED } from '../messages.ts';
import type { PlaybookLog } from '../playbook-log.ts';
import { type Holding, manifestKey } from '../records.ts';
import { ContentsPass, type Standing } from './contents.ts';
import { manifestOf, mustHave } from './findings.ts';
import { PlacesPass } from './places.ts';
import type { CheckProblem, CheckReport } from './report.ts';

export interface CheckOptions {
  readonly deep: boolean;
  readonly random?: RandomSource;
  readonly log: Pick<PlaybookLog, 'get'>;
  readonly keyring: Keyring;
  readonly decoys: readonly DecoySet[];
  readonly labelOf: (holding: Holding, segment: number) => Bytes;
  /** Lock of the playbook. While it is held, the state does not change. */
  readonly mutex: Mutex;
  readonly standing: () => Standing;
  readonly onEnd: () => void;
}

/** State of the playbook when the check began. */
type Begun = Omit<Standing, 'holdings'> & { readonly holdings: readonly Holding[] };

/**
 * A running check (spec/vault.md, section 8). It compares all places in one state, then verifies the keys node's
 * records, then, in a deep check, reads the contents part by part.
 */
export class CheckRun {
  readonly id: Bytes;
  readonly #options: CheckOptions;
  readonly #begun: Begun;
  readonly #places: PlacesPass;
  readonly #contents: ContentsPass | undefined;
  #own: readonly CheckProblem[] | undefined;
  #part = 0;
  #holds = true;
  #ended = false;

  private constructor(id: Bytes, options: CheckOptions, begun: Begun, places: PlacesPass) {
    this.id = id;
    this.#options = options;
    this.#begun = begun;
    this.#places = places;
    this.#contents = options.deep ? new ContentsPass({ id, ...options, ...begun }) : undefined;
  }

  /** The caller must hold the playbook's lock. */
  static async begin(options: CheckOptions): Promise<CheckRun> {
    const id = (options.random ?? systemRandom)(16);
    const { holdings, ...standing } = options.standing();
    const begun = { ...standing, holdings: [...holdings.values()] };
    return new CheckRun(id, options, begun, await PlacesPass.begin({ id, ...begun }));
  }

  /** Whether storing must wait: true while all places are compared. */
  get holdsAll(): boolean {
    return !this.#ended && !this.#places.done;
  }

  /** Whether sweeps must wait: true while a part is pending or the places are compared. */
  get holdsSweep(): boolean {
    return !this.#ended && this.#holds;
  }

  /**
   * The pending part, or the next one; undefined after the last.
   * @throws {MillraceError} E_UNAVAILABLE while a message of a sweep is pending; retry later
   */
  async next(limit = MAX_CHECKED): Promise<CheckMessage | undefined> {
    if (this.#ended) return undefined;
    if (!this.#places.done) return this.#places.next(this.#part, limit);
    await this.ownRecords();
    if (this.#contents === undefined || this.#contents.done) return undefined;
    const standing = await this.#options.mutex.run(() => this.#hold());
    const message = await this.#contents.next(this.#part, limit, standing);
    if (message === undefined) this.#holds = false;
    return message;
  }

  /** Checks the keys node's own records after all places were compared. `next` also calls this. */
  async ownRecords(): Promise<void> {
    if (this.#places.done) this.#own ??= await checkOwnRecords(this.#options, this.#begun.holdings);
  }

  /** Holds sweeps until the part is answered. */
  #hold(): Standing {
    const standing = this.#options.standing();
    if (isUnderWay(standing.state.sweep)) throw new MillraceError('E_UNAVAILABLE', 'a message of a sweep is pending');
    this.#holds = true;
    return standing;
  }

  /** @returns whether it answered the pending part of this check */
  take(message: CheckedMessage): boolean {
    if (this.#ended || !this.#holds || !equalBytes(message.check, this.id) || message.part !== this.#part) return false;
    const pass = this.#places.done ? this.#contents : this.#places;
    pass?.take(message);
    this.#part++;
    this.#holds = !this.#places.done;
    return true;
  }

  get done(): boolean {
    return this.#places.done && this.#own !== undefined && this.#contents?.done !== false;
  }

  /** Records that cells were stored or stored again. */
  stored(owner: Holding, from: number, count: number): void {
    this.#contents?.findings.mended(owner, from, count);
  }

  report(): CheckReport {
    const { state, holdings } = this.#begun;
    const { deep } = this.#options;
    const { extra } = this.#places;
    // A deep check reads every cell again, later than the comparison of places.
    const { findings } = this.#contents ?? this.#places;
    const problems = [...(this.#own ?? []), ...findings.problems()];
    if (extra.size > 0) problems.push({ kind: 'extra', indexes: [...extra] });
    return {
      clean: this.done && problems.length === 0,
      deep,
      epoch: state.epoch,
      designs: holdings.filter(({ decoys, deleted }) => !decoys && !deleted).length,
      cells: holdings.reduce((total, holding) => total + mustHave(holding), 0),
      problems,
    };
  }

  /** Lets sweeps and storing continue. Call it after an aborted check as well. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.onEnd();
  }
}

async function checkOwnRecords(
  { log, keyring, standing }: CheckOptions,
  holdings: readonly Holding[],
): Promise<CheckProblem[]> {
  const problems: CheckProblem[] = [];
  for (const { id, decoys, deleted, segments, slot } of holdings) {
    if (decoys || deleted) continue;
    const design = toHex(id);
    const own: CheckProblem[] = [];
    const manifest = await log.get(manifestKey(id));
    if (manifest === undefined || manifestOf(manifest, design) === undefined) {
      own.push({ kind: 'manifest', design, reason: manifest === undefined ? 'lost' : 'altered' });
    }
    try {
      for (let from = 0; from < segments; from += CHUNK) {
        wipe(...(await keyring.open32(id, slot, from, Math.min(from + CHUNK, segments), log.get)));
      }
    } catch (error) {
      own.push({ kind: 'keys', design, reason: toMillraceError(error).message });
    }
    // If the owner deleted the design in the meantime, its records are gone.
    if (standing().holdings.get(design)?.deleted === false) problems.push(...own);
  }
  return problems;
}
