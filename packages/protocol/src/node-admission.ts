import { encodeCbor, equalBytes, fromHex, hexOf, MillraceError, parse, toHex, utf8 } from '@millrace/base';
import { keyId, parseSign1, type Signer, sign1, verifySign1, verifySignature } from '@millrace/identity';
import { z } from 'zod';
import { type NodeRole, nodeAddresses, nodeId, nodeRoles } from './directory.ts';
import { sha256 } from './opening.ts';

// How a node on a host of its own joins an installation (spec/protocol.md, section 1.3): its keys are made on that host
// and stay there, a request with the public keys goes to the administrator, an admission comes back.

const requestSchema = z
  .strictObject({
    version: z.literal(1),
    /** The installation that the node will belong to, and the only administrator whom it will obey. */
    installation: hexOf(16),
    adminKey: hexOf(33),
    role: z.enum(nodeRoles),
    id: nodeId,
    /** Where others reach the node; empty for nodes that open no port. */
    addresses: nodeAddresses,
    /** P-256 point. */
    identity: hexOf(65),
    /** SubjectPublicKeyInfo of the TLS key (P-256), hexadecimal. */
    tlsKey: hexOf(91),
    /** Keys that only control has. Absent if the node joins control nodes that have them. */
    control: z
      .strictObject({
        permitKey: hexOf(65),
        logKey: z.string().max(300),
        userAuthority: z.string().max(8_192),
      })
      .optional(),
  })
  .refine(({ role, control }) => role === 'control' || control === undefined, {
    error: 'only a control node names a permit key, log key and authority of users',
  })
  .refine(({ role, addresses }) => isPassive(role) === addresses.length > 0, {
    error: 'control and distribution nodes have an address, and no others',
  });

/** The public description of a node that asks to be admitted. */
export type NodeRequest = z.output<typeof requestSchema>;

const signedRequestSchema = z.strictObject({ request: requestSchema, signature: z.string().max(1_024) });
export type SignedNodeRequest = z.output<typeof signedRequestSchema>;

const admissionSchema = z.strictObject({
  version: z.literal(1),
  id: nodeId,
  /** The node's TLS certificate, PEM. */
  certificate: z.string().max(8_192),
  /** Control only: the administrator's statement of its permit key. */
  permitKeyDocument: z
    .string()
    .max(2_048)
    .regex(/^([0-9a-f]{2})+$/)
    .optional(),
  /** The signed directory that names the node. It is verified as any other. */
  directory: z.looseObject({}),
});
/** Everything that an admitted node needs from the administrator, in one file. It holds no secrets. */
export type NodeAdmission = z.output<typeof admissionSchema>;

export function isPassive(role: NodeRole): boolean {
  return role === 'control' || role === 'distribution';
}

const CONTEXT = utf8('millrace/v1/node-request');

/**
 * SHA-256 of the request in deterministic CBOR, hexadecimal. The administrator compares it with what the new host shows:
 * this is what tells the node's request from one that was exchanged on the way.
 */
export function requestFingerprint(request: NodeRequest): string {
  return toHex(sha256(encodeCbor(request)));
}

/** @param identity the node's identity key @throws {MillraceError} E_INPUT if a field is invalid */
export async function signNodeRequest(identity: Signer, fields: NodeRequest): Promise<SignedNodeRequest> {
  const request = parse(requestSchema, fields, 'request of a node');
  const payload = fromHex(requestFingerprint(request));
  return { request, signature: toHex(await sign1(identity, keyId(identity.publicKey), payload, CONTEXT)) };
}

/**
 * Verifies that the identity in the request signed it.
 * @throws {MillraceError} E_INPUT, E_SIGNATURE
 */
export function verifyNodeRequest(input: unknown): NodeRequest {
  const { request, signature } = parse(signedRequestSchema, input, 'request of a node');
  const refuse = (cause?: unknown) =>
    new MillraceError('E_SIGNATURE', `the request of ${request.id} was changed after its node signed it`, { cause });
  try {
    const signed = parseSign1(fromHex(signature));
    verifySign1(signed, 'ES256', fromHex(request.identity), CONTEXT, verifySignature);
    if (equalBytes(signed.payload, fromHex(requestFingerprint(request)))) return request;
  } catch (cause) {
    throw refuse(cause);
  }
  throw refuse();
}

/** Parses an admission. Its directory is not verified yet. @throws {MillraceError} E_INPUT */
export function parseNodeAdmission(input: unknown): NodeAdmission {
  return parse(admissionSchema, input, 'admission of a node');
}
