import { MillraceError } from '@millrace/base';
import { checkMachine, recognisedCloud, type TransactionOf } from '@millrace/protocol';
import type { ControlContext } from './context.ts';
import type { DesignRecord } from './records.ts';

/**
 * Checks the machines and groups of a grant or an extension: each machine is registered as the owner has signed it, and
 * has the design's secret, unless the keys node keeps it. Only then the licence can be for members that it does not name.
 * @throws {MillraceError} E_LICENCE_INVALID, E_MACHINE_UNKNOWN, E_NOT_FOUND (unknown group)
 */
export async function requireMachines(
  { records, directory }: Pick<ControlContext, 'records' | 'directory'>,
  design: Pick<DesignRecord, 'custody'>,
  terms: Pick<TransactionOf<'licence.grant'>, 'machines' | 'groups' | 'package'>,
): Promise<void> {
  if (terms.package !== undefined && design.custody !== 'owner')
    throw new MillraceError(
      'E_LICENCE_INVALID',
      'the keys node holds the secret of this design: it needs no job package',
    );
  // The design secret of a package is in the package.
  if (
    design.custody === 'owner' &&
    terms.package === undefined &&
    terms.machines.some(({ secret }) => secret === undefined)
  )
    throw new MillraceError('E_LICENCE_INVALID', 'the design’s secret is not sealed to every machine of the licence');
  const { groups = [] } = terms;
  if (terms.machines.length === 0 && !groups.some(({ machines }) => machines === 'any'))
    throw new MillraceError('E_LICENCE_INVALID', 'it is for no machine');
  if (design.custody === 'owner' && groups.some(({ machines }) => machines === 'any'))
    throw new MillraceError(
      'E_LICENCE_INVALID',
      'machines that join a group later cannot open a design whose owner keeps its secret',
    );
  for (const { group, organisation } of groups)
    if ((await records.groups.require(group)).organisation !== organisation)
      throw new MillraceError('E_LICENCE_INVALID', `the group ${group} is of another organisation`);
  for (const { machine } of terms.machines) {
    const record = await records.machines.get(machine);
    if (record === undefined) throw new MillraceError('E_MACHINE_UNKNOWN', `no machine ${machine} is registered`);
    checkMachine(record.registration, machine, terms, record.cloud);
    if (record.cloud !== undefined) recognisedCloud(directory, record.cloud);
  }
}
