import { type Closable, type Logger, MillraceError, type Tracer } from '@millrace/base';
import type { NodeConfig } from '../config.ts';

/**
 * The tracer of a node's process, as the usual environment variables of OpenTelemetry configure it. Undefined without an
 * endpoint; in that case, no code of OpenTelemetry is loaded.
 * @throws {MillraceError} E_CONFIG naming the variable that is wrong
 */
export async function openTracer(
  { role, id }: Pick<NodeConfig, 'role' | 'id'>,
  env: Readonly<Record<string, string | undefined>>,
  logger: Logger,
): Promise<(Tracer & Closable) | undefined> {
  const name = ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT'].find((key) => env[key]);
  if (name === undefined || env.OTEL_SDK_DISABLED?.toLowerCase() === 'true') return undefined;
  const endpoint = env[name] ?? '';
  if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint))
    throw new MillraceError('E_CONFIG', `${name}: expected the address of a collector, such as http://127.0.0.1:4318`);
  if ((env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL ?? env.OTEL_EXPORTER_OTLP_PROTOCOL) === 'grpc')
    throw new MillraceError('E_CONFIG', 'OTEL_EXPORTER_OTLP_PROTOCOL: traces are sent over HTTP only, not gRPC');
  const share = shareOf(env);
  const { createOtlpTracer } = await import('./otlp-tracer.ts');
  logger.info({ share }, 'traces are sent to the collector of OTEL_EXPORTER_OTLP_ENDPOINT');
  return createOtlpTracer({ role, id, share, logger });
}

/** The share of traces that are recorded, from 0 to 1. */
function shareOf({
  OTEL_TRACES_SAMPLER: sampler,
  OTEL_TRACES_SAMPLER_ARG: text,
}: Readonly<Record<string, string | undefined>>): number {
  const byShare = 'parentbased_traceidratio';
  if (sampler === undefined || sampler === '' || sampler === 'parentbased_always_on') return 1;
  if (sampler !== byShare)
    throw new MillraceError('E_CONFIG', `OTEL_TRACES_SAMPLER: expected parentbased_always_on or ${byShare}`);
  const share = Number(text ?? 1);
  if (!(share >= 0 && share <= 1) || text === '')
    throw new MillraceError('E_CONFIG', 'OTEL_TRACES_SAMPLER_ARG: expected a share from 0 to 1');
  return share;
}
