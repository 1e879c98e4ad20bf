import { bytesOf, equalBytes, hexOf, MillraceError } from '@millrace/base';
import { documentName, type GroupMember, type GroupStatement, type TransactionOf } from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../node/table.ts';

const groupSchema = z.strictObject({
  number: z.number().int().positive(),
  /** SHA-256 of the statement. */
  statement: bytesOf(32),
  machines: z.array(hexOf(16)),
});

const holderSchema = z.strictObject({
  number: z.number().int().positive(),
  registration: bytesOf(32),
  organisation: hexOf(16).optional(),
});

/** A statement on a group, and the signed document. */
interface SignedGroup {
  readonly body: GroupStatement;
  readonly bytes: Uint8Array;
}

/**
 * A proactive node's own record of groups and of who holds the machines: the newest statements that it has verified. A
 * machine that left a group or its organisation begins no object there again, whatever control shows. Of two statements
 * with one number, the first counts. Kept for ever.
 */
export class GroupGuard {
  /** By organisation and group: an organisation cannot replace a group of another one. */
  readonly #groups: Table<z.output<typeof groupSchema>>;
  /** By machine. */
  readonly #holders: Table<z.output<typeof holderSchema>>;

  constructor(records: RecordStore) {
    this.#groups = new Table(records, 'group', groupSchema);
    this.#holders = new Table(records, 'machine-holder', holderSchema);
  }

  /**
   * Requires that the newest statements known here also say that the machine is a member. Records newer ones.
   * @throws {MillraceError} E_LICENCE_INVALID
   */
  async use(machine: string, { group, assignment }: GroupMember): Promise<void> {
    const holder = await this.takeAssignment(assignment);
    if (holder.organisation !== assignment.organisation || !equalBytes(holder.registration, assignment.registration))
      throw new MillraceError(
        'E_LICENCE_INVALID',
        'the machine was assigned to another organisation, or registered again',
      );
    const { machines } = await this.takeGroup(group);
    if (!machines.includes(machine))
      throw new MillraceError(
        'E_LICENCE_INVALID',
        `the machine was removed from ${group.body.kind} ${group.body.name}`,
      );
  }

  /** Records a verified statement unless a newer one is known. @returns the one that counts */
  async takeGroup({ body, bytes }: SignedGroup): Promise<{ readonly machines: readonly string[] }> {
    const key = `${body.organisation}/${body.group}`;
    const entry = { number: body.number, statement: documentName(bytes), machines: body.machines };
    if (await this.#groups.create(key, entry)) return entry;
    return this.#groups.update(key, (known) => (known.number < entry.number ? entry : known));
  }

  /** Records a verified assignment unless a newer one is known. @returns the one that counts */
  async takeAssignment({ machine, number, registration, organisation }: TransactionOf<'machine.assign'>) {
    const entry = { number, registration, ...(organisation === undefined ? {} : { organisation }) };
    if (await this.#holders.create(machine, entry)) return entry;
    return this.#holders.update(machine, (known) => (known.number < number ? entry : known));
  }
}
