import { concatBytes, encodeCbor, wipe } from '@millrace/base';
import { contentKeysInfo, sha256 } from '@millrace/protocol';
import {
  type Custody,
  type DesignCore,
  type MaintenanceMode,
  type PrivatePart,
  requireSize,
  sealEnvelope,
  sealPrivatePart,
} from '@millrace/vault';
import { sealAttachment } from './attachments.ts';
import { type DesignKind, designKind, designKindOfFile, SLICED_KIND } from './design-kinds.ts';
import { ownCredential } from './people.ts';
import type { PreparedDesign, SourceIdentity } from './prepared.ts';
import { keepRecord } from './records.ts';
import type { DesignStream, Sealer } from './sealer.ts';
import { withSecret } from './secret.ts';
import type { Session } from './session.ts';

const MAX_NAME = 200;

export interface PrepareOptions {
  /** Default: the name of the file. */
  readonly name?: string | undefined;
  /** Default: derived from the name of the file. */
  readonly kind?: string | undefined;
  /** For designs of bytes: the rate of a sink at factor 1. */
  readonly bytesPerSecond?: number | undefined;
  readonly material?: string | undefined;
  /** How the vault renews the cells. Default: `rekey`. */
  readonly maintenance?: MaintenanceMode | undefined;
  /** Who keeps the design secret. Default: the owner. */
  readonly custody?: Custody | undefined;
  /** Approvals that every licence of the design needs. */
  readonly approvals?: DesignCore['approvals'];
  /** How this G-code was made, if this client sliced it. */
  readonly sliced?: Sliced | undefined;
}

/** The secrets of a design that was sealed. They are wiped afterwards. */
export interface DesignSecrets {
  readonly designSecret: Uint8Array;
  /** Content keys, 32 bytes for each segment. */
  readonly ceks: Uint8Array;
}

export interface Sliced {
  /** Name and version of the slicer. */
  readonly slicer: string;
  /** Name of the profile, and its contents. */
  readonly profile: string;
  readonly settings: Uint8Array;
  /** The sliced model. It identifies an interrupted upload, because the G-code file is temporary. */
  readonly source?: SourceIdentity;
}

/** The bytes of a design, and what identifies them. */
export interface ByteSource extends DesignStream {
  readonly identity: SourceIdentity;
  /** @throws {MillraceError} E_CONFLICT if it changed while it was read */
  requireUnchanged(): Promise<void>;
}

/**
 * Seals a design on the owner's side. It streams through once, is timed and split, and its sealed segments wait in the
 * session's storage until the vault has them. The result of an interrupted attempt with the same source is reused,
 * unless the caller takes the secrets.
 * @param take copies the secrets that it needs
 * @throws {MillraceError} E_GCODE with the line, E_DESIGN_EMPTY, E_TOO_LARGE, E_INPUT, E_CONFLICT, E_DISK_FULL
 */
export async function prepare<S extends ByteSource>(
  session: Session,
  source: S,
  options: PrepareOptions,
  sealer: Sealer<S>,
  progress: (done: number, total: number) => void,
  take?: (secrets: DesignSecrets) => void,
): Promise<PreparedDesign> {
  const { random, signal, storage, signer, user } = session;
  const { sliced, maintenance, custody, approvals, bytesPerSecond, material } = options;
  const identity = sliced?.source ?? source.identity;
  const earlier = take === undefined ? await storage.prepared.find(identity) : undefined;
  if (earlier !== undefined) return earlier;
  requireSize(maintenance, source.size);
  const { kind } = kindOf(options, identity.path);
  const name = (options.name ?? baseName(identity.path)).slice(0, MAX_NAME);
  let part: Omit<PrivatePart, 'designSecret'> | undefined;
  const writer = await storage.prepared.begin(random);
  try {
    const sealed = await sealer({
      ...{ source, kind, bytesPerSecond, material, custody, approvals, random, signal, progress },
      owner: signer.publicKey,
      organisation: (await ownCredential(session)).member?.organisation,
      sink: (_segment, sealed) => writer.append(sealed),
      describe: async ({ nonce, designSecret }, { times, envelope, ...facts }) => {
        part = { name, nonce, ...facts, ...slicedPart(sliced) };
        const own: PrivatePart = { ...part, designSecret };
        return {
          times,
          private: await withSecret(user, (secret) => sealPrivatePart(secret, own, random)),
          ...(envelope && { envelope: sealEnvelope({ designSecret, nonce }, encodeCbor(envelope)) }),
          ...(maintenance && { maintenance }),
        };
      },
    });
    const { manifest, designId, segments, size, ceks, designSecret } = sealed;
    const content = custody === 'keys' ? concatBytes(ceks, designSecret) : ceks;
    try {
      const keys = await sealAttachment(session, designId, contentKeysInfo(designId, signer.publicKey), content);
      await source.requireUnchanged();
      if (part !== undefined) await keepRecord(session, designId, part, sliced?.settings);
      take?.({ designSecret, ceks });
      const state = { version: 1 as const, design: designId, name, segments, size, source: identity };
      return await writer.finish(state, manifest, keys);
    } finally {
      wipe(ceks, content, designSecret);
    }
  } catch (error) {
    await writer.abandon();
    throw error;
  }
}

/** @throws {MillraceError} E_INPUT for a kind that this client cannot estimate */
function kindOf({ kind, sliced }: PrepareOptions, path: string): DesignKind {
  if (kind !== undefined) return designKind(kind);
  return sliced === undefined ? designKindOfFile(path) : designKind(SLICED_KIND);
}

/** Last component of a POSIX or Windows path. */
function baseName(path: string): string {
  return path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
}

function slicedPart(sliced: Sliced | undefined): Pick<PrivatePart, 'sliced'> {
  if (sliced === undefined) return {};
  const { slicer, profile, settings } = sliced;
  return { sliced: { slicer, profile: profile.slice(0, MAX_NAME), profileHash: sha256(settings) } };
}
