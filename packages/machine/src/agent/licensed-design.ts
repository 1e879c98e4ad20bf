import { type Bytes, equalBytes, MillraceError, toHex } from '@millrace/base';
import { keyId, type MachineKey } from '@millrace/identity';
import { type MachineSide, openDesignSecret, ownerParty, type StreamParameters, sameParty } from '@millrace/protocol';
import { type NamedCore, readCore } from '@millrace/vault';
import { type Capabilities, canMake } from '../drivers/contract.ts';
import type { PermittedSession } from './permit.ts';

/** The design core, as its owner signed it. */
export type Design = NamedCore;

/**
 * Checks that the core received with a session is the one that the owner licensed, and that the session is for it.
 * Every segment is compared with this core before the machine executes it.
 * @param machine what the machine can execute
 * @throws {MillraceError} E_PERMIT, E_INPUT, E_DESIGN_KIND
 */
export function checkDesign(
  { core, parameters }: MachineSide,
  { licence, owner, permit }: PermittedSession,
  machine: Pick<Capabilities, 'formats'>,
): Design {
  const design = readCore(core);
  const owned = sameParty(ownerParty(design), owner);
  const same = equalBytes(design.coreHash, licence.core) && design.designId === permit.design && owned;
  if (!same) throw new MillraceError('E_PERMIT', 'the stream that was offered is not of the licensed design');
  if (!isOf(design, parameters))
    throw new MillraceError('E_PERMIT', 'the stream that was offered differs from the licensed design');
  if (!canMake(machine, design.kind))
    throw new MillraceError('E_DESIGN_KIND', `the machine executes ${machine.formats.join(', ')}, not ${design.kind}`, {
      data: { kind: design.kind, formats: machine.formats },
    });
  return design;
}

function isOf(design: Design, { segments, size, designNonce, layer }: StreamParameters): boolean {
  return (
    design.segments === segments &&
    design.size === size &&
    equalBytes(design.nonce, designNonce) &&
    (layer === 'points') === (design.maintenance === 'key-homomorphic')
  );
}

/** Names under which the design secret is sealed. */
type SecretOf = Pick<PermittedSession['permit'], 'licence' | 'design'>;

/**
 * The design secret, from the licence, which holds it for this machine, or from the keys node's custody.
 * @returns 32 bytes, the caller wipes them
 * @throws {MillraceError} E_LICENCE_INVALID, E_SEAL
 */
export async function designSecretOf(
  design: Design,
  { licence, permit }: { readonly licence: PermittedSession['licence']; readonly permit: SecretOf },
  given: Bytes | undefined,
  { machineKey, installation }: { readonly machineKey: MachineKey; readonly installation: string },
): Promise<Bytes> {
  const missing = (why: string) => new MillraceError('E_LICENCE_INVALID', `the design secret ${why}`);
  if (design.custody === 'keys') {
    if (given === undefined) throw missing('did not come with the stream');
    return given;
  }
  const own = toHex(keyId(machineKey.publicKey));
  const sealed = licence.machines.find(({ machine }) => machine === own)?.secret;
  if (sealed === undefined) throw missing('is not sealed to this machine');
  const binding = { installation, licence: permit.licence, design: permit.design };
  return openDesignSecret(machineKey, binding, sealed);
}
