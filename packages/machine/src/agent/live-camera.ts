import { Backoff, type Bytes, type Closable, fromHex, MillraceError, sleep, toMillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { registrationHash, requirePicture, sealPicture, verifyWatch } from '@millrace/protocol';
import { capture } from '../camera/capture.ts';
import type { CameraSettings } from '../camera/settings.ts';
import type { Look, LookCalls } from './control-calls.ts';
import type { AgentParts } from './parts.ts';
import { checkRegistration } from './permit.ts';

/** Several viewers, and a cloud that asks more often, get the same picture for this time, ms. */
const SAME_MS = 1_500;

type Parts = Pick<AgentParts, 'clock' | 'config' | 'link' | 'logger' | 'random' | 'timing'>;

/**
 * Gives pictures to operators of the organisation that holds the machine, while they look. The agent verifies each
 * request, and seals each picture to the viewer: the cloud can refuse pictures, and can neither see nor make any. Nothing
 * is stored.
 */
export class LiveCamera implements Closable {
  readonly #parts: Parts;
  readonly #calls: LookCalls;
  readonly #camera: CameraSettings;
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;
  #last: { readonly at: number; readonly jpeg: Bytes } | undefined;

  constructor(parts: Parts, calls: LookCalls, camera: CameraSettings) {
    this.#parts = parts;
    this.#calls = calls;
    this.#camera = camera;
    this.#ended = this.#listen();
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_STATE', 'the agent stops'));
    await this.#ended;
  }

  async #listen(): Promise<void> {
    const { link, logger, timing } = this.#parts;
    const backoff = new Backoff(timing.backoff);
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await link.whenConnected(signal);
        const look = await this.#calls.look(signal);
        backoff.reset();
        if (look !== undefined) await this.#answer(look, signal);
      } catch (error) {
        if (signal.aborted) return;
        logger.debug({ err: toMillraceError(error) }, 'cannot ask who looks through the camera; trying again');
        await sleep(backoff.next(), signal).catch(() => undefined);
      }
    }
  }

  async #answer(look: Look, signal: AbortSignal): Promise<void> {
    let given: Bytes | MillraceError;
    try {
      given = await this.#picture(look, signal);
    } catch (error) {
      given = toMillraceError(error);
      this.#parts.logger.warn({ err: given }, 'gave no picture of the camera');
    }
    await this.#calls.looked(look.look, given, signal);
  }

  async #picture(look: Look, signal: AbortSignal): Promise<Bytes> {
    const { config, clock, random } = this.#parts;
    const { directory, machineKey } = config;
    checkRegistration(config, look);
    const named = { machine: keyName(machineKey.publicKey), registration: registrationHash(look.machine) };
    const { body: watch } = await verifyWatch(look, named, directory, clock.now());
    const jpeg = await this.#capture(signal);
    const binding = { installation: directory.installation, watch, nonce: fromHex(look.nonce) };
    return sealPicture(machineKey, binding, { id: random(16), time: clock.now(), jpeg });
  }

  async #capture(signal: AbortSignal): Promise<Bytes> {
    const now = this.#parts.clock.monotonic();
    if (this.#last !== undefined && now - this.#last.at < SAME_MS) return this.#last.jpeg;
    const jpeg = requirePicture(await capture(this.#camera, signal));
    this.#last = { at: this.#parts.clock.monotonic(), jpeg };
    return jpeg;
  }
}
