// What implementations of the ports in other packages share with those of this package.
export { checkCells, checkEpoch, checkIndex, checkIndexRange } from './cell-checks.ts';
export { checkKey, checkRange, checkWrites, inRange, prefixRange, sameValue } from './keys.ts';
export { claimMessages } from './queue-claim.ts';
export { checkQueueNames, type StoredMessage } from './queue-keys.ts';
export { type KeyQueue, TopicState } from './queue-topic.ts';
export * from './record-checks.ts';
