import { type Clock, noMetrics, noTracer, silentLogger } from '@millrace/base';
import type { RecordStore } from '@millrace/stores';
import { NOW, type ProtocolFixture } from '@millrace/testkit/protocol/support';
import { SegmentsStreams, type SegmentsStreamsModules } from '../src/segments/streams.ts';
import { ObjectRepository } from '../src/streaming/objects.ts';

const clock: Clock = { now: () => NOW, monotonic: () => 0 };

/** The streams of a segments node that knows the design of the fixture, for openings. @param link to every distribution node */
export function segmentsStreams(
  { directory, keys, coreHash }: ProtocolFixture,
  records: RecordStore,
  link: { readonly connected: boolean; send(message: Uint8Array): boolean },
): SegmentsStreams {
  return new SegmentsStreams({
    directory,
    identity: keys.segments,
    clock,
    logger: silentLogger,
    designs: { authorityOf: async () => ({ owner: keys.owner.publicKey, coreHash }) },
    objects: new ObjectRepository(records, 'segments-1'),
    links: { to: () => link },
    mail: { send: async () => undefined },
    metrics: noMetrics,
    tracer: noTracer,
  } as unknown as SegmentsStreamsModules);
}
