import { describe, expect, it } from 'vitest';
import {
  type BoxSecrets,
  CLOCK_SKEW_MS,
  encodeMail,
  openMessage,
  readBoxKey,
  sealMail,
  signBoxKey,
} from '../src/index.ts';
import { boxOf, codeOf, createWorld, NOW } from './support.ts';

const { keys, directory } = createWorld();

describe('mail', () => {
  const message = { type: 'stream.close' as const, session: '00'.repeat(16) };
  const box = boxOf('segments');
  const sealAs = (identity: typeof keys.keys) =>
    sealMail(directory, { role: 'keys', identity }, box.body, encodeMail(message));
  const segments = { role: 'segments' as const, boxes: box.secrets };

  it('opens for its recipient from its sender only', async () => {
    const sealed = await sealAs(keys.keys);
    expect(await openMessage(directory, segments, 'keys', sealed)).toEqual(message);
    expect(await codeOf(() => openMessage(directory, segments, 'control', sealed))).toBe('E_SEAL');
    const control = { role: 'control' as const, boxes: box.secrets };
    expect(await codeOf(() => openMessage(directory, control, 'keys', sealed))).toBe('E_SEAL');
  });

  it('control cannot forge mail between the proactive nodes', async () => {
    const forged = await sealAs(keys.control);
    expect(await codeOf(() => openMessage(directory, segments, 'keys', forged))).toBe('E_SEAL');
  });

  it('does not open with the identity keys of both, and says when its key is gone', async () => {
    const sealed = await sealAs(keys.keys);
    const open = (boxes: BoxSecrets) =>
      codeOf(() => openMessage(directory, { role: 'segments', boxes }, 'keys', sealed));
    expect(await open({ keyOf: () => keys.segments })).toBe('E_SEAL');
    expect(await open({ keyOf: () => keys.keys })).toBe('E_SEAL');
    expect(await open({ keyOf: () => undefined })).toBe('E_BOX_KEY');
    expect(await codeOf(() => openMessage(directory, segments, 'keys', sealed.subarray(0, 7)))).toBe('E_SEAL');
  });
});

describe('a box key', () => {
  const role = 'keys' as const;
  const read = (document: Uint8Array, now: number | 'any time' = NOW) =>
    readBoxKey(directory, { role, use: 'attachments' }, document, now);

  it('counts when its node signed it for this installation and use, until it expires', async () => {
    const { body } = boxOf(role, { use: 'attachments' });
    const signed = await signBoxKey(keys.keys, directory.installation, body);
    expect(await read(signed)).toEqual(body);
    expect(await codeOf(() => read(signed, body.expires + CLOCK_SKEW_MS + 1))).toBe('E_EXPIRED');
    expect((await read(signed, 'any time')).number).toBe(body.number);
    expect(await codeOf(() => read(signed, NOW - CLOCK_SKEW_MS - 1))).toBe('E_CLOCK');
    const foreign = await signBoxKey(keys.keys, '22'.repeat(16), body);
    expect(await codeOf(() => read(foreign))).toBe('E_SIGNATURE');
    const ofControl = await signBoxKey(keys.control, directory.installation, body);
    expect(await codeOf(() => read(ofControl))).toBe('E_AUTH');
  });

  it('of another role or use is refused', async () => {
    for (const changes of [{ use: 'mail' as const }, { role: 'segments' as const, use: 'attachments' as const }]) {
      const { body } = boxOf(role, changes);
      const signed = await signBoxKey(keys.keys, directory.installation, body);
      expect(await codeOf(() => read(signed))).toBe('E_INPUT');
    }
  });
});
