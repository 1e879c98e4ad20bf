import { createHash, hkdfSync } from 'node:crypto';
import { type Bytes, concatBytes, encodeCbor, utf8 } from '@millrace/base';
import { generateP256Key } from '@millrace/identity';
import { acceptSession, offerSession, type SessionBinding, type StreamParameters } from '@millrace/protocol';
import { known } from './known.ts';

/**
 * The three secrets of a session's seed: the Diffie-Hellman results with the machine's ephemeral key and with its
 * static key, and the licence secret.
 */
export type Shares = readonly [ephemeral: Uint8Array, machine: Uint8Array, licence: Uint8Array];

export interface RealSession {
  readonly binding: SessionBinding;
  readonly parameters: StreamParameters;
  /** The keys node's point of the session. Sent in clear, like all values of `binding` and `parameters`. */
  readonly point: Uint8Array;
  readonly shares: Shares;
  /** The seed that the keys node derived. */
  readonly seed: Bytes;
}

/** A session derived by the product's code at both ends, and the shares that only the ends have. */
export async function realSession(label: string, serial: string): Promise<RealSession> {
  const [machine, ephemeral, sender] = [generateP256Key(), generateP256Key(), generateP256Key()];
  const parameters: StreamParameters = {
    object: `${label}-1`,
    design: label,
    designNonce: known(`${label} nonce`, 16),
    segments: 1,
    from: 0,
    size: 100,
    window: 1,
    order: 24,
    suite: 'keccak256',
    hints: 'dense',
    layer: 'ctr',
    revisionMs: 1,
  };
  const binding = {
    openingHash: known(`${label} opening`, 32),
    session: known(`${label} session`, 16),
    licence: label,
    serial,
  };
  const licenceSecret = known(`${label} licence secret`, 32);
  const { offer, seed } = await offerSession({
    binding,
    machineStatic: machine.publicKey,
    machineEphemeral: ephemeral.publicKey,
    sender,
    licenceSecret,
    parameters,
    core: new Uint8Array(10),
    designSecret: undefined,
  });
  const side = await acceptSession({ binding, offer, machineKey: machine, ephemeral, sender: sender.publicKey });
  if (!Buffer.from(side.seed).equals(seed)) throw new Error('the two ends disagree');
  const shares: Shares = [await ephemeral.agree(offer.ephemeral), await machine.agree(offer.ephemeral), licenceSecret];
  return { binding, parameters, point: offer.ephemeral, shares, seed };
}

/** The seed according to spec/protocol.md, computed by an attacker from candidate shares. */
export function seedFrom({ binding, parameters, point }: RealSession, shares: Shares, serial = binding.serial): Bytes {
  const transcript = createHash('sha256')
    .update(concatBytes(utf8('millrace/v1/session'), binding.openingHash, binding.session, point))
    .digest();
  const { suite, order, hints, object, design } = parameters;
  const info = encodeCbor({ suite, order, hints, serial, licence: binding.licence, object, design });
  return new Uint8Array(hkdfSync('sha256', concatBytes(...shares), transcript, info, 32));
}
