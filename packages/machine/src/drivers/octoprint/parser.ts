import { z } from 'zod';
import { MAX_LINE } from '../controller/text-lines.ts';
import { parseReply, type Reply } from '../marlin/parser.ts';

const heat = z.object({ actual: z.number().nullish(), target: z.number().nullish() }).nullish();

/** The payload of `current` and `history` (docs/api/push.rst of OctoPrint). Other fields are of no interest. */
const currentSchema = z.object({
  state: z.object({
    flags: z.object({
      operational: z.boolean().optional(),
      closedOrError: z.boolean().optional(),
      error: z.boolean().optional(),
    }),
  }),
  temps: z.array(z.object({ tool0: heat, bed: heat, chamber: heat })).optional(),
  logs: z.array(z.string()).optional(),
});
export type Current = z.output<typeof currentSchema>;

const messageSchema = z.object({
  current: currentSchema.optional(),
  history: currentSchema.optional(),
  reauthRequired: z.unknown().optional(),
});

/**
 * What a frame of the socket contains. The socket without SockJS's own framing sends plain JSON.
 * @returns undefined for messages of other types
 */
export function parseFrame(text: string): { readonly current?: Current; readonly reauthenticate: boolean } | undefined {
  try {
    const message = messageSchema.safeParse(JSON.parse(text)).data;
    if (message === undefined) return undefined;
    const current = message.current ?? message.history;
    return { ...(current === undefined ? {} : { current }), reauthenticate: message.reauthRequired !== undefined };
  } catch {
    return undefined;
  }
}

/** Which lines of the log are sent: answers of the printer that matter, and no line of a design. */
export const logFilter =
  '^Recv: (?:echo:)?(?:millrace |FIRMWARE_NAME:|Error:|!!|// ?action:|echo:busy: paused|echo:Unknown command|start$)';

export type LogLine = { readonly type: 'mark'; readonly run: string; readonly number: number } | Reply;

/** A line of the log: an answer of the printer, or the echo of a mark that the driver had sent. */
export function parseLog(line: string): LogLine {
  const text = line.slice(0, MAX_LINE).replace(/^Recv: /, '');
  const mark = /^(?:echo:)?\s*millrace ([0-9a-f]{8}) (\d+)$/.exec(text);
  if (mark) return { type: 'mark', run: mark[1] as string, number: Number(mark[2]) };
  return parseReply(text);
}
