import { type Bytes, copyBytes, Mutex, wipe } from '@millrace/base';
import { claimedRevision, createReceiver, type HashEngine, type Receiver } from '@millrace/live-matrix';
import { openTelemetry, reverseKeys, reverseMatrix, type StreamParameters, type Telemetry } from '@millrace/protocol';

/** Maximum number of revisions by which a reverse frame may be ahead of the last one. */
const MAX_STEP = 4;

/** A proactive node's end of the reverse hint stream: acknowledgements and telemetry of one session. */
export class ReverseStream {
  readonly #receiver: Receiver;
  readonly #telemetryKey: Uint8Array;
  readonly #mutex = new Mutex();
  readonly #mixes = new Map<bigint, Bytes>();

  private constructor(receiver: Receiver, telemetryKey: Uint8Array) {
    this.#receiver = receiver;
    this.#telemetryKey = telemetryKey;
  }

  /** @param engine may be shared by all streams of a node */
  static async open(
    sessionId: Uint8Array,
    seed: Uint8Array,
    parameters: StreamParameters,
    engine: HashEngine,
  ): Promise<ReverseStream> {
    const keys = reverseKeys(seed);
    const receiver = await createReceiver({
      parameters: reverseMatrix(parameters),
      sessionId,
      seed: keys.seed,
      engine,
    });
    keys.seed.fill(0);
    return new ReverseStream(receiver, keys.telemetry);
  }

  /** Decodes one message. Call in the order of arrival. @throws {MillraceError} E_FRAME_*, E_SEAL, E_INPUT */
  receive(frame: Uint8Array): Promise<Telemetry> {
    return this.#mutex.run(async () => {
      const revision = claimedRevision(frame);
      if (revision > this.#receiver.ready) {
        // A relay can forge this number, so no state changes before the MAC is verified.
        this.#receiver.verifyAhead(frame, { most: MAX_STEP, freshSecret: (at) => this.#mixes.get(at) });
      }
      while (this.#receiver.ready < revision) await this.#prepareNext();
      const { frame: number, cell } = await this.#receiver.decode(frame);
      return openTelemetry(this.#telemetryKey, number, cell);
    });
  }

  /** Keeps the fresh secret for `revision` until the machine's reverse stream reaches it. */
  mixAt(revision: bigint, secret: Uint8Array): void {
    this.#mixes.set(revision, copyBytes(secret));
  }

  async #prepareNext(): Promise<void> {
    const next = this.#receiver.ready + 1n;
    const secret = this.#mixes.get(next);
    if (secret !== undefined) {
      this.#mixes.delete(next);
      this.#receiver.mix(secret);
      wipe(secret);
    }
    await this.#receiver.prepareNext();
  }

  async close(): Promise<void> {
    await this.#mutex.run(() => this.#receiver.close());
    wipe(this.#telemetryKey, ...this.#mixes.values());
  }
}
