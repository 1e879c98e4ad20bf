import type { EventFeed, ServerEvent } from '@millrace/api';
import { contentTypes } from '@millrace/api';
import type { FastifyReply } from 'fastify';

/** A reader that has not taken this much is disconnected, bytes. It connects again and names its last event. */
const MOST_UNREAD = 64 * 1024;

/**
 * Sends events until the reader disconnects, reads too slowly, or the feed ends.
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export function sendEvents(reply: FastifyReply, feed: EventFeed): FastifyReply {
  reply.header('content-type', contentTypes.events).header('cache-control', 'no-store');
  // Proxies that collect an answer would hold it back for ever.
  reply.header('x-accel-buffering', 'no');
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, reply.getHeaders() as Record<string, string>);
  raw.flushHeaders();
  let stop: (() => void) | undefined;
  let ended = false;
  const end = () => {
    ended = true;
    stop?.();
    raw.end();
  };
  raw.once('close', () => {
    ended = true;
    stop?.();
  });
  const send = (event: ServerEvent) => {
    if (ended) return;
    raw.write(textOf(event));
    if (raw.writableLength <= MOST_UNREAD) return;
    ended = true;
    stop?.();
    raw.destroy();
  };
  stop = feed.start(send, end);
  if (ended) stop();
  return reply;
}

/** `data` is one line: JSON has no line breaks. */
function textOf({ event, id, data = {} }: ServerEvent): string {
  return `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`;
}
