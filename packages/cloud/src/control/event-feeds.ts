import type { EventFeed, ServerEvent } from '@millrace/api';
import { MillraceError, toMillraceError } from '@millrace/base';
import type { Actor } from '../node/policy.ts';
import { type Change, isTold } from './changes.ts';
import type { ControlContext } from './context.ts';
import { ONLINE_MS } from './limits.ts';

/** Streams of one key, and of all. Tabs of a browser share one. */
const MOST_OF_A_KEY = 8;
const MOST = 128;
/** Interval between two beats, and between two checks that the caller may go on, ms. */
const BEAT_MS = 5_000;

export interface FeedCaller {
  readonly actor: Actor;
  /** @throws {MillraceError} if the caller may not go on */
  renewed(): Promise<Actor>;
  readonly lastEvent: string | undefined;
  readonly seconds: number | undefined;
}

/** Streams of changes for the callers of one listener. */
export class EventFeeds {
  readonly #context: ControlContext;
  /** Number of streams by key. */
  readonly #open = new Map<string, number>();

  constructor(context: ControlContext) {
    this.#context = context;
  }

  /** @throws {MillraceError} E_QUOTA, E_UNAVAILABLE */
  feed(caller: FeedCaller): EventFeed {
    const key = 'name' in caller.actor ? caller.actor.name : '';
    const own = this.#open.get(key) ?? 0;
    if (own >= MOST_OF_A_KEY)
      throw new MillraceError('E_QUOTA', `a key has at most ${MOST_OF_A_KEY} streams of events: close one`);
    if ([...this.#open.values()].reduce((sum, count) => sum + count, 0) >= MOST)
      throw new MillraceError('E_UNAVAILABLE', `this node sends at most ${MOST} streams of events`);
    return {
      start: (send, end) => {
        this.#open.set(key, (this.#open.get(key) ?? 0) + 1);
        const stop = this.#run(caller, send, end);
        let isOpen = true;
        return () => {
          if (!isOpen) return;
          isOpen = false;
          stop();
          const left = (this.#open.get(key) ?? 1) - 1;
          if (left === 0) this.#open.delete(key);
          else this.#open.set(key, left);
        };
      },
    };
  }

  #run({ actor: first, renewed, lastEvent, seconds }: FeedCaller, send: (event: ServerEvent) => void, end: () => void) {
    const { changes, logger } = this.#context;
    let actor = first;
    const tell = (change: Change) => {
      if (!isTold(actor, change)) return;
      const { kind, id, number } = change;
      const named = number === undefined ? {} : { id: changes.idOf(number) };
      send({ event: 'changed', ...named, data: { kind, id } });
    };
    const missed = lastEvent === undefined ? undefined : changes.since(lastEvent);
    if (missed === undefined) send({ event: 'reset', id: changes.idOf() });
    else for (const change of missed) tell(change);
    const unlisten = changes.listen(tell);
    const beat = setInterval(() => {
      renewed().then(
        (now) => {
          if (now.role !== 'user') return end();
          actor = now;
          send({ event: 'beat' });
        },
        (error: unknown) => {
          logger.info({ code: toMillraceError(error).code }, 'a stream of events ends: its caller may not go on');
          end();
        },
      );
    }, BEAT_MS);
    const timer = seconds === undefined ? undefined : setTimeout(end, 1_000 * seconds);
    return () => {
      clearInterval(beat);
      clearTimeout(timer);
      unlisten();
    };
  }
}

/** Tells which machines have come or gone. @returns how to end it */
export function watchMachines({ changes, clock, machinesSeen, looks }: ControlContext): () => void {
  /** With `true` for those whose camera can be looked through. */
  let online = new Map<string, boolean>();
  const timer = setInterval(() => {
    const now = clock.now();
    const machines = [...machinesSeen].filter(([, at]) => now - at < ONLINE_MS).map(([machine]) => machine);
    const seen = new Map(machines.map((machine) => [machine, looks.has(machine, now)]));
    for (const machine of new Set([...online.keys(), ...machines]))
      if (online.get(machine) !== seen.get(machine)) changes.tell({ kind: 'machine', id: machine, resource: {} });
    online = seen;
  }, BEAT_MS);
  return () => clearInterval(timer);
}
