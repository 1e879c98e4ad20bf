import { bytesOf, bytesUpTo } from '@millrace/base';
import { z } from 'zod';
import { common, identifier } from './document-fields.ts';

// Pictures of a machine's camera for people of the organisation that holds the machine (spec/protocol.md, 6.17).

/** Maximum size of one picture, bytes. With its signature it fits into one message of the machine's link. */
export const MAX_PICTURE_BYTES = 240_000;

/** An operator of the organisation that holds the machine looks at it until `expires`. */
export const watchCamera = z.strictObject({
  type: z.literal('camera.watch'),
  ...common,
  organisation: identifier,
  machine: identifier,
  /** Fresh P-256 point to which pictures are sealed. */
  key: bytesOf(65),
});

/** What a machine's camera sees. */
export const cameraPicture = z.strictObject({
  type: z.literal('camera.picture'),
  ...common,
  machine: identifier,
  /** Id of the `camera.watch`. */
  watch: bytesOf(16),
  /** As the viewer chose it for this picture: it is newer than the viewer's request. */
  nonce: bytesOf(16),
  /** Without metadata. */
  jpeg: bytesUpTo(MAX_PICTURE_BYTES),
});
