import { MillraceError } from '@millrace/base';

/** Counts of the segments of one object that a proactive node has delivered, over all sessions. */
export interface DeliveryCounts {
  /**
   * No later session may begin below this segment: the machine has acknowledged the segments below it, or a session
   * began with it.
   */
  readonly reached: number;
  /** Every segment below this number was delivered. */
  readonly given: number;
  /** Number of segments delivered again. */
  readonly again: number;
  /** Number of segments delivered again after the last segment had been delivered. */
  readonly late: number;
}

/** A slice that is about to be delivered: segments `from` to `to` - 1. */
export interface Delivery {
  readonly from: number;
  readonly to: number;
  /** Segments that the machine has acknowledged. */
  readonly acked: number;
  /** Number of segments of the design. */
  readonly segments: number;
  readonly window: number;
}

/** Windows of an object, in addition to one whole design, that broken links may lose. */
const LOST_WINDOWS = 16;
/** Windows that may be lost after the last segment was delivered: the keys node requests a missing cell three times. */
const LATE_WINDOWS = 2;

/** @throws {MillraceError} E_REPLAY when more segments are requested again than broken links can lose */
export function countDelivery(before: DeliveryCounts, { from, to, acked, segments, window }: Delivery): DeliveryCounts {
  if (from < before.reached) throw alreadyPast(from, before.reached);
  const reached = Math.max(before.reached, acked);
  const repeated = Math.max(0, Math.min(before.given, to) - from);
  const again = before.again + repeated;
  const late = before.late + (before.given >= segments ? repeated : 0);
  // A design of one segment is never delivered twice, because that would deliver the whole design twice.
  const mostLate = segments === 1 ? 0 : LATE_WINDOWS * window;
  if (late > mostLate || again > segments + LOST_WINDOWS * window)
    throw new MillraceError('E_REPLAY', 'more segments were requested again than broken links can lose', {
      data: { again, late },
    });
  return { reached, given: Math.max(before.given, to), again, late };
}

export function alreadyPast(from: number, reached: number): MillraceError {
  return new MillraceError('E_REPLAY', `the stream of this object is past segment ${from}`, {
    data: { from, reached },
  });
}
