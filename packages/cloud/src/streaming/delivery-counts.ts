import { MillraceError } from '@millrace/base';

/** What a proactive node has delivered of an object, over all its sessions. */
export interface DeliveryCounts {
  /** No later session may begin below this segment: it was acknowledged, or an earlier session began here. */
  readonly reached: number;
  /** Every segment below was delivered. */
  readonly given: number;
  /** How many segments were delivered again. */
  readonly again: number;
  /** How many of them after the last segment had been delivered. */
  readonly late: number;
}

/** A slice that is about to be delivered: segments `from` to `to` - 1. */
export interface Delivery {
  readonly from: number;
  readonly to: number;
  /** Segments that the machine has acknowledged. */
  readonly acked: number;
  /** Of the design. */
  readonly segments: number;
  readonly window: number;
}

/** Besides one whole design, so many windows of an object may be lost by broken links. */
const LOST_WINDOWS = 16;
/** So many windows may be lost after the last segment was delivered: the keys node asks for a lost cell three times. */
const LATE_WINDOWS = 2;

/** @throws {MillraceError} E_REPLAY when more is requested again than broken links can have lost */
export function countDelivery(before: DeliveryCounts, { from, to, acked, segments, window }: Delivery): DeliveryCounts {
  if (from < before.reached) throw alreadyPast(from, before.reached);
  const reached = Math.max(before.reached, acked);
  const repeated = Math.max(0, Math.min(before.given, to) - from);
  const again = before.again + repeated;
  const late = before.late + (before.given >= segments ? repeated : 0);
  // A design of one segment is never delivered twice: that would be the whole design.
  const mostLate = segments === 1 ? 0 : LATE_WINDOWS * window;
  if (late > mostLate || again > segments + LOST_WINDOWS * window)
    throw new MillraceError('E_REPLAY', 'more segments were requested again than broken links can have lost', {
      data: { again, late },
    });
  return { reached, given: Math.max(before.given, to), again, late };
}

export function alreadyPast(from: number, reached: number): MillraceError {
  return new MillraceError('E_REPLAY', `the stream of this object is past segment ${from}`, {
    data: { from, reached },
  });
}
