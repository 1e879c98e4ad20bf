export { type Anchor, type AnchorProof, type AnchorStatement, checkpointDigest } from './anchor.ts';
export { type AnchoredCertificate, anchorBundle, decodeAnchored, encodeAnchored, verifyAnchored } from './bundle.ts';
export { deployAnchorContract, EvmAnchor, type EvmAnchorOptions } from './evm/evm-anchor.ts';
export { type BlockHeaders, esploraHeaders } from './ots/bitcoin.ts';
export { OpenTimestampsAnchor, type OpenTimestampsOptions } from './ots/ots-anchor.ts';
export { SymbolAnchor, type SymbolAnchorOptions } from './symbol/symbol-anchor.ts';
