import { type DestinationStream, destination, type Logger, pino, stdSerializers, stdTimeFunctions } from 'pino';
import { MillraceError } from './errors.ts';

export type { Logger };

export interface LogOptions {
  readonly level?: string;
  readonly destination?: DestinationStream;
}

/**
 * Logs JSON lines with the name of the node. Errors are written with code, message and data; stacks only for internal
 * faults. Byte arrays are never logged: only their length is written.
 */
export function createLogger(name: string, options: LogOptions = {}): Logger {
  return pino(
    {
      name,
      level: options.level ?? process.env.MILLRACE_LOG ?? 'info',
      base: { name, pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      serializers: { err: serializeError },
      formatters: { level: (label) => ({ level: label }), log: withoutBytes },
    },
    options.destination ?? destination({ dest: 2, sync: true }),
  );
}

export const silentLogger: Logger = pino({ level: 'silent' });

function serializeError(error: Error): unknown {
  if (error instanceof MillraceError && error.code !== 'E_INTERNAL') return error.toJSON();
  return stdSerializers.err(error);
}

function withoutBytes(fields: Record<string, unknown>): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) {
    out[key] = value instanceof Uint8Array ? `[${value.length} bytes]` : value;
  }
  return out;
}
