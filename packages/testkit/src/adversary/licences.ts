import { type Bytes, systemRandom } from '@millrace/base';
import { machineFromJson } from '@millrace/cli/parts';
import { type Session, sealAttachment, signNew } from '@millrace/client';
import { generateP256Key } from '@millrace/identity';
import { licenceSecretInfo, registrationHash, sealDesignSecret, sha256 } from '@millrace/protocol';
import { readManifest } from '@millrace/vault';
import type { HostileInstallation } from './hostile-installation.ts';

/** A licence by any user for any design, with a forged design secret, without the checks of an honest client. */
export async function ownLicence(
  system: HostileInstallation,
  signer: Session,
  design: string,
  machine: string,
): Promise<{ readonly transaction: Bytes; readonly secret: Bytes; readonly licence: string }> {
  const { directory, description } = system.installation;
  const { owner, coreHash } = readManifest(await system.nodes.keys.parts.playbook.manifest(design));
  const entry = description.machines.find(({ name }) => name === machine);
  if (entry === undefined) throw new Error(`there is no machine ${machine}`);
  const registered = machineFromJson(entry.registration);
  const id = systemRandom(16);
  const licence = Buffer.from(id).toString('hex');
  const binding = { installation: directory.installation, licence, design };
  const secret = await sealAttachment(signer, design, licenceSecretInfo(design, owner), systemRandom(32));
  const now = signer.clock.now();
  const { bytes } = await signNew(
    signer,
    {
      type: 'licence.grant',
      design,
      core: coreHash,
      objects: 100,
      machines: [
        {
          machine: registered.machine,
          registration: registrationHash(registered),
          secret: await sealDesignSecret(registered, binding, systemRandom(32)),
        },
      ],
      materials: [],
      notBefore: now - 60_000,
      notAfter: now + 3_600_000,
      holder: signer.signer.publicKey,
      secretHash: sha256(secret),
      telemetryKey: generateP256Key().publicKey,
      disclose: [],
    },
    id,
  );
  return { transaction: bytes, secret, licence };
}
