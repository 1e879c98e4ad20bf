import { systemRandom, toHex } from '@millrace/base';

const TURN = /^[0-9a-f]{16}-([1-9][0-9]{0,14})$/;

/**
 * Name under which a process asks for its node's mail: random, and with the process's turn.
 * @param turn of processes that take the place of one another, as replicas do: each has a higher number than the last
 */
export function consumerName(turn?: number): string {
  const own = toHex(systemRandom(8));
  return turn === undefined ? own : `${own}-${turn}`;
}

/** Whether the turn of `one` was before that of `other`. False if one of them names no turn. */
export function isEarlierTurn(one: string, other: string): boolean {
  return turnOf(one) < turnOf(other);
}

function turnOf(name: string): number {
  return Number(TURN.exec(name)?.[1] ?? Number.NaN);
}
