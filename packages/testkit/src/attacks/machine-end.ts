import { createCipheriv } from 'node:crypto';
import { concatBytes, copyBytes, u32be } from '@millrace/base';
import { createEngine, createSender } from '@millrace/live-matrix';
import { reverseKeys, reverseMatrix, type StreamParameters, sealTelemetry, type Telemetry } from '@millrace/protocol';

/** The machine's end of a reverse stream, for an attacker who has the seed. */
export function machineEnd(seed: Uint8Array, session: Uint8Array, stream: StreamParameters) {
  const keys = reverseKeys(copyBytes(seed));
  const sender = createSender({
    parameters: reverseMatrix(stream),
    sessionId: session,
    seed: keys.seed,
    engine: createEngine(),
  });
  let number = 0;
  return {
    /** Returns the next reverse frame. */
    tell(telemetry: Telemetry) {
      const frame = number++;
      return sender.encode(frame, sealTelemetry(keys.telemetry, frame, telemetry));
    },
    /** Returns a reverse frame with arbitrary content, sealed as telemetry. */
    tellBytes(plain: Uint8Array) {
      const frame = number++;
      const cipher = createCipheriv('aes-256-gcm', keys.telemetry, concatBytes(new Uint8Array(8), u32be(frame)));
      return sender.encode(frame, concatBytes(cipher.update(plain), cipher.final(), cipher.getAuthTag()));
    },
    close: () => sender.close(),
  };
}
