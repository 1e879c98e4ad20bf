import { bytesOf, fromHex, hexOf, toHex } from '@millrace/base';
import type { Addresses } from '@millrace/protocol';
import { z } from 'zod';
import { fromText, toText } from './armored.ts';

// Text that tells a computer which installation to trust and where it is. It is public.

const PREFIX = 'millrace-installation:';

const address = z.strictObject({ host: z.string().min(1).max(255), port: z.number().int().min(1).max(65_535) });
/** Fields that the text of an invitation has, too. */
export const installationFields = {
  version: z.literal(1),
  installation: bytesOf(16),
  adminKey: bytesOf(33),
  /** Minimum number of the directory. */
  directory: z.number().int().min(1),
  control: address,
  distribution: address,
};
const schema = z.strictObject({ ...installationFields, organisation: hexOf(16).optional() });

export interface InstallationReference {
  readonly installation: string;
  readonly adminKey: string;
  /** Minimum number of the directory: an older one may name keys that have been replaced. */
  readonly directory: number;
  readonly addresses: Pick<Addresses, 'control' | 'distribution'>;
}

export interface InstallationText extends InstallationReference {
  /** The organisation to sign in to. */
  readonly organisation?: string | undefined;
}

export function encodedReference({ installation, adminKey, directory, addresses }: InstallationReference) {
  return {
    version: 1,
    installation: fromHex(installation),
    adminKey: fromHex(adminKey),
    directory,
    control: { ...addresses.control },
    distribution: { ...addresses.distribution },
  };
}

export function decodedReference(
  fields: {
    readonly [N in keyof typeof installationFields]: z.output<(typeof installationFields)[N]>;
  },
): InstallationReference {
  const { installation, adminKey, directory, control, distribution } = fields;
  return {
    ...{ installation: toHex(installation), adminKey: toHex(adminKey), directory },
    addresses: { control, distribution },
  };
}

export function formatInstallation({ organisation, ...reference }: InstallationText): string {
  const fields = encodedReference(reference);
  return toText(PREFIX, organisation === undefined ? fields : { ...fields, organisation });
}

/** @throws {MillraceError} E_INPUT */
export function parseInstallation(text: string): InstallationText {
  const { organisation, ...fields } = fromText(text, { prefix: PREFIX, what: 'an installation', schema });
  return { ...decodedReference(fields), ...(organisation === undefined ? {} : { organisation }) };
}
