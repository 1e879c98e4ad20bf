// Internal modules for tests, beyond the public exports.
export { CONTRACT_BYTECODE } from './evm/contract.ts';
export { readBlockHeader } from './ots/bitcoin.ts';
export {
  attestationsOf,
  decodeTimestamp,
  decodeTimestampFile,
  encodeTimestamp,
  encodeTimestampFile,
  hideMessage,
  mergeTimestamps,
  type Timestamp,
} from './ots/timestamp.ts';
export { messageOf, objectAccount } from './symbol/symbol-anchor.ts';
export { addressOf, decodeTransfer, formatAddress, signTransfer, transferHash } from './symbol/transfer.ts';
