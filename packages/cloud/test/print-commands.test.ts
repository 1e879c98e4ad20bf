import { type Bytes, type MillraceError, systemRandom, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { type Attested, type PrintCommand, readTransaction } from '@millrace/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { CommandBoard, type Refusal } from '../src/control/command-board.ts';
import { commandPrint, nextCommand } from '../src/control/print-commands.ts';
import { authorize, userActor } from '../src/node/policy.ts';
import { codeOf, controlFixture, type UserName } from './control-fixture.ts';

const ever = () => new AbortController().signal;

describe('control', () => {
  let fixture: Awaited<ReturnType<typeof controlFixture>>;
  let print: string;
  let machine: string;
  beforeEach(async () => {
    fixture = await controlFixture();
    const added = await fixture.addMachine();
    machine = added.machine;
    const licence = await fixture.grant(await fixture.stored(await fixture.addDesign(await fixture.prepare())), [
      added,
    ]);
    print = await fixture.print(licence, added);
  });
  const runs = () => fixture.context.records.prints.update(print, (found) => ({ ...found, state: 'running' }));
  const sign = (who: UserName, command: PrintCommand = 'pause', of = print) =>
    fixture.sign(who, { type: 'print.command', print: of, command });
  /** What the route does after it has asked the policy. */
  const submit = async (bytes: Bytes, who: UserName, command: PrintCommand = 'pause') => {
    const actor = userActor(fixture.context.directory, keyName(fixture.keys[who].publicKey));
    const found = await fixture.context.records.prints.require(print);
    return commandPrint(fixture.context, found, command, bytes, (signer) =>
      authorize(actor, 'transaction.submit', { signer }),
    );
  };
  /** An agent that obeys, or refuses. */
  const obey = async (refusal?: Refusal) => {
    const { command } = await nextCommand(fixture.context, machine, { print, wait: 5_000 }, ever());
    if (command === undefined) throw new Error('no command came');
    const { id } = readTransaction(command.transaction);
    fixture.context.commands.answered(machine, toHex(id), refusal);
    return command;
  };

  it('passes a command on as it was signed, with the signer’s credential, and waits for the machine', async () => {
    await runs();
    const bytes = await sign('holder');
    const done = submit(bytes, 'holder');
    const { transaction, credential } = await obey();
    await done;
    expect(transaction).toEqual(bytes);
    expect(credential.length).toBeGreaterThan(0);
  });

  it('takes each command once, also when it comes twice at the same time', async () => {
    await runs();
    const bytes = await sign('holder');
    const both = [submit(bytes, 'holder'), submit(bytes, 'holder')].map(codeOf);
    await obey();
    expect((await Promise.all(both)).sort()).toEqual(['E_REPLAY', 'done']);
    expect(await codeOf(submit(bytes, 'holder'))).toBe('E_REPLAY');
  });

  it('gives two commands of two people to the machine, one after the other', async () => {
    await runs();
    const both = [submit(await sign('holder'), 'holder'), submit(await sign('owner'), 'owner')];
    await obey();
    await obey({ code: 'E_STATE', message: 'the machine is paused' });
    const ended = await Promise.allSettled(both);
    expect(ended.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(ended.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { code: 'E_STATE' } });
  });

  it('refuses a print that waits or has ended, another print’s command, and somebody else’s signature', async () => {
    expect(await codeOf(submit(await sign('holder'), 'holder'))).toBe('E_STATE');
    await runs();
    expect(await codeOf(submit(await sign('holder', 'cancel'), 'holder'))).toBe('E_INPUT');
    expect(await codeOf(submit(await sign('holder', 'pause', '0'.repeat(32)), 'holder'))).toBe('E_INPUT');
    // A stolen command, submitted in another session.
    expect(await codeOf(submit(await sign('holder'), 'owner'))).toBe('E_FORBIDDEN');
    const cancel = await fixture.sign('holder', { type: 'print.cancel', print });
    expect(await codeOf(submit(cancel, 'holder'))).toBe('E_INPUT');
    await fixture.context.records.prints.update(print, (found) => ({ ...found, state: 'completed' }));
    expect(await codeOf(submit(await sign('holder'), 'holder'))).toBe('E_STATE');
  });

  it('does not take it as an ordinary transaction', async () => {
    await runs();
    expect(await codeOf(fixture.submit('holder', { type: 'print.command', print, command: 'pause' }))).toBe('E_INPUT');
  });

  it('shows the commands of a print to its machine only', async () => {
    await runs();
    const other = nextCommand(fixture.context, '1'.repeat(32), { print, wait: 0 }, ever());
    expect(await codeOf(other)).toBe('E_FORBIDDEN');
  });
});

describe('the board', () => {
  const signed: Attested = { transaction: new Uint8Array(3), credential: new Uint8Array(3) };
  const id = () => toHex(systemRandom(16));

  it('wakes the machine that waits, and drops answers of other machines', async () => {
    const board = new CommandBoard();
    const next = board.next('p', 10_000, ever());
    const command = id();
    let ended = false;
    const done = board.submit('p', 'm', command, signed).finally(() => {
      ended = true;
    });
    expect(await next).toBe(signed);
    board.answered('other', command, undefined);
    await new Promise((resolve) => setImmediate(resolve));
    expect(ended).toBe(false);
    board.answered('m', command, undefined);
    await done;
    // Nobody waits any more.
    board.answered('m', command, { code: 'E_STATE', message: 'late' });
  });

  it('keeps a command from a machine whose call has ended, for its next call', async () => {
    const board = new CommandBoard();
    const gone = new AbortController();
    const first = board.next('p', 10_000, gone.signal);
    gone.abort();
    const command = id();
    const done = board.submit('p', 'm', command, signed);
    expect(await first).toBeUndefined();
    expect(await board.next('p', 0, ever())).toBe(signed);
    board.answered('m', command, undefined);
    await done;
  });

  it('ends a call that is made again, as over another distribution node, and gives the command to the newest', async () => {
    const board = new CommandBoard();
    const calls = [1, 2, 3].map(() => board.next('p', 60_000, ever()));
    // The process still runs: each of them would wake the others forever.
    await new Promise((resolve) => setImmediate(resolve));
    expect(await Promise.all(calls.slice(0, 2))).toEqual([undefined, undefined]);
    const command = id();
    const done = board.submit('p', 'm', command, signed);
    expect(await calls[2]).toBe(signed);
    board.answered('m', command, undefined);
    await done;
  });

  it('limits what waits for one print', async () => {
    const board = new CommandBoard();
    const waiting = Array.from({ length: 8 }, () => id());
    const done = waiting.map((command) => board.submit('p', 'm', command, signed));
    expect(await codeOf(board.submit('p', 'm', id(), signed))).toBe('E_QUOTA');
    for (const command of waiting) {
      await board.next('p', 0, ever());
      board.answered('m', command, undefined);
    }
    await Promise.all(done);
  });

  it('tells what the machine answers, and hides codes that are not a machine’s', async () => {
    const board = new CommandBoard();
    const answer = async (refusal: Refusal) => {
      const command = id();
      const done = board.submit('p', 'm', command, signed);
      await board.next('p', 0, ever());
      board.answered('m', command, refusal);
      return done.then(
        () => undefined,
        (error: unknown) => error as MillraceError,
      );
    };
    expect(await answer({ code: 'E_STATE', message: 'x' })).toMatchObject({ code: 'E_STATE' });
    expect(await answer({ code: 'E_INTERNAL', message: 'x' })).toMatchObject({ code: 'E_MACHINE' });
    expect(await answer({ code: '<script>', message: 'x' })).toMatchObject({ code: 'E_MACHINE' });
  });
});
