import { MillraceError } from '@millrace/base';

/** What a proactive node has handed out of an object, over all its sessions. */
export interface Given {
  /** No session begins below: acknowledged, as far as it was written down, or where an earlier session began. */
  readonly reached: number;
  /** Every segment below was handed out. */
  readonly given: number;
  /** Segments that were handed out again. */
  readonly again: number;
  /** Those of them after the last segment had been handed out. */
  readonly late: number;
}

/** A slice that is about to be handed out: segments `from` to `to` - 1. */
export interface Giving {
  readonly from: number;
  readonly to: number;
  /** Segments that the machine has acknowledged. */
  readonly acked: number;
  /** Of the design. */
  readonly segments: number;
  readonly window: number;
}

/** Windows, beside one whole design, that broken links may lose of an object. */
const LOST_WINDOWS = 16;
/** Windows that may be lost after the last segment was handed out: the keys node asks for a lost cell three times. */
const LATE_WINDOWS = 2;

/** @throws {MillraceError} E_REPLAY when broken links cannot have lost what is asked for again */
export function countGiven(before: Given, { from, to, acked, segments, window }: Giving): Given {
  if (from < before.reached) throw goneOn(from, before.reached);
  const reached = Math.max(before.reached, acked);
  const repeated = Math.max(0, Math.min(before.given, to) - from);
  const again = before.again + repeated;
  const late = before.late + (before.given >= segments ? repeated : 0);
  // The only segment of a design is all of it: it is not given a second time.
  const mostLate = segments === 1 ? 0 : LATE_WINDOWS * window;
  if (late > mostLate || again > segments + LOST_WINDOWS * window)
    throw new MillraceError('E_REPLAY', 'more segments were asked for again than broken links can have lost', {
      data: { again, late },
    });
  return { reached, given: Math.max(before.given, to), again, late };
}

export function goneOn(from: number, reached: number): MillraceError {
  return new MillraceError('E_REPLAY', `the stream of this object is past segment ${from}`, {
    data: { from, reached },
  });
}
