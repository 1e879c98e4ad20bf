import { type Bytes, fromHex, MillraceError, toHex } from '@millrace/base';
import { sha256 } from '@noble/hashes/sha2.js';
import { request } from '../http.ts';

/** Returns the 80 bytes of a Bitcoin block's header. A header is trusted only as far as its proof of work. */
export type BlockHeaders = (height: number) => Promise<Uint8Array>;

export interface BlockHeader {
  /** 32 bytes, in the order of the header (explorers show them reversed). */
  readonly merkleRoot: Bytes;
  /** Seconds since 1970. */
  readonly time: number;
  /** 32 bytes, reversed, as explorers show it. */
  readonly hash: Bytes;
}

const HEADER_BYTES = 80;
/** The target of Bitcoin's first blocks: difficulty 1. */
const FIRST_TARGET = 0xffffn << 208n;
/** Difficulty 10^9: no block has been easier to find since the end of 2013. Forging a header costs this much work. */
export const EASIEST_TARGET = FIRST_TARGET / 1_000_000_000n;

/**
 * Reads a header and checks its proof of work (Bitcoin's block hashing algorithm).
 * @param easiest the largest accepted target. The hash of a block is at most its target
 * @throws {MillraceError} E_ANCHOR
 */
export function readBlockHeader(bytes: Uint8Array, easiest: bigint = EASIEST_TARGET): BlockHeader {
  if (bytes.length !== HEADER_BYTES) throw refused(`has ${bytes.length} bytes, not ${HEADER_BYTES}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  const target = targetOf(view.getUint32(72, true));
  if (target <= 0n || target > easiest) throw refused('is too easy to find');
  const hash = Uint8Array.from(sha256(sha256(bytes))).reverse();
  if (BigInt(`0x${toHex(hash)}`) > target) throw refused('has no proof of work');
  return { merkleRoot: Uint8Array.from(bytes.subarray(36, 68)), time: view.getUint32(68, true), hash };
}

/** Decodes the compact form of a target: a base-256 exponent and three bytes. */
function targetOf(bits: number): bigint {
  const [exponent, mantissa] = [bits >>> 24, BigInt(bits & 0x007f_ffff)];
  return exponent >= 3 ? mantissa << BigInt(8 * (exponent - 3)) : mantissa >> BigInt(8 * (3 - exponent));
}

/**
 * Fetches headers from a server with the Esplora API (https://github.com/Blockstream/esplora/blob/master/API.md).
 * @param base such as https://blockstream.info/api
 */
export function esploraHeaders(base: URL, timeoutMs = 10_000): BlockHeaders {
  const get = async (path: string): Promise<string> => {
    const url = new URL(`${base.href.replace(/\/$/, '')}${path}`);
    const { status, bytes } = await request(url, { timeoutMs, retryMs: timeoutMs, limit: 1_000 });
    if (status !== 200) throw new MillraceError('E_ANCHOR', `${url.origin} has no ${path}: it answered ${status}`);
    return new TextDecoder().decode(bytes).trim();
  };
  return async (height) => {
    const hash = await get(`/block-height/${height}`);
    if (!/^[0-9a-f]{64}$/.test(hash)) throw refused(`of height ${height} has no proper hash`);
    const hex = await get(`/block/${hash}/header`);
    if (!/^[0-9a-f]{160}$/.test(hex)) throw refused(`of height ${height} is not ${HEADER_BYTES} bytes`);
    return fromHex(hex);
  };
}

function refused(what: string): MillraceError {
  return new MillraceError('E_ANCHOR', `the block header ${what}`);
}
