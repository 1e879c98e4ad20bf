import { writeFile } from 'node:fs/promises';
import { labelCode } from '@millrace/client';

const [WIDTH, HEIGHT] = [640, 480];
const [BLACK, WHITE, GREY] = [16, 235, 128];

/** Flags with which Chromium shows a file as its camera, without asking the person. */
export const cameraFlags = (file: string) => [
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  `--use-file-for-fake-video-capture=${file}`,
];

/** Writes what a camera sees that looks at a QR code: uncompressed video (YUV4MPEG2), which Chromium repeats. */
export async function filmCode(file: string, text: string): Promise<void> {
  const rows = labelCode(text);
  const scale = Math.floor(HEIGHT / rows.length);
  const [left, top] = [WIDTH, HEIGHT].map((side) => Math.floor((side - rows.length * scale) / 2)) as [number, number];
  const luma = Buffer.alloc(WIDTH * HEIGHT, WHITE);
  for (const [y, row] of rows.entries())
    for (const [x, dark] of row.entries())
      for (let line = 0; dark && line < scale; line++) {
        const start = (top + y * scale + line) * WIDTH + left + x * scale;
        luma.fill(BLACK, start, start + scale);
      }
  const frame = Buffer.concat([Buffer.from('FRAME\n'), luma, Buffer.alloc((WIDTH * HEIGHT) / 2, GREY)]);
  const header = Buffer.from(`YUV4MPEG2 W${WIDTH} H${HEIGHT} F10:1 Ip A1:1 C420jpeg\n`);
  await writeFile(file, Buffer.concat([header, ...Array.from({ length: 5 }, () => frame)]));
}
