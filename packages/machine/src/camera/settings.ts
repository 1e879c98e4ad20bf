import { z } from 'zod';

/** The camera that watches a machine, as the machine's owner configures it: camera.json in the machine's folder. */
export const cameraSchema = z.strictObject({
  source: z.discriminatedUnion('kind', [
    z.strictObject({
      /** Answers with one JPEG, or with a stream of them (multipart/x-mixed-replace), as cameras and mjpg-streamer do. */
      kind: z.literal('http'),
      url: z
        .url({ protocol: /^https?$/ })
        .max(2_048)
        .refine((url) => new URL(url).username === '', { error: 'without user name and password' }),
    }),
    z.strictObject({
      /** A program that writes one JPEG to its standard output. It is run without a shell. */
      kind: z.literal('command'),
      command: z.array(z.string().max(4_096)).min(1).max(64),
    }),
  ]),
  /** Interval between photos of a running print, minutes. */
  everyMinutes: z.number().int().min(1).max(1_440).default(10),
  /** Operators of the organisation that holds the machine may look, too. */
  live: z.boolean().default(true),
  /** Time for one photo, ms. The last photo delays the report of the print by this much, at most. */
  timeoutMs: z.number().int().min(100).max(60_000).default(10_000),
  /** Sealed photos on this computer: the oldest objects are removed above this, MB. */
  keepMb: z.number().int().min(10).max(1_000_000).default(2_000),
});
export type CameraSettings = z.output<typeof cameraSchema>;
