import { copyBytes, MillraceError } from '@millrace/base';
import { sha256 } from '@millrace/protocol';
import { expect, it } from 'vitest';
import { codeOf, controlFixture } from './control-fixture.ts';

// Control loses its lease between creating a record and completing the transaction. Whoever submits the same transaction
// again, to whichever control node is active then, completes it.

async function interruptible() {
  const fixture = await controlFixture();
  const { context } = fixture;
  const { mailbox } = context;
  let interrupted = false;
  const send = mailbox.send.bind(mailbox);
  mailbox.send = async (...mail) => {
    if (interrupted) throw new MillraceError('E_FENCED', 'another node has taken over');
    return send(...mail);
  };
  return {
    ...fixture,
    interrupt: async (work: () => Promise<unknown>) => {
      interrupted = true;
      expect(await codeOf(work())).toBe('E_FENCED');
      interrupted = false;
    },
  };
}

it('an interrupted design.add is completed by its repetition, once', async () => {
  const { context, prepare, sign, submitSigned, addDesign, queue, interrupt } = await interruptible();
  const prepared = await prepare();
  const { designId: design, manifest, keys } = prepared;
  const hashes = { manifestHash: sha256(manifest), keysHash: sha256(keys) };
  const bytes = await sign('owner', { type: 'design.add', design, ...hashes });
  const submit = () => submitSigned('owner', bytes, { manifest, keys });
  await interrupt(submit);
  const before = await queue.depth('keys-1');
  expect(await codeOf(addDesign(prepared))).toBe('E_CONFLICT'); // another transaction
  expect(await submit()).toMatchObject({ design });
  expect((await context.records.designs.require(design)).pending).toBeUndefined();
  expect(await queue.depth('keys-1')).toBe(before + 1);
  expect(await codeOf(submit())).toBe('E_REPLAY');
  expect(await codeOf(addDesign(prepared))).toBe('E_CONFLICT');
  expect(await queue.depth('keys-1')).toBe(before + 1);
});

it('an interrupted licence.grant is completed by its repetition, once', async () => {
  const { context, prepare, addDesign, addMachine, stored, grant, submitSigned, queue, interrupt } =
    await interruptible();
  const design = await stored(await addDesign(await prepare()));
  const machine = await addMachine();
  await interrupt(() => grant(design, [machine]));
  let [licence, transaction, pending] = ['', new Uint8Array(), new Uint8Array()];
  for await (const [id, record] of context.records.licences.list())
    [licence, transaction, pending] = [id, copyBytes(record.transaction), copyBytes(record.pending ?? pending)];
  expect(pending.length).toBeGreaterThan(0);
  const submit = () => submitSigned('owner', transaction, { secret: pending });
  const [mail, size] = [await queue.depth('keys-1'), context.ledger.size];
  expect(await submit()).toMatchObject({ licence });
  expect((await context.records.licences.require(licence)).pending).toBeUndefined();
  expect(await queue.depth('keys-1')).toBe(mail + 1);
  expect(context.ledger.size).toBe(size); // it was there before the mail
  expect(await codeOf(submit())).toBe('E_REPLAY');
  expect(await queue.depth('keys-1')).toBe(mail + 1);
});
